"""A small Gaussian process: what value is to be expected at a setting, and how surely.

The function is a sum of smooth curves, one a knob, a smaller joint part, and a bowl around the parent: a script that
people have tuned gets worse, on average, the further one goes. How much each knob matters is fitted. Independent
length-scales a knob were rejected: with ten trials there is nothing to fit them to. See Rasmussen and Williams, Gaussian
Processes for Machine Learning, chapters 2 and 5.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

FIT_POINTS_MAX = 100  # nearest the parent, for the parameters
POINTS_MAX = 300  # nearest the parent, for the prediction
FIT_STEPS = 40
LENGTHS = (0.35, 0.7)
RELATIVE_SCALE = 0.02  # of the metric's value: how much a knob moves it over its range, before anything is known
NOISE_SCALE = 8.0  # the same in units of the noise, whichever is more
PRIOR_SPREAD = 1.0  # of the logarithms of the amplitudes
OTHER_CODE = 0.5  # correlation left between scripts whose code differs in more than knobs
BOWL = 1.0  # mean and spread of the bowl's depth, in units of the scale


class Surrogate:
    """A Gaussian process over unit coordinates, for a metric to be made small.

    `points` (n, d), `values` (n,) finite, `alike` (n,) whether the code is the parent's; `origin` (d,) is the parent.
    """

    def __init__(
        self, points: Array, values: Array, alike: Array, *, origin: Array, nominal: Array, noise_sd: float
    ) -> None:
        self.origin, self.nominal = origin, nominal
        near = np.argsort(((points - origin) ** 2).sum(1), kind="stable")
        center = float(np.median(values)) if len(values) else 0.0
        base = float(values.min()) if len(values) else 0.0
        self.scale = max(NOISE_SCALE * noise_sd, RELATIVE_SCALE * abs(base)) or 1.0
        self.noise = max(noise_sd / self.scale, 1e-3)
        self.offset = center
        warped = _warp(values, base, self.scale)
        self.targets = (warped - center) / self.scale
        dims = points.shape[1]
        self.log_amplitude = np.full(dims + 1, math.log(1.0 / math.sqrt(max(1, dims)) * 1.5))
        self.log_amplitude[-1] -= 0.7
        self.prior = self.log_amplitude.copy()
        self.length = LENGTHS[-1]
        if len(values) >= 4:
            keep = near[:FIT_POINTS_MAX]
            self._fit(points[keep], self.targets[keep], alike[keep])
        keep = near[:POINTS_MAX]
        self.points, self.alike = points[keep], alike[keep]
        kernel = self._kernel(self.points, self.points, self.alike, self.alike)
        kernel[np.diag_indices_from(kernel)] += self.noise**2
        self.root = np.linalg.cholesky(kernel) if len(keep) else np.zeros((0, 0))
        rest = self.targets[keep] - self._mean(self.points)
        self.weights = np.linalg.solve(self.root.T, np.linalg.solve(self.root, rest)) if len(keep) else rest

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation (m,) of the metric itself, without a run's noise, at points (m, d)."""
        same_code = np.ones(len(points), dtype=bool)
        across = self._kernel(points, self.points, same_code, self.alike)
        mean = self._mean(points) + across @ self.weights
        solved = np.linalg.solve(self.root, across.T) if len(self.points) else np.zeros((0, len(points)))
        variance = self._diagonal(points) - (solved**2).sum(0)
        sd = np.sqrt(np.maximum(variance, 1e-8))
        return self.offset + self.scale * mean, self.scale * sd

    def joint(self, points: Array) -> tuple[Array, Array]:
        """Return means (m,) and covariance (m, m) at points (m, d)."""
        same_code = np.ones(len(points), dtype=bool)
        across = self._kernel(points, self.points, same_code, self.alike)
        mean = self._mean(points) + across @ self.weights
        solved = np.linalg.solve(self.root, across.T) if len(self.points) else np.zeros((0, len(points)))
        covariance = self._kernel(points, points, same_code, same_code) - solved.T @ solved
        return self.offset + self.scale * mean, self.scale**2 * covariance

    def _bowl(self, points: Array) -> Array:
        gone = self._gaps(points, self.origin[None, :])[:, 0, :]
        return np.asarray((gone**2).sum(1))

    def _mean(self, points: Array) -> Array:
        return BOWL * self._bowl(points)

    def _gaps(self, left: Array, right: Array) -> Array:
        """Return distances (n, m, d); different nominal choices are equally far apart."""
        gaps = np.abs(left[:, None, :] - right[None, :, :])
        gaps[:, :, self.nominal] = 0.4 * (gaps[:, :, self.nominal] > 1e-9)
        return np.asarray(gaps)

    def _parts(self, gaps: Array, length: float) -> tuple[Array, Array]:
        """Return the curves (n, m, d) and the joint part (n, m) at unit amplitude."""
        squares = (gaps / length) ** 2
        return np.exp(-0.5 * squares), np.exp(-0.5 * squares.sum(2) / 2.0)

    def _code(self, left: Array, right: Array) -> Array:
        return (
            np.where(left[:, None] & right[None, :], 1.0, OTHER_CODE)
            if len(left) and len(right)
            else np.ones((len(left), len(right)))
        )

    def _kernel(self, left: Array, right: Array, left_alike: Array, right_alike: Array) -> Array:
        curves, joint = self._parts(self._gaps(left, right), self.length)
        power = np.exp(2 * self.log_amplitude)
        smooth = curves @ power[:-1] + power[-1] * joint
        bowl = BOWL**2 * np.outer(self._bowl(left), self._bowl(right))
        return np.asarray(_CONSTANT + smooth * self._code(left_alike, right_alike) + bowl)

    def _diagonal(self, points: Array) -> Array:
        power = float(np.exp(2 * self.log_amplitude).sum())
        return np.asarray(_CONSTANT + power + BOWL**2 * self._bowl(points) ** 2)

    def _fit(self, points: Array, targets: Array, alike: Array) -> None:
        """Set amplitudes and length to the most probable ones, by gradient steps with adaptive rates (Rprop)."""
        gaps = self._gaps(points, points)
        code = self._code(alike, alike)
        bowl = _CONSTANT + BOWL**2 * np.outer(self._bowl(points), self._bowl(points))
        rest = targets - self._mean(points)
        best: tuple[float, float, Array] | None = None
        for length in LENGTHS:
            curves, joint = self._parts(gaps, length)
            stack = np.concatenate([curves, joint[:, :, None]], axis=2) * code[:, :, None]
            score, amplitude = self._climb(stack, bowl, rest)
            if best is None or score > best[0]:
                best = (score, length, amplitude)
        if best is not None:
            _, self.length, self.log_amplitude = best

    def _climb(self, stack: Array, fixed: Array, rest: Array) -> tuple[float, Array]:
        count = len(rest)
        noise = self.noise**2 * np.eye(count)
        at, rate = self.prior.copy(), np.full(len(self.prior), 0.2)
        before = np.zeros_like(at)
        best_score, best = -math.inf, at.copy()
        for _ in range(FIT_STEPS):
            power = np.exp(2 * at)
            inverse = np.linalg.inv(kernel := fixed + stack @ power + noise)
            alpha = inverse @ rest
            gone = (at - self.prior) / PRIOR_SPREAD
            score = -0.5 * float(rest @ alpha + np.linalg.slogdet(kernel)[1] + gone @ gone)
            if score > best_score:
                best_score, best = score, at.copy()
            pull = np.outer(alpha, alpha) - inverse
            slope = np.tensordot(pull, stack, axes=([0, 1], [0, 1])) * power - gone / PRIOR_SPREAD
            rate = np.clip(np.where(slope * before > 0, rate * 1.3, rate * 0.5), 0.01, 0.6)
            at = np.clip(at + np.sign(slope) * rate, self.prior - 4, self.prior + 3)
            before = slope
        return best_score, best


_CONSTANT = 100.0  # variance of the unknown level, in units of the scale: as good as unknown


def _warp(values: Array, base: float, scale: float) -> Array:
    """Return values with the far bad end drawn in by a logarithm: how bad a diverged run is says nothing of the good ones."""
    limit = base + 4 * scale
    over = np.maximum(values - limit, 0.0)
    return np.where(values > limit, limit + scale * np.log1p(over / scale), values)
