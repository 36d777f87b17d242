"""Statistics on measured values: how noisy a metric is, and whether a gain stands out of the noise.

Pure: values in, values out. Leaves out who measured and whether to believe them. Keeping whatever is lower was
rejected: reruns move by more than many a claimed gain, and a chain of lucky runs is then mistaken for progress.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from ensue.errors import ExperimentError

ALPHA = 0.05  # how often noise alone may be taken for a gain


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a value replaces its parent's; `gain` (the metric's unit) is positive for better, None without parent."""

    kept: bool
    gain: float | None
    z: float | None
    threshold: float


def noise_sd(groups: Iterable[Sequence[float]], prior_sd: float, prior_weight: float) -> float:
    """Return the standard deviation of one run of one script, in the metric's unit.

    `groups` holds, for each script, its repeated values; the prior counts like `prior_weight` degrees of freedom.
    The estimate is the root of the pooled variance (the mean of a scaled inverse chi-squared, see Gelman et al.,
    Bayesian Data Analysis, 2.6). Raises ExperimentError if a value is not finite.
    """
    total = prior_weight * prior_sd**2
    freedom = prior_weight
    for group in groups:
        if not all(math.isfinite(value) for value in group):
            raise ExperimentError("A repeated value is not finite: leave failed runs out of the noise estimate.")
        if len(group) < 2:
            continue
        mean = math.fsum(group) / len(group)
        total += math.fsum((value - mean) ** 2 for value in group)
        freedom += len(group) - 1
    return math.sqrt(total / freedom) if freedom > 0 else prior_sd


def judge(
    value: float,
    parent_value: float | None,
    *,
    direction: str,
    noise_sd: float,
    alpha: float = ALPHA,
    parent_runs: int = 1,
) -> Verdict:
    """Return whether `value` beats its parent's by more than noise gives with probability `alpha`, one-sided.

    Both values carry noise: the difference has standard deviation noise_sd·√(1 + 1/parent_runs). Without a parent value
    the first result is kept. Raises ExperimentError on values that are not finite or an unknown direction.
    """
    numbers = (value, noise_sd, alpha, 0.0 if parent_value is None else parent_value)
    if not all(math.isfinite(number) for number in numbers) or noise_sd < 0:
        raise ExperimentError("A value to be judged is not finite or its noise is negative: judge finished runs only.")
    if direction not in ("min", "max") or not 0 < alpha < 1 or parent_runs < 1:
        raise ExperimentError("A judgement needs direction min or max, alpha between 0 and 1 and a parent run or more.")
    spread = noise_sd * math.sqrt(1 + 1 / parent_runs)
    threshold = max(0.0, NormalDist().inv_cdf(1 - alpha) * spread)
    if parent_value is None:
        return Verdict(True, None, None, threshold)
    gain = parent_value - value if direction == "min" else value - parent_value
    if not math.isfinite(gain):
        raise ExperimentError("A value to be judged is too large to compare: judge finished runs only.")
    z = gain / spread if spread > 0 else math.copysign(math.inf, gain) if gain else 0.0
    return Verdict(gain > threshold, gain, z, threshold)
