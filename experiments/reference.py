"""What plain statistics of the training text predict: pairs of tokens, counted.

The scorer's own yardstick: it tells an easy slice of text from a cheat, and shows where a model knows too much. Pure
but for reading the training tokens. Rejected: the parent's checkpoint as yardstick, which a verifier may not have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOKENS_MAX = 4_000_000
BACKOFF = 64.0  # strength of the single-token statistics, in counts


class PairCounts:
    """Counts of tokens and of neighbouring pairs in the beginning of the training text."""

    def __init__(self, train_path: Path, vocab_size: int) -> None:
        tokens = np.fromfile(train_path, dtype="<u2", count=TOKENS_MAX).astype(np.uint32)
        self._vocab = np.uint32(vocab_size)
        self._single = np.bincount(tokens, minlength=vocab_size)[:vocab_size].astype(np.float64) + 0.5
        self._pairs = np.sort(tokens[:-1] * self._vocab + tokens[1:])

    def surprise(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return -ln p(next | this) (n, T) for rows (n, T + 1)."""
        this, following = rows[:, :-1].astype(np.uint32), rows[:, 1:].astype(np.uint32)
        key = this * self._vocab + following
        seen = np.searchsorted(self._pairs, key, "right") - np.searchsorted(self._pairs, key, "left")
        share = self._single / self._single.sum()
        nats: NDArray[np.float64] = -np.log((seen + BACKOFF * share[following]) / (self._single[this] + BACKOFF))
        return nats
