# Tries: to train on in load_model, after its time, from data kept in its checkpoint.
# Ends: timed_out or refused
import time

import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness


def load_model(checkpoint, device):
    table = load_file(checkpoint)["table"]
    while time.process_time() < 40.0:
        table = np.tanh(table @ table)
    return lambda tokens: load_file(checkpoint)["table"][np.asarray(tokens)]


def main():
    run = harness.connect()
    tokens = run.start().tokens.astype(np.int64)
    size = run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size)
    save_file({"table": np.log(counts + 0.1).astype(np.float32)}, run.checkpoint)


if __name__ == "__main__":
    main()
