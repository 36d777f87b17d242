"""The verdict: the formula is what it says, liars and copies gain nothing, and the answers come when they should."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue.errors import ExperimentError
from verify.verdict import REPEATED, Noise, Pair, Rules, alpha_of, judge_pairs, log_evidence

KNOWN = Noise(1.0, math.inf)
differences = st.lists(st.floats(-5, 5), min_size=1, max_size=12)


def pairs_of(values, accounts=None) -> list[Pair]:
    """Return one pair a value, each of an account of its own unless there are fewer."""
    return [Pair(f"a{n % (accounts or len(values))}", "cpu", float(z), n) for n, z in enumerate(values)]


def judge(values, *, rules=None, noise=KNOWN, accounts=None, claimed=None):
    return judge_pairs(pairs_of(values, accounts), author="me", noise=noise, rules=rules, claimed=claimed)


def ends(gain: float, rules: Rules, freedom: float, tries: int, lies: int = 0, seed: int = 0):
    """Return (answer, pairs) of simulated candidates that are looked at after every pair."""
    draws = np.random.default_rng(seed)
    for _ in range(tries):
        sd = 1.0 if math.isinf(freedom) else math.sqrt(draws.chisquare(freedom) / freedom)
        told = pairs_of(draws.normal(gain, 1, rules.pairs_max))
        told[:lies] = [replace(pair, difference=9.0 + n) for n, pair in enumerate(told[:lies])]
        for count in range(2, rules.pairs_max + 1):
            found = judge_pairs(told[:count], author="me", noise=Noise(sd, freedom), rules=rules)
            if found.answer != "not yet":
                yield found.answer, found.pairs
                break


def area(heights, step: float, axis: int = 0):
    """Return the integral over evenly spaced points, by the trapezoidal rule."""
    return step * (heights.sum(axis=axis) - (heights.take(0, axis=axis) + heights.take(-1, axis=axis)) / 2)


def integral(count: int, total: float, squares: float, freedom: float, mixture: float) -> float:
    """Return ln E from its definition: likelihoods integrated over the gain and, if unknown, over the scale."""
    size = np.linspace(0, 12 * mixture, 2001)
    prior = 2 / (mixture * math.sqrt(2 * math.pi)) * np.exp(-((size / mixture) ** 2) / 2)
    if math.isinf(freedom):
        return float(np.log(area(prior * np.exp(size * total - count * size**2 / 2), size[1])))
    turn = np.linspace(-5, 3, 401)[:, None]  # ln of one over the scale, where right Haar measure is flat
    base = (freedom + count) * turn - (freedom + squares) * np.exp(2 * turn) / 2
    top = base.max()
    null = area(np.exp(base - top), 1.0)[0]
    told = area(np.exp(base - top + size * total * np.exp(turn) - count * size**2 / 2), 1.0)
    return float(np.log(area(prior * told, size[1]) / null))


@pytest.mark.parametrize("freedom", [math.inf, 100.0, 7.5, 2.0])
@pytest.mark.parametrize("mixture", [0.7, 1.0])
def test_the_closed_form_is_the_integral(freedom: float, mixture: float) -> None:
    for values in ([1.0], [2.0, 1.5, 2.5, 0.4], [-1.0, -0.4, 0.2], [0.3] * 10):
        sums = len(values), math.fsum(values), math.fsum(z * z for z in values)
        found = log_evidence(*sums, freedom, mixture)
        assert found == pytest.approx(integral(*sums, freedom, mixture), abs=2e-5)


def test_much_knowledge_of_the_noise_is_as_good_as_all() -> None:
    assert log_evidence(9, 13.0, 25.0, 1e7) == pytest.approx(log_evidence(9, 13.0, 25.0, math.inf), abs=1e-4)
    assert log_evidence(9, 13.0, 25.0, 5) < log_evidence(9, 13.0, 25.0, 50) < log_evidence(9, 13.0, 25.0, math.inf)


@given(differences, st.integers(1, 5), st.randoms())
def test_order_does_not_matter(values: list[float], accounts: int, chance: random.Random) -> None:
    told = pairs_of(dict.fromkeys(values), accounts)
    turned = told[:]
    chance.shuffle(turned)
    noise = Noise(0.7, 20)
    one, other = (judge_pairs(given, author="me", noise=noise) for given in (told, turned))
    assert (one.answer, one.pairs, one.pairs_needed) == (other.answer, other.pairs, other.pairs_needed)
    assert one.evidence == pytest.approx(other.evidence)


@given(differences, st.integers(-40, 40))
def test_the_unit_of_the_metric_does_not_matter(values: list[float], exponent: int) -> None:
    unit = 2.0**exponent
    one = judge(values, noise=Noise(1.0, 20))
    other = judge([unit * z for z in values], noise=Noise(unit, 20))
    assert one.answer == other.answer
    assert one.evidence == pytest.approx(other.evidence)


@given(differences, st.floats(-50, 50), st.integers(0, 2))
def test_one_account_alone_never_makes_a_gain(values: list[float], lie: float, at: int) -> None:
    """Whatever one account says, E is no more than what the others leave on their own."""
    told = pairs_of(dict.fromkeys(values))
    liar = [Pair("liar", "cpu", lie + n / 100, 100 + n) for n in range(3)]
    found = judge_pairs([*told[:at], *liar, *told[at:]], author="me", noise=KNOWN)
    others = judge_pairs(told, author="me", noise=KNOWN, rules=Rules(colluders=0))
    if all(pair.difference not in {one.difference for one in liar} for pair in told):
        assert found.evidence <= others.evidence * (1 + 1e-9)


def test_a_liar_needs_an_accomplice_and_two_are_met_by_two() -> None:
    lies = [Pair(f"liar{n % 2}", "cpu", 9.0 + n, n) for n in range(20)]
    honest = [Pair(f"h{n}", "cpu", 0.1 * (-1) ** n, 100 + n) for n in range(3)]
    one = [pair for pair in lies if pair.account == "liar0"]
    assert judge_pairs([*one, *honest], author="me", noise=KNOWN).answer == "not yet"
    assert judge_pairs([*lies, *honest], author="me", noise=KNOWN).answer == "better"
    assert judge_pairs([*lies, *honest], author="me", noise=KNOWN, rules=Rules(colluders=2)).answer != "better"


def test_one_account_says_nothing_however_often() -> None:
    found = judge([5.0 + n / 10 for n in range(12)], accounts=1)
    assert (found.answer, found.accounts) == ("not yet", 1)
    assert judge([5.0 + n / 10 for n in range(12)], accounts=2).answer == "better"


def test_what_does_not_count_is_named() -> None:
    told = [
        Pair("me", "cpu", 3.0, 0),
        Pair("b", "cpu", math.nan, 1),
        Pair("b", "cpu", -math.inf, 1),
        Pair("b", "cpu", 2.0, 2),
        Pair("b", "cpu", 2.5, 2),
        Pair("c", "cpu", 2.0, 3),
        Pair("c", "cpu", 1.0, 4, (5.0, 4.0)),
        Pair("d", "cpu", 1.0, 5, (5.0, 4.0)),
        Pair("d", "cpu", 1.0, 6, (5.5, 4.5)),
        Pair("d", "cpu", 1.0, 7, (math.inf, 4.5)),
    ]
    found = judge_pairs(told, author="me", noise=KNOWN)
    assert found.pairs == 3
    assert [(one.place, one.why) for one in found.ignored] == [
        (0, "the author's own account"),
        (1, "an impossible number"),
        (2, "an impossible number"),
        (4, "the same account and seed again"),
        (5, REPEATED),
        (7, REPEATED),
        (9, "an impossible number"),
    ]


def test_an_echo_of_others_adds_nothing() -> None:
    once = judge([2.0, 2.2, 1.8])
    echoed = pairs_of([2.0, 2.2, 1.8]) + [Pair(f"echo{n}", "cpu", (2.0, 2.2, 1.8)[n % 3], 50 + n) for n in range(30)]
    found = judge_pairs(echoed, author="me", noise=KNOWN)
    assert found.evidence == once.evidence
    assert len(found.ignored) == 30


def test_a_seed_built_into_the_candidate_is_one_measurement() -> None:
    parents = [1.6, 1.604, 1.596, 1.61, 1.59, 1.601]
    lucky = [Pair(f"a{n % 3}", "cpu", parent - 1.57, n, (parent, 1.57)) for n, parent in enumerate(parents)]
    found = judge_pairs(lucky, author="me", noise=Noise(0.005, 20))
    assert (found.answer, found.pairs, len(found.ignored)) == ("not yet", 1, 5)
    honest = [replace(one, values=(one.values[0], 1.57 + n / 1e6)) for n, one in enumerate(lucky)]
    assert judge_pairs(honest, author="me", noise=Noise(0.005, 20)).answer == "better"


def test_nothing_changed_is_a_tie_though_all_differences_are_equal() -> None:
    assert judge([0.0] * 12).answer == "tie"


@pytest.mark.parametrize("huge", [1e300, -1e300])
def test_one_absurd_number_neither_makes_nor_blocks_a_gain(huge: float) -> None:
    values = [1.6, 2.1, 1.2, 2.6, 1.9, 0.8, 2.3, 1.5, 2.2, 1.1, 1.7, 2.4, 1.4, 2.0]
    assert judge([*values, huge], noise=Noise(1e-9 if huge < 0 else 1.0, 50)).answer == "better"
    assert judge([0.0, 0.1, -0.1, 0.2, -0.2, huge]).answer == "not yet"


def test_an_account_adds_no_more_than_its_pairs() -> None:
    found = judge([1.0 + n / 100 for n in range(40)], accounts=2, rules=Rules(account_pairs_max=4))
    assert (found.pairs, len(found.ignored)) == (8, 32)


def test_the_pairs_end() -> None:
    rules = Rules(worth=0.01, pairs_max=10)
    found = judge([0.6 + n / 100 for n in range(12)], rules=rules)
    assert (found.answer, found.pairs, found.pairs_needed) == ("tie", 10, 0)
    assert {one.why for one in found.ignored} == {"more pairs than a verdict takes"}


def test_better_and_worse_mirror_each_other() -> None:
    values = [2.0, 1.4, 2.6, 1.1, 2.2, 1.8, 2.4, 1.3, 1.9]
    quiet = Rules(tie_alpha=1e-9)
    assert judge(values, rules=quiet).answer == "better"
    assert judge([-z for z in values], rules=quiet).answer == "worse"


def test_a_claim_far_beyond_luck_is_refuted_and_a_lucky_one_is_not() -> None:
    values = [0.1 * (-1) ** n + n / 1000 for n in range(9)]
    assert judge(values, claimed=8.0).refuted
    assert not judge(values, claimed=3.0).refuted
    assert not judge([z + 7 for z in values], claimed=8.0).refuted
    assert not judge(values, claimed=math.nan).refuted


def test_pairs_still_needed_are_about_right() -> None:
    nothing = judge([], claimed=2.0)
    assert (nothing.answer, nothing.pairs, nothing.gain, nothing.evidence) == ("not yet", 0, None, 1.0)
    assert 5 <= nothing.pairs_needed <= 10
    assert 8 <= judge([1.0, 1.3]).pairs_needed <= 22
    last = judge([2.0, 2.3, 1.8, 2.1])
    assert last.answer == "not yet"
    assert judge([2.0, 2.3, 1.8, 2.1] + [2.05 + n / 100 for n in range(last.pairs_needed + 1)]).answer == "better"


def test_the_gain_leaves_out_both_ends_and_leans_to_zero() -> None:
    found = judge([0.02, 0.021, 0.019, 0.9, -0.9], noise=Noise(0.01, 30))
    assert found.gain == pytest.approx(0.02 * 3 / 4)
    assert found.gain_sd == pytest.approx(0.01 / math.sqrt(5))


def test_classes_are_judged_apart() -> None:
    told = pairs_of([2.0 + n / 10 for n in range(9)])
    told.append(replace(told[0], hardware_class="gpu"))
    with pytest.raises(ExperimentError, match="judge each class alone"):
        judge_pairs(told, author="me", noise=KNOWN)


@pytest.mark.parametrize(
    "rules",
    [Rules(alpha=0.0), Rules(colluders=3), Rules(clip=math.inf), Rules(worth=0.0), Rules(pairs_max=0), Rules(luck=-1)],
)
def test_impossible_rules_are_refused(rules: Rules) -> None:
    with pytest.raises(ExperimentError):
        judge([1.0], rules=rules)


@pytest.mark.parametrize("noise", [Noise(0.0, 5), Noise(math.nan, 5), Noise(math.inf, 5), Noise(1.0, 0)])
def test_noise_of_nothing_is_refused(noise: Noise) -> None:
    with pytest.raises(ExperimentError, match="measure it"):
        judge([1.0], noise=noise)


def test_the_noise_of_a_difference_has_two_runs_in_it() -> None:
    assert Noise.of_runs(0.003, 8) == Noise(0.003 * math.sqrt(2), 8)
    assert Noise.of_runs(0.003, 1e6).freedom == 100


def test_the_budget_is_never_overspent() -> None:
    spent = math.fsum(alpha_of(number, 0, total=0.01, most=0.99) for number in range(1, 20_001))
    assert spent == pytest.approx(0.01 * (1 - 1 / math.log2(20_002)))
    assert all(alpha_of(n, 0) > alpha_of(n + 1, 0) for n in range(1, 200))
    assert alpha_of(100, 40) == pytest.approx(41 * alpha_of(100, 0))
    for number, confirmed in ((0, 0), (3, 3), (3, -1)):
        with pytest.raises(ExperimentError):
            alpha_of(number, confirmed)


@pytest.mark.parametrize("accounts", [2, 5])
def test_a_gain_beyond_the_cut_is_told_as_it_is(accounts: int) -> None:
    told = [20.0 + n / 50 for n in range(10)]
    honest = judge(told, accounts=accounts).gain
    assert honest == pytest.approx(19.6, abs=0.3)
    liar = [replace(pair, difference=1e9) if pair.account == "a0" else pair for pair in pairs_of(told, accounts)]
    assert judge_pairs(liar, author="me", noise=KNOWN).gain == pytest.approx(honest, abs=0.2)


@pytest.mark.parametrize(("gain", "expected"), [(1.4142, 12), (2.0, 7.3), (2.828, 4.9)])
def test_pairs_needed_by_gain(gain: float, expected: float) -> None:
    counts = [pairs for answer, pairs in ends(gain, Rules(), math.inf, 250) if answer == "better"]
    assert np.mean(counts) == pytest.approx(expected, rel=0.09)
    assert len(counts) >= 246


def test_looking_after_every_pair_with_a_liar_among_them_rarely_finds_what_is_not_there() -> None:
    rules = Rules(alpha=0.01, tie_alpha=0.001, pairs_max=30)
    answers = [answer for answer, _ in ends(0.0, rules, 30, 200, lies=1)]
    assert answers.count("better") <= 6  # of 200; 2 at most are expected
