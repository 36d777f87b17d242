"""`invite` and `peers`: let others in, and see who is there.

They read what the swarm process notes in the replica, and the book of peers, so they work while no node runs. Left out:
talking to anybody; a command never opens a connection.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from node import text
from node.cli import output
from node.names import Names

if TYPE_CHECKING:
    from ensue.store import Store
    from node.home import Home
    from node.swarm.peerbook import Peer, PeerBook
    from node.swarm.status import PeerStatus, SwarmStatus, Unverified

OWN_ADDRESSES = 4  # of this node in an invite: each further one makes the QR code larger
OTHERS = 2  # peers whose address an invite has too, so that it works while this node is off
GUIDE = "docs/how-to/join-others.md"


@click.command(short_help="Print one line that lets others join.")
@click.option("--no-qr", is_flag=True, help="Leave out the QR code.")
@output.as_json
def invite(no_qr: bool, in_json: bool) -> None:
    """Print one line that lets others join this network, and its QR code where the terminal has room for it.

    Give the line to `autoresearch join` on another machine. It names the network and addresses of members, and is no
    secret: whoever has it can join.
    """
    from ensue.genesis import Genesis
    from node.swarm.invite import encode

    with output.replica() as (home, store):
        genesis = Genesis.load(home.genesis)
        said, running, book = _known(home, store)
    addresses = _to_invite(said, book)
    line = encode(genesis, addresses)
    notes = _notes(said, running, addresses)
    if in_json:
        found = {"invite": line, "network": genesis.network_id, "network_name": genesis.name}
        output.print_json(found | {"addresses": addresses, "running": running, "notes": notes})
        return
    click.echo(line)
    code = None if no_qr else _code(line)
    if code is not None:
        click.echo(f"\n{code}")
    for words in notes:
        click.secho(words, dim=True, err=True)


@click.command(short_help="Show who is there.")
@output.as_json
def peers(in_json: bool) -> None:
    """Show the peers of this node: those it is connected to, then those it knows, and whether others can reach it."""
    with output.replica() as (home, store):
        said, running, book = _known(home, store)
        rows = _rows(said if running else None, said, book)
        called = Names.of(store, [row["peer_id"] for row in rows])
    if in_json:
        output.print_json(_document(said, running) | {"peers": rows})
        return
    if running and said is not None:
        click.echo(f"{said.connected} connected, {len(rows)} known; {_reachability(said)}")
        if said.unverified.logs:
            click.secho(_unverified(said.unverified), dim=True)
        if said.problem:
            click.secho(text.printable(said.problem), fg="yellow")
    else:
        click.echo(f"The node is not running; {text.plural(len(rows), 'peer')} known. `autoresearch join` starts it.")
    if not rows:
        output.note("Nobody has been met yet: `autoresearch invite` prints a line that lets others join.")
        return
    now_ms = _now_ms()
    heads = ["peer", "state", "seen", "lag", "rtt", "version", "address"]
    cells = [_cells(row, now_ms, called) for row in rows]
    colours = ["green" if row["connected"] else None for row in rows]
    output.rows(heads, cells, "<<<>><<", colours, spare=["rtt", "version", "seen"])


def _known(home: Home, store: Store) -> tuple[SwarmStatus | None, bool, PeerBook]:
    """Returns what the swarm process said last, whether it runs, and the book of peers."""
    from ensue.identity import Identity
    from node.swarm import status
    from node.swarm.peerbook import PeerBook

    said = status.read(store)
    running = said is not None and said.running(_now_ms())
    return said, running, PeerBook.load(store, Identity.load(home.key).peer_id)


def _to_invite(said: SwarmStatus | None, book: PeerBook) -> list[str]:
    """Returns the addresses for an invite: this node's, the widest reach first, then those of peers met lately."""
    own = _wide([] if said is None else said.addresses)
    others = [_wide(place.address.text for place in peer.places if place.worked_ms)[:1] for peer in book.all()]
    found = [address for chosen in others for address in chosen]
    if own and not _is_loopback(own[0]):
        found = [address for address in found if not _is_loopback(address)]
    return own[:OWN_ADDRESSES] + found[:OTHERS]


def _wide(addresses: Iterable[str]) -> list[str]:
    """Returns addresses by how far they reach; those of this very machine only where there are no others."""
    from node.swarm.address import parsed

    order = {"public": 0, "name": 0, "private": 1, "loopback": 2}
    read = [address for one in addresses if (address := parsed(one)) is not None]
    read.sort(key=lambda address: (order[address.scope], address.relay is not None))
    far = [address.text for address in read if address.scope != "loopback"]
    return far or [address.text for address in read]


def _is_loopback(address: str) -> bool:
    from node.swarm.address import parse

    return parse(address).scope == "loopback"


def _notes(said: SwarmStatus | None, running: bool, addresses: list[str]) -> list[str]:
    """Returns what the owner should know about an invite."""
    notes = []
    if not addresses:
        notes.append(
            "No address is known yet, so this line works on the local network only; start the node with"
            " `autoresearch join` and ask again."
        )
    elif all(_is_loopback(address) for address in addresses):
        notes.append(
            "This node listens on this machine only, so this line works for other homes on it, and no farther."
        )
    if not running:
        notes.append("The node is not running: whoever joins finds it once `autoresearch join` has started it.")
    elif said is not None and said.reachable == "no":
        notes.append(f"This node cannot be reached from outside its network; {GUIDE} says what to do.")
    return notes


def _code(line: str) -> str | None:
    """Returns the QR code if standard output is a terminal that can show all of it below the line."""
    from node.swarm.invite import qr

    unicode = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    if not sys.stdout.isatty() or not unicode or os.environ.get("TERM") == "dumb":
        return None
    columns, rows = shutil.get_terminal_size()
    return qr(line, columns, rows - len(line) // max(columns, 1) - 3)


def _rows(live: SwarmStatus | None, said: SwarmStatus | None, book: PeerBook) -> list[dict[str, Any]]:
    """Returns every peer once: those connected, then those of the last document, then the others in the book."""
    last = {peer.peer_id: peer for peer in (said.peers if said is not None else ())}
    names = dict.fromkeys([*last, *(peer.peer_id for peer in book.all())])
    rows = [_row(name, last.get(name), book.get(name), live is not None) for name in names]
    return sorted(rows, key=lambda row: not row["connected"])


def _row(peer_id: str, met: PeerStatus | None, noted: Peer | None, live: bool) -> dict[str, Any]:
    seen_ms = max(met.last_seen_ms if met else 0, noted.seen_ms if noted else 0)
    return {
        "peer_id": peer_id,
        "name": met.name if met else "",
        "addresses": list(met.addresses if met and met.addresses else noted.addresses if noted else ()),
        "connected": bool(live and met and met.connected),
        "version": met.version if met else "",
        "records": met.records if met else None,
        "lag_records": met.lag_records if met and live else None,
        "rtt_ms": met.rtt_ms if met and live else None,
        "last_seen_at": text.iso(seen_ms) if seen_ms else None,
        "last_seen_ms": seen_ms,
        "learnt": noted.learnt if noted else None,
        "failures": noted.failures if noted else 0,
    }


def _document(said: SwarmStatus | None, running: bool) -> dict[str, Any]:
    """Returns what the node says of itself, for --json; of a stopped node the last known addresses."""
    return {
        "running": running,
        "pid": said.pid if said and running else None,
        "addresses": list(said.addresses) if said else [],
        "reachable": said.reachable if said and running else "unknown",
        "why": said.why if said and running else "the node is not running",
        "problem": said.problem if said and running else None,
        "connected": said.connected if said and running else 0,
        "counters": asdict(said.counters) if said and running else None,
        "unverified": asdict(said.unverified) if said and running else None,
    }


def _cells(row: dict[str, Any], now_ms: int, called: Names) -> list[str]:
    address = row["addresses"][0] if row["addresses"] else text.NONE
    return [
        called.who(row["name"], row["peer_id"]),
        _state(row),
        text.ago(row["last_seen_ms"], now_ms) if row["last_seen_ms"] else "never",
        text.NONE if row["lag_records"] is None else f"{row['lag_records']:,}",
        text.NONE if row["rtt_ms"] is None else f"{row['rtt_ms']:.0f} ms",
        text.printable(row["version"].removeprefix("autoresearch "), 16) or text.NONE,
        text.printable(address.removesuffix(f"/p2p/{row['peer_id']}")),
    ]


def _state(row: dict[str, Any]) -> str:
    """Returns how a peer can be reached, in a word or two."""
    if row["connected"]:
        return "by relay" if row["addresses"] and "/p2p-circuit/" in row["addresses"][0] else "connected"
    if row["failures"]:
        return f"failed {row['failures']}×"
    return "away" if row["last_seen_ms"] else "not met"


def _unverified(kept: Unverified) -> str:
    """Returns how full the room is that unverified keys share."""
    words = f"{text.plural(kept.logs, 'unverified key')} with {text.plural(kept.records, 'record')}"
    share = f"{kept.bytes / 2**20:.1f} of {kept.bytes_max / 2**20:.0f} MiB"
    return f"{words} here: {share}" + (f"; {kept.forgotten} forgotten for a day" if kept.forgotten else "")


def _reachability(said: SwarmStatus) -> str:
    words = {"yes": "others can reach it", "no": "others cannot reach it", "unknown": "reachable: not known yet"}
    shown = words[said.reachable] + (f" ({text.printable(said.why)})" if said.why else "")
    return f"{shown}; see {GUIDE}" if said.reachable == "no" and GUIDE not in shown else shown


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
