"""A family of results drawn as a tree: the line down to one result, then everything built on it.

An only child stays in its parent's column, so a long line of improvements does not wander off to the right. Of many
children that led nowhere only the best few are drawn, unless all are asked for: a best has hundreds of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from node import text
from node.cli import output

if TYPE_CHECKING:
    from ensue.store import ResultRow

INDENT_MAX = 40
BARREN_MAX = 8
"""Children of one result that were not kept, and on which nobody built, that are drawn."""


def family(
    row: ResultRow, ancestors: Sequence[ResultRow], descendants: Sequence[ResultRow], columns: int, *, whole: bool
) -> Iterator[str]:
    """Yield the lines of the tree, oldest ancestor first; `row` itself is bold."""
    known = {ancestor.id: ancestor for ancestor in ancestors}
    chain: list[ResultRow] = []
    found = known.get(row.parent or "")
    while found is not None and len(chain) < len(known):
        chain.append(found)
        found = known.get(found.parent or "")
    above: ResultRow | None = None
    for ancestor in reversed(chain):
        yield _line("", ancestor, above, columns)
        above = ancestor
    yield from _below(row, above, descendants, columns, whole)


def _below(
    row: ResultRow, parent: ResultRow | None, descendants: Sequence[ResultRow], columns: int, whole: bool
) -> Iterator[str]:
    children: dict[str, list[ResultRow]] = {}
    for found in descendants:
        children.setdefault(found.parent or "", []).append(found)
    left_out = {} if whole else _barren(children)
    seen: set[str] = set()
    waiting: list[tuple[str, str, ResultRow | int, ResultRow | None]] = [("", "", row, parent)]
    while waiting:
        prefix, under, current, above = waiting.pop()
        if isinstance(current, int):
            yield click.style(f"{prefix}… {current} more that led nowhere: --all draws them too", dim=True)
            continue
        if current.id in seen:
            continue
        seen.add(current.id)
        yield _line(prefix, current, above, columns, bold=current.id == row.id)
        barren = left_out.get(current.id, set())
        below: list[ResultRow | int] = [child for child in children.get(current.id, []) if child.id not in barren]
        below += [len(barren)] if barren else []
        if len(below) == 1:
            waiting.append((under, under, below[0], current))
            continue
        for place, child in reversed(list(enumerate(below))):
            last = place == len(below) - 1
            waiting.append((under + ("└─ " if last else "├─ "), under + ("   " if last else "│  "), child, current))


def _barren(children: Mapping[str, Sequence[ResultRow]]) -> dict[str, set[str]]:
    """Return of each parent with many children that led nowhere all of those but the best."""
    found = {}
    for parent, below in children.items():
        barren = [child for child in below if child.status != "kept" and child.id not in children]
        barren.sort(key=_rank)
        if len(barren) > BARREN_MAX:
            found[parent] = {child.id for child in barren[BARREN_MAX:]}
    return found


def _rank(row: ResultRow) -> tuple[bool, float]:
    value = row.value or 0.0
    return row.value is None, value if row.direction == "min" else -value


def _line(prefix: str, row: ResultRow, parent: ResultRow | None, columns: int, bold: bool = False) -> str:
    better = output.better(row, parent)
    shown = prefix if len(prefix) <= INDENT_MAX else "…" + prefix[-INDENT_MAX:]
    value = text.number(row.value) if row.value is not None else row.status.replace("_", " ")
    words = f"{text.short(row.id)}  {value}  {text.signed(better) if better is not None else '':>7}  "
    what = text.printable(row.description) + "".join(f" [{flag}]" for flag in row.flags)
    room = max(columns - text.width(shown + words) - 2, 20)
    mark = click.style(output.MARKS[row.status], fg=output.COLOURS[row.status])
    return f"{click.style(shown, dim=True)}{mark} {click.style(words + text.fit(what, room), bold=bold)}"
