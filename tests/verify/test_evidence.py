"""Noise and gains: the estimate finds the truth, and noise alone is kept one time in twenty."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue.errors import ExperimentError
from verify.evidence import judge, noise_sd

finite = st.floats(-1e6, 1e6)


def test_without_repeats_the_prior_stands() -> None:
    assert noise_sd([], 0.003, 4) == pytest.approx(0.003)
    assert noise_sd([[1.6], [1.7], []], 0.003, 4) == pytest.approx(0.003)
    assert noise_sd([], 0.003, 0) == 0.003


def test_many_repeats_outweigh_the_prior() -> None:
    draws = np.random.default_rng(0).normal(1.6, 0.005, (200, 3)) + np.linspace(0, 1, 200)[:, None]
    assert noise_sd([list(map(float, row)) for row in draws], 0.001, 4) == pytest.approx(0.005, rel=0.08)


@given(st.lists(st.lists(finite, max_size=4), max_size=4), st.floats(1e-6, 1), st.floats(0.5, 50))
def test_order_of_groups_and_values_does_not_matter(groups: list[list[float]], prior: float, weight: float) -> None:
    turned = [group[::-1] for group in groups[::-1]]
    assert noise_sd(groups, prior, weight) == pytest.approx(noise_sd(turned, prior, weight), rel=1e-9)


def test_a_failed_run_among_the_repeats_is_named() -> None:
    with pytest.raises(ExperimentError, match="not finite"):
        noise_sd([[1.0, math.nan]], 0.003, 4)


def test_noise_alone_is_kept_one_time_in_twenty() -> None:
    draws = np.random.default_rng(1).normal(1.6, 0.003, (20_000, 2))
    kept = [judge(float(a), float(b), direction="min", noise_sd=0.003).kept for a, b in draws]
    assert np.mean(kept) == pytest.approx(0.05, abs=0.006)


def test_a_parent_measured_often_lowers_the_bar() -> None:
    once = judge(1.594, 1.6, direction="min", noise_sd=0.003)
    often = judge(1.594, 1.6, direction="min", noise_sd=0.003, parent_runs=9)
    assert not once.kept
    assert often.kept
    assert once.threshold == pytest.approx(1.6449 * math.sqrt(2) * 0.003, rel=1e-4)


@given(finite, finite, st.floats(0, 10))
def test_max_is_min_of_the_negative(value: float, parent: float, sd: float) -> None:
    low = judge(value, parent, direction="min", noise_sd=sd)
    high = judge(-value, -parent, direction="max", noise_sd=sd)
    assert low == high
    assert not (low.kept and low.gain is not None and low.gain <= 0)


def test_without_noise_any_gain_counts_and_a_tie_does_not() -> None:
    assert judge(1.0, 1.1, direction="min", noise_sd=0).kept
    tie = judge(1.0, 1.0, direction="min", noise_sd=0)
    assert not tie.kept
    assert tie.z == 0


def test_the_first_result_is_kept() -> None:
    verdict = judge(9.0, None, direction="min", noise_sd=0.003)
    assert verdict.kept
    assert verdict.gain is None


@pytest.mark.parametrize(
    "bad",
    [
        {"value": math.nan},
        {"parent_value": math.inf},
        {"noise_sd": -1.0},
        {"direction": "down"},
        {"alpha": 0.0},
        {"parent_runs": 0},
    ],
)
def test_what_cannot_be_judged_is_refused(bad: dict[str, object]) -> None:
    arguments = {"value": 1.0, "parent_value": 1.1, "direction": "min", "noise_sd": 0.003} | bad
    with pytest.raises(ExperimentError):
        judge(**arguments)  # type: ignore[arg-type]
