"""The picture of descent: kept results as a tree, one row each, the further right the better.

Left out: the file (canvas), and what was not kept. A child stands below and right of its parent, so no line crosses a
label however many there are; of very many the line of the best and the best others are drawn. Rejected: generations
as columns, in which siblings' labels overlap from thirty on, and a layout by springs, which is another one each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ensue.errors import UserError
from node import canvas, text

if TYPE_CHECKING:
    from ensue.store import ResultRow
    from node.canvas import Axes

NODES_MAX = 400
"""Results in one picture."""
LABEL_CHARACTERS = 44
METRIC_CHARACTERS = 30
TITLE_CHARACTERS = 60
WIDTH_INCHES = 11.0
ROW_INCHES, ROW_INCHES_MIN = 0.17, 0.125
LABEL_POINTS, LABEL_POINTS_MIN = 7.0, 6.0
CROWD, CROWD_MAX = 50, 200  # from the first number of rows on they come closer, up to the second
FRAME_INCHES = 1.5  # title, axis and legend
LABEL_SHARE = 0.38  # of the width, right of the last dot
EDGE_SHARE = 0.05  # of the span of values, left of the first dot
AGAINST = ("refuted", "worse in reruns")
PATH, LINE, WRONG = "#1a7f37", "#c4c4c4", "#cf222e"
LOOKS = {  # colour of face and edge, marker and area of each level
    "recorded": ("white", "#6e7781", "o", 26),
    "official": ("#0969da", "#0969da", "s", 28),
    "confirmed": (PATH, PATH, "*", 95),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A result in the picture: its row from the top, and the row of its parent, None for a beginning."""

    row: ResultRow
    at: int
    above: int | None


@dataclass(frozen=True, slots=True)
class Tree:
    """What is drawn of `count` kept results, from the top down; `path` holds the ids from a beginning to the best."""

    places: tuple[Place, ...]
    path: frozenset[str]
    count: int
    asked: str | None = None


def grow(rows: Iterable[ResultRow], best: str | None, asked: str | None = None, nodes_max: int = NODES_MAX) -> Tree:
    """Return the tree of the kept results among `rows`; a parent that is not among them leaves a beginning.

    `best` is the id of the one whose line is bold, `asked` of one that is marked.
    """
    kept = {row.id: row for row in rows if row.status == "kept" and row.value is not None}
    chosen = _chosen(kept, [key for key in (best, asked) if key in kept], nodes_max)
    path = frozenset(_line(chosen, best)) if best in chosen else frozenset()
    below: dict[str | None, list[ResultRow]] = {}
    for row in chosen.values():
        below.setdefault(row.parent if row.parent in chosen else None, []).append(row)
    places: list[Place] = []
    waiting: list[tuple[ResultRow, int | None]] = []

    def wait(rows: Sequence[ResultRow], above: int | None) -> None:
        # The bold line comes first, so that it stands together at the top; a list is taken from its end.
        waiting.extend((row, above) for row in sorted(rows, key=lambda row: (row.id not in path, _rank(row)))[::-1])

    wait(below.get(None, []), None)
    while waiting:
        row, above = waiting.pop()
        places.append(Place(row, len(places), above))
        wait(below.get(row.id, []), len(places) - 1)
    return Tree(tuple(places), path, len(kept), asked)


def best_of(rows: Iterable[ResultRow]) -> str | None:
    """Return the id of the best kept result that nothing is said against, of the highest level that any of them has."""
    able = [row for row in rows if row.status == "kept" and row.value is not None and not row.flags]
    levels = list(LOOKS)
    return min(able, key=lambda row: (-levels.index(row.level), _rank(row))).id if able else None


def draw(tree: Tree, path: Path, *, title: str) -> None:
    """Write the picture of a tree as PNG or SVG by the file's ending.

    Raises UserError for another ending, for nothing to draw, and for a file that cannot be written.
    """
    canvas.check(path)
    if not tree.places:
        raise UserError("there is no kept result to draw yet: run `autoresearch join` until a first one is there")
    height = FRAME_INCHES + _between(ROW_INCHES, ROW_INCHES_MIN, tree) * (len(tree.places) + 1)
    canvas.paint(path, (WIDTH_INCHES, height), lambda axes: _fill(axes, tree, title))


def _between(few: float, many: float, tree: Tree) -> float:
    """Return a size between that for few rows and that for many."""
    crowded = (len(tree.places) - CROWD) / (CROWD_MAX - CROWD)
    return few + (many - few) * min(1.0, max(0.0, crowded))


def _rank(row: ResultRow) -> tuple[bool, float, str]:
    """Return what orders results, the best first; what was refuted comes last."""
    value = row.value or 0.0
    return any(flag in row.flags for flag in AGAINST), value if row.direction == "min" else -value, row.id


def _line(rows: dict[str, ResultRow], key: str | None) -> list[str]:
    """Return the ids from a result up to its beginning, as far as they are among the rows."""
    found: dict[str, None] = {}
    while key is not None and key in rows and key not in found:
        found[key] = None
        key = rows[key].parent
    return list(found)


def _chosen(rows: dict[str, ResultRow], first: Sequence[str], nodes_max: int) -> dict[str, ResultRow]:
    """Return at most so many results, each with its line: those of `first`, then the best."""
    if len(rows) <= nodes_max:
        return rows
    chosen: dict[str, ResultRow] = {}
    for key in [*first, *(row.id for row in sorted(rows.values(), key=_rank))]:
        new = [one for one in _line(rows, key) if one not in chosen]
        if len(chosen) + len(new) <= nodes_max:
            chosen |= {one: rows[one] for one in new}
    return chosen


def _fill(axes: Axes, tree: Tree, title: str) -> None:
    first = tree.places[0].row
    low, high = _span(tree)
    span = (high - low) or abs(high) * 0.01 or 1.0
    down = first.direction == "min"
    left, right = low - EDGE_SHARE * span, high + EDGE_SHARE * span
    room = (right - left) * LABEL_SHARE / (1 - LABEL_SHARE)
    axes.set_xlim(*((right, left - room) if down else (left, right + room)))
    axes.set_ylim(len(tree.places) - 0.3, -0.9)
    across = [min(max(place.row.value or 0.0, low), high) for place in tree.places]
    _lines(axes, tree, across)
    _dots(axes, tree, across)
    _labels(axes, tree, across)
    metric = text.printable(first.metric, METRIC_CHARACTERS)
    axes.set_xlabel(f"{metric} ({'lower' if down else 'higher'} is better, to the right)", fontsize=9)
    axes.set_xticks([tick for tick in axes.get_xticks() if left <= tick <= right])
    axes.tick_params(labelsize=8)
    axes.set_yticks([])
    axes.set_title(_title(title, tree), loc="left", fontsize=11)
    axes.grid(axis="x", alpha=0.2)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure = axes.get_figure()
    assert figure is not None  # the canvas made it
    figure.legend(loc="outside lower center", ncols=len(LOOKS) + 3, frameon=False, fontsize=8)


def _span(tree: Tree) -> tuple[float, float]:
    """Return the lowest and highest value of the scale; a refuted figure stands at the edge and stretches nothing."""
    values = [
        place.row.value
        for place in tree.places
        if place.row.value is not None and not any(flag in place.row.flags for flag in AGAINST)
    ] or [place.row.value or 0.0 for place in tree.places]
    return min(values), max(values)


def _lines(axes: Axes, tree: Tree, across: Sequence[float]) -> None:
    """Draw from each parent down, then to its child; those of the best's line on top."""
    for place in tree.places:
        if place.above is None:
            continue
        bold = place.row.id in tree.path
        start = across[place.above]
        axes.plot(
            [start, start, across[place.at]],
            [place.above, place.at, place.at],
            color=PATH if bold else LINE,
            linewidth=2.6 if bold else 0.9,
            solid_joinstyle="round",
            zorder=3 if bold else 2,
        )


def _dots(axes: Axes, tree: Tree, across: Sequence[float]) -> None:
    """Draw a dot for each result by its level, a cross on what reruns speak against, a ring around the one asked."""
    for level, (face, edge, marker, area) in LOOKS.items():
        mine = [place.at for place in tree.places if place.row.level == level]
        if mine:
            xs = [across[at] for at in mine]
            name = f"{len(mine)} {level}"
            axes.scatter(xs, mine, s=area, c=face, edgecolors=edge, marker=marker, label=name, zorder=4, linewidths=1.1)
    wrong = [place.at for place in tree.places if any(flag in place.row.flags for flag in AGAINST)]
    if wrong:
        xs = [across[at] for at in wrong]
        axes.scatter(xs, wrong, s=60, c=WRONG, marker="x", label="refuted or worse", zorder=5, linewidths=1.6)
    if tree.path:
        axes.plot([], [], color=PATH, linewidth=2.6, label="line of the best")
    ring = next((place.at for place in tree.places if place.row.id == tree.asked), None)
    if ring is not None:
        axes.scatter([across[ring]], [ring], s=190, facecolors="none", edgecolors="black", label="asked for", zorder=5)


def _labels(axes: Axes, tree: Tree, across: Sequence[float]) -> None:
    points = _between(LABEL_POINTS, LABEL_POINTS_MIN, tree)
    for place in tree.places:
        row, against = place.row, any(flag in place.row.flags for flag in AGAINST)
        flags = "".join(f" [{flag}]" for flag in row.flags)
        words = f"{text.number(row.value)}  {text.printable(row.description, LABEL_CHARACTERS)}{flags}"
        axes.annotate(
            words,
            (across[place.at], place.at),
            xytext=(11 if row.id == tree.asked else 7, 0),
            textcoords="offset points",
            fontsize=points,
            verticalalignment="center",
            color=WRONG if against else PATH if row.id in tree.path else "#24292f",
            fontweight="bold" if row.id in tree.path else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.4},
            zorder=3.5,
            clip_on=True,
        )


def _title(title: str, tree: Tree) -> str:
    words = f"{text.printable(title, TITLE_CHARACTERS)}, {text.plural(tree.count, 'kept result')}"
    return words if len(tree.places) == tree.count else f"{words} ({len(tree.places):,} drawn)"
