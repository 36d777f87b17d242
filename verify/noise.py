"""How much one run scatters in a hardware class, from what its machines have told: rule T5 of docs/PROTOCOL.md, pure.

Each account counts for a bounded number of degrees of freedom, and the lowest of three or more is left out, since too
small a noise makes gains of nothing. Left out: whose word counts. Rejected: the noise within replications, which a
candidate that scatters more would change for itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from verify.verdict import FREEDOM_MAX, Noise

PRIOR_FREEDOM = 8.0
"""Degrees of freedom that a track's own figure counts for."""
ACCOUNT_FREEDOM_MAX = 20.0
"""Degrees of freedom that one account's calibrations count for."""
TRIMMED_FROM = 3
"""Accounts from which on the one with the lowest variance is left out."""


def run_noise(prior_sd: float, told: Mapping[str, Iterable[tuple[str, float]]]) -> tuple[float, float]:
    """Return the standard deviation of one run, in the metric's unit, and the degrees of freedom behind it.

    `told`: by account, the values of its calibrations, each with the script that was run.
    """
    parts = sorted(part for values in told.values() if (part := _variance(values))[1] > 0)
    if len(parts) >= TRIMMED_FROM:
        parts = parts[1:]
    total, freedom = PRIOR_FREEDOM * prior_sd**2, PRIOR_FREEDOM
    for variance, own in parts:
        counted = min(own, ACCOUNT_FREEDOM_MAX)
        total += counted * variance
        freedom += counted
    return math.sqrt(total / freedom), min(freedom, float(FREEDOM_MAX))


def of_pairs(run: tuple[float, float]) -> Noise:
    """Return the noise of a difference of two runs, from what `run_noise` gave."""
    return Noise.of_runs(*run)


def _variance(values: Iterable[tuple[str, float]]) -> tuple[float, float]:
    """Return the pooled variance of values, script by script, and its degrees of freedom."""
    scripts: dict[str, list[float]] = {}
    for script, value in values:
        scripts.setdefault(script, []).append(value)
    squares, freedom = 0.0, 0
    for group in scripts.values():
        mean = math.fsum(group) / len(group)
        squares += math.fsum((value - mean) ** 2 for value in group)
        freedom += len(group) - 1
    return (squares / freedom if freedom else 0.0), float(freedom)
