"""Whether a candidate is better than its parent, from paired reruns by others: a test that may be looked at any time.

Each pair is one rerun of parent and candidate on one machine with one seed; only the difference matters, positive for
better. The evidence E is the t-test with a half-normal mixture over the size of the gain: the likelihood ratio of what
does not change with the scale, in which the noise measured in the hardware class counts as earlier observations
(Pérez-Ortiz, Lardy, de Heide, Grünwald: E-statistics, group invariance and anytime-valid testing, Annals of Statistics
52(4), 2024; with the noise known it is the one-sided normal mixture of Howard, Ramdas, McAuliffe, Sekhon: Time-uniform,
nonparametric, nonasymptotic confidence sequences, Annals of Statistics 49(2), 2021, section 3). If nothing is gained,
E ever reaches 1/alpha with probability alpha at most (Ville), whenever and however often one looks. E is the least that
any `colluders` accounts can leave when they are taken out, so the bound holds with that many liars.

Leaves out who may rerun, whether a seed was the one drawn (lottery) and whether a record counts. Rejected: an upper
bound on the noise in place of the mixture (it needs twice the pairs where the class is little known); a test with a
fixed number of pairs (one that is looked at early is no test); unclipped values (one liar could block everything).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from ensue.errors import ExperimentError

COLLUDERS_MAX = 2
"""Accounts that a test may be made proof against; the work grows with this power of the accounts."""
FREEDOM_MAX = 100
"""Degrees of freedom that a class's noise may claim: one script's noise is never quite that of all."""
_LEAST = 1e-300

Answer = Literal["better", "tie", "worse", "not yet"]


REPEATED = "the candidate's value of another pair again"


@dataclass(frozen=True, slots=True)
class Pair:
    """One rerun of parent and candidate; `difference` in the metric's unit, positive where the candidate is better.

    `values` are those of parent and candidate, if known: two pairs with one value of the candidate are one, told twice,
    or measured twice of a script that makes no use of its seed.
    """

    account: str
    hardware_class: str
    difference: float
    seed: int
    values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Noise:
    """Standard deviation of one difference in the metric's unit, and the degrees of freedom behind it (inf: known)."""

    sd: float
    freedom: float

    @classmethod
    def of_runs(cls, run_sd: float, freedom: float) -> Noise:
        """Return the noise of a difference of two independent runs, from that of one run."""
        return cls(run_sd * math.sqrt(2), min(freedom, FREEDOM_MAX))


@dataclass(frozen=True, slots=True)
class Rules:
    """What a network has agreed on; sizes of gains are in standard deviations of one difference."""

    alpha: float = 0.001  # how often nothing may be taken for better (or worse)
    colluders: int = 1  # accounts that may lie
    accounts_min: int = 2  # accounts besides the author's, before anything is said
    mixture: float = 1.0  # width of the half-normal mixture: gains of about this size are seen soonest
    clip: float = 3.0  # no difference counts for more
    worth: float = 1.0  # a gain of this size must not be called a tie ...
    tie_alpha: float = 0.05  # ... more often than this
    luck: float = 4.0  # a claim that is this much too good may still be honest
    account_pairs_max: int = 16  # pairs of one account that count
    pairs_max: int = 64  # then it is a tie


@dataclass(frozen=True, slots=True)
class Ignored:
    """A pair that does not count: its place in what was given, and why."""

    place: int
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the pairs of one hardware class say. `gain` is in the metric's unit, the mean without `colluders` accounts
    at either end, drawn towards zero as the mixture has it (None without pairs), `gain_sd` its standard error.

    `pairs_needed` tells about how many more pairs an answer takes, 0 when there is one. `refuted`: the author's own
    figure is too high for luck.
    """

    answer: Answer
    evidence: float
    evidence_needed: float
    pairs: int
    pairs_needed: int
    accounts: int
    gain: float | None
    gain_sd: float | None
    refuted: bool
    ignored: tuple[Ignored, ...]


def alpha_of(number: int, confirmed: int, total: float = 0.01, most: float = 0.005) -> float:
    """Return the alpha of an account's candidate `number` (from 1), of whose earlier ones `confirmed` were confirmed.

    Of what is confirmed, a share of `total` at most is false in expectation, whatever depends on what (e-LOND, Xu and
    Ramdas, Online multiple testing with e-values, AISTATS 2024); with nothing to find, `total` bounds the chance that
    ever anything is confirmed, however many are tried. The weights 1/log2(i+1) - 1/log2(i+2) add up to one.
    """
    if number < 1 or not 0 <= confirmed < number or not 0 < total < 1 or not 0 < most < 1:
        raise ExperimentError("A candidate has a number from 1, and fewer confirmed ones before it; count them again.")
    weight = math.log1p(1 / (number + 1)) * math.log(2) / (math.log(number + 1) * math.log(number + 2))
    return min(most, total * weight * (confirmed + 1))


def judge_pairs(
    pairs: Sequence[Pair], *, author: str, noise: Noise, rules: Rules | None = None, claimed: float | None = None
) -> Verdict:
    """Return what pairs of one hardware class say about a candidate of `author`.

    Of pairs that were copied, the first counts: give them in the order of their seats, which nobody can choose.
    `claimed` is the gain that the author measured. Raises ExperimentError if noise or rules are impossible, or if pairs
    of several classes are mixed.
    """
    rules = rules or Rules()
    _check(noise, rules)
    if len({pair.hardware_class for pair in pairs}) > 1:
        raise ExperimentError("Pairs of several hardware classes cannot be judged together: judge each class alone.")
    counted, ignored = _sift(pairs, author, rules)
    scaled = _scaled(counted, noise)
    better = _least_evidence(_clipped(scaled, 0.0, 1, rules), noise, rules)
    worse = _least_evidence(_clipped(scaled, 0.0, -1, rules), noise, rules)
    bar = -math.log(rules.alpha)
    answer: Answer = "not yet"
    refuted = False
    accounts_min = max(rules.accounts_min, rules.colluders + 1)
    if len(scaled) >= accounts_min:
        if better >= bar:
            answer = "better"
        elif worse >= bar:
            answer = "worse"
        elif _tie_evidence(scaled, rules) >= -math.log(rules.tie_alpha) or len(counted) >= rules.pairs_max:
            answer = "tie"
    if claimed is not None and math.isfinite(claimed):
        least = claimed / noise.sd - rules.luck
        against = _scaled(_sift(pairs, author, rules, against=True)[0], noise)
        if least > 0 and len(against) >= accounts_min:
            refuted = _least_evidence(_clipped(against, least, -1, rules), noise, rules) >= bar
    gain = _gain(scaled, rules)
    return Verdict(
        answer=answer,
        evidence=math.exp(min(better, 700.0)),
        evidence_needed=1 / rules.alpha,
        pairs=len(counted),
        pairs_needed=0 if answer != "not yet" else _needed(scaled, noise, rules, claimed),
        accounts=len(scaled),
        gain=None if gain is None else gain * noise.sd,
        gain_sd=noise.sd / math.sqrt(len(counted)) if counted else None,
        refuted=refuted,
        ignored=tuple(ignored),
    )


def is_out_of_reach(
    pairs: Sequence[Pair], *, author: str, noise: Noise, slack: float, rules: Rules | None = None
) -> bool:
    """Return whether an author's figure is better than what reruns of its script measured, beyond `slack` and luck.

    `difference` is by how much a rerun was worse than the figure; `noise` is that of one run, and `slack` in its units.
    """
    rules = rules or Rules()
    _check(noise, rules)
    scaled = _scaled(_sift(pairs, author, rules, against=True)[0], noise)
    if len(scaled) < max(rules.accounts_min, rules.colluders + 1):
        return False
    return _least_evidence(_clipped(scaled, slack, 1, rules), noise, rules) >= -math.log(rules.alpha)


def log_evidence(count: int, total: float, squares: float, freedom: float, mixture: float = 1.0) -> float:
    """Return ln E for `count` differences with this sum and sum of squares, in units of the class's noise.

    With n the count, v = 1 + n·mixture² and c = mixture²·total² / (v·(freedom + squares)):
    E = 2·v^(-1/2) · (1-c)^(-(freedom+n)/2) · T(±√(c·k/(1-c))), T being Student's distribution with k = freedom + n.
    """
    spread = 1 + count * mixture**2
    if math.isinf(freedom):
        reach = mixture * total / math.sqrt(spread)
        below = 0.5 * math.erfc(-reach / math.sqrt(2))
        return math.log(2) - 0.5 * math.log(spread) + 0.5 * reach**2 + math.log(max(below, _LEAST))
    freedoms = freedom + count
    share = mixture**2 * total**2 / (spread * (freedom + squares))
    beyond = 0.5 * _beta(1 - share, freedoms / 2, 0.5)
    below = 1 - beyond if total >= 0 else beyond
    return math.log(2) - 0.5 * (math.log(spread) + freedoms * math.log1p(-share)) + math.log(max(below, _LEAST))


def _check(noise: Noise, rules: Rules) -> None:
    """Raise ExperimentError unless the numbers that everything is divided by make sense."""
    if not (math.isfinite(noise.sd) and noise.sd > 0 and noise.freedom > 0):
        raise ExperimentError("The noise of a hardware class must be above zero: measure it with reruns first.")
    sizes = (rules.mixture, rules.clip, rules.worth, rules.luck)
    if not all(math.isfinite(size) and size > 0 for size in sizes):
        raise ExperimentError("The mixture, clip, worth and luck of a test are sizes above zero; correct the rules.")
    if not (0 < rules.alpha < 1 and 0 < rules.tie_alpha < 1 and 0 <= rules.colluders <= COLLUDERS_MAX):
        raise ExperimentError(f"A test has alphas between 0 and 1 and at most {COLLUDERS_MAX} colluders; correct them.")
    if min(rules.accounts_min, rules.account_pairs_max, rules.pairs_max) < 1:
        raise ExperimentError("A test needs an account and a pair or more; correct its rules.")


def _scaled(pairs: Iterable[Pair], noise: Noise) -> dict[str, list[float]]:
    """Return each account's differences in units of the noise."""
    scaled: dict[str, list[float]] = {}
    for pair in pairs:
        scaled.setdefault(pair.account, []).append(pair.difference / noise.sd)
    return scaled


def _sift(
    pairs: Iterable[Pair], author: str, rules: Rules, *, against: bool = False
) -> tuple[list[Pair], list[Ignored]]:
    """Return the pairs that count, and the others with the reason.

    `against` the author's own figure all values of the candidate count: to build a seed in must not save a lie.
    """
    counted: list[Pair] = []
    ignored: list[Ignored] = []
    seen: set[tuple[float, ...]] = set()
    seeds: set[tuple[str, int]] = set()
    per_account: dict[str, int] = {}
    for place, pair in enumerate(pairs):
        numbers = (pair.difference, *pair.values)
        told = (pair.values if against else pair.values[-1:]) or (pair.difference,)
        if pair.account == author:
            why = "the author's own account"
        elif any(isinstance(number, bool) or not math.isfinite(number) for number in numbers):
            why = "an impossible number"
        elif (pair.account, pair.seed) in seeds:
            why = "the same account and seed again"
        elif told in seen and (pair.values or pair.difference != 0):
            why = REPEATED
        elif per_account.get(pair.account, 0) >= rules.account_pairs_max:
            why = "more pairs than one account may add"
        elif len(counted) >= rules.pairs_max:
            why = "more pairs than a verdict takes"
        else:
            counted.append(pair)
            seen.add(told)
            seeds.add((pair.account, pair.seed))
            per_account[pair.account] = per_account.get(pair.account, 0) + 1
            continue
        ignored.append(Ignored(place, why))
    return counted, ignored


def _clipped(scaled: Mapping[str, Sequence[float]], least: float, sign: int, rules: Rules) -> list[list[float]]:
    """Return each account's differences from `least`, clipped, turned so that positive speaks for what is asked."""
    return [[max(-rules.clip, min(rules.clip, sign * (z - least))) for z in values] for values in scaled.values()]


def _least_evidence(groups: Sequence[Sequence[float]], noise: Noise, rules: Rules) -> float:
    """Return the least ln E that is left when `colluders` accounts are taken out; 0 when nobody is left."""
    if len(groups) <= rules.colluders:
        return 0.0
    sums = [(len(group), math.fsum(group), math.fsum(z * z for z in group)) for group in groups]
    count, total, squares = (math.fsum(column) for column in zip(*sums, strict=True))
    # For one number of pairs E grows with the signed t-statistic, so only the least of each number is evaluated.
    least: dict[int, tuple[float, float, float]] = {}
    for gone in combinations(sums, rules.colluders):
        left = round(count - sum(one[0] for one in gone))
        s = total - math.fsum(one[1] for one in gone)
        q = max(0.0, squares - math.fsum(one[2] for one in gone))
        steep = s * abs(s) / (1.0 if math.isinf(noise.freedom) else noise.freedom + q)
        if left not in least or steep < least[left][0]:
            least[left] = (steep, s, q)
    return min(log_evidence(left, s, q, noise.freedom, rules.mixture) for left, (_, s, q) in least.items())


def _tie_evidence(scaled: Mapping[str, Sequence[float]], rules: Rules) -> float:
    """Return ln of Wald's likelihood ratio of no gain against one that is worth something, colluders taken out."""
    # Each account's part; those who speak most for a tie are the ones who may be lying.
    parts = sorted(
        math.fsum(rules.worth**2 / 2 - rules.worth * z for z in group) for group in _clipped(scaled, 0.0, 1, rules)
    )
    kept = parts[: max(0, len(parts) - rules.colluders)]
    return math.fsum(kept)


def _gain(scaled: Mapping[str, Sequence[float]], rules: Rules) -> float | None:
    """Return the gain in units of the noise, without `colluders` accounts at either end where enough are left.

    A test that stops when luck is good has too high a mean; that of the posterior under the mixture leans low instead.
    It is of differences as they were cut for the test; what was cut off is no luck, and is added as it is.
    """
    groups = _trimmed(_clipped(scaled, 0.0, 1, rules), rules)
    values = [z for group in groups for z in group]
    if not values:
        return None
    beyond = [[z - max(-rules.clip, min(rules.clip, z)) for z in group] for group in scaled.values()]
    means = [math.fsum(group) / len(group) for group in _trimmed(beyond, rules)]
    # Where too few are left to leave any out, one of them may be lying: the smallest is what all agree on.
    excess = math.fsum(means) / len(means) if len(scaled) > 2 * rules.colluders else min(means, key=abs)
    return math.fsum(values) / (len(values) + rules.mixture**-2) + excess


def _trimmed(groups: Sequence[Sequence[float]], rules: Rules) -> list[Sequence[float]]:
    """Return each account's values without the accounts with the lowest and highest means, where enough are left."""
    ordered = sorted(groups, key=lambda group: math.fsum(group) / len(group))
    return ordered[rules.colluders : len(ordered) - rules.colluders] if len(ordered) > 2 * rules.colluders else ordered


def _needed(scaled: Mapping[str, Sequence[float]], noise: Noise, rules: Rules, claimed: float | None) -> int:
    """Return about how many more pairs end the test, if what was seen (or, before that, claimed) goes on.

    New accounts with one pair each, all alike, and the noise taken as known: good for planning, no part of the verdict.
    """
    prior = 1.5 * rules.worth
    if claimed is not None and math.isfinite(claimed):
        prior = max(-rules.clip, min(rules.clip, claimed / noise.sd))
    groups = sorted(_clipped(scaled, 0.0, 1, rules), key=math.fsum)
    count = sum(len(group) for group in groups)
    mean = (math.fsum(math.fsum(group) for group in groups) + prior) / (count + 1)
    absent = max(0, rules.colluders - len(groups))
    missing = max(1, max(rules.accounts_min, rules.colluders + 1) - len(groups))
    bar, tie_bar = -math.log(rules.alpha), -math.log(rules.tie_alpha)
    lowest, highest = groups[rules.colluders :], groups[: max(0, len(groups) - rules.colluders)]
    tie, drift = _tie_evidence(scaled, rules), rules.worth**2 / 2 - rules.worth * mean
    kept = highest if mean > 0 else lowest
    left, total = sum(len(group) for group in kept), math.fsum(math.fsum(group) for group in kept)
    for more in range(missing, rules.pairs_max - count):
        usable = more - absent
        ahead = log_evidence(left + usable, abs(total + usable * mean), 0.0, math.inf, rules.mixture)
        if ahead >= bar or tie + usable * drift >= tie_bar:
            return more
    return max(1, rules.pairs_max - count)


def _beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function, by its continued fraction (DLMF 8.17.22, Lentz's method)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 300):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + step * d)
            c = 1 + step / c
            value *= c * d
        if abs(c * d - 1) < 1e-13:
            break
    return front * value
