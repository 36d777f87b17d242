"""`leaderboard` and `best`: who leads, with what, and by how much."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from node import names, text
from node.cli import output, sources, tracks
from node.cli import peer as peers
from node.cli.tracks import Asked
from node.names import Names

if TYPE_CHECKING:
    from ensue.store import ResultRow, Store
    from node.home import Home

BY = ("result", "agent", "account", "class", "author")
CLASSES_MAX = 100
CREDIT_DIGITS = 6
_MARK = {"recorded": "", "official": "✓", "confirmed": "★"}
LEVELS = ("recorded", "official", "confirmed")


@click.command(short_help="Rank results, agents, authors or hardware classes.")
@click.option("--by", type=click.Choice(BY), default="result", show_default=True, help="What is ranked, by its best.")
@click.option("--level", type=click.Choice(LEVELS), default="recorded", show_default=True, help="Believed how far.")
@output.positive("--limit", 20, "At most so many rows.")
@output.of_track
@peers.option
@output.as_json
def leaderboard(by: str, level: str, limit: int, track: str | None, peer: str | None, in_json: bool) -> None:
    """Rank the results of a track; the gain is against the parent that a script was made from."""
    if peer is not None:
        if level != "recorded" or limit > peers.ROWS_MAX:
            raise click.UsageError(f"A peer answers with at most {peers.ROWS_MAX} rows, of all that is recorded.")
        from node.swarm.query import Ranking

        with peers.said(peer, track, Ranking(by, limit)) as said:
            _print_ranked(said.store, said.rows, said.track.name, by, in_json, by_author=True)
        return
    with output.replica() as (home, store):
        wanted = tracks.asked(home, store, track)
        ranked = store.leaderboard(wanted.id, by=by, limit=limit, level=level)
        if not (ranked or in_json):
            _nothing(wanted.name, level, tracks.elsewhere(home, store, wanted.id))
            return
        owed = earned(home, store, wanted.id) if by == "account" else None
        _print_ranked(store, ranked, wanted.name, by, in_json, owed=owed)


@dataclass(slots=True)
class Earned:
    """What an account has earned on a track: units of credit, and how many results reruns confirmed and refuted."""

    units: int = 0
    confirmed: int = 0
    refuted: int = 0


def earned(home: Home, store: Store, track: str) -> dict[str, Earned]:
    """Return what each account has earned on a track."""
    from node.credit import totals

    rulings = {one.result: one for one in output.judge(store).rulings() if one.track == track}
    found: dict[str, Earned] = {}
    for name, units in totals(store, output.policy(home), track, rulings).items():
        found.setdefault(name, Earned()).units = units
    for one in rulings.values():
        if one.account and (one.refuted or one.confirmed):
            mine = found.setdefault(one.account, Earned())
            mine.confirmed += one.confirmed
            mine.refuted += one.refuted
    return found


def _print_ranked(
    store: Store,
    ranked: Sequence[ResultRow],
    track: str,
    by: str,
    in_json: bool,
    *,
    by_author: bool = False,
    owed: dict[str, Earned] | None = None,
) -> None:
    """Print a ranking; `by_author`: when by the authors' clocks, as it is not known when the records came."""
    if in_json:
        documents = [output.result_json(row, store) for row in ranked]
        if owed is not None:
            for document in documents:
                mine = owed.get(document["account"] or "", Earned())
                document |= {"credit_units": mine.units, "confirmed": mine.confirmed, "refuted": mine.refuted}
        output.print_json(documents)
        return
    _heading(ranked[0], track, by)
    _table(ranked, store, by_author, owed)
    if ranked[0].status == "kept" and any((output.better(row, ranked[0]) or 0.0) > 0 for row in ranked):
        output.note("A discarded result with a better value is better by no more than noise explains.")


def _nothing(track: str, level: str, hint: str) -> None:
    if level == "recorded":
        click.echo(f"No results on {track} yet: run `autoresearch join`, the first takes a few minutes.{hint}")
    else:
        what = "verifiers vouch for nobody yet" if level == "official" else "no reruns have shown a gain yet"
        click.echo(f"No {level} results on {track}: {what}.")


def _heading(first: ResultRow, track: str, by: str) -> None:
    better = "lower is better" if first.direction == "min" else "higher is better"
    words = f"{track} · {text.printable(first.metric)}, {better}"
    output.title(words if by == "result" else f"{words} · best of each {by}")


def _table(ranked: Sequence[ResultRow], store: Store, by_author: bool, owed: dict[str, Earned] | None) -> None:
    now_ms, called = int(time.time() * 1000), Names.of(store)
    metric = text.printable(ranked[0].metric, 16)
    columns: dict[str, tuple[str, list[str]]] = {
        "#": (">", [str(place) if row.value is not None else text.NONE for place, row in enumerate(ranked, 1)]),
        metric: (">", [text.number(row.value) for row in ranked]),
        "reruns": (">", [text.number(row.measured) for row in ranked]),
        "gain": (">", [text.signed(output.gain(row, store)) for row in ranked]),
        "status": ("<", [f"{output.MARKS[row.status]} {row.status.replace('_', ' ')}" for row in ranked]),
        "id": ("<", [text.short(row.id) for row in ranked]),
    }
    if all(row.measured is None for row in ranked):
        del columns["reruns"]
    if any(row.level != "recorded" for row in ranked):
        columns["✓"] = ("<", [_MARK[row.level] for row in ranked])
    columns["by"] = ("<", [called.who(row.agent, row.author) for row in ranked])
    if owed is not None:
        from node.credit import amount

        each = [owed.get(store.people.account_of(row.author, row.seq) or "", Earned()) for row in ranked]
        columns["credit"] = (">", [text.number(amount(one.units), CREDIT_DIGITS) for one in each])
        columns["confirmed"] = (">", [str(one.confirmed) for one in each])
        columns["refuted"] = (">", [str(one.refuted) for one in each])
    columns["hardware"] = ("<", [text.printable(row.hardware_class, 28) for row in ranked])
    columns["when"] = (">", [text.ago(row.created_ms if by_author else row.received_ms, now_ms) for row in ranked])
    columns["what"] = (
        "<",
        [text.printable(row.description) + "".join(f" [{flag}]" for flag in row.flags) for row in ranked],
    )
    cells = [list(row) for row in zip(*(column for _, column in columns.values()), strict=True)]
    aligns = "".join(align for align, _ in columns.values())
    colours = [output.COLOURS[row.status] for row in ranked]
    spare = [name for name in ("when", "hardware", "reruns") if name in columns] + ([] if owed is not None else ["by"])
    output.rows(list(columns), cells, aligns, colours, spare=spare)
    if owed is not None:
        _others(store, ranked, owed)
    if any(row.level == "confirmed" for row in ranked):
        output.note("✓ official: a person stands behind it.  ★ confirmed: others reran it, and it was better.")


def _others(store: Store, ranked: Sequence[ResultRow], owed: dict[str, Earned]) -> None:
    """Say what is owed to accounts that have no result in the ranking: for reruns, or for ideas."""
    from node.credit import amount

    shown = {store.people.account_of(row.author, row.seq) for row in ranked}
    others = [(name, one.units) for name, one in owed.items() if name not in shown and one.units]
    if others:
        words = ", ".join(
            f"{names.account(name)} {text.number(amount(units), CREDIT_DIGITS)}" for name, units in others
        )
        output.note(f"Credit of others, for reruns and ideas: {words}")


@click.command(short_help="Show the best result, its script, or its change.")
@click.option("--class", "hardware_class", metavar="C", help="The best on one hardware class.")
@click.option("--level", type=click.Choice(LEVELS), help="Believed how far; default: the highest level there is.")
@click.option("--source", "as_source", is_flag=True, help="Print its train.py.")
@click.option("--diff", "as_diff", is_flag=True, help="Print how its train.py differs from the baseline.")
@output.of_track
@peers.option
@output.as_json
def best(
    hardware_class: str | None,
    level: str | None,
    as_source: bool,
    as_diff: bool,
    track: str | None,
    peer: str | None,
    in_json: bool,
) -> None:
    """Show the best kept result of a track: of official results, where there are any."""
    if as_source and as_diff:
        raise click.UsageError("--source and --diff exclude each other: choose one.")
    if peer is not None:
        if level not in (None, "recorded"):
            raise click.UsageError("A peer answers with the best of all that is recorded.")
        from node.swarm.query import Best

        scripts: Literal["own", "both", "none"] = "own" if as_source else "both" if as_diff else "none"
        with peers.said(peer, track, Best(hardware_class, scripts)) as said:
            row = next(iter(said.rows), None)
            if row is None:
                _no_best(said.store, said.track, hardware_class, in_json, " there.")
            else:
                _print_best(said.store, row, said.track.name, as_source, as_diff, in_json, here=False)
        return
    with output.replica() as (home, store):
        wanted = tracks.asked(home, store, track)
        row = store.best(wanted.id, hardware_class=hardware_class, level=level)
        if row is None and level not in (None, "recorded"):
            output.print_json(None) if in_json else _nothing(wanted.name, level, "")
        elif row is None:
            hint = tracks.elsewhere(home, store, wanted.id)
            advice = f" yet: run `autoresearch join`, its first run is the baseline.{hint}"
            _no_best(store, wanted, hardware_class, in_json, advice)
        else:
            _print_best(store, row, wanted.name, as_source, as_diff, in_json)


def _print_best(
    store: Store, row: ResultRow, track: str, as_source: bool, as_diff: bool, in_json: bool, *, here: bool = True
) -> None:
    if as_source:
        sources.print_source(store, row.source, in_json)
    elif as_diff:
        sources.print_diff(store, sources.root(store, row), row, in_json)
    elif in_json:
        output.print_json(output.result_json(row, store))
    else:
        sources.print_result(store, row, track, here=here)


def _no_best(store: Store, track: Asked, hardware_class: str | None, in_json: bool, advice: str) -> None:
    if in_json:
        output.print_json(None)
    elif hardware_class is None:
        click.echo(f"Nothing kept on {track.name}{advice}")
    else:
        classes = sorted({row.hardware_class for row in store.leaderboard(track.id, by="class", limit=CLASSES_MAX)})
        known = ", ".join(text.printable(name) for name in classes) or "none so far"
        click.echo(f"Nothing kept on hardware class {text.printable(hardware_class, 60)}: there are {known}.")
