"""A small Gaussian process: what value is to be expected at a setting, and how surely.

The function is a sum of smooth curves, one a knob, a smaller joint part, and a bowl around the parent: a script that
people have tuned gets worse, on average, the further one goes. How much each part matters is fitted. A length-scale for
each knob was rejected: ten trials do not tell it. See Rasmussen and Williams, Gaussian Processes for Machine Learning,
chapters 2 and 5; for the final widening, Shah et al., Student-t Processes (2014).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

FIT_POINTS_MAX = 64  # nearest the parent, for the amplitudes
POINTS_MAX = 300  # nearest the parent, for the prediction
CHUNK_POINTS = 128  # predicted at once: bounds the memory
FIT_MIN = 4
FIT_STEPS = 30
LENGTHS = (0.35, 0.7)  # of a curve, in units of a knob's range
NOMINAL_GAP = 0.4  # how far apart two unordered choices are
RELATIVE_SCALE = 0.05  # of the metric's value: how much knobs move it over their ranges, before anything is known
NOISE_SCALE = 20.0  # the same in units of the noise, whichever is more
CURVE = 0.6  # prior amplitude of a knob's curve, in units of the scale
JOINT = 0.5
BOWL = 2.0  # prior depth of the bowl over a knob's whole range
BOWL_SPREAD = 1.0
PRIOR_SPREAD = 1.0  # of the logarithms of the amplitudes
OTHER_CODE = 0.5  # correlation left between scripts whose code differs in more than knobs
LEVEL = 10.0  # spread of the unknown level: as good as unknown
FAR = 4.0  # units of the scale above the best, from where on values are drawn in
FREEDOM = 6.0  # how many trials' worth of trust the fitted amplitudes have from the start


class Surrogate:
    """A Gaussian process over unit coordinates, for a metric to be made small.

    `points` (n, d), `values` (n,) finite, n > 0, `alike` (n,) whether the code is the parent's; `origin` (d,) is the
    parent; `nominal` (d,) marks the unordered choices.
    """

    def __init__(
        self, points: Array, values: Array, alike: Mask, *, origin: Array, nominal: Mask, noise_sd: float
    ) -> None:
        self.origin, self.nominal = origin, nominal
        best = float(values.min())
        self.scale = max(NOISE_SCALE * noise_sd, RELATIVE_SCALE * abs(best)) or 1.0
        self.noise = max(noise_sd / self.scale, 1e-3)
        self.offset = float(np.median(values))
        targets = (_drawn_in(values, best, self.scale) - self.offset) / self.scale
        dims = points.shape[1]
        self.prior = np.log([CURVE] * dims + [JOINT, BOWL_SPREAD])
        self.log_amplitude, self.length = self.prior, LENGTHS[-1]
        near = np.argsort(((points - origin) ** 2).sum(1), kind="stable")
        if len(values) >= FIT_MIN:
            self._fit(points[near[:FIT_POINTS_MAX]], targets[near[:FIT_POINTS_MAX]], alike[near[:FIT_POINTS_MAX]])
        keep = near[:POINTS_MAX]
        self.points, self.alike = points[keep], alike[keep]
        kernel = self._kernel(self.points, self.points, self.alike, self.alike)
        kernel[np.diag_indices_from(kernel)] += self.noise**2
        self.root = np.linalg.cholesky(kernel)
        rest = targets[keep] - BOWL * self._bowl(self.points)
        self.weights = np.linalg.solve(self.root.T, np.linalg.solve(self.root, rest))
        surprise = float(rest @ self.weights)
        self.widening = math.sqrt(max(1.0, (FREEDOM + surprise) / (FREEDOM + len(keep))))

    def predict(self, points: Array, alike: Mask | None = None) -> tuple[Array, Array]:
        """Return mean and standard deviation (m,) of the metric, without a run's noise, at points (m, d).

        `alike` (m,) tells which have the parent's code, if not all have.
        """
        own = np.ones(len(points), dtype=bool) if alike is None else alike
        if len(points) > CHUNK_POINTS:
            starts = range(0, len(points), CHUNK_POINTS)
            parts = [self.predict(points[at : at + CHUNK_POINTS], own[at : at + CHUNK_POINTS]) for at in starts]
            return np.concatenate([mean for mean, _ in parts]), np.concatenate([sd for _, sd in parts])
        across = self._kernel(points, self.points, own, self.alike)
        mean = BOWL * self._bowl(points) + across @ self.weights
        power = np.exp(2 * self.log_amplitude)
        prior = LEVEL**2 + power[:-1].sum() + power[-1] * self._bowl(points) ** 2
        variance = np.maximum(prior - (np.linalg.solve(self.root, across.T) ** 2).sum(0), 1e-8)
        return self.offset + self.scale * mean, self.scale * self.widening * np.sqrt(variance)

    def joint(self, points: Array) -> tuple[Array, Array]:
        """Return means (m,) and covariance (m, m) of the metric, without a run's noise, at points (m, d)."""
        own = np.ones(len(points), dtype=bool)
        across = self._kernel(points, self.points, own, self.alike)
        mean = BOWL * self._bowl(points) + across @ self.weights
        solved = np.linalg.solve(self.root, across.T)
        covariance = self._kernel(points, points, own, own) - solved.T @ solved
        return self.offset + self.scale * mean, (self.scale * self.widening) ** 2 * covariance

    def _gaps(self, left: Array, right: Array) -> Array:
        gaps = np.abs(left[:, None, :] - right[None, :, :])
        gaps[:, :, self.nominal] = NOMINAL_GAP * (gaps[:, :, self.nominal] > 1e-9)
        return np.asarray(gaps)

    def _bowl(self, points: Array) -> Array:
        return np.asarray((self._gaps(points, self.origin[None, :])[:, 0, :] ** 2).sum(1))

    def _parts(self, left: Array, right: Array, left_alike: Mask, right_alike: Mask, length: float) -> Array:
        """Return the kernel's parts at unit amplitude (n, m, d + 2): a curve a knob, the joint part, the bowl."""
        squares = (self._gaps(left, right) / length) ** 2
        code = np.where(left_alike[:, None] & right_alike[None, :], 1.0, OTHER_CODE)[:, :, None]
        if left is right:  # a script is its own code, whatever else it differs from
            code[np.diag_indices(len(left))] = 1.0
        joint = np.exp(-0.25 * squares.sum(2))[:, :, None]
        bowl = np.outer(self._bowl(left), self._bowl(right))[:, :, None]
        return np.concatenate([np.exp(-0.5 * squares) * code, joint * code, bowl], axis=2)

    def _kernel(self, left: Array, right: Array, left_alike: Mask, right_alike: Mask) -> Array:
        parts = self._parts(left, right, left_alike, right_alike, self.length)
        return np.asarray(LEVEL**2 + parts @ np.exp(2 * self.log_amplitude))

    def _fit(self, points: Array, targets: Array, alike: Mask) -> None:
        """Set amplitudes and length to the most probable ones."""
        rest = targets - BOWL * self._bowl(points)
        found = []
        for length in LENGTHS:
            parts = self._parts(points, points, alike, alike, length)
            found.append((*self._climb(parts, rest), length))
        _, self.log_amplitude, self.length = max(found, key=lambda one: one[0])

    def _climb(self, parts: Array, rest: Array) -> tuple[float, Array]:
        """Return the best log posterior and its log amplitudes (d + 2,), by gradient steps of adaptive size (Rprop)."""
        fixed = LEVEL**2 + self.noise**2 * np.eye(len(rest))
        at, rate, before = self.prior.copy(), np.full(len(self.prior), 0.2), np.zeros(len(self.prior))
        best_score, best = -math.inf, at
        for _ in range(FIT_STEPS):
            power = np.exp(2 * at)
            kernel = fixed + parts @ power
            inverse = np.linalg.inv(kernel)
            alpha = inverse @ rest
            gone = (at - self.prior) / PRIOR_SPREAD
            score = -0.5 * float(rest @ alpha + np.linalg.slogdet(kernel)[1] + gone @ gone)
            if score > best_score:
                best_score, best = score, at
            pull = np.outer(alpha, alpha) - inverse
            slope = np.tensordot(pull, parts, axes=([0, 1], [0, 1])) * power - gone / PRIOR_SPREAD
            rate = np.clip(np.where(slope * before > 0, rate * 1.3, rate * 0.5), 0.01, 0.6)
            at = np.clip(at + np.sign(slope) * rate, self.prior - 4, self.prior + 3)
            before = slope
        return best_score, best


def _drawn_in(values: Array, best: float, scale: float) -> Array:
    """Return values with the far bad end drawn in: how badly a run diverged says nothing of the good ones."""
    limit = best + FAR * scale
    drawn = limit + scale * np.minimum(np.log1p(np.maximum(values - limit, 0.0) / scale), FAR)
    return np.where(values > limit, drawn, values)
