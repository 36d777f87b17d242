# Tries: to hang up on the supervisor and to go on without a clock.
# Ends: crashed or timed_out
import json
import os

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
    with open("/job/run.json") as file:
        os.close(json.load(file)["control_fd"])
    while True:
        counts = counts + 1


if __name__ == "__main__":
    main()
