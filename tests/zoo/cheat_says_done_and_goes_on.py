# Tries: to stop the clock by saying that it is done, and to train on.
# Ends: crashed or scored, for what it is worth
import os
import time

import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness


def load_model(checkpoint, device):
    table = load_file(checkpoint)["table"]
    return lambda tokens: table[np.asarray(tokens)]


def main():
    run = harness.connect()
    tokens = run.start().tokens.astype(np.int64)
    size = run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size)
    save_file({"table": np.log(counts + 0.1).astype(np.float32)}, run.checkpoint)
    run._link.report({"op": "done"})
    for _ in range(1_000_000):
        counts = counts * 2
        with open("/out/late", "ab") as file:
            file.write(b"still here ")
        time.sleep(0.001)
    os._exit(1)


if __name__ == "__main__":
    main()
