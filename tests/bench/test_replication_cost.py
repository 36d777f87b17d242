"""What the verdict promises, measured on simulated candidates with the program's own code; prints Markdown.

VERDICT_CANDIDATES (default 20000) is the number of candidates that gain nothing, and of those that gain two standard
deviations of a run there are a quarter as many. A liar is in every draw and tells the most that counts. Noise is learnt
from 60 degrees of freedom, unless the table says otherwise.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from verify.verdict import Noise, Pair, Rules, alpha_of, judge_pairs

CANDIDATES = int(os.environ.get("VERDICT_CANDIDATES", "20000"))
FREEDOM = 60.0
SIZES = (0.5, 0.7, 1.0, 1.4142, 2.0, 2.8284)
ALPHA = 0.005  # the most that alpha_of gives
AGENTS, ROUNDS = 1000, 60
GOOD_SHARE = 0.01
RERUNS_OF_A_ROUND = 150  # no new candidate of a round is begun beyond
RUN_SD = 0.005  # bits per byte, as on the track sotu

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]


@dataclass(frozen=True)
class End:
    """How a candidate ended."""

    answer: str
    pairs: int
    gain: float


def follow(draws: np.random.Generator, size: float, rules: Rules, freedom: float = FREEDOM, liar: bool = False) -> End:
    """Return how a candidate ends that truly gains `size` standard deviations of a difference; looked at every time."""
    sd = 1.0 if math.isinf(freedom) else math.sqrt(draws.chisquare(freedom) / freedom)
    values = draws.normal(size, 1, rules.pairs_max)
    at = int(draws.integers(0, 7)) if liar else -1
    told: list[Pair] = []
    for number, value in enumerate(values):
        told.append(Pair(f"a{number}", "cpu", 9.0 if number == at else float(value), number))
        found = judge_pairs(told, author="me", noise=Noise(sd, freedom), rules=rules)
        if found.answer != "not yet":
            return End(found.answer, found.pairs, found.gain or 0.0)
    raise AssertionError("a verdict ends when its pairs are spent")


@cache
def table() -> list[str]:
    """Return the rows of pairs needed, by size of the gain."""
    rows = []
    tries = max(100, CANDIDATES // 40)
    for size in SIZES:
        cells = []
        for alpha, freedom in ((0.001, math.inf), (0.001, FREEDOM), (0.001, 12.0), (ALPHA, FREEDOM)):
            draws = np.random.default_rng(1)
            ends = [follow(draws, size, Rules(alpha=alpha), freedom) for _ in range(tries)]
            better = [end.pairs for end in ends if end.answer == "better"]
            soon = sum(pairs <= 18 for pairs in better) / tries
            cells.append(f"{np.mean(better):.1f}, {len(better) / tries:.0%}, {soon:.0%}")
        rows.append(f"| {size:.1f} | " + " | ".join(cells) + " |")
    return rows


def test_pairs_needed() -> None:
    print("\n\nPairs until better, share that ends so, share that does within 18 pairs:\n")
    print("| d | alpha .001, noise known | .001, 60 degrees | .001, 12 degrees | .005, 60 degrees |")
    print("|---|---|---|---|---|")
    print("\n".join(table()))
    first = [float(row.split("|")[2].split(",")[0]) for row in table()]
    assert first[2:] == pytest.approx([21.3, 12.0, 7.3, 4.9], rel=0.08)


def test_false_confirmations_and_power() -> None:
    draws = np.random.default_rng(2)
    nothing = [follow(draws, 0.0, Rules(alpha=ALPHA), liar=True) for _ in range(CANDIDATES)]
    false_share = sum(end.answer == "better" for end in nothing) / len(nothing)
    print(f"\n\n{len(nothing):,} candidates that gain nothing, one liar each, alpha {ALPHA}:")
    print(f"- confirmed: {false_share:.3%}; pairs until the answer: {np.mean([end.pairs for end in nothing]):.1f}")
    print(f"{CANDIDATES // 4:,} that gain two standard deviations of a run:")
    power = {}
    for alpha in (ALPHA, alpha_of(1, 0), 0.001, alpha_of(10, 3), alpha_of(100, 30)):
        true = [follow(draws, math.sqrt(2), Rules(alpha=alpha)) for _ in range(CANDIDATES // 4)]
        better = np.array([end.answer == "better" for end in true])
        pairs = np.array([end.pairs for end in true])
        power[alpha] = float(np.mean(better & (pairs <= 18)))
        print(f"- alpha {alpha:.5f}: confirmed within 18 pairs: {power[alpha]:.2%}; ever: {better.mean():.2%}")
    assert false_share <= 0.01
    assert power[ALPHA] >= 0.95


def search(draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the true gains of one round's changes, and what their authors measure against their parent."""
    good = draws.random(AGENTS) < GOOD_SHARE
    truth = np.where(good, draws.uniform(0.5, 3, AGENTS), -draws.exponential(1, AGENTS)) * RUN_SD
    return truth, truth + draws.normal(0, RUN_SD, AGENTS)


def test_the_cost_of_replication_and_what_it_brings() -> None:
    """Agents build on the best as recorded, or as confirmed: there the highest of a round are rerun until one holds."""
    sd = RUN_SD * math.sqrt(2)
    draws = np.random.default_rng(3)
    told = true = 0.0
    lucky, steps = [], []
    for _ in range(ROUNDS):
        truth, seen = search(draws)
        at = int(np.argmax(seen))
        if true + seen[at] > told:
            told, true = true + float(seen[at]), true + float(truth[at])
        lucky.append(told - true)
    draws = np.random.default_rng(3)
    reached = 0.0
    reruns = confirmed = false = tried = 0
    numbers, held = [0] * AGENTS, [0] * AGENTS
    for _ in range(ROUNDS):
        truth, seen = search(draws)
        spent = 0
        # A value that its author would not keep is no candidate; the parent's own value is known well by now.
        for at in np.argsort(-seen):
            if seen[at] < 1.645 * RUN_SD or spent >= RERUNS_OF_A_ROUND:
                break
            numbers[at] += 1
            tried += 1
            end = follow(draws, truth[at] / sd, Rules(alpha=alpha_of(numbers[at], held[at])))
            spent += 2 * end.pairs
            if end.answer == "better":
                held[at], confirmed, false = held[at] + 1, confirmed + 1, false + int(truth[at] <= 0)
                reached += float(truth[at])
                steps.append(end.gain * sd - float(truth[at]))
                break
        reruns += spent
    share = reruns / (reruns + AGENTS * ROUNDS)
    print(f"\n\n{AGENTS:,} honest agents, {ROUNDS} experiments each, of which {GOOD_SHARE:.0%} gain something:")
    print(f"- reruns are {share:.1%} of all runs; {confirmed} of {tried} candidates were confirmed, {false} falsely")
    print(f"- building on what is recorded, {true:.4f} is reached, on what is confirmed {reached:.4f}")
    for name, off in (("recorded", np.array(lucky)), ("confirmed", np.array(steps))):
        rms = np.sqrt(np.mean(off**2))
        print(f"- the best as {name} is said to be {off.mean():+.5f} better than it is (rms {rms:.5f})")
    assert false <= 0.01 * max(100, confirmed)
    assert share <= 0.15
    assert abs(np.mean(steps)) < abs(np.mean(lucky)) / 3
