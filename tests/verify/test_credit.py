"""Credit: the parts add up to exactly the gain, everyone computes the same, and age takes its share."""

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue.errors import ExperimentError
from verify.credit import GENERATIONS_MAX, UNITS, Shares, Step, share_gain, split, total_credit, units_of

people = st.sampled_from("abcdef")
steps = st.builds(Step, people, st.none() | people)
lineages = st.lists(steps, min_size=1, max_size=6)
checkers = st.dictionaries(people, st.integers(0, 20))
amounts = st.integers(0, 10**15)
policies = st.builds(
    Shares,
    author=st.integers(1, 100),
    ancestors=st.integers(0, 100),
    replicators=st.integers(0, 100),
    idea=st.integers(0, 100),
    decay=st.sampled_from([Fraction(1, 10), Fraction(1, 2), Fraction(1)]),
)


@given(amounts, lineages, checkers, policies)
def test_the_parts_are_exactly_the_gain(gain: int, lineage: list[Step], pairs: dict[str, int], shares: Shares) -> None:
    parts = share_gain(gain, lineage, pairs, shares)
    assert sum(parts.values()) == gain
    assert min(parts.values(), default=0) >= 0
    named = {name for step in lineage for name in (step.author, step.idea)} | set(pairs)
    assert set(parts) <= named


@given(amounts, lineages, checkers, st.randoms())
def test_anyone_recomputes_the_same(
    gain: int, lineage: list[Step], pairs: dict[str, int], chance: random.Random
) -> None:
    mixed = list(pairs.items())
    chance.shuffle(mixed)
    assert share_gain(gain, lineage, dict(mixed)) == share_gain(gain, lineage, pairs)


@given(
    st.integers(0, 10**12),
    st.dictionaries(people, st.builds(Fraction, st.integers(0, 99), st.integers(1, 9)), min_size=1, max_size=5),
)
def test_rounding_moves_nobody_by_a_unit(amount: int, weights: dict[str, Fraction]) -> None:
    parts = split(amount, weights)
    whole = sum(weights.values())
    if not whole:
        assert parts == {}
        return
    assert sum(parts.values()) == amount
    for name, part in parts.items():
        assert abs(part - amount * weights[name] / whole) < 1


def test_who_gets_what() -> None:
    lineage = [Step("author", "thinker"), Step("parent"), Step("grandparent", "grandparent")]
    parts = share_gain(10**6, lineage, {"r1": 3, "r2": 1, "author": 9, "idle": 0})
    assert parts == {
        "author": 450_000,
        "thinker": 150_000,
        "parent": 166_667,
        "grandparent": 83_333,
        "r1": 112_500,
        "r2": 37_500,
    }


def test_what_nobody_can_claim_is_the_authors() -> None:
    assert share_gain(1000, [Step("a")]) == {"a": 1000}
    assert share_gain(1000, [Step("a")], {"r": 2}) == {"a": 850, "r": 150}
    assert share_gain(0, [Step("a")], {"r": 2}) == {"a": 0, "r": 0}


def test_each_generation_gets_half_of_the_one_before_and_the_oldest_nothing() -> None:
    lineage = [Step(f"g{n}") for n in range(30)]
    parts = share_gain(10**12, lineage)
    for generation in range(1, GENERATIONS_MAX):
        assert parts[f"g{generation}"] == pytest.approx(2 * parts[f"g{generation + 1}"], abs=2)
    assert f"g{GENERATIONS_MAX + 1}" not in parts


def test_an_ancestor_shares_in_what_grows_from_it() -> None:
    """One line of ten gains: the first author is owed more than its own gain, and all is owed exactly once."""
    line = [Step(f"p{n}") for n in range(10)]
    gains = [share_gain(UNITS, line[n::-1], {"r": 5}) for n in range(10)]
    totals = total_credit(gains)
    assert sum(totals.values()) == 10 * UNITS
    assert totals["p0"] > share_gain(UNITS, line[:1], {"r": 5})["p0"]
    assert list(totals.values()) == sorted(totals.values(), reverse=True)


@given(st.lists(st.dictionaries(people, amounts, max_size=3), max_size=4), st.randoms())
def test_totals_do_not_depend_on_order(gains: list[dict[str, int]], chance: random.Random) -> None:
    mixed = gains[:]
    chance.shuffle(mixed)
    assert list(total_credit(mixed).items()) == list(total_credit(gains).items())


@given(st.floats(0, 1e9))
def test_units_are_the_nearest(gain: float) -> None:
    assert abs(Fraction(units_of(gain), UNITS) - Fraction(gain)) <= Fraction(1, 2 * UNITS)


@pytest.mark.parametrize("gain", [-0.001, math.nan, math.inf, 1e300, True])
def test_only_gains_are_shared(gain: float) -> None:
    with pytest.raises(ExperimentError, match="confirmed gain"):
        units_of(gain)


def test_nonsense_is_refused() -> None:
    for gain, lineage in ((1, []), (-1, [Step("a")])):
        with pytest.raises(ExperimentError):
            share_gain(gain, lineage)
    for shares in (Shares(author=0), Shares(idea=101), Shares(decay=Fraction(0)), Shares(ancestors=-1)):
        with pytest.raises(ExperimentError):
            share_gain(1, [Step("a")], {}, shares)
    with pytest.raises(ExperimentError):
        split(-1, {"a": 1})
    with pytest.raises(ExperimentError):
        split(1, {"a": -1})
