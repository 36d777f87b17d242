# Tries: to exchange its checkpoint for a link to a host's file, for ever, in the moment it is looked at.
# Ends: refused or scored or crashed, for what it is worth
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
    good = run.checkpoint + ".good"
    save_file({"table": np.log(counts + 0.1).astype(np.float32)}, good)
    if os.fork() == 0:
        os.setsid()
        while True:
            for target in (good, "/etc/passwd", "/proc/self/environ", "/proc/self/fd/3"):
                os.symlink(target, run.checkpoint + ".new")
                os.replace(run.checkpoint + ".new", run.checkpoint)
            os.link(good, run.checkpoint + ".new")
            os.replace(run.checkpoint + ".new", run.checkpoint)
    time.sleep(0.2)


if __name__ == "__main__":
    main()
