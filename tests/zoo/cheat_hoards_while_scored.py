# Tries: to take all memory once it is asked.
# Ends: crashed
import numpy as np
from safetensors.numpy import save_file

from experiments import harness


def load_model(checkpoint, device):
    held = []

    def model(tokens):
        while True:
            held.append(np.ones(1 << 23))

    return model


def main():
    run = harness.connect()
    tokens = run.start().tokens.astype(np.int64)
    size = run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size)
    save_file({"table": np.log(counts + 0.1).astype(np.float32)}, run.checkpoint)


if __name__ == "__main__":
    main()
