"""From logits to bits per byte: the scorer's own arithmetic, in float64, over exactly the track's vocabulary.

Pure. Leaves out where logits come from and whether they may be believed. Rejected: taking log-probabilities from the
script, because nothing would then make them sum to one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Nats = NDArray[np.float64]
CHUNK_POSITIONS = 64  # a chunk in float64 stays in the second-level cache


class NotFinite(ValueError):
    """Logits that hold NaN or an infinity."""


def surprise(logits: NDArray[np.float32], targets: NDArray[Any]) -> Nats:
    """Return -ln p(target) (N,) under softmax(logits) for logits (N, V) and targets (N,), O(N·V).

    Every chunk of logits is copied once and judged from that copy only, so memory that changes underneath cannot be
    checked in one state and scored in another. Raises NotFinite.
    """
    count = logits.shape[0]
    out = np.empty(count)
    for low in range(0, count, CHUNK_POSITIONS):
        high = min(low + CHUNK_POSITIONS, count)
        chunk = np.array(logits[low:high], dtype=np.float64)
        if not np.isfinite(chunk).all():
            raise NotFinite("the model answered logits that are not finite")
        chosen = chunk[np.arange(high - low), targets[low:high]]
        top = chunk.max(axis=1)
        chunk -= top[:, None]
        np.exp(chunk, out=chunk)
        out[low:high] = np.log(chunk.sum(axis=1)) + (top - chosen)
    return out


@dataclass(frozen=True, slots=True)
class RowScores:
    """What one slice of rows cost: nats and bytes of text a row, tokens without text left out of both."""

    nats: Nats  # (n,)
    bytes: NDArray[np.int64]  # (n,)

    @property
    def bits_per_byte(self) -> float:
        """Return the slice's value; nan for a slice without text."""
        total = int(self.bytes.sum())
        return float(self.nats.sum()) / math.log(2) / total if total else math.nan

    @property
    def sd(self) -> float:
        """Return the standard error of `bits_per_byte` over the choice of rows (delta method for a ratio)."""
        count, total = len(self.nats), int(self.bytes.sum())
        if count < 2 or not total:
            return math.inf
        residual = self.nats - self.nats.sum() / total * self.bytes
        return float(math.sqrt(count * residual.var(ddof=1)) / math.log(2) / total)


def row_scores(nats: Nats, targets: NDArray[Any], token_bytes: NDArray[Any]) -> RowScores:
    """Return the scores of rows whose positions cost `nats` (n, T) for `targets` (n, T)."""
    sizes = token_bytes[targets].astype(np.int64)
    return RowScores(nats=np.where(sizes > 0, nats, 0.0).sum(axis=1), bytes=sizes.sum(axis=1))
