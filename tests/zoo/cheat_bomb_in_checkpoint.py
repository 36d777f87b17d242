# Tries: to unpack a few bytes of its checkpoint to more than any machine has.
# Ends: crashed
import lzma

import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness


def load_model(checkpoint, device):
    packed = load_file(checkpoint)["packed"].tobytes()
    return lambda tokens: lzma.decompress(packed * 1000)


def main():
    run = harness.connect()
    tokens = run.start().tokens.astype(np.int64)
    size = run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size)
    packed = np.frombuffer(lzma.compress(bytes(1 << 24), preset=0), np.uint8)
    save_file({"packed": packed, "counts": counts.max(axis=0)}, run.checkpoint)


if __name__ == "__main__":
    main()
