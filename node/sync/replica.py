"""The store as sync sees it: every call through a seam for slow calls, summaries kept up to date beside it.

Reads may run in a thread; what they bring is taken into the summaries by the loop, a little at a time, so nothing is
read half changed. Left out: who asks (pull, answer). Rejected: summaries inside the store, which would make every
command pay for what only the swarm needs.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar, TypeVarTuple

from ensue.blobs import Blob
from ensue.store import Store
from ensue.store.exchange import Key, Named
from ensue.store.reports import IngestReport
from node.sync.received import Received
from node.sync.settled import Settled
from node.sync.sources import Sources, parsed
from node.sync.summary import Summaries, span

ROWS_AT_ONCE = 2_000
"""Rows taken into the summaries before others get their turn: some milliseconds."""
SOURCE_ROWS_AT_ONCE = 500
KEYS_AT_ONCE = 2_048
SOURCES_NOTE = "sync sources"
NOTED_MAX = 500
"""Missing scripts that are remembered from one start to the next; with more, their records are read again."""

_T = TypeVar("_T")
_A = TypeVarTuple("_A")


class Off(Protocol):
    """Runs a slow call somewhere else and awaits its result: `asyncio.to_thread`, or at once in a simulation."""

    def __call__(self, call: Callable[[*_A], _T], /, *values: *_A) -> Awaitable[_T]:
        """Returns what the call returns."""


class Replica:
    """One store, with the summaries of what is in it."""

    def __init__(self, store: Store, off: Off = asyncio.to_thread) -> None:
        self.store = store
        self.off = off
        self.network = bytes.fromhex(store.network)
        self.logs = Summaries()
        self.sources = Sources()
        self._turn = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._noted: str | None = None
        self._based_upto = 0
        self.given: Callable[[Sequence[str]], None] = lambda ids: None
        """Called with the ids of new records that were handed over, and that nobody else has."""
        self.received: Received | None = None
        """How far peers have this node's own log, where that is kept."""
        self.settled = Settled()
        self.unwanted: Callable[[str, bool], bool] = lambda author, told: False
        """Says of a log whether it is not to be fetched now, also where a peer spoke of it by itself (`told`)."""
        self.grown: Callable[[Sequence[tuple[bytes, int]]], None] = lambda kept: None
        """Called when records have come, and scripts, each with the row of a record that names it."""
        self._generation: int | None = None

    async def current(self) -> Summaries:
        """Returns the summaries, brought up to date; the first time it reads a row for each record."""
        async with self._turn:
            await self._follow()
        return self.logs

    async def _follow(self) -> None:
        exchange = self.store.exchange
        if self._generation is None:
            self._generation = await self.off(exchange.generation)
        if self.logs.upto and await self.off(exchange.id_of, self.logs.upto) != self.logs.upto_id:
            await self._step_back()
        while rows := await self.off(exchange.rows, self.logs.upto, ROWS_AT_ONCE):
            self.logs.add(rows)
            if len(rows) < ROWS_AT_ONCE:
                break
        for author, block in self.logs.stale():
            self.logs.settle(author, block, await self.keys(author, *span(block)))

    async def _step_back(self) -> None:
        """Finds out why the last row is another: records were forgotten, or a repair has numbered them anew."""
        before, now = self._generation or 0, await self.off(self.store.exchange.generation)
        last = await self.off(self.store.exchange.last_until, self.logs.upto)
        if now > before and (last is None or last[0] < self.logs.upto):
            self.logs.upto, self.logs.upto_id = last or (0, None)
        else:
            self.logs, self.sources = Summaries(), Sources()
        self._generation = now

    async def forget(self, authors: Sequence[str]) -> int:
        """Takes the logs of strangers out of here, and what only they named; returns how many records went.

        What is told of this replica comes first: nobody hears of a log that is about to go.
        """
        async with self._turn:
            self.logs.replace(authors, [])
        gone, waiting = 0, list(authors)
        while waiting:
            async with self._writing:
                gone += await self.off(self.store.forgetting.some, waiting)
        lost = await self._lost_scripts()
        named = await self.off(self.store.forgetting.unnamed.sweep, lost)
        async with self._turn:
            self.logs.replace(authors, await self.off(self.store.exchange.rows_of, authors, self.logs.upto))
            self.sources.got(lost)
            self.sources.add([Named(no, key, None) for key, no in named.items()], self.sources.upto)
        return gone

    async def _lost_scripts(self) -> list[bytes]:
        """Returns the missing scripts of which the record is gone that named them."""
        return await self.off(self._without_row, [(key, self.sources.row_of(key)) for key in self.sources.held()])

    def _without_row(self, held: Sequence[tuple[bytes, int | None]]) -> list[bytes]:
        return [key for key, no in held if no is None or self.store.exchange.id_of(no) is None]

    async def keys(self, author: str, first: int, last: int) -> list[Key]:
        """Returns an author's places from number `first` to `last`, of the records that the summaries know."""
        found: list[Key] = []
        after: Key = (0, b"")
        while True:
            some = await self.off(self.store.exchange.keys, author, first, last, self.logs.upto, KEYS_AT_ONCE, after)
            found += some
            if len(some) < KEYS_AT_ONCE:
                return found
            after = some[-1]

    async def missing(self, *, recheck: bool = False) -> Sources:
        """Returns which scripts are named here and missing; with `recheck`, what came another way is seen too."""
        exchange = self.store.exchange
        async with self._turn:
            if not self.sources.upto:
                await self._resume()
            while self.sources.has_room():
                after = self.sources.upto
                named, upto = await self.off(exchange.named, after, SOURCE_ROWS_AT_ONCE)
                self.sources.add(named, upto)
                if upto == after:
                    break
            if recheck and (held := self.sources.held()):
                absent = set(await self.off(exchange.lacking_blobs, held))
                self.sources.got(key for key in held if key not in absent)
                await self._base()
        return self.sources

    async def _base(self) -> None:
        """Looks again for what scripts were made from: a record may come before that of its parent."""
        if self.sources.upto != self._based_upto and (loose := self.sources.waiting()):
            self.sources.add(await self.off(self.store.exchange.named_by, loose), self.sources.upto)
            self._based_upto = self.sources.upto

    async def _resume(self) -> None:
        """Begins where an earlier start ended, if its note speaks of this file."""
        note = parsed(await self.off(self.store.local_get, SOURCES_NOTE))
        if note is None:
            return
        row_id = await self.off(self.store.exchange.id_of, note.upto)
        if row_id is not None and row_id.hex() == note.id:
            self.sources.add(note.missing, note.upto)

    async def note(self) -> None:
        """Remembers which scripts are missing, so that the next start need not read every record for it."""
        row_id = await self.off(self.store.exchange.id_of, self.sources.upto)
        noted = None if row_id is None else self.sources.noted(NOTED_MAX, row_id.hex())
        if noted is not None and noted != self._noted:
            await self.off(lambda: self.store.local_set(SOURCES_NOTE, noted, durable=False))
            self._noted = noted

    async def take(self, raws: Sequence[bytes]) -> IngestReport:
        """Verifies and stores records."""
        async with self._writing:
            report = await self.off(self.store.ingest, raws)
        if report.accepted:
            self.grown([])
        return report

    async def keep(self, blobs: Sequence[Blob]) -> None:
        """Stores blobs, which their readers have compared with their hashes."""
        async with self._writing:
            await self.off(self.store.ingest, [], blobs)
        keys = [bytes.fromhex(blob.sha256) for blob in blobs]
        self.grown([(key, no) for key in keys if (no := self.sources.row_of(key)) is not None])
        self.sources.got(keys)

    @asynccontextmanager
    async def catching_up(self, records: int) -> AsyncIterator[None]:
        """Makes it cheap to take in about so many records; queries are slow meanwhile."""
        work = self.store.catching_up(records)
        await self.off(work.__enter__)
        try:
            yield
        finally:
            await self.off(work.__exit__, None, None, None)
            async with self._writing:
                await self.off(self.store.rest)


async def inline(call: Callable[[*_A], _T], /, *values: *_A) -> _T:
    """Runs a call at once: the seam of a simulation, where a thread would make chance of the order."""
    return call(*values)
