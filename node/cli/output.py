"""What the commands share: the `--json` flag, the track asked for, results as JSON, colours and tables.

Leaves out how texts are made harmless (`node.text`). Results become JSON here alone, so that every command shows the
same fields.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ensue.errors import DiskFull, UnknownId, UserError
from node import text
from node.home import Home, default_home, open_replica

if TYPE_CHECKING:
    from ensue.store import ResultRow, Store
    from verify.trust import Judge

COLOURS = {"kept": "green", "discarded": "yellow", "crashed": "red", "timed_out": "red", "refused": "magenta"}
MARKS = {"kept": "●", "discarded": "○", "crashed": "✕", "timed_out": "✕", "refused": "✕"}
COLUMNS_MAX = 160
ROOM_COLUMNS = 32  # what the last column of a table should have

as_json = click.option("--json", "in_json", is_flag=True, help="Print one JSON document and nothing else.")
of_track = click.option("--track", metavar="T", help="A track's name or the beginning of its id; default: the setting.")


def positive(name: str, default: int, about: str) -> Callable[[Any], Any]:
    """Return an option for a count of at least one."""
    return click.option(name, type=click.IntRange(1, 10**6), default=default, show_default=True, help=about)


def print_json(document: object) -> None:
    """Print one JSON document; characters beyond ASCII are escaped, so strangers' text is harmless here as well."""
    click.echo(json.dumps(document, indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


def columns() -> int:
    """Return how wide a line may be: the terminal's width, or COLUMNS_MAX where there is none."""
    return min(shutil.get_terminal_size((COLUMNS_MAX, 24)).columns, COLUMNS_MAX)


def title(words: str) -> None:
    """Print a heading."""
    click.secho(words, bold=True)


def note(words: str) -> None:
    """Print a remark in the background."""
    click.secho(words, dim=True)


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two aligned columns; values of several lines hang under their first."""
    wide = max((text.width(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        first, *more = value.split("\n")
        click.echo(f"{click.style(text.pad(name, wide), dim=True)}  {first}")
        for rest in more:
            click.echo(f"{' ' * wide}  {rest}")


def rows(
    heads: Sequence[str],
    cells: Sequence[Sequence[str]],
    aligns: str,
    colours: Sequence[str | None] = (),
    spare: Sequence[str] = (),
) -> None:
    """Print a table with a dim heading; each row in its colour, where one is given.

    On a narrow terminal the columns headed `spare` are left out, one by one, until the last column has room.
    """
    table = [list(heads), *[list(row) for row in cells]]
    kept = list(range(len(heads)))
    for head in spare:
        taken = sum(max(text.width(row[place]) for row in table) + 2 for place in kept[:-1])
        if columns() - taken >= ROOM_COLUMNS:
            break
        kept.remove(list(heads).index(head))
    chosen = [[row[place] for place in kept] for row in table]
    lines = text.table(chosen[0], chosen[1:], "".join(aligns[place] for place in kept), columns())
    click.secho(lines[0], dim=True)
    for number, row in enumerate(lines[1:]):
        colour = colours[number] if number < len(colours) else None
        click.echo(click.style(row, fg=colour) if colour else row)


@contextmanager
def replica() -> Iterator[tuple[Home, Store]]:
    """Yield the home and its open replica, its verdicts up to date; raise UserError where no node was founded yet."""
    home = default_home()
    with open_replica(home) as store:
        if store.trials.waiting():
            try:
                judge(store).settle()
            except DiskFull as error:
                click.secho(f"verdicts on reruns are those of before: {error}", dim=True, err=True)
        yield home, store


def judge(store: Store) -> Judge:
    """Return what judges the reruns of a replica."""
    from verify.trust import Judge

    return Judge(store)


def policy(home: Home) -> dict[str, Any]:
    """Return what the founder of the network has laid down about trust and credit."""
    from ensue.genesis import Genesis

    return Genesis.load(home.genesis).policy


def resolve(store: Store, prefix: str, kind: str) -> str:
    """Return the full id of the one record of a kind that begins so; raise UserError where it is none, or another."""
    try:
        return store.resolve(prefix, kinds=[kind])
    except UnknownId:
        found = store.get(store.resolve(prefix))
    called = text.printable(found.kind, 40)
    raise UserError(f"{found.id[:10]} is no {kind} but another kind of record, {called}: it takes the id of one {kind}")


def result(store: Store, identifier: str | None) -> ResultRow | None:
    """Return the result with this full id, None where it is not here or no result."""
    if identifier is None:
        return None
    try:
        return store.result(identifier)
    except UnknownId:
        return None


def gain(row: ResultRow, store: Store) -> float | None:
    """Return by how much a result is better than its parent, in units of the metric; None without both values."""
    return better(row, result(store, row.parent))


def better(row: ResultRow, other: ResultRow | None) -> float | None:
    """Return by how much a result is better than another, in units of the metric; None without both values."""
    if other is None or other.value is None or row.value is None:
        return None
    return other.value - row.value if row.direction == "min" else row.value - other.value


def result_json(row: ResultRow, store: Store | None = None) -> dict[str, Any]:
    """Return a result with the fields that `--json` promises, figures in the units that their names end with.

    With a replica the account that its author spoke for stands in it too.
    """
    found: dict[str, Any] = {
        "id": row.id,
        "experiment": row.experiment,
        "track": row.track,
        "author": row.author,
        "name": row.agent,
        "status": row.status,
        "metric": row.metric,
        "direction": row.direction,
        "value": row.value,
        "seed": row.seed,
        "hardware_class": row.hardware_class,
        "description": row.description,
        "parent": row.parent,
        "level": row.level,
        "flags": list(row.flags),
        "created_at": text.iso(row.created_ms),
        "received_at": text.iso(row.received_ms),
    }
    for name in (
        *("claim", "clock", "device", "proposer", "holdout", "holdout_gap", "holdout_gap_sd", "setup_s"),
        *("train_wall_s", "cpu_s", "score_s", "overhead_s", "wall_s", "cpu_share", "contended", "tokens_reported"),
        *("sandbox", "software", "source", "source_bytes", "log"),
    ):
        found[name] = getattr(row, name)
    if store is not None:
        found["account"] = store.people.account_of(row.author, row.seq)
    if row.reason is not None:
        found["reason"] = row.reason
    return found
