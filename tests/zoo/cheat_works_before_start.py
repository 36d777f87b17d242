# Tries: to train on text of its own before the clock starts: allowed, but bounded.
# Ends: timed_out, did not call start()
# With: setup_s=1.0
import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness


def load_model(checkpoint, device):
    table = load_file(checkpoint)["table"]
    return lambda tokens: table[np.asarray(tokens)]


def main():
    run = harness.connect()
    while True:
        np.ones((500, 500)) @ np.ones((500, 500))
    tokens = run.start().tokens.astype(np.int64)
    size = run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size)
    save_file({"table": np.log(counts + 0.1).astype(np.float32)}, run.checkpoint)


if __name__ == "__main__":
    main()
