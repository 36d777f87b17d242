"""The picture of progress: every experiment as a dot, and the staircase of the best so far.

The only module that imports matplotlib, and only when a picture is drawn. The Agg backend needs no display. An
interactive chart was rejected: a file can be put into a README or a letter.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensue.errors import UserError
from node import text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ensue.store import ResultRow

SUFFIXES = (".png", ".svg")
LABELS_MAX = 24
LABEL_CHARACTERS = 34
SIZE_INCHES = (11.0, 6.0)
DOTS_PER_INCH = 150
KEPT, DISCARDED, FAILED = "#1a7f37", "#b5b5b5", "#cf222e"
LOOKS = {  # colour, marker and area of each kind of dot
    "kept": (KEPT, "o", 46),
    "discarded": (DISCARDED, "o", 22),
    "discarded, beyond the edge": (DISCARDED, "^", 26),
    "failed, no value": (FAILED, "x", 30),
}
BEYOND_SPREADS = 4.0  # values so many spreads worse than the rest are drawn at the edge, so that gains stay visible


@dataclass(frozen=True, slots=True)
class Step:
    """One stair: the number of the experiment (1 = first), its value, the result."""

    number: int
    value: float
    row: ResultRow


def staircase(rows: Sequence[ResultRow]) -> list[Step]:
    """Return the results that became the best, in the order given; only kept and unflagged ones can."""
    steps: list[Step] = []
    for number, row in enumerate(rows, 1):
        if row.status != "kept" or row.value is None or row.flags:
            continue
        better = not steps or (row.value < steps[-1].value if row.direction == "min" else row.value > steps[-1].value)
        if better:
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
    margin = (high - low) * 0.12 or abs(high) * 0.01 or 1.0
    return low - margin, high + margin


def draw(rows: Sequence[ResultRow], path: Path, *, title: str) -> None:
    """Write the picture of these results, in the order in which they arrived, as PNG or SVG by the file's ending.

    Raises UserError for another ending, for no value at all, and for a file that cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} must end in .png or .svg: those are the pictures that can be drawn")
    values = [row.value for row in rows if row.value is not None]
    if not values:
        raise UserError("there is nothing to draw yet: run `autoresearch join` until a first result is there")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    looks: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "autoresearch", "text.parse_math": False}
    with matplotlib.rc_context(looks), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands for a letter that no font has
        figure, axes = pyplot.subplots(figsize=SIZE_INCHES, layout="constrained")
        try:
            stairs = [step.value for step in staircase(rows)]
            _fill(axes, rows, limits(values, rows[0].direction, stairs), title)
            metadata: dict[str, Any] = {"Date": None} if path.suffix.lower() == ".svg" else {}
            scratch = path.with_name(f".{path.name}.unfinished")
            figure.savefig(scratch, format=path.suffix[1:].lower(), dpi=DOTS_PER_INCH, metadata=metadata)
            scratch.replace(path)
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}): choose another with --output") from error
        finally:
            pyplot.close(figure)


def _fill(axes: Axes, rows: Sequence[ResultRow], bounds: tuple[float, float], title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    low, high = bounds
    edge = high if rows[0].direction == "min" else low

    def inside(value: float) -> float:
        return min(max(value, low), high)

    groups: dict[str, list[tuple[int, float]]] = {name: [] for name in LOOKS}
    for number, row in enumerate(rows, 1):
        if row.value is None:
            groups["failed, no value"].append((number, edge))
        elif row.status == "kept":
            groups["kept"].append((number, inside(row.value)))
        else:
            name = "discarded" if low <= row.value <= high else "discarded, beyond the edge"
            groups[name].append((number, inside(row.value)))
    for name, points in groups.items():
        if points:
            colour, marker, size = LOOKS[name]
            across, up = zip(*points, strict=True)
            axes.scatter(
                across, up, s=size, c=colour, marker=marker, label=f"{len(points)} {name}", zorder=3, clip_on=False
            )
    steps = staircase(rows)
    if steps:
        numbers = [step.number for step in steps] + [len(rows)]
        heights = [step.value for step in steps] + [steps[-1].value]
        axes.step(numbers, heights, where="post", color=KEPT, linewidth=1.6, label="best so far", zorder=2)
        _label(axes, steps)
    better = "lower" if rows[0].direction == "min" else "higher"
    axes.set(xlabel="experiment", ylabel=f"{text.printable(rows[0].metric)} ({better} is better)", ylim=(low, high))
    axes.set_xlim(0.3, max(len(rows) * 1.12, len(rows) + 2.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(_title(title, steps, len(rows)), loc="left", fontsize=12)
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper right", frameon=False, fontsize=9)


def _label(axes: Axes, steps: Sequence[Step]) -> None:
    """Write what each stair was; of many, the largest gains and the last."""
    gains = {step.number: abs(step.value - before.value) for before, step in pairwise(steps)}
    largest = sorted(gains, key=lambda number: gains[number], reverse=True)[: LABELS_MAX - 2]
    chosen = {steps[0].number, steps[-1].number, *largest}
    for step in steps:
        if step.number in chosen:
            words = text.printable(step.row.description, LABEL_CHARACTERS)
            axes.annotate(
                words,
                (step.number, step.value),
                xytext=(5, 5),
                textcoords="offset points",
                fontsize=8,
                rotation=22,
                color=KEPT,
                annotation_clip=True,
            )


def _title(title: str, steps: Sequence[Step], count: int) -> str:
    words = f"{text.printable(title)}, {text.plural(count, 'experiment')}"
    return words if len(steps) < 2 else f"{words}: {steps[0].value:.4f} → {steps[-1].value:.4f}"
