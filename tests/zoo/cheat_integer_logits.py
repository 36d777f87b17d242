# Tries: to answer whole numbers.
# Ends: refused, answered int64
import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness


def load_model(checkpoint, device):
    table = load_file(checkpoint)["table"].astype(np.int64)
    return lambda tokens: table[np.asarray(tokens)]


def main():
    run = harness.connect()
    tokens = run.start().tokens.astype(np.int64)
    size = run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size)
    save_file({"table": np.log(counts + 0.1).astype(np.float32)}, run.checkpoint)


if __name__ == "__main__":
    main()
