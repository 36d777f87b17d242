# Honest: looks up the longest match of the last tokens in the training text, which its checkpoint holds.
import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness

REACH = 4


def load_model(checkpoint, device):
    state = load_file(checkpoint)
    text, table = state["text"].astype(np.int64), state["table"]
    size = len(table)
    keys = sum(text[order : len(text) - REACH + order] * size ** (REACH - 1 - order) for order in range(REACH))
    order = np.argsort(keys, kind="stable")
    keys, following = keys[order], text[REACH:][order]

    def model(tokens):
        tokens = np.asarray(tokens)
        share = table[tokens].copy()
        for row, said in enumerate(tokens):
            for place in range(REACH - 1, len(said)):
                key = sum(said[place - REACH + 1 + at] * size ** (REACH - 1 - at) for at in range(REACH))
                low, high = np.searchsorted(keys, key), np.searchsorted(keys, key, "right")
                if high > low:
                    near = np.bincount(following[low:high], minlength=size) / (high - low)
                    trust = (high - low) / (high - low + 1.0)
                    share[row, place] = (1 - trust) * share[row, place] + trust * near
        return np.log(share).astype(np.float32)

    return model


def main():
    run = harness.connect()
    tokens, size = run.start().tokens.astype(np.int64), run.vocab_size
    counts = np.bincount(tokens[:-1] * size + tokens[1:], minlength=size * size).reshape(size, size) + 0.05
    table = (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    save_file({"text": tokens.astype(np.uint16), "table": table}, run.checkpoint)


if __name__ == "__main__":
    main()
