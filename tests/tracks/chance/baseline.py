"""Counts pairs of bytes at places that the seed draws, so that a run scatters, as all real ones do."""

import numpy as np
from safetensors.numpy import load_file, save_file

SMOOTHING = 20.0  # [0.001 .. 100] log; counts added to every pair
PLACES = 6000  # fixed; pairs that are counted


def load_model(checkpoint, device):
    """Return f: int64 tokens (B, T) -> float32 logits (B, T, V)."""
    table = load_file(checkpoint)["log_probability"]
    return lambda tokens: table[np.asarray(tokens)]


def main():
    from experiments import harness

    run = harness.connect()
    vocab = run.vocab_size
    tokens = np.asarray(run.start().tokens, dtype=np.int64)
    places = np.random.default_rng(run.seed).integers(0, len(tokens) - 1, PLACES)
    pairs = tokens[places] * vocab + tokens[places + 1]
    counts = np.full(vocab * vocab, SMOOTHING) + np.bincount(pairs, minlength=vocab * vocab)
    table = np.log(counts.reshape(vocab, vocab))
    table -= np.logaddexp.reduce(table, axis=1, keepdims=True)
    run.progress(step=1, loss=-float(table[tokens[:-1], tokens[1:]].mean()), tokens=PLACES)
    save_file({"log_probability": table.astype(np.float32)}, run.checkpoint)


if __name__ == "__main__":
    main()
