"""Asks one peer for a ranking or a best result, from a machine that has no replica of its network.

It comes and goes: a key and a store in a folder that its caller throws away, a daemon that listens nowhere and serves
nobody. Records are verified as they come and put into the store, so that everything which reads a replica can show
them. Which they are, and that none is missing, is the peer's word. Left out: flags that follow from records which
nobody asked for, as the retraction of an ancestor. Rejected: asking several peers and mixing what they say, which would
be nobody's word at all; a replica to be thrown away, which costs what everybody has to answer one question.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from ensue.errors import AutoresearchError, UnknownId, UserError
from ensue.identity import Identity
from ensue.record import Record, is_hex64
from ensue.store import ResultRow, Store
from node.swarm.address import parsed
from node.sync import wire
from node.sync.ask import Asker
from node.sync.budget import Budgets
from node.sync.pull import pull_blobs
from node.sync.replica import Replica, inline
from node.sync.tree import Tree
from node.sync.walk import differing_logs
from node.transport.daemon import P2pdTransport
from node.transport.faults import Unreachable
from node.transport.index import Index
from node.transport.ports import Stream, TransportError

DEADLINE_TIMEOUT_S = 20.0
"""Seconds from the start of the network daemon until the whole answer is here."""
HELLO_TIMEOUT_S = 6.0
"""Seconds in which a peer that is connected must say what it has, before another one is asked."""
BUSY_S = 60
"""When a node may ask again that asks us in turn, who have nothing."""
OTHERS_MAX = 8
"""Peers from the index that are asked where those named do not answer."""
OTHER_ADDRESSES_MAX = 2
"""Addresses of each that are tried."""
LINE_MAX = 1_000
"""Results between a script and the one that all began with, which are fetched one after the other."""
LOGS_MAX = 8
"""Logs whose ends say which tracks a peer knows."""
NEWEST_RECORDS = 20
TRACKS_NAMED = 3

_SOFTWARE = f"autoresearch {version('autoresearch')}"
_NO_NETWORK = bytes(wire.HASH_BYTES)


@dataclass(frozen=True, slots=True)
class Place:
    """Where to ask: multiaddresses, each with a peer id, and the network that must answer; None: whichever does."""

    addresses: tuple[str, ...]
    network: str | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Asks for the first results of a track, or of each group; see Store.leaderboard."""

    by: str
    limit: int


@dataclass(frozen=True, slots=True)
class Best:
    """Asks for the best result of a track, or of a hardware class; and for its script, or that and the first one's."""

    hardware_class: str | None = None
    scripts: Literal["none", "own", "both"] = "none"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the first of `tracks` on which the peer has results; `wide`: failing these, of any other.

    `call` says what people call a track.
    """

    about: Ranking | Best
    tracks: tuple[str, ...]
    wide: bool
    call: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one peer said; the store holds its records, open, and whoever asked closes it.

    `rows` is the ranking, or the best result if there is one; the store has their parents beside them, which are to
    rank nowhere, as nothing is known of what became of them.
    """

    store: Store
    peer: str
    track: str
    rows: tuple[ResultRow, ...]


class NothingThere(UserError):
    """A peer without results on the tracks that were asked for."""


async def ask(place: Place, question: Question, folder: Path) -> Answer:
    """Returns the answer of the first of some peers that has one; `folder` is empty, and the caller's to remove.

    Raises TransportError, NetworkError or UserError, each a sentence for whoever asked.
    """
    Identity.load_or_create(folder / "key")
    try:
        async with asyncio.timeout(DEADLINE_TIMEOUT_S):
            transport = await P2pdTransport.start(
                folder / "key",
                listen=(),
                relay=any("/p2p-circuit/" in address for address in place.addresses),
                client_mode=True,
                nat_port_map=False,
                auto_nat=False,
            )
            inquiry = _Inquiry(transport, place, question, folder)
            try:
                await transport.serve(wire.PROTOCOL, _turn_away)  # a node lets go of whoever does not answer
                return await inquiry.answer()
            finally:
                await inquiry.close()
                await transport.close()
    except TimeoutError:
        raise TransportError(
            f"There was no whole answer within {DEADLINE_TIMEOUT_S:.0f} s: try again, or ask another peer."
        ) from None


async def _turn_away(stream: Stream) -> None:
    """Answers what a node asks us."""
    await wire.receive_request(stream)
    await stream.send(wire.frame(wire.Refused("busy", BUSY_S)))


class _Inquiry:
    """One question, put to one peer after the other until one has an answer."""

    def __init__(self, transport: P2pdTransport, place: Place, question: Question, folder: Path) -> None:
        self._transport, self._place, self._question, self._folder = transport, place, question, folder
        self._budgets = Budgets(time.monotonic)
        self._identity = Identity.load(folder / "key")
        self._asked: set[str] = set()
        self._failed: list[AutoresearchError] = []
        self._index: Index | None = None

    async def close(self) -> None:
        """Leaves the index, when nothing more is asked: p2pd ends with the index's connection to it."""
        if self._index is not None:
            await self._index.close()

    async def answer(self) -> Answer:
        """Asks the peers that are named, and if they will not answer those that the index knows."""
        found = await self._of_any(self._place.addresses)
        if found is None and not any(isinstance(error, NothingThere) for error in self._failed):
            found = await self._of_any(await self._others())
        if found is None:
            raise self._failure()
        return found

    async def _of_any(self, addresses: Iterable[str]) -> Answer | None:
        """Dials all addresses at once, and asks the peers in the order in which they are reached."""
        dials = {asyncio.create_task(self._transport.connect(address)) for address in addresses}
        waiting = dials
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    try:
                        peer = one.result()
                        if peer not in self._asked:
                            self._asked.add(peer)
                            return await self._of(peer)
                    except AutoresearchError as error:
                        self._failed.append(error)
        finally:
            for one in waiting:
                one.cancel()
            await asyncio.gather(*dials, return_exceptions=True)
        return None

    async def _others(self) -> list[str]:
        """Returns addresses of peers that the index knows by way of those which are connected and did not answer."""
        network = self._place.network
        if network is None or not await self._transport.peers():
            return []
        try:
            self._index = await Index.start(self._transport, self._identity, network, client_mode=True)
            found = [one for one in await self._index.find_peers() if one.peer not in self._asked]
        except TransportError:
            return []
        addresses = [address for one in found[:OTHERS_MAX] for address in one.addresses[:OTHER_ADDRESSES_MAX]]
        return [address.text for one in addresses if (address := parsed(one)) is not None]

    def _failure(self) -> AutoresearchError:
        """Returns the failure that says most: of a peer that was reached, before that of one that was not."""
        told = min(self._failed, key=lambda error: (isinstance(error, TransportError), isinstance(error, Unreachable)))
        count = len(self._failed)
        return told if count == 1 else UserError(f"None of {count} addresses led to an answer; of one: {told}")

    async def _of(self, peer: str) -> Answer:
        network = self._place.network or await self._network_of(peer)
        async with await self._asker(peer, bytes.fromhex(network)) as asker:
            await _begin(asker)
            store = Store(self._folder / f"{peer}.sqlite3", network)
            try:
                return await _Reading(asker, store, self._question).answer()
            except BaseException:
                store.close()
                raise

    async def _network_of(self, peer: str) -> str:
        """Returns which network a peer belongs to, as it says when it refuses to speak of another one."""
        async with await self._asker(peer, _NO_NETWORK) as asker:
            try:
                await _begin(asker)
            except wire.PeerRefused as refused:
                if refused.code != "network":
                    raise
                if refused.network is None:
                    raise UserError(
                        "The peer does not say which network it belongs to, as it runs an older version: ask it with an"
                        " invite in place of its address."
                    ) from None
                return refused.network.hex()
            raise asker.fault("a network that is none", "garbage")

    async def _asker(self, peer: str, network: bytes) -> Asker:
        return Asker(await self._transport.open(peer, wire.PROTOCOL), network, self._budgets.of(peer), _SOFTWARE)


async def _begin(asker: Asker) -> None:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            await asker.begin()
    except TimeoutError:
        raise TransportError(
            f"The peer said nothing within {HELLO_TIMEOUT_S:.0f} s: ask another peer, or try later."
        ) from None


class _Reading:
    """One question to one peer that has answered the hello; what it sends is put into the store."""

    def __init__(self, asker: Asker, store: Store, question: Question) -> None:
        self._asker, self._store, self._question = asker, store, question

    async def answer(self) -> Answer:
        """Returns the answer; raises NothingThere, and what Asker raises."""
        call, tracks = self._question.call, self._question.tracks
        for track in tracks:
            if (rows := await self._rows(track)) is not None:
                return self._found(track, rows)
        there = [track for track in await self._tracks() if track not in tracks]
        if self._question.wide:
            for track in there[:TRACKS_NAMED]:
                if (rows := await self._rows(track)) is not None:
                    return self._found(track, rows)
        names = [f"{track} ({call(track)})" if call(track) != track[:10] else track for track in there[:TRACKS_NAMED]]
        raise NothingThere(
            f"The peer has no results on {' or '.join(map(call, tracks))}"
            + (f", but on {' and '.join(names)}: name that with --track." if names else ": ask another peer.")
        )

    def _found(self, track: str, rows: Sequence[ResultRow]) -> Answer:
        return Answer(self._store, self._asker.stream.peer, track, tuple(rows))

    async def _rows(self, track: str) -> list[ResultRow] | None:
        """Returns what was asked for of a track, None where the peer has no results on it."""
        about, store, asker = self._question.about, self._store, self._asker
        if isinstance(about, Ranking):
            if not self._keep(await asker.top(store.network, track, about.by, about.limit), track, about.limit):
                return None
            rows = store.leaderboard(track, by=about.by, limit=about.limit)
            await self._fetch(row.parent for row in rows)
            return rows
        if self._keep(await asker.best(store.network, track, about.hardware_class or ""), track, 1):
            row = store.best(track, hardware_class=about.hardware_class)
            if row is None:
                raise asker.fault("a best result that is none", "garbage")
            await self._scripts(row, about.scripts)
            return [row]
        some = await asker.top(store.network, track, "class", wire.TOP_MAX)
        return [] if self._keep(some, track, wire.TOP_MAX) else None

    def _keep(self, records: Sequence[Record], track: str, limit: int) -> int:
        """Stores an answer, and returns how many results of the track are in it; raises PeerFault at anything else."""
        results = [one for one in records if one.kind == "result" and one.body.get("track") == track]
        claims = {one.body.get("claim") for one in results}
        others = [one for one in records if one.kind != "claim" or one.id not in claims]
        if len(others) != len(results) or len(results) > limit:
            raise self._asker.fault("records that were not asked for", "garbage")
        self._take(records)
        return len(results)

    def _take(self, records: Sequence[Record]) -> None:
        if self._store.ingest([one.raw for one in records]).refused:
            raise self._asker.fault("records that do not verify", "garbage")

    async def _fetch(self, ids: Iterable[str | None]) -> None:
        """Stores the records of some ids, as far as the peer has them."""
        wanted = [one for one in dict.fromkeys(ids) if one is not None and not self._store.has(one)]
        if wanted:
            self._take(await self._asker.records(self._store.network, wanted))

    async def _scripts(self, row: ResultRow, scripts: str) -> None:
        """Stores the parent of a result, or its whole line, and the scripts that were asked for."""
        if scripts == "both":
            wanted = [row.source, (await self._beginning(row)).source]
        else:
            await self._fetch([row.parent])
            wanted = [row.source] if scripts == "own" else []
        if not wanted:
            return
        replica, hashes = Replica(self._store, inline), [bytes.fromhex(one) for one in dict.fromkeys(wanted)]
        report = await pull_blobs(self._asker, replica, self._asker.budget, hashes)
        if report.problem is not None:
            raise report.problem
        if report.absent:
            raise UserError("The peer has not yet got the script of this result: ask another peer, or try later.")

    async def _beginning(self, row: ResultRow) -> ResultRow:
        """Returns the result that a result's line goes back to, with all in between stored."""
        store = self._store
        top = await self._asker.top(store.network, row.track, "result", wire.TOP_MAX)
        self._keep(top, row.track, wire.TOP_MAX)  # most of the line is among these, and comes in one answer
        for _ in range(LINE_MAX):
            await self._fetch([row.parent])
            try:
                row = store.result(row.parent or "")
            except UnknownId:
                return row
        raise UserError(f"More than {LINE_MAX:,} results lie between this one and its beginning: join to compare them.")

    async def _tracks(self) -> list[str]:
        """Returns tracks of some results there, the newest first."""
        asker, heads = self._asker, list[tuple[bytes, int]]()
        async with contextlib.aclosing(differing_logs(asker, Tree())) as leaves:
            async for leaf in leaves:
                heads = [(row[0], row[2]) for row in asker.rows(wire.LOG, leaf.entries or b"")]  # type: ignore[misc]
                break
        newest = await asker.newest(self._store.network, heads[:LOGS_MAX], NEWEST_RECORDS)
        results = sorted((one for one in newest if one.kind == "result"), key=lambda one: -one.time_ms)
        return list(dict.fromkeys(str(one.body["track"]) for one in results if is_hex64(one.body.get("track"))))
