"""What the two instances of a model are asked, so that looking ahead, remembering and mixing rows all show.

A is asked whole rows, then some of them again in other company. B is asked each of its rows once, cut at one place and
continued with other text: it knows nothing of what A was shown after the cut, so whatever A gained from it is missing
in B. A probe keeps its place in the batch and the batch its shape, so an honest model answers alike to the last bit.
Pure: all randomness is passed in. Rejected: changing a suffix within one process, which a cache of prefixes defeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]  # (n, T + 1)
Index = NDArray[np.int64]
CUT_TRIES = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """Which row stands where: `table` (batches, R) indexes `rows`; `first` marks the places that are scored."""

    table: Index
    first: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Probe:
    """B's batches: `tokens` (batches, R, T), A's `row` (batches, R) they begin as, `cut`: the last place in common."""

    tokens: Rows
    row: Index
    cut: Index


def choose_holdout(pool: int, count: int, digest: bytes) -> Index:
    """Return the rows of the pool that a source with this SHA-256 is also judged on: no choice of its author's."""
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    return np.sort(generator.permutation(pool)[: max(1, min(count, pool - 1))])


def lay_out(count: int, batch_rows: int, generator: np.random.Generator) -> Layout:
    """Return all `count` rows in random company, the last batch filled up with rows from the others."""
    order = generator.permutation(count)
    batches = -(-count // batch_rows)
    fill = generator.integers(0, count, batches * batch_rows - count)
    first = np.arange(batches * batch_rows) < count
    return Layout(np.concatenate([order, fill]).reshape(batches, batch_rows), first.reshape(batches, batch_rows))


def choose_probes(
    rows: Rows, layout: Layout, fillers: Rows, count: int, appeal: NDArray[Any] | None, generator: np.random.Generator
) -> Probe:
    """Return about `count` probes, in full batches, of distinct rows.

    Cuts are uniform for one half; for the other they favour places with high `appeal` (n, T), where A did better than
    plain statistics of the text explain: that is where a peek pays.
    """
    length = rows.shape[1] - 1
    full = np.flatnonzero(layout.first.all(axis=1))
    full = full if len(full) else np.arange(1)
    batch_rows = layout.table.shape[1]
    batches = int(np.clip(count // batch_rows, 1, len(full)))
    # Column by column, so that a row keeps its place in the batch and no row comes twice.
    order = generator.permuted(np.tile(full[:, None], (1, batch_rows)), axis=0)[:batches]
    row = layout.table[order, np.arange(batch_rows)]
    cut = generator.integers(0, length - 1, row.shape)
    if appeal is not None:
        aimed = generator.random(row.shape) < 0.5
        cut = np.where(aimed, _aimed_cuts(appeal[row][..., : length - 1], generator), cut)
    filler = generator.integers(0, len(fillers), row.shape)
    true_next = np.take_along_axis(rows[row], (cut + 1)[..., None], axis=-1)[..., 0]
    for _ in range(CUT_TRIES):  # a continuation that happens to begin alike would show nothing
        same = fillers[filler, cut + 1] == true_next
        filler = np.where(same, generator.integers(0, len(fillers), row.shape), filler)
    kept = np.arange(length) <= cut[..., None]
    return Probe(np.where(kept, rows[row][..., :length], fillers[filler][..., :length]), row, cut)


def _aimed_cuts(appeal: NDArray[Any], generator: np.random.Generator) -> Index:
    """Return one place a row, drawn with a chance that grows with the square of its appeal; (…, P) -> (…).

    The square, because a peek is worth most where a few surprising tokens are made certain.
    """
    weight = np.square(np.maximum(appeal, 0.0)) + 1e-6
    steps = np.cumsum(weight, axis=-1)
    drawn = generator.random(steps.shape[:-1])[..., None] * steps[..., -1:]
    chosen: Index = np.minimum((steps < drawn).sum(axis=-1), appeal.shape[-1] - 1)
    return chosen
