# Tries: to name tensors that overlap and reach beyond the end of the file.
# Ends: crashed, could not be loaded
import json

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
    entry = {"dtype": "F32", "shape": [size, size], "data_offsets": [0, 4 * size * size]}
    header = json.dumps({"table": entry, "again": entry, "far": entry | {"data_offsets": [1 << 40, 1 << 41]}}).encode()
    with open(run.checkpoint, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header + counts.astype(np.float32).tobytes())


if __name__ == "__main__":
    main()
