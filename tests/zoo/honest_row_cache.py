# Honest: pairs, and a cache of what the row itself has said so far, begun anew for each row.
import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness

SHARE, FADE = np.float32(0.02), 0.9


def load_model(checkpoint, device):
    table = load_file(checkpoint)["table"]

    def model(tokens):
        tokens = np.asarray(tokens)
        seen = np.zeros((*tokens.shape, len(table)), np.float32)
        for place in range(tokens.shape[1]):
            if place:
                seen[:, place] = FADE * seen[:, place - 1]
            seen[np.arange(len(tokens)), place, tokens[:, place]] += 1
        cached = seen / seen.sum(axis=-1, keepdims=True)
        return np.log((1 - SHARE) * table[tokens] + SHARE * cached)

    return model


def main():
    run = harness.connect()
    tokens, size = run.start().tokens.astype(np.int64), run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size) + 0.1
    save_file({"table": (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)}, run.checkpoint)


if __name__ == "__main__":
    main()
