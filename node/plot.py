"""The picture of progress: every experiment as a dot, and the staircase of the best so far.

Left out: the file (canvas), and who descends from whom (treeplot).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from ensue.errors import UserError
from node import canvas, text

if TYPE_CHECKING:
    from ensue.store import ResultRow
    from node.canvas import Axes

LABELS_MAX = 24
LABEL_CHARACTERS = 34
METRIC_CHARACTERS = 30
TITLE_CHARACTERS = 60
LABEL_DEGREES = 22
LABEL_ROOM = 0.045  # share of both axes that a label keeps free around its stair
EARLY_SHARE = 0.22  # stairs further left have their label on the other side, where it fits into the picture
AREA_MIN = 3.0
MARGIN_SHARE = 0.09
CROWD = 150  # from so many experiments on the dots shrink
DOTS_MAX = 20_000  # of more experiments a sample is drawn, and every stair
SIZE_INCHES = (11.0, 6.0)
KEPT, DISCARDED, FAILED = "#1a7f37", "#b5b5b5", "#cf222e"
LOOKS = {  # colour, marker and area of each kind of dot
    "discarded": (DISCARDED, "o", 22),
    "discarded, off the scale": (DISCARDED, "D", 16),
    "failed, no value": (FAILED, "x", 30),
    "kept": (KEPT, "o", 46),
}
BEYOND_SPREADS = 4.0  # values so many spreads worse than the rest are drawn at the edge, so that gains stay visible


@dataclass(frozen=True, slots=True)
class Step:
    """One stair: the number of the experiment (1 = first), its value, the result."""

    number: int
    value: float
    row: ResultRow


@dataclass(frozen=True, slots=True)
class Sample:
    """What is drawn of `count` experiments: `rows` in order of arrival, and the number (1 = first) of each."""

    rows: list[ResultRow]
    numbers: list[int]
    count: int


def sample(rows: Iterable[ResultRow], dots_max: int = DOTS_MAX) -> Sample:
    """Return at most twice `dots_max` experiments: one in so many, the first, the last, and every stair."""
    chosen: list[tuple[int, bool, ResultRow]] = []
    every, count, best, last = 1, 0, None, None
    for count, row in enumerate(rows, 1):
        stair = is_better(row, best)
        best = row if stair else best
        if stair or count % every == 1 % every:
            chosen.append((count, stair, row))
        last = row
        if len(chosen) >= 2 * dots_max:
            every *= 2
            chosen = [one for one in chosen if one[1] or one[0] % every == 1]
    if last is not None and chosen[-1][0] != count:
        chosen.append((count, False, last))
    return Sample([row for _, _, row in chosen], [number for number, _, _ in chosen], count)


def is_better(row: ResultRow, best: ResultRow | None) -> bool:
    """Return whether a result is a new best; only kept and unflagged ones can be."""
    if row.status != "kept" or row.value is None or row.flags:
        return False
    if best is None or best.value is None:
        return True
    return row.value < best.value if row.direction == "min" else row.value > best.value


def staircase(shown: Sample) -> list[Step]:
    """Return the results that became the best, in order of arrival."""
    steps: list[Step] = []
    for number, row in zip(shown.numbers, shown.rows, strict=True):
        if is_better(row, steps[-1].row if steps else None) and row.value is not None:
            steps.append(Step(number, row.value, row))
    return steps


def limits(values: Sequence[float], direction: str, always: Sequence[float] = ()) -> tuple[float, float]:
    """Return the lowest and highest value to draw: those of `always`, and the rest without what is hopelessly bad."""
    ordered = sorted(values, reverse=direction == "max")
    good = ordered[: max(1, math.ceil(len(ordered) * 0.75))]
    reach = abs(good[-1] - good[0]) * (1 + BEYOND_SPREADS) or abs(good[0]) * 0.01 or 1.0
    worst = good[0] + reach if direction == "min" else good[0] - reach
    edge = min(ordered[-1], worst) if direction == "min" else max(ordered[-1], worst)
    low, high = min(good[0], edge, *always), max(good[0], edge, *always)
    margin = (high - low) * MARGIN_SHARE or abs(high) * 0.01 or 1.0
    # Labels stand on the good side of the last stair, and need more room there.
    return (low - 2 * margin, high + margin) if direction == "min" else (low - margin, high + 2 * margin)


def draw(shown: Sample, path: Path, *, title: str) -> None:
    """Write the picture of these results as PNG or SVG by the file's ending.

    Raises UserError for another ending, for no value at all, and for a file that cannot be written.
    """
    canvas.check(path)
    values = [row.value for row in shown.rows if row.value is not None]
    if not values:
        raise UserError("there is nothing to draw yet: run `autoresearch join` until a first result is there")
    bounds = limits(values, shown.rows[0].direction, [step.value for step in staircase(shown)])
    canvas.paint(path, SIZE_INCHES, lambda axes: _fill(axes, shown, bounds, title))


def _fill(axes: Axes, shown: Sample, bounds: tuple[float, float], title: str) -> None:
    first = shown.rows[0]
    down = first.direction == "min"
    axes.set_ylim(*bounds)
    axes.set_xlim(0.3, max(shown.count * 1.06, shown.count + 2.5))
    _dots(axes, shown, bounds)
    steps = staircase(shown)
    if steps:
        numbers = [step.number for step in steps] + [shown.count]
        heights = [step.value for step in steps] + [steps[-1].value]
        axes.step(numbers, heights, where="post", color=KEPT, linewidth=1.6, label="best so far", zorder=4)
        _label(axes, steps, down)
    metric = text.printable(first.metric, METRIC_CHARACTERS)
    axes.set(xlabel="experiment", ylabel=f"{metric} ({'lower' if down else 'higher'} is better)")
    canvas.whole_numbers(axes)
    axes.set_title(_title(title, steps, shown), loc="left", fontsize=12)
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper right" if down else "lower right", frameon=False, fontsize=9)


def _dots(axes: Axes, shown: Sample, bounds: tuple[float, float]) -> None:
    low, high = bounds
    worst = high if shown.rows[0].direction == "min" else low
    groups: dict[str, list[tuple[int, float]]] = {name: [] for name in LOOKS}
    for number, row in zip(shown.numbers, shown.rows, strict=True):
        if row.value is None:
            groups["failed, no value"].append((number, worst))
        elif row.status == "kept":
            groups["kept"].append((number, min(max(row.value, low), high)))
        elif low <= row.value <= high:
            groups["discarded"].append((number, row.value))
        else:
            groups["discarded, off the scale"].append((number, worst))
    shrink = min(1.0, CROWD / len(shown.rows))
    for order, (name, points) in enumerate(groups.items(), 2):
        if points:
            colour, marker, size = LOOKS[name]
            across, up = zip(*points, strict=True)
            label = f"{len(points)} {name}"
            area = max(size * shrink, AREA_MIN)
            axes.scatter(across, up, s=area, c=colour, marker=marker, label=label, zorder=order, clip_on=False)


def _label(axes: Axes, steps: Sequence[Step], down: bool) -> None:
    """Write what each stair was, on the empty side of the staircase; of many, the largest gains with room for them."""
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    for step in labelled(steps, right - left, high - low):
        early = (step.number - left) / (right - left) < EARLY_SHARE
        slope = LABEL_DEGREES if down else -LABEL_DEGREES
        axes.annotate(
            text.printable(step.row.description, LABEL_CHARACTERS),
            (step.number, step.value),
            xytext=(6, 6 if down else -6) if early else (-5, -5 if down else 5),
            textcoords="offset points",
            fontsize=8,
            color=KEPT,
            rotation=slope,
            rotation_mode="anchor",
            horizontalalignment="left" if early else "right",
            verticalalignment="bottom" if early == down else "top",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.65, "pad": 0.5},
            zorder=5,
        )


def labelled(steps: Sequence[Step], across: float, up: float) -> list[Step]:
    """Return the stairs to label: the first, the last, then by gain those that are far enough from the chosen ones.

    `across` and `up` are the lengths of the axes in their units.
    """
    gains = {step.number: abs(step.value - before.value) for before, step in pairwise(steps)}
    ranked = sorted(steps[1:-1], key=lambda step: gains[step.number], reverse=True)
    chosen: list[Step] = []
    for step in [*steps[:1], *steps[1:][-1:], *ranked]:
        near = (
            abs(step.number - other.number) < across * LABEL_ROOM and abs(step.value - other.value) < up * LABEL_ROOM
            for other in chosen
        )
        if len(chosen) < LABELS_MAX and not any(near):
            chosen.append(step)
    return chosen


def _title(title: str, steps: Sequence[Step], shown: Sample) -> str:
    words = f"{text.printable(title, TITLE_CHARACTERS)}, {text.plural(shown.count, 'experiment')}"
    if len(shown.rows) < shown.count:
        words += f" ({len(shown.rows):,} drawn)"
    return words if len(steps) < 2 else f"{words}: {steps[0].value:.4f} → {steps[-1].value:.4f}"
