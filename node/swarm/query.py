"""Asks one peer for a ranking or a best result, from a machine that has no replica of its network.

Records are verified as they come and put into the store, so that everything which reads a replica can show them.
Which they are, and that none is missing, is the peer's word. Left out: flags that follow from records which
nobody asked for, as the retraction of an ancestor. Rejected: asking several peers and mixing what they say, which would
be nobody's word at all; a replica to be thrown away, which costs what everybody has to answer one question.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ensue.errors import UnknownId, UserError
from ensue.record import Record, is_hex64
from ensue.store import ResultRow, Store
from node.swarm.inquiry import NothingThere, Place, inquire
from node.sync import wire
from node.sync.ask import Asker
from node.sync.pull import pull_blobs
from node.sync.replica import Replica, inline
from node.sync.tree import Tree
from node.sync.walk import differing_logs

LINE_MAX = 1_000
"""Results between a script and the one that all began with, which are fetched one after the other."""
LOGS_MAX = 8
"""Logs whose ends say which tracks a peer knows."""
NEWEST_RECORDS = 20
TRACKS_NAMED = 3


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


async def ask(place: Place, question: Question, folder: Path) -> Answer:
    """Returns the answer of the first of some peers that has one; `folder` is empty, and the caller's to remove.

    Raises TransportError, NetworkError or UserError, each a sentence for whoever asked.
    """

    async def read(asker: Asker, network: str) -> Answer:
        store = Store(folder / f"{asker.stream.peer}.sqlite3", network)
        try:
            return await _Reading(asker, store, question).answer()
        except BaseException:
            store.close()
            raise

    return await inquire(place, folder, read)


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
