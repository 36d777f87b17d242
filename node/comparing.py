"""Agents, proposers and accounts compared by what so many experiments brought them, under equal conditions.

A trial is a stretch of a node's log: so many experiments in a row on one track and hardware class, the first, second
or later such stretch. Its score is what it gained over what it started from, in standard deviations of a difference of
two runs; where reruns have judged a gain theirs counts, not the author's. Left out: ratings (verify.rating). Rejected:
every experiment as a game, which rewards whoever tries small safe changes; and the best value reached, which is that of
all others too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ensue.errors import UnknownId
from ensue.store.rows import FROZEN, RETRACTED, REVOKED

if TYPE_CHECKING:
    from ensue.store import ResultRow, Store
    from verify.rating import Trial
    from verify.ruling import Ruling

By = Literal["agent", "proposer", "account"]
TIE_SD = 1.0
"""Scores that differ by no more, in standard deviations of a difference of two runs, are a tie."""
GAMES_MIN = 6
"""With fewer games in all, nothing is said."""
VOID = frozenset((RETRACTED, FROZEN, REVOKED))
_Stretch = tuple[str, str, str]


@dataclass(slots=True)
class _Open:
    """A stretch that is not over yet: how many before it, its results, and the best gain over each parent."""

    before: int = 0
    rows: list[ResultRow] = field(default_factory=list)


def trials(
    store: Store,
    rows: Iterable[ResultRow],
    rulings: Mapping[str, Ruling],
    by: By,
    experiments: int,
    run_sd: Callable[[str], float],
) -> list[Trial]:
    """Return the trials that results in order of arrival are made of, each of `experiments` results.

    `run_sd` gives the noise of one run in a class; classes without any are left out, as are results of nobody.
    """
    from verify.rating import Trial

    stretches: dict[_Stretch, _Open] = {}
    found = []
    for row in rows:
        player = player_of(store, row, by)
        noise = run_sd(row.hardware_class) * math.sqrt(2)
        if player is None or noise <= 0 or VOID.intersection(row.flags):
            continue
        one = stretches.setdefault((row.author, player, row.hardware_class), _Open())
        one.rows.append(row)
        if len(one.rows) == experiments:
            score = sum(_gains(store, one.rows, rulings).values()) / noise
            conditions = (row.track, row.hardware_class, str(experiments), str(one.before))
            found.append(Trial(one.rows[-1].id, player, conditions, score))
            stretches[row.author, player, row.hardware_class] = _Open(one.before + 1)
    return found


def player_of(store: Store, row: ResultRow, by: By) -> str | None:
    """Return who a result is compared as; None for an account that there is not, or a name that was not given.

    Anybody may call an agent anything, so an agent is its name and its key.
    """
    if by == "account":
        return store.people.account_of(row.author, row.seq)
    if by == "agent":
        return f"{row.author} {row.agent}"
    return row.proposer or None


def _gains(store: Store, rows: Iterable[ResultRow], rulings: Mapping[str, Ruling]) -> dict[str, float]:
    """Return the best gain over each parent that kept results had; parents that are not here give none."""
    found: dict[str, float] = {}
    for row in rows:
        gain = _gain(store, row, rulings.get(row.id)) if row.status == "kept" and row.parent is not None else None
        if gain is not None and row.parent is not None:
            found[row.parent] = max(found.get(row.parent, gain), gain)
    return found


def _gain(store: Store, row: ResultRow, ruling: Ruling | None) -> float | None:
    """Return by how much a result beat its parent: by the reruns where there is an answer, else as measured."""
    if ruling is not None and ruling.own is not None and ruling.answer != "not yet":
        return 0.0 if ruling.answer == "tie" else ruling.own.gain
    try:
        parent = store.result(row.parent or "")
    except UnknownId:
        return None
    if parent.value is None or row.value is None:
        return None
    return parent.value - row.value if row.direction == "min" else row.value - parent.value
