"""The proposer that needs nothing but a processor: Optuna suggests, a Gaussian process expects and chooses.

All trials are told to Optuna's tree-structured Parzen estimator (Bergstra et al., 2011). Its suggestions, and steps
around the parent, become moves of one to three knobs; the one most likely to gain is proposed. Before that, knobs that
usually matter get a first look each (`screening`).
Whole new settings were rejected: nobody learns from ten constants that changed at once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from itertools import chain, combinations

import numpy as np
import optuna

from experiments import knobs
from experiments.experiment import changes, describe
from experiments.proposers.base import Context, Proposal, Trial, from_idea, idea_texts, nothing_left
from experiments.proposers.screening import screening_moves
from experiments.proposers.space import SAME_POINT, Array, Mask, Seen, Setting, Space
from experiments.proposers.surrogate import Surrogate

SINGLE_UNTIL = 4  # measured values, before moves of several knobs are thought of
ASKS = 3  # joint suggestions taken from Optuna for one proposal
TOP_SINGLES = 12
TOP_TRIPLES = 6
CHECKS_MAX = 1000  # candidates held against the memory before the space counts as used up
RANDOM_DRAWS_MAX = 400
FAILURE_REACH = 0.1  # how far around a failed trial, in units of a knob's range, another failure is to be feared
NEIGHBOUR_REACH = 0.05  # of a knob's range: a setting this close to a measured one is hardly another
NEIGHBOUR_SHARE = 0.3  # of its promise that it keeps
TIE_BREAK = 1e-3
KEPT_AT = 2.0  # standard deviations of a run's noise, from where on a gain is worth a run


class OptunaProposer:
    """Proposes local moves; the same context gives the same proposal."""

    name = "optuna"

    def propose(self, ctx: Context) -> Proposal:
        """Return the next experiment; raises ExperimentError when every setting of the script was tried."""
        sign = -1.0 if ctx.direction == "max" else 1.0
        space = Space(ctx.parent_source)
        seen = space.seen(ctx.trials)
        model = _model(ctx, space, seen, sign)
        idea = from_idea(ctx)
        if idea is not None:
            place = space.seen([Trial(idea[1], None, "proposed")])
            mean, sd = _expect(model, place.points, place.alike, ctx, sign)
            description, change, why = idea_texts(ctx, *idea)
            return Proposal(idea[1], description, change, mean, sd, idea[0].id, why)
        if not space.knobs:
            raise nothing_left(0)
        rng = np.random.default_rng([abs(ctx.seed), len(ctx.trials)])
        first_looks = screening_moves(space, seen, rng)
        ranked = [*first_looks, *_ranked(ctx, space, seen, model, sign, rng)]
        setting, source = _first_free(ctx, space, seen, ranked, rng)
        point = space.point(setting)[None, :]
        mean, sd = _expect(model, point, np.ones(1, dtype=bool), ctx, sign)
        change = changes(ctx.parent_source, source)
        why = _why(model, point, space, len(ctx.trials))
        if setting in first_looks:
            why = f"a first look, no trial moved it yet; {why}"
        return Proposal(source, describe(change), change, mean, sd, None, why)


def _model(ctx: Context, space: Space, seen: Seen, sign: float) -> Surrogate | None:
    """Fit the surrogate to the measured trials and the parent; None when nothing was ever measured."""
    ok = np.isfinite(seen.values)
    points, values, alike = seen.points[ok], sign * seen.values[ok], seen.alike[ok]
    if ctx.parent_value is not None and math.isfinite(ctx.parent_value):
        at_parent = alike & (np.abs(points - space.origin).max(1, initial=0.0) < SAME_POINT)
        if not np.any(values[at_parent] == sign * ctx.parent_value):
            points = np.vstack([points, space.origin])
            values = np.append(values, sign * ctx.parent_value)
            alike = np.append(alike, True)
    if not len(values):
        return None
    return Surrogate(points, values, alike, origin=space.origin, nominal=space.nominal, noise_sd=ctx.noise_sd)


def _expect(
    model: Surrogate | None, point: Array, alike: Mask, ctx: Context, sign: float
) -> tuple[float | None, float | None]:
    """Return the value to be expected of one run and its standard deviation, the run's noise included."""
    if model is None:
        return None, None
    mean, sd = model.predict(point, alike)
    return sign * float(mean[0]), math.hypot(float(sd[0]), ctx.noise_sd)


def _ranked(
    ctx: Context, space: Space, seen: Seen, model: Surrogate | None, sign: float, rng: np.random.Generator
) -> list[Setting]:
    """Return candidate moves, the most promising first; only moves that promise a gain each are made together."""
    singles = space.single_moves(rng)
    for suggestion in _suggestions(ctx, space, seen, sign, rng):
        singles += [{name: value} for name, value in suggestion.items()]
    if model is None:
        return [singles[i] for i in rng.permutation(len(singles))]
    promise, gain = _promise(model, space, seen, singles, ctx.noise_sd, rng)
    if np.isfinite(seen.values).sum() < SINGLE_UNTIL:
        return [singles[i] for i in np.argsort(-promise, kind="stable")]
    best_of: dict[str, Setting] = {}
    for i in np.argsort(-promise, kind="stable"):
        if gain[i] > 0:
            best_of.setdefault(next(iter(singles[i])), singles[i])
    top = list(best_of.values())[:TOP_SINGLES]
    together = [left | right for left, right in combinations(top, 2)]
    together += [a | b | c for a, b, c in combinations(top[:TOP_TRIPLES], 3)]
    everything = singles + together
    promise, _ = _promise(model, space, seen, everything, ctx.noise_sd, rng)
    return [everything[i] for i in np.argsort(-promise, kind="stable")]


def _suggestions(ctx: Context, space: Space, seen: Seen, sign: float, rng: np.random.Generator) -> Iterator[Setting]:
    """Tell Optuna every trial, failures as the worst, and ask it for settings."""
    logging.getLogger("optuna").setLevel(logging.WARNING)
    spans: dict[str, optuna.distributions.BaseDistribution] = {}
    for i, knob in enumerate(space.knobs):
        if space.nominal[i]:
            spans[knob.name] = optuna.distributions.CategoricalDistribution([str(choice) for choice in knob.choices])
        else:
            spans[knob.name] = optuna.distributions.FloatDistribution(0.0, 1.0)
    values = sign * seen.values
    worst = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    values = np.where(np.isfinite(values), values, worst + abs(worst) * 0.01 + ctx.noise_sd)
    trials = []
    for point, value in zip(seen.points, values, strict=True):
        parameters = {
            knob.name: str(knob.from_unit(point[i])) if space.nominal[i] else float(point[i])
            for i, knob in enumerate(space.knobs)
        }
        trials.append(optuna.trial.create_trial(params=parameters, distributions=spans, value=float(value)))
    sampler = optuna.samplers.TPESampler(seed=int(rng.integers(2**31)), n_startup_trials=8)
    study = optuna.create_study(sampler=sampler)
    study.add_trials(trials)
    for _ in range(ASKS):
        asked = study.ask(spans).params
        setting: Setting = {}
        for i, knob in enumerate(space.knobs):
            if space.nominal[i]:
                if asked[knob.name] != knob.value:
                    setting[knob.name] = asked[knob.name]
            else:
                setting.update(space.move(i, float(asked[knob.name])) or {})
        yield setting


def _promise(
    model: Surrogate, space: Space, seen: Seen, settings: list[Setting], noise_sd: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return the chance (m,) that each setting runs and gains what stands out of the noise, and the gain expected (m,).

    Expected improvement was rejected: it likes leaps, which a script that people have tuned rarely rewards. On bowls of
    twenty knobs its first five proposals held a gain one time in four, these every second time.
    """
    points = np.array([space.point(setting) for setting in settings])
    mean, sd = model.predict(points)
    gain = float(model.predict(space.origin[None, :])[0][0]) - mean
    z = (gain - KEPT_AT * noise_sd) / sd
    chance = np.array([0.5 * math.erfc(-one / math.sqrt(2)) for one in z]) * _runs(seen, points)
    chance = np.where(_beside(seen, points), NEIGHBOUR_SHARE * chance, chance)
    return chance * (1 + TIE_BREAK * rng.random(len(settings))), gain


def _beside(seen: Seen, points: Array) -> Mask:
    """Return which settings (m,) stand so close to a measured one that a run would tell little more than noise."""
    measured = seen.points[np.isfinite(seen.values)]
    gone = np.abs(points[:, None, :] - measured[None, :, :]).max(2)
    return np.asarray(gone.min(1, initial=np.inf) < NEIGHBOUR_REACH)


def _runs(seen: Seen, points: Array) -> Array:
    """Return the chance (m,) that a setting finishes, from how the trials near it ended."""
    if not len(seen.values):
        return np.ones(len(points))
    squares = ((points[:, None, :] - seen.points[None, :, :]) ** 2).sum(2)
    near = np.exp(-0.5 * squares / FAILURE_REACH**2)
    return np.asarray((1 + near @ np.isfinite(seen.values)) / (1 + near.sum(1)))


def _first_free(
    ctx: Context, space: Space, seen: Seen, ranked: list[Setting], rng: np.random.Generator
) -> tuple[Setting, str]:
    """Return the first candidate that nobody tried or claimed; then wider moves; then the whole of a small space."""
    checks = 0
    for setting in chain(ranked, space.grid() or _anywhere(space, rng)):
        if _tried(space, seen, setting):
            continue
        checks += 1
        if checks > CHECKS_MAX:
            break
        source = knobs.apply(ctx.parent_source, setting)
        if ctx.free(source):
            return setting, source
    raise nothing_left(len(space))


def _anywhere(space: Space, rng: np.random.Generator) -> Iterator[Setting]:
    """Yield random settings of more and more knobs."""
    for draw in range(RANDOM_DRAWS_MAX):
        setting = space.random(rng, 1 + draw * len(space) // RANDOM_DRAWS_MAX)
        if setting:
            yield setting


def _tried(space: Space, seen: Seen, setting: Setting) -> bool:
    """Return whether a trial of the same code stands exactly there."""
    gone = np.abs(seen.points[seen.alike] - space.point(setting)).max(1, initial=0.0)
    return bool(np.any(gone < SAME_POINT))


def _why(model: Surrogate | None, point: Array, space: Space, count: int) -> str:
    """Return what speaks for a point: the gain on the parent that the surrogate expects, in the metric's unit."""
    if model is None:
        return "nothing was measured yet: a step from the parent"
    means, covariance = model.joint(np.vstack([space.origin, point[0]]))
    gain = float(means[0] - means[1])
    sd = math.sqrt(max(1e-12, float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    chance = 0.5 * (1 + math.erf(gain / sd / math.sqrt(2)))
    trials = "1 trial" if count == 1 else f"{count} trials"
    return f"from {trials}: gain {gain:+.4f} ± {sd:.4f} expected, {chance:.0%} likely to be better"
