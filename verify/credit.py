"""Who a confirmed gain is owed to: its author, those whose code it grew from, who had the ideas, who reran it.

Counted in whole units of a billionth of the metric's unit, so that the parts add up to exactly the gain and every node
finds the same. A parent shares in what grows from it, less with every generation. Pure: nothing is stored, anyone can
recompute it. Leaves out whether a gain is confirmed (verdict) and who belongs to which account. Rejected: all to the
author (nobody would open a path for others), and fractions of floating-point numbers (they add up to nearly the gain).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ensue.errors import ExperimentError

UNITS = 10**9
"""Units of credit in one of the metric's unit."""
GENERATIONS_MAX = 16
"""Generations that share in a gain; what is left to older ones goes to those who share."""
GAIN_MAX = 10**9
"""Largest gain that is shared, in the metric's unit."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How a network shares, in parts of any whole; a part that nobody can claim goes to the author."""

    author: int = 60
    ancestors: int = 25  # of which a parent gets half, its parent a quarter, and so on
    replicators: int = 15  # by the pairs that counted
    idea: int = 25  # percent of an author's or ancestor's part, for whose hypothesis it tested
    decay: Fraction = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class Step:
    """One result of a lineage: whose it is, and who had the idea (None: its author)."""

    author: str
    idea: str | None = None


def units_of(gain: float) -> int:
    """Return a gain in units of credit, to the nearest; raises ExperimentError unless it is a number from 0 up."""
    if isinstance(gain, bool) or not math.isfinite(gain) or not 0 <= gain <= GAIN_MAX:
        raise ExperimentError("Only a confirmed gain is shared, which is a finite number from zero; judge it first.")
    return round(Fraction(gain) * UNITS)


def split(amount: int, weights: Mapping[str, Fraction | int]) -> dict[str, int]:
    """Return the amount in whole parts by weight: each is its share rounded down, or up for the largest remainders.

    Equal remainders go by name. The parts add up to the amount; without any weight there are no parts.
    """
    whole = sum(weights.values(), Fraction(0))
    if amount < 0 or any(weight < 0 for weight in weights.values()):
        raise ExperimentError("Only amounts and weights from zero up can be shared; correct them.")
    if not whole:
        return {}
    exact = {name: amount * Fraction(weight) / whole for name, weight in weights.items() if weight}
    parts = {name: math.floor(share) for name, share in exact.items()}
    left = amount - sum(parts.values())
    for name in sorted(exact, key=lambda name: (parts[name] - exact[name], name))[:left]:
        parts[name] += 1
    return parts


def share_gain(
    gain: int, lineage: Sequence[Step], replicators: Mapping[str, int] | None = None, shares: Shares | None = None
) -> dict[str, int]:
    """Return what each account is owed of a gain (units_of), by account; the parts add up to exactly the gain.

    `lineage` goes from the result itself to its parent and on; steps that belong to nobody, as the baseline, are left
    out by the caller. `replicators` gives the pairs of each account that counted; the author's own are none. Raises
    ExperimentError on an empty lineage, a negative gain or shares of nothing.
    """
    shares = shares or Shares()
    if not lineage or gain < 0:
        raise ExperimentError("A gain to be shared is zero or more and belongs to a result; correct them.")
    parts = (shares.author, shares.ancestors, shares.replicators)
    if min(parts) < 0 or shares.author <= 0 or not 0 <= shares.idea <= 100 or not 0 < shares.decay <= 1:
        raise ExperimentError("Shares are zero or more, an author has one, and a decay is up to one; correct them.")
    own, *older = lineage[: GENERATIONS_MAX + 1]
    weights: dict[str, Fraction] = {}
    checkers = {name: n for name, n in (replicators or {}).items() if n > 0 and name != own.author}
    claimed = (shares.ancestors if older else 0) + (shares.replicators if checkers else 0)
    _add(weights, own, Fraction(sum(parts) - claimed), shares)
    whole = sum((shares.decay**generation for generation in range(len(older))), Fraction(0))
    for generation, step in enumerate(older):
        _add(weights, step, shares.ancestors * shares.decay**generation / whole, shares)
    for name, pairs in checkers.items():
        weights[name] = weights.get(name, Fraction(0)) + Fraction(shares.replicators * pairs, sum(checkers.values()))
    return split(gain, weights)


def total_credit(gains: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return what each account is owed over many gains, most first, then by name."""
    totals: dict[str, int] = {}
    for parts in gains:
        for name, amount in parts.items():
            totals[name] = totals.get(name, 0) + amount
    return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))


def _add(weights: dict[str, Fraction], step: Step, weight: Fraction, shares: Shares) -> None:
    """Add a step's weight to its author and to whoever had the idea."""
    idea = Fraction(shares.idea, 100) if step.idea is not None else Fraction(0)
    weights[step.author] = weights.get(step.author, Fraction(0)) + weight * (1 - idea)
    if step.idea is not None:
        weights[step.idea] = weights.get(step.idea, Fraction(0)) + weight * idea
