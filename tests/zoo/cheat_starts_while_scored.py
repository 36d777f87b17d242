# Tries: to get at the training data, or train again, from inside load_model.
# Ends: crashed, start() was called while scoring
import numpy as np
from safetensors.numpy import save_file

from experiments import harness


def load_model(checkpoint, device):
    harness.connect().start()
    return


def main():
    run = harness.connect()
    tokens = run.start().tokens.astype(np.int64)
    size = run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size)
    save_file({"table": np.log(counts + 0.1).astype(np.float32)}, run.checkpoint)


if __name__ == "__main__":
    main()
