"""The knobs of a parent script as a unit cube, and every trial's place in it.

Trials are read by pattern and not by syntax tree: a thousand scripts in a tenth of a second, and a misread one costs
the surrogate a point, nothing else. Whether two scripts are the same is never decided here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt

from experiments import knobs
from experiments.knobs import Knob, Scalar, same
from experiments.proposers.base import Trial

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Setting = dict[str, Scalar]  # what differs from the parent

SAME_POINT = 1e-9  # unit coordinates closer than this are one
STEPS = (0.06, 0.13, 0.27)  # of a knob's range: how far a single move goes
NEIGHBOURS_SIZE_MAX = 64  # of a whole-number knob whose next neighbours are tried as well
CHOICES_MAX = 16  # of one knob, tried as moves
KNOBS_MAX = 48  # moved by the proposer, those with a hint first
GRID_MAX = 4096  # settings of a small space that are gone through one by one

_LITERAL = r"""-?\s*[\d.][\w.+-]*|True|False|"[^"\n\\]*"|'[^'\n\\]*'"""


@dataclass(frozen=True, slots=True)
class Seen:
    """The trials as arrays: unit coordinates (n, d), values (n,) or NaN, and whether the code is the parent's (n,)."""

    points: Array
    values: Array
    alike: Mask


class Space:
    """The unit cube around a parent script; raises BadScript if the parent does not compile."""

    def __init__(self, parent_source: str) -> None:
        found = knobs.read(parent_source)
        self.source = parent_source
        movable = [knob for knob in found.values() if knob.size > 1]
        self.knobs = tuple(sorted(movable, key=lambda knob: not knob.hinted)[:KNOBS_MAX])
        self.names = [knob.name for knob in self.knobs]
        self.nominal = np.array([_is_nominal(knob) for knob in self.knobs], dtype=bool)
        self.origin = np.array([knob.to_unit(knob.value) for knob in self.knobs])
        names = "|".join(re.escape(name) for name in self.names) or r"(?!)"
        self._pattern = re.compile(rf"^({names})([ \t]*(?::[^=\n]*)?=[ \t]*)({_LITERAL})", re.MULTILINE)
        self._skeleton = self._read(parent_source)[1]

    def __len__(self) -> int:
        return len(self.knobs)

    def point(self, setting: Setting) -> Array:
        """Return the unit coordinates (d,) of the parent with `setting` applied."""
        at = self.origin.copy()
        for i, knob in enumerate(self.knobs):
            if knob.name in setting:
                at[i] = knob.to_unit(setting[knob.name])
        return at

    def seen(self, trials: Sequence[Trial]) -> Seen:
        """Return where the trials lie; a knob that a trial lacks is taken to stand as in the parent."""
        points = np.tile(self.origin, (len(trials), 1))
        values = np.full(len(trials), np.nan)
        alike = np.zeros(len(trials), dtype=bool)
        for row, trial in enumerate(trials):
            setting, skeleton = self._read(trial.source)
            points[row] = self.point(setting)
            alike[row] = skeleton == self._skeleton
            if trial.value is not None and np.isfinite(trial.value):
                values[row] = trial.value
        return Seen(points, values, alike)

    def move(self, i: int, unit: float) -> Setting | None:
        """Return knob `i` moved to about `unit`, None if rounding leaves it where the parent has it."""
        knob = self.knobs[i]
        value = knob.from_unit(unit)
        return None if same(value, knob.value) else {knob.name: value}

    def single_moves(self, rng: np.random.Generator) -> list[Setting]:
        """Return moves of one knob: steps of several lengths both ways, every other choice of a choice."""
        moves: list[Setting] = []
        for i, knob in enumerate(self.knobs):
            if knob.kind == "choice":
                others = [choice for choice in knob.choices if not same(choice, knob.value)]
                moves += [{knob.name: choice} for choice in others[:CHOICES_MAX]]
                continue
            at = float(self.origin[i])
            units = [at + sign * step * rng.uniform(0.8, 1.25) for step in STEPS for sign in (-1, 1)]
            if knob.kind == "int" and knob.size <= NEIGHBOURS_SIZE_MAX:
                units += [knob.to_unit(int(knob.value) + sign) for sign in (-1, 1)]
            moves += [move for unit in units if (move := self.move(i, unit)) is not None]
        return moves

    def random(self, rng: np.random.Generator, count: int) -> Setting:
        """Return a move of `count` knobs to anywhere in their ranges (fewer where rounding leaves one unmoved)."""
        setting: Setting = {}
        for i in rng.permutation(len(self.knobs))[:count]:
            setting.update(self.move(int(i), float(rng.uniform())) or {})
        return setting

    def grid(self) -> Iterator[Setting] | None:
        """Return every setting of a small space, fewest moves first; None if the space is not small."""
        options = [_options(knob) for knob in self.knobs]
        if any(option is None for option in options):
            return None
        lists = [option for option in options if option is not None]
        if np.prod([len(option) for option in lists], dtype=float) > GRID_MAX:
            return None
        everything = (
            {k.name: value for k, value in zip(self.knobs, values, strict=True) if not same(value, k.value)}
            for values in product(*lists)
        )
        return iter(sorted((setting for setting in everything if setting), key=len))

    def _read(self, source: str) -> tuple[Setting, int]:
        """Return the knob values found by pattern, and a hash of the text around them."""
        setting: Setting = {}
        around = []
        last = 0
        for match in self._pattern.finditer(source):
            value = _value(match.group(3))
            if value is not None:
                setting[match.group(1)] = value
                around.append(source[last : match.start(3)])
                last = match.end(3)
        around.append(source[last:])
        return setting, hash("".join(around))


@lru_cache(maxsize=8192)
def _value(literal: str) -> Scalar | None:
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, bool | int | float | str) else None


def _is_nominal(knob: Knob) -> bool:
    return knob.kind == "choice" and isinstance(knob.value, str)


def _options(knob: Knob) -> list[Scalar] | None:
    if knob.kind == "choice":
        return list(knob.choices)
    if knob.size >= 1000:
        return None
    if knob.step:
        units = np.linspace(0.0, 1.0, knob.size) if not knob.log else None
        if units is None:
            return None
        values = [knob.rounded(knob.low + k * knob.step) for k in range(knob.size)]
        return list(dict.fromkeys([*values, knob.value]))
    return [int(value) for value in range(int(np.ceil(knob.low)), int(np.floor(knob.high)) + 1)]
