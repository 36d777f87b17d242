# Tries: to have the node wait for ever on a pipe.
# Ends: refused, no plain file
import os

import numpy as np
from safetensors.numpy import load_file

from experiments import harness


def load_model(checkpoint, device):
    table = load_file(checkpoint)["table"]
    return lambda tokens: table[np.asarray(tokens)]


def main():
    run = harness.connect()
    run.start()
    os.mkfifo(run.checkpoint)


if __name__ == "__main__":
    main()
