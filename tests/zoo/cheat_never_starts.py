# Tries: to be scored without ever asking for the training data.
# Ends: crashed, without calling start()
import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness


def load_model(checkpoint, device):
    table = load_file(checkpoint)["table"]
    return lambda tokens: table[np.asarray(tokens)]


def main():
    run = harness.connect()
    save_file({"table": np.zeros((run.vocab_size, run.vocab_size), np.float32)}, run.checkpoint)


if __name__ == "__main__":
    main()
