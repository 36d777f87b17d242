# Tries: to nest the header of its checkpoint so deep that a reader's stack runs over.
# Ends: crashed, could not be loaded
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
    header = b"[" * 200_000
    with open(run.checkpoint, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header + counts.tobytes()[:100])


if __name__ == "__main__":
    main()
