"""How strong agents and proposers are against each other, from trials under equal conditions, with standard errors.

Bradley and Terry's model (Biometrika 39, 1952) on Elo's scale: 400 points more are odds of ten to one. A normal prior
holds everyone near 0 until there are games; the standard errors are those of the posterior's curvature (Laplace).
Leaves out which trials count. Rejected: Elo's running update (it depends on the order of games, and has no errors) and
all pairs of trials as games (one lucky trial would win many times, and the errors would be far too small).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ensue.errors import ExperimentError

POINTS = 400 / math.log(10)  # Elo points of one unit of log-odds
PRIOR_SD = 350.0
"""Standard deviation, in points, of players of whom nothing is known."""
PLAYERS_MAX = 2000
"""Players in one table; the work grows with the third power."""
_ROUNDS = 200


@dataclass(frozen=True, slots=True)
class Trial:
    """What one player reached under some conditions: same class, track and number of experiments make them equal.

    `score` is positive for better, as the confirmed gain over the baseline; `trial` is its own name (an id).
    """

    trial: str
    player: str
    conditions: tuple[str, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Game:
    """One comparison: `result` is 1 if `first` won, 0 if `second` did, 0.5 for a tie."""

    first: str
    second: str
    result: float


@dataclass(frozen=True, slots=True)
class Rating:
    """A player's place: points and their standard error, against the average of the table."""

    player: str
    points: float
    points_sd: float
    games: int


@dataclass(frozen=True, slots=True)
class Table:
    """Ratings, best first, and the covariance of the points in the order of `order`."""

    ratings: tuple[Rating, ...]
    order: tuple[str, ...]
    covariance: NDArray[np.float64]


def games_of(trials: Iterable[Trial], tie: float = 0.0) -> list[Game]:
    """Return games between trials under equal conditions; each trial plays once at most, so games are independent.

    Who meets whom is drawn by a hash of the trials' names, not by their scores. Scores that differ by `tie` or less are
    a tie. Raises ExperimentError on a score that is not finite or a name given twice.
    """
    groups: dict[tuple[str, ...], list[Trial]] = {}
    names: set[str] = set()
    for trial in trials:
        if not math.isfinite(trial.score) or trial.trial in names:
            raise ExperimentError("A trial has a finite score and a name of its own; leave out what has not.")
        names.add(trial.trial)
        groups.setdefault(trial.conditions, []).append(trial)
    games = []
    for _, group in sorted(groups.items()):
        waiting: list[Trial] = []
        for trial in sorted(group, key=lambda one: hashlib.sha256(one.trial.encode()).digest()):
            # All who wait are of one player, so whoever else comes plays the first of them.
            if waiting and waiting[0].player != trial.player:
                other = waiting.pop(0)
                apart = other.score - trial.score
                result = 0.5 if abs(apart) <= tie else float(apart > 0)
                games.append(Game(other.player, trial.player, result))
            else:
                waiting.append(trial)
    return games


def rate(games: Iterable[Game], prior_sd: float = PRIOR_SD) -> Table:
    """Return the ratings of all who played: the most probable strengths, whatever the order of the games.

    Raises ExperimentError on a game against oneself, a result outside 0 to 1, or more than PLAYERS_MAX players.
    """
    played = list(games)
    order = tuple(sorted({name for game in played for name in (game.first, game.second)}))
    if any(game.first == game.second or not 0 <= game.result <= 1 for game in played):
        raise ExperimentError("A game has two players and a result from 0 to 1; leave out what has not.")
    if len(order) > PLAYERS_MAX or not (math.isfinite(prior_sd) and prior_sd > 0):
        raise ExperimentError(f"A table has at most {PLAYERS_MAX} players and a prior above zero; rate fewer at once.")
    if not order:
        return Table((), (), np.zeros((0, 0)))
    place = {name: number for number, name in enumerate(order)}
    first = np.array([place[game.first] for game in played])
    second = np.array([place[game.second] for game in played])
    # In sorted order sums come out the same to the last bit, however the games were given.
    result = np.array([game.result for game in played], dtype=np.float64)
    arranged = np.lexsort((result, second, first))
    first, second, result = first[arranged], second[arranged], result[arranged]
    strength, curvature = _climb(first, second, result, len(order), (POINTS / prior_sd) ** 2)
    # Points are told against the table's average, so what all have in common is taken out of the errors too.
    centre = np.eye(len(order)) - 1 / len(order)
    covariance = POINTS**2 * centre @ np.linalg.inv(curvature) @ centre
    points = POINTS * (strength - strength.mean())
    count = np.bincount(first, minlength=len(order)) + np.bincount(second, minlength=len(order))
    ratings = [
        Rating(name, float(points[i]), math.sqrt(max(0.0, float(covariance[i, i]))), int(count[i]))
        for i, name in enumerate(order)
    ]
    return Table(tuple(sorted(ratings, key=lambda one: (-one.points, one.player))), order, covariance)


def compare(table: Table, one: str, other: str) -> tuple[float, float, float]:
    """Return how many points `one` is ahead, the standard error of that, and the probability that it is stronger.

    Raises ExperimentError if one of them is not in the table, or they are the same.
    """
    if one not in table.order or other not in table.order or one == other:
        raise ExperimentError("Two different players of the table can be compared; name two that played.")
    points = {rating.player: rating.points for rating in table.ratings}
    i, j = table.order.index(one), table.order.index(other)
    ahead = points[one] - points[other]
    sd = math.sqrt(max(0.0, float(table.covariance[i, i] + table.covariance[j, j] - 2 * table.covariance[i, j])))
    return ahead, sd, NormalDist().cdf(ahead / sd) if sd > 0 else 0.5


def _climb(
    first: NDArray[np.int64], second: NDArray[np.int64], result: NDArray[np.float64], players: int, precision: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the most probable strengths (players,) and the curvature (players, players) there, by Newton's steps."""

    def height(at: NDArray[np.float64]) -> float:
        apart = at[first] - at[second]
        # ln of the chance of the first is -ln(1 + e^-apart), of the second that less `apart`.
        return float(np.sum(result * apart - np.logaddexp(0, apart)) - precision / 2 * np.sum(at * at))

    at = np.zeros(players)
    curvature = np.eye(players)
    for _ in range(_ROUNDS):
        chance = 0.5 * (1 + np.tanh((at[first] - at[second]) / 2))
        slope = -precision * at
        np.add.at(slope, first, result - chance)
        np.add.at(slope, second, chance - result)
        bend = chance * (1 - chance)
        curvature = precision * np.eye(players)
        for left, right, sign in ((first, first, 1), (second, second, 1), (first, second, -1), (second, first, -1)):
            np.add.at(curvature, (left, right), sign * bend)
        step = np.linalg.solve(curvature, slope)
        if float(np.max(np.abs(step))) < 1e-10:
            break
        here = height(at)
        scale = 1.0
        while height(at + scale * step) < here and scale > 1e-6:
            scale /= 2
        at = at + scale * step
    return at, curvature
