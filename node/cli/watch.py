"""`watch`: follow a network from any machine, and give it an idea, without being a node.

Left out: the way to the node (`node.light`). Nothing of a node runs here, so the library that cannot be loaded beside
the node's own is loaded in this process.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ensue.errors import InvalidBody, LogInDoubt, UserError
from node import text
from node.cli import output, tracks
from node.home import default_home
from node.names import Names

if TYPE_CHECKING:
    from ensue.genesis import Genesis
    from ensue.record import Record
    from ensue.store import ResultRow, Store

FOLDER = "watch"
NAME_CHARACTERS = 8


@click.command(short_help="Follow a network, or give it an idea, without a node.")
@click.argument("address")
@click.option("--once", is_flag=True, help="Print the leaderboard as it is now, and end.")
@click.option("--hypothesis", "idea", metavar="TEXT", help="Publish an idea for nodes to try, and end.")
@click.option("--key", type=click.Path(path_type=Path), metavar="FILE", help="The key that signs it; made if missing.")
@output.positive("--limit", 20, "At most so many rows.")
@click.option("--track", metavar="T", help="A track's name or the beginning of its id; default: the newest result's.")
@click.option("--json", "in_json", is_flag=True, help="Print JSON: one document; while following, one on each line.")
@click.pass_context
def watch(
    ctx: click.Context,
    address: str,
    once: bool,
    idea: str | None,
    key: Path | None,
    limit: int,
    track: str | None,
    in_json: bool,
) -> None:
    """Follow the network of the node at ADDRESS, a multiaddress or an invite: its leaderboard, and results as they
    come. Every record is verified here, and kept, so that the next start fetches only what is new. Ctrl-C ends it.
    """
    if key is not None and idea is None:
        raise click.UsageError("--key goes with --hypothesis: watching signs nothing.")
    genesis, addresses = _found(address)
    from node.light import library

    library.require()
    from node.light import watcher

    folder = default_home().path / FOLDER
    place = watcher.Place(addresses, genesis.network_id if genesis else None, folder)
    shown = Shown(genesis, track, limit, in_json)
    if idea is not None:
        record = watcher.publish(place, lambda store: _signed(store, folder, key, shown, idea))
        _published(record, in_json)
    elif once:
        watcher.look(place, shown)
    else:
        shown.live = True
        if watcher.follow(place, shown) == signal.SIGINT:
            ctx.exit(130)


def _found(address: str) -> tuple[Genesis | None, tuple[str, ...]]:
    """Return the network of an invite and its addresses, or the one address given; raise UserError where it is none."""
    from node.swarm import address as addresses
    from node.swarm import invite

    if address.strip().startswith("/"):
        return None, (addresses.parse(address.strip()).text,)
    read = invite.decode(address)
    return read.genesis, read.addresses


class Shown:
    """What the terminal shows of a network; see `node.light.watcher.Screen`."""

    def __init__(self, genesis: Genesis | None, track: str | None, limit: int, in_json: bool) -> None:
        self._genesis, self._wanted, self._limit, self._in_json = genesis, track, limit, in_json
        self._track: tracks.Asked | None = None
        self._upto = 0
        self._said = False
        self.live = False
        """Whether results that come later are shown as well."""

    def arrived(self, store: Store, upto: int) -> None:
        """Print the leaderboard the first time, and from then on every result that came, those in rows up to `upto`."""
        if self._track is not None:
            self._news(store, self._track, upto)
        else:
            self._track = self.asked(store)
            if self._track is not None:
                self._first(store, self._track)
            elif not self._said:
                self._nothing(store)
                self._said = True
        self._upto = upto

    def note(self, words: str) -> None:
        """Print a sentence about the connection, on stderr."""
        click.echo(f"autoresearch: {text.printable(words)}", err=True)

    def asked(self, store: Store) -> tracks.Asked | None:
        """Return the track that was asked for, else that of the newest result, else the network's first; None: none.

        Raises UserError naming those there are.
        """
        known = self._names()
        recent = tracks.recent(store)
        if self._wanted is None:
            found = [*recent[:1], *([self._genesis.tracks[0].id] if self._genesis and self._genesis.tracks else [])][:1]
        else:
            begins = self._wanted.lower() if len(self._wanted) >= tracks.PREFIX_CHARACTERS_MIN else "-"
            named = [identifier for identifier, name in known.items() if name == self._wanted]
            found = named or sorted({one for one in (*known, *recent) if one.startswith(begins)})
            if len(found) != 1:
                choices = ", ".join(sorted(text.printable(name, 40) for name in set(known.values())))
                wrong = text.printable(self._wanted, 60)
                raise UserError(f"there is no track {wrong!r} here: choose one of {choices}, or give its id")
        return tracks.Asked(found[0], text.printable(known.get(found[0], found[0][:10]), 40)) if found else None

    def _names(self) -> dict[str, str]:
        from experiments import track

        known = {loaded.id: loaded.name for loaded in map(track.load, track.available())}
        return {founded.id: founded.name for founded in (self._genesis.tracks if self._genesis else ())} | known

    def _nothing(self, store: Store) -> None:
        if self._in_json and self.live:
            _line({"network": store.network, "track": None, "leaderboard": []})
        elif self._in_json:
            output.print_json([])
        else:
            click.echo("No results in this network yet.")

    def _first(self, store: Store, track: tracks.Asked) -> None:
        ranked = store.leaderboard(track.id, limit=self._limit)
        rows = [output.result_json(row) for row in ranked]
        if self._in_json and not self.live:
            output.print_json(rows)
        elif self._in_json:
            _line({"network": store.network, "track": track.id, "leaderboard": rows})
        elif not ranked:
            click.echo(f"No results on {track.name} yet.")
        else:
            better = "lower is better" if ranked[0].direction == "min" else "higher is better"
            output.title(f"{track.name} · {text.printable(ranked[0].metric)}, {better}")
            _table(ranked, Names.of(store))

    def _news(self, store: Store, track: tracks.Asked, upto: int) -> None:
        best, called = store.best(track.id), Names.of(store)
        for number, record in store.numbered(kind="result", after_rowid=self._upto):
            if number > upto:
                return
            if record.body.get("track") != track.id:
                continue
            row = store.result(record.id)
            if self._in_json:
                _line({"result": output.result_json(row), "best": best is not None and best.id == row.id})
            else:
                click.echo(_news_line(row, best, called))


def _table(ranked: list[ResultRow], called: Names) -> None:
    cells = [
        [
            str(place) if row.value is not None else text.NONE,
            text.number(row.value),
            f"{output.MARKS[row.status]} {row.status.replace('_', ' ')}",
            text.short(row.id),
            called.who(row.agent, row.author),
            text.printable(row.hardware_class, 28),
            text.printable(row.description) + "".join(f" [{flag}]" for flag in row.flags),
        ]
        for place, row in enumerate(ranked, 1)
    ]
    heads = ["#", text.printable(ranked[0].metric, 16), "status", "id", "by", "hardware", "what"]
    output.rows(heads, cells, ">><<<<<", [output.COLOURS[row.status] for row in ranked], spare=["hardware", "by"])


def _news_line(row: ResultRow, best: ResultRow | None, called: Names) -> str:
    words = [
        f"{output.MARKS[row.status]} {row.status.replace('_', ' ')}",
        text.number(row.value),
        text.short(row.id),
        called.who(row.agent, row.author),
        text.printable(row.description),
    ]
    line = text.fit("  ".join(words), output.columns())
    if best is not None and best.id == row.id:
        return click.style(f"{line}  the best so far", fg="green", bold=True)
    return click.style(line, fg=output.COLOURS[row.status])


def _line(document: object) -> None:
    click.echo(json.dumps(document, allow_nan=False).replace("\x7f", "\\u007f"))


def _signed(store: Store, folder: Path, key: Path | None, shown: Shown, idea: str) -> Record:
    """Return the idea as a new record in the store, signed with a key whose log is in this folder alone."""
    from ensue.identity import Identity
    from ensue.store import ownlog

    track = shown.asked(store)
    if track is None:
        raise UserError("this network has no results yet, so say with --track what the idea is about")
    path = key or folder / f"{store.network}.key"
    fresh = not path.exists()
    identity = Identity.load_or_create(path)
    if fresh:
        ownlog.begin(store.path, store.network, identity.peer_id)
    best = store.best(track.id)
    body: dict[str, Any] = {
        "track": track.id,
        "text": text.entered(idea.strip()),
        "change": [],
        "source": None,
        "parent": best.id if best else None,
        "agent": f"watch-{identity.peer_id[-NAME_CHARACTERS:]}",
    }
    try:
        store.own_log.require(identity.peer_id)
        return store.append(identity, "hypothesis", body)
    except LogInDoubt as error:
        raise LogInDoubt(
            f"the key {path} may have signed elsewhere what is not known here, and a number that is signed twice would "
            "void what follows it: name a new file with --key, which makes a new key"
        ) from error
    except InvalidBody as error:
        raise UserError(str(error)) from error


def _published(record: Record, in_json: bool) -> None:
    if in_json:
        output.print_json(
            {"id": record.id, "kind": record.kind, "author": record.author, "seq": record.seq, "body": record.body}
        )
        return
    said = text.fit(text.printable(str(record.body["text"])), 80)
    click.echo(f"{click.style('published', fg='green')} {record.kind} {record.id[:10]}: {said}")
