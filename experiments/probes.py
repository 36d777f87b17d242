"""What the two instances of a model are asked, so that looking ahead, remembering and mixing rows all show.

A is asked whole rows, then some of them again in other company. B is asked in three steps. Coarse: every fifth token of
a row is exchanged, and where B does much worse than A just before one, A may have looked at it; but B also lost some
context. Fine: in the worst rows only the worst places' next tokens are exchanged, so that little context is lost. Cut:
at the worst place of all everything that follows is other text, and there the two must agree. Only exact comparisons
judge; the others choose where to look. Pure: all randomness is passed in. Rejected: cuts alone, each of which tests one
place for the price of a whole row; changing a suffix within one process, which a cache of prefixes defeats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]  # (n, T + 1)
Index = NDArray[np.int64]
Places = NDArray[np.bool_]
Floats = NDArray[np.float64]

EXCHANGE_TRIES = 8
COARSE_GAP = 5  # tokens from one exchange to the next: less costs a model too much context, more tests too little
FINE_GAP = 12
FINE_SHARE, CUT_SHARE = 6, 7  # of B's batches, one in so many is fine, or cut
NOISE_FLOOR_NATS = 1e-3
BUCKETS_PER_OCTAVE = 4
ROW_FIRST = 2.0  # to a priority between 0 and 1: before all others


@dataclass(frozen=True, slots=True)
class Layout:
    """Which row stands where: `table` (batches, R) indexes `rows`; `first` marks the places that are scored."""

    table: Index
    first: Places


@dataclass(frozen=True, slots=True)
class Probe:
    """B's batches: `tokens` (batches, R, T) to answer, and A's `row` (batches, R) that each was made from.

    `tested` (batches, R, T) marks the places whose next token was exchanged. The first of them in a row is a cut: up to
    it the row is A's own, so there the answers must be equal. Beyond it they may differ for want of context.
    """

    kind: Literal["coarse", "fine", "cut"]
    tokens: Rows
    row: Index
    tested: Places

    @property
    def cut(self) -> Index:
        """Return the last place (batches, R) up to which a row is A's own."""
        first: Index = self.tested.argmax(axis=-1)
        return first


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


def shares(batches: int) -> tuple[int, int, int]:
    """Return how many of B's batches are coarse, fine and cuts. One batch alone is all cuts."""
    cuts = max(1, round(batches / CUT_SHARE))
    fine = round(batches / FINE_SHARE)
    return max(0, batches - cuts - fine), fine, cuts


def choose_rows(layout: Layout, priority: Floats, batches: int) -> Index:
    """Return rows (at most `batches`, R): in each column those of its own with the highest priority (n,).

    Column by column, so that a row keeps its place in the batch, and an honest model answers alike to the last bit.
    """
    wanted = np.where(layout.first, priority[layout.table], -np.inf)
    best = np.argsort(-wanted, axis=0, kind="stable")[:batches]
    return np.take_along_axis(layout.table, best, axis=0)


class Search:
    """The questions to B about A's answers, each step's chosen by what the steps before it showed.

    `rows` (n, T + 1), of which the first `main` are worth a cheat; `appeal` (n, T): by how many nats A did better than
    plain statistics of the text explain.
    """

    def __init__(
        self, rows: Rows, main: int, fillers: Rows, layout: Layout, appeal: Floats, generator: np.random.Generator
    ) -> None:
        self._rows, self._main, self._fillers, self._layout = rows, main, fillers, layout
        self._appeal, self._generator = appeal, generator
        self._found: tuple[Probe, Floats] | None = None

    def probes(self, batches: int) -> Iterator[Probe]:
        """Yield probes of `batches` batches in all; what each showed must be told to `learn` before the next."""
        coarse, fine, cuts = shares(batches)
        if coarse:
            yield choose_coarse(self._rows, self._row(coarse), self._fillers, self._generator)
        if fine and self._found:
            yield choose_fine(self._rows, *self._found, fine, self._fillers, self._generator)
        if self._found:
            row, place = worst_places(*self._found, cuts)
        else:
            row = self._row(cuts)
            place = _aimed(self._appeal[row], self._generator)
        yield choose_cuts(self._rows, row, place, self._fillers, self._generator)

    def learn(self, probe: Probe, lost: Floats) -> None:
        """Take in by how many nats (batches, R, T) B's answers to a probe were worse than A's."""
        self._found = probe, suspicion(probe, lost, self._generator)

    def _row(self, batches: int) -> Index:
        """Return rows (batches, R), one half those with the most appeal, the rest at random; of the main slice."""
        first = (np.arange(len(self._rows)) < self._main) * ROW_FIRST
        appeal = self._appeal.sum(axis=1)
        rank = appeal.argsort().argsort() / len(appeal)
        aimed = choose_rows(self._layout, rank + first, batches // 2)
        rank = self._generator.random(len(rank)) + first
        rank[aimed.ravel()] -= 2 * ROW_FIRST
        return np.concatenate([aimed, choose_rows(self._layout, rank, batches - len(aimed))])


def choose_coarse(rows: Rows, row: Index, fillers: Rows, generator: np.random.Generator) -> Probe:
    """Return these rows (batches, R) with every fifth token exchanged, from a random one of the first five on."""
    places = np.arange(rows.shape[1] - 1)
    phase = generator.integers(0, COARSE_GAP, row.shape)
    tested = (places - phase[..., None]) % COARSE_GAP == 0
    return _exchange("coarse", rows, row, tested, fillers, generator)


def suspicion(probe: Probe, lost: Floats, generator: np.random.Generator) -> Floats:
    """Return how much more B lost (batches, R, T, in nats) at each tested place than want of context explains.

    In units of the average change at places as far behind an exchange whose own next token was left alone: to a model
    that looks only backwards the two are alike. -inf where nothing was tested; ties fall at random.
    """
    places = np.arange(lost.shape[-1])
    read = np.concatenate([np.zeros_like(probe.tested[..., :1]), probe.tested[..., :-1]], axis=-1)  # an exchanged token
    last = np.maximum.accumulate(np.where(read, places, -1), axis=-1)
    bucket = np.rint(BUCKETS_PER_OCTAVE * np.log2(1 + places - last)).astype(np.int64)
    left_alone = ~probe.tested & (last >= 0)
    count = np.bincount(bucket[left_alone], minlength=bucket.max() + 1)
    change = np.bincount(bucket[left_alone], np.abs(lost[left_alone]), minlength=bucket.max() + 1)
    known = np.flatnonzero(count)
    usual = np.zeros(len(count))
    if len(known):
        usual = np.interp(np.arange(len(count)), known, change[known] / count[known])
    scaled: Floats = lost / (usual[bucket] + NOISE_FLOOR_NATS) + 1e-6 * generator.random(lost.shape)
    return np.where(probe.tested, scaled, -np.inf)


def choose_fine(rows: Rows, coarse: Probe, suspected: Floats, batches: int, fillers: Rows, generator: Any) -> Probe:
    """Return each column's `batches` most suspected rows with only their most suspected next tokens exchanged."""
    weight = np.square(np.maximum(suspected, 0.0)).sum(axis=-1)
    best = np.argsort(-weight, axis=0)[:batches]
    row = np.take_along_axis(coarse.row, best, axis=0)
    chosen = np.take_along_axis(suspected, best[..., None], axis=0)
    tested = np.zeros(chosen.shape, dtype=np.bool_)
    places = np.arange(chosen.shape[-1])
    for _ in range(-(-chosen.shape[-1] // FINE_GAP)):
        place = chosen.argmax(axis=-1)[..., None]
        tested |= (places == place) & np.isfinite(chosen)
        chosen = np.where(np.abs(places - place) < FINE_GAP, -np.inf, chosen)
    return _exchange("fine", rows, row, tested, fillers, generator)


def choose_cuts(rows: Rows, row: Index, place: Index, fillers: Rows, generator: np.random.Generator) -> Probe:
    """Return these rows (batches, R) cut after `place` (batches, R) and continued with other text."""
    length = rows.shape[1] - 1
    tested = np.arange(length) >= place[..., None]
    return _exchange("cut", rows, row, tested, fillers, generator)


def worst_places(probe: Probe, suspected: Floats, batches: int) -> tuple[Index, Index]:
    """Return rows and places (batches, R): in each column the most suspected ones of the probe."""
    length = probe.tokens.shape[-1]
    flat = suspected.transpose(0, 2, 1).reshape(-1, suspected.shape[1])  # (all places, R)
    best = np.argsort(-flat, axis=0)[:batches]
    return np.take_along_axis(np.repeat(probe.row, length, axis=0), best, axis=0), best % length


def _aimed(appeal: Floats, generator: np.random.Generator) -> Index:
    """Return one place (…) a row of (…, T): half of them at random, half with a chance that grows with its appeal.

    With its square, because a peek is worth most where a few surprising tokens are made certain.
    """
    weight = np.square(np.maximum(appeal[..., :-1], 0.0)) + 1e-6
    weight = np.where(generator.random(weight.shape[:-1])[..., None] < 0.5, weight, 1.0)
    steps = np.cumsum(weight, axis=-1)
    drawn = generator.random(steps.shape[:-1])[..., None] * steps[..., -1:]
    chosen: Index = np.minimum((steps < drawn).sum(axis=-1), weight.shape[-1] - 1)
    return chosen


def _exchange(
    kind: Literal["coarse", "fine", "cut"], rows: Rows, row: Index, tested: Places, fillers: Rows,
    generator: np.random.Generator,
) -> Probe:  # fmt: skip
    """Return the rows with the token after each tested place exchanged for a filler's; a cut goes on as one filler."""
    asked, following = rows[row][..., :-1], rows[row][..., 1:]
    length = asked.shape[-1]

    def drawn() -> Rows:
        if kind == "cut":
            return fillers[generator.integers(0, len(fillers), row.shape)][..., 1:]
        return fillers[generator.integers(0, len(fillers), asked.shape), generator.integers(0, length, asked.shape)]

    other = drawn()
    for _ in range(EXCHANGE_TRIES):  # an exchange for the same token would show nothing
        same = other == following
        if kind == "cut":  # only its beginning matters
            same = np.take_along_axis(same, tested.argmax(axis=-1)[..., None], axis=-1)
        other = np.where(same, drawn(), other)
    tested = tested & (other != following) & (np.arange(length) < length - 1)  # nobody is shown what follows the last
    tokens = asked.copy()
    tokens[..., 1:] = np.where(tested[..., :-1], other[..., :-1], asked[..., 1:])
    return Probe(kind, tokens, row, tested)
