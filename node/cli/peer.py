"""`--peer`: one peer of a network answers in place of a replica here, so that nothing need be founded to see results.

What it sends is verified, and shown by the code that shows a replica. Nothing stays: key and records lie in a temporary
folder. Left out: the way to the peer (`node.swarm.query`).
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensue.errors import UserError
from node import names, text
from node.cli import tracks

if TYPE_CHECKING:
    from ensue.genesis import Genesis
    from ensue.store import ResultRow, Store
    from node.swarm.query import Answer, Best, Ranking

ROWS_MAX = 100
"""Rows of a leaderboard that a peer answers with."""

option = click.option(
    "--peer",
    metavar="ADDRESS",
    help="Ask this peer, a multiaddress with /p2p/ID or an invite, not a replica here. Every record is signed and"
    " verified here; their order, and that none is missing, is that peer's word alone.",
)


@dataclass(frozen=True, slots=True)
class Said:
    """What a peer answered: results, the track that they are on, and the store that has them and what they name."""

    store: Store
    rows: Sequence[ResultRow]
    track: tracks.Asked


@contextmanager
def said(address: str, track: str | None, about: Ranking | Best) -> Iterator[Said]:
    """Yield what the peer at an address, or one that an invite names, answers; tell on stderr whose word it is.

    Raises UserError, TransportError or NetworkError, each a sentence.
    """
    import asyncio

    from node.swarm import inquiry, query

    genesis, addresses = _found(address)
    founded = {one.id: one.name for one in genesis.tracks} if genesis else {}
    wanted, names = tracks.of_peer(track, founded)
    place = inquiry.Place(addresses, genesis.network_id if genesis else None)

    def call(identifier: str) -> str:
        return text.printable(names.get(identifier, identifier[:10]), 40)

    question = query.Question(about, tuple(wanted), wide=track is None, call=call)
    with _ended_by_term(), tempfile.TemporaryDirectory(prefix="autoresearch-peer-") as folder:
        answer = asyncio.run(query.ask(place, question, Path(folder)))
        with answer.store as store:
            _tell(answer, call, wanted[0])
            yield Said(store, answer.rows, tracks.Asked(answer.track, call(answer.track)))


def _found(address: str) -> tuple[Genesis | None, tuple[str, ...]]:
    """Return the genesis and the addresses of an invite, or the one address that this is; raise UserError for neither.

    An invite has no address in it where the node that made it had never run.
    """
    from node.swarm import address as addresses
    from node.swarm import invite

    if address.strip().startswith("/"):
        return None, (addresses.parse(address.strip()).text,)
    read = invite.decode(address)
    if not read.addresses:
        raise UserError("This invite names no address: ask for one made while the node ran, or for an address.")
    return read.genesis, read.addresses


def _tell(answer: Answer, call: Callable[[str], str], wanted: str) -> None:
    words = (
        f"From {names.key(answer.peer)} of network {answer.store.network[:10]}: each record is signed, and was verified"
        " here; their order, and that none is missing, is this peer's word alone."
    )
    if answer.track != wanted:
        words += f" It has no results on {call(wanted)}, so these are on {call(answer.track)}."
    click.secho(words, dim=True, err=True)


@contextmanager
def _ended_by_term() -> Iterator[None]:
    """Let SIGTERM end this as Ctrl-C does, so that neither the daemon nor the folder is left."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
