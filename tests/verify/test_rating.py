"""Ratings: the truth is found within its errors, order does not matter, and luck wins only once."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue.errors import ExperimentError
from verify.rating import POINTS, PRIOR_SD, Game, Trial, compare, games_of, rate

CLASS = ("sotu", "cpu-4", "20")
players = st.sampled_from("abcd")
games = st.lists(
    st.builds(Game, players, players, st.sampled_from([0.0, 0.5, 1.0])).filter(lambda g: g.first != g.second),
    max_size=10,
)


def played(true: dict[str, float], count: int, seed: int) -> list[Game]:
    """Return games between random players of these true points."""
    draws = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        one, other = draws.choice(list(true), 2, replace=False)
        chance = 1 / (1 + 10 ** ((true[other] - true[one]) / 400))
        found.append(Game(str(one), str(other), float(draws.random() < chance)))
    return found


@given(games, st.randoms())
def test_order_does_not_matter(given_games: list[Game], chance: random.Random) -> None:
    mixed = given_games[:]
    chance.shuffle(mixed)
    assert rate(mixed).ratings == rate(given_games).ratings


@given(games)
def test_the_average_is_nought_and_sides_do_not_matter(given_games: list[Game]) -> None:
    table = rate(given_games)
    turned = rate([Game(game.second, game.first, 1 - game.result) for game in given_games])
    assert math.fsum(one.points for one in table.ratings) == pytest.approx(0, abs=1e-6)
    for one in table.ratings:
        other = next(rating for rating in turned.ratings if rating.player == one.player)
        assert one.points == pytest.approx(other.points, abs=1e-6)
        assert one.points_sd == pytest.approx(other.points_sd, abs=1e-6)


def test_two_players_by_hand() -> None:
    """The most probable strength solves: wins - games·chance = strength / variance."""
    table = rate([Game("a", "b", 1.0)] * 7 + [Game("a", "b", 0.0)] * 3)
    ahead, sd, surer = compare(table, "a", "b")
    apart, precision = ahead / POINTS, (POINTS / PRIOR_SD) ** 2
    chance = 1 / (1 + math.exp(-apart))
    assert 7 - 10 * chance == pytest.approx(precision * apart / 2, abs=1e-8)
    assert sd == pytest.approx(POINTS * math.sqrt(1 / (precision / 2 + 10 * chance * (1 - chance))))
    assert 0.8 < surer < 0.95


def test_the_truth_lies_within_two_errors_nineteen_times_in_twenty() -> None:
    true = {"a": 150.0, "b": 60.0, "c": 0.0, "d": -40.0, "e": -170.0}
    inside = total = 0
    for seed in range(40):
        for one in rate(played(true, 200, seed)).ratings:
            inside += abs(one.points - true[one.player]) <= 1.96 * one.points_sd
            total += 1
    assert inside / total == pytest.approx(0.95, abs=0.04)


def test_more_games_make_surer_and_one_win_proves_little() -> None:
    few, many = (rate(played({"a": 100.0, "b": -100.0}, count, 1)) for count in (20, 500))
    assert compare(many, "a", "b")[1] < compare(few, "a", "b")[1] / 2
    assert compare(rate([Game("a", "b", 1.0)]), "a", "b")[2] < 0.9


def test_winning_always_has_an_end() -> None:
    table = rate([Game("a", "b", 1.0)] * 1000)
    assert math.isfinite(table.ratings[0].points)
    assert [one.games for one in table.ratings] == [1000, 1000]


def test_only_equal_conditions_meet_and_each_trial_once() -> None:
    trials = [Trial(f"{kind}{n}", f"p{n % 3}", (kind,), n * 1.0) for kind in ("cpu", "gpu") for n in range(9)]
    found = games_of(trials)
    scores = {(trial.player, trial.score) for trial in trials}
    assert 6 <= len(found) <= 8
    assert all(game.first != game.second for game in found)
    assert len(scores) == 9
    assert games_of(trials[::-1]) == found
    alone = [Trial("x", "a", ("cpu",), 1.0), Trial("y", "b", ("gpu",), 2.0), Trial("z", "a", ("cpu",), 3.0)]
    assert games_of(alone) == []


def test_a_lucky_trial_wins_one_game() -> None:
    trials = [Trial("jackpot", "lucky", CLASS, 1e9)] + [Trial(f"t{n}", f"p{n % 5}", CLASS, 0.1) for n in range(50)]
    wins = [game for game in games_of(trials, tie=0.01) if game.result != 0.5]
    assert len(wins) == 1
    assert "lucky" in (wins[0].first, wins[0].second)


def test_stronger_proposers_come_out_ahead() -> None:
    draws = np.random.default_rng(5)
    trials = [
        Trial(f"{name}{n}", name, CLASS, float(draws.normal(gain, 0.01)))
        for name, gain in (("strong", 0.02), ("plain", 0.01), ("random", 0.0))
        for n in range(40)
    ]
    table = rate(games_of(trials))
    assert [one.player for one in table.ratings] == ["strong", "plain", "random"]
    assert compare(table, "strong", "random")[2] > 0.99


def test_nonsense_is_refused() -> None:
    for bad in (Game("a", "a", 1.0), Game("a", "b", 1.5), Game("a", "b", math.nan)):
        with pytest.raises(ExperimentError):
            rate([bad])
    with pytest.raises(ExperimentError):
        rate([Game("a", "b", 1.0)], prior_sd=0)
    with pytest.raises(ExperimentError, match="a name of its own"):
        games_of([Trial("t", "a", CLASS, math.nan)])
    with pytest.raises(ExperimentError, match="a name of its own"):
        games_of([Trial("t", "a", CLASS, 1.0), Trial("t", "b", CLASS, 1.0)])
    with pytest.raises(ExperimentError, match="Two different players"):
        compare(rate([Game("a", "b", 1.0)]), "a", "c")
    assert rate([]).ratings == ()
