"""Makes this replica hold what another node has: equal digests end it, else it walks down to what differs.

1. Hello: digests of all logs, and of the scripts that are missing there.
2. Down the tree of logs, to those that differ.
3. The ends of logs that are longer there.
4. Of those that still differ (gaps, forks): blocks, then places, then records by id.
5. Scripts that are missing here and not there (fetch).

Everything is stored as it comes, so whatever cuts this short, the next one goes on from there. What a peer says is held
against what it delivers: sets only grow, so a peer that has fewer records than it said, or other ones, lies. Left out:
whom to ask, and when (the swarm). Rejected: rounds until both are equal, which a liar never lets end.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

from ensue.errors import NetworkError, RecordError
from ensue.identity import SIGNATURE_BYTES, public_key_from_peer_id
from ensue.store.exchange import Key
from node.sync import wire
from node.sync.ask import Asker
from node.sync.budget import Budget
from node.sync.fetch import Fetcher
from node.sync.replica import Replica
from node.sync.summary import Log, block_of, chain, log_digest, span
from node.sync.walk import Theirs, differing
from node.transport.ports import Stream, TransportError

DEADLINE_S = 900.0
"""Seconds for a whole pull, unless its caller says otherwise."""
RECORDS_MAX = 2_000_000
"""Records that one pull takes in; the next one goes on."""
STORED_RECORDS = 6_000
STORED_BYTES = 8 * 1024 * 1024
"""Records are stored when so many have come, or so many bytes."""
EXTRA_RECORDS_MAX = 5_000
"""Records beyond those a peer said it has, which may have been made meanwhile."""
CATCHING_UP_AFTER = 2_000
"""True records from a peer after which its word is taken for how many there are."""

_AFTER_ALL = b"\xff" * wire.HASH_BYTES
_SEQS = 2**53
_Work = Callable[["_Pull"], Awaitable[None]]


@dataclass(slots=True)
class PullReport:
    """What came of one pull. What is here stays, also where a `problem` (a NetworkError, a TransportError) ended it.

    `equal`: this replica has all that the peer said it has, and the peer nothing less; after pull_heads: it has the
    heads that were asked for. `there`: how many records the peer said it has.
    """

    records: int = 0
    known: int = 0
    refused: int = 0
    blobs: int = 0
    absent: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    there: int = 0
    equal: bool = False
    problem: NetworkError | TransportError | None = None


async def pull(
    peer: Stream | Asker,
    replica: Replica,
    budget: Budget,
    *,
    deadline_s: float = DEADLINE_S,
    records_max: int = RECORDS_MAX,
    software: str = "",
) -> PullReport:
    """Takes in what a peer has and this replica lacks. A stream is closed at the end, an Asker stays open.

    Raises StoreError where this replica cannot store; all else is in the report.
    """
    return await _Pull(_asker(peer, replica, budget, software), replica, records_max).run(
        lambda work: work.everything(), deadline_s, closes=not isinstance(peer, Asker)
    )


async def pull_heads(
    peer: Stream | Asker,
    replica: Replica,
    budget: Budget,
    heads: Sequence[tuple[str, int]],
    *,
    deadline_s: float = DEADLINE_S,
    records_max: int = RECORDS_MAX,
    software: str = "",
) -> PullReport:
    """Takes in what follows the last record here of some authors (peer id, highest number), and what it names.

    One round trip for records, one for scripts. Gaps and forks are left to `pull`.
    """
    return await _Pull(_asker(peer, replica, budget, software), replica, records_max).run(
        lambda work: work.heads(heads), deadline_s, closes=not isinstance(peer, Asker)
    )


async def pull_blobs(
    peer: Stream | Asker,
    replica: Replica,
    budget: Budget,
    hashes: Sequence[bytes],
    *,
    deadline_s: float = DEADLINE_S,
    software: str = "",
) -> PullReport:
    """Takes in blobs by their hashes, such as logs, which no pull brings; `absent` counts those that are not there."""

    async def work(work: "_Pull") -> None:
        await Fetcher(work.asker, replica, work.report).these(
            await replica.off(replica.store.exchange.lacking_blobs, list(hashes))
        )
        work.report.equal = not work.report.absent

    return await _Pull(_asker(peer, replica, budget, software), replica, RECORDS_MAX).run(
        work, deadline_s, closes=not isinstance(peer, Asker)
    )


def _asker(peer: Stream | Asker, replica: Replica, budget: Budget, software: str) -> Asker:
    return peer if isinstance(peer, Asker) else Asker(peer, replica.network, budget, software)


def _key(author: str) -> bytes | None:
    """Returns the public key of an author that somebody named, None where that is no peer id."""
    try:
        return public_key_from_peer_id(author)
    except RecordError:
        return None


class _Pull:
    """One pull on one stream."""

    def __init__(self, asker: Asker, replica: Replica, records_max: int) -> None:
        self.asker, self.replica = asker, replica
        self.report = PullReport()
        self._records_max = records_max
        self._raws: list[bytes] = []
        self._size = self._received = self._expected = 0
        self._stack = AsyncExitStack()
        self._catching_up = False

    async def run(self, work: "_Work", deadline_s: float, *, closes: bool) -> PullReport:
        report, traffic = self.report, self.asker.traffic
        before = traffic.bytes_in, traffic.bytes_out
        try:
            if self.asker.budget.cut_off:
                raise wire.PeerFault("cut off for now")
            async with asyncio.timeout(deadline_s), self._stack:
                await work(self)
        except TimeoutError:
            if not report.records:
                self.asker.budget.fault("slow", 3)  # an endless log of what is here already, for example
            report.problem = TransportError(f"The peer took more than {deadline_s:.0f} s: ask another one, or go on.")
        except (NetworkError, TransportError) as problem:
            report.problem = problem
        finally:
            if closes:
                await self.asker.stream.close()
        report.there = self.asker.theirs.records if self.asker.theirs else 0
        report.bytes_in, report.bytes_out = traffic.bytes_in - before[0], traffic.bytes_out - before[1]
        return report

    async def everything(self) -> None:
        theirs = await self.asker.again()
        mine = await self.replica.current()
        root = mine.root()[1]
        if root != theirs.logs and not self.replica.settled.has(theirs.logs, root):
            longer = await differing(self.asker, self.replica)
            await self._tails([tail for log in longer if (tail := self._tail(log)) is not None])
            await self.replica.current()
            for log in longer:
                if not (self._enough() or await self._is_held(log)):
                    await self._blocks(log)
        self.report.equal = (await self.replica.current()).root()[1] == theirs.logs
        fetcher = Fetcher(self.asker, self.replica, self.report)
        await fetcher.everything(accused=self.report.equal)
        if self.report.records or self.report.blobs:
            await self.replica.note()

    async def heads(self, heads: Sequence[tuple[str, int]]) -> None:
        mine = await self.replica.current()
        before = (await self.replica.missing()).upto
        tails = []
        for author, seq in heads[: wire.TAILS_MAX]:
            log = mine.log(author)
            here = 0 if log is None else log.seq
            if seq > here and (key := _key(author)) is not None:
                tails.append(wire.Tail(key, here, _AFTER_ALL if here else b""))
                self._expected += seq - here
        self.asker.greet()
        await self._tails(tails)
        mine = await self.replica.current()
        here_now = {author: log.seq for author, _ in heads if (log := mine.log(author)) is not None}
        self.report.equal = all(here_now.get(author, 0) >= seq for author, seq in heads)
        if self.report.records:
            await Fetcher(self.asker, self.replica, self.report).named_after(before)

    # Steps 2, 3

    def _tail(self, theirs: Theirs) -> wire.Tail | None:
        log = self.replica.logs.log(theirs.author)
        self._expected += max(0, theirs.records - (0 if log is None else log.count))
        if log is None:
            return wire.Tail(theirs.key, 0)
        return wire.Tail(theirs.key, log.seq, _AFTER_ALL) if theirs.seq > log.seq else None

    async def _tails(self, tails: Sequence[wire.Tail]) -> None:
        async with self._storing():
            for start in range(0, len(tails), wire.TAILS_MAX):
                waiting = list(tails[start : start + wire.TAILS_MAX])
                await self.asker.send(wire.Tails(waiting))
                while waiting:
                    answer = await self.asker.receive(wire.Records)
                    waiting = [] if self._enough() else self._rest(waiting, answer)
                    if waiting:
                        await self.asker.send(wire.Tails(waiting))  # on its way while these are stored
                    await self._take(answer, None)
                if self._enough():
                    return

    def _enough(self) -> bool:
        """Returns whether so much has come that the rest is left to the next pull."""
        return self._received >= min(self._records_max, self._expected + EXTRA_RECORDS_MAX)

    def _rest(self, waiting: list[wire.Tail], answer: wire.Records) -> list[wire.Tail]:
        """Returns what is still to be asked for, which is less than before."""
        if answer.at >= len(waiting):
            return []
        first = waiting[answer.at]
        if (answer.seq, answer.id) < (first.seq, first.id) or not answer.records:
            raise self.asker.fault("records without an end", "garbage")
        return [wire.Tail(first.author, answer.seq, answer.id), *waiting[answer.at + 1 :]]

    # Step 4

    async def _is_held(self, theirs: Theirs) -> bool:
        """Returns whether all that a peer has of an author is here: its log is equal, or the beginning of ours."""
        head = self.replica.logs.head(theirs.author)
        if head == wire.LOG.pack(*theirs):
            return True
        log = self.replica.logs.log(theirs.author)
        if log is None or log.count < theirs.records or log.seq < theirs.seq:
            return False
        return log_digest(await self._beginning(log, theirs.seq)) == theirs.digest

    async def _beginning(self, log: Log, seq: int) -> list[tuple[int, int, bytes]]:
        last = block_of(seq)
        blocks = [block for block in log.described() if block[0] < last]
        keys = await self.replica.keys(log.author, span(last)[0], seq)
        return [*blocks, (last, len(keys), chain(keys))] if keys else blocks

    async def _blocks(self, theirs: Theirs) -> None:
        """Compares one log block by block."""
        log = self.replica.logs.log(theirs.author)
        mine = {no: (count, digest) for no, count, digest in log.described()} if log else {}
        first, listed, more = 0, list[tuple[int, int, bytes]](), True
        while more:
            answer = await self.asker.ask(wire.Blocks(theirs.key, first), wire.BlockList)
            rows = [cast("tuple[int, int, bytes]", row) for row in self.asker.rows(wire.BLOCK, answer.blocks)]
            numbers = [first - 1, *(no for no, _, _ in rows)]
            if any(a >= b for a, b in pairwise(numbers)) or numbers[-1] >= _SEQS or any(not row[1] for row in rows):
                raise self.asker.fault("blocks out of order", "garbage")
            first = numbers[-1] + 1
            for no, count, digest in rows:
                if mine.get(no) != (count, digest):
                    await self._block(theirs, no, count, digest)
            listed += rows
            more = answer.more and bool(rows)
            if self._enough():
                return
        total = sum(count for _, count, _ in listed)
        if total < theirs.records or (total == theirs.records and log_digest(listed) != theirs.digest):
            raise await self.asker.doubt("another log than it said")

    async def _block(self, theirs: Theirs, no: int, count: int, digest: bytes) -> None:
        """Compares one block place by place, and takes in what is missing."""
        listed, made, more = 0, chain([]), True
        after: Key = (0, b"")
        while more:
            answer = await self.asker.ask(wire.Keys(theirs.key, no, *after), wire.KeyList)
            keys = [cast("Key", row) for row in self.asker.rows(wire.KEY, answer.keys)]
            low, high = span(no)
            if any(a >= b for a, b in pairwise([after, *keys])) or any(not low <= seq <= high for seq, _ in keys):
                raise self.asker.fault("places out of order", "garbage")
            lacking = await self.replica.off(self.replica.store.exchange.lacking, [key for _, key in keys])
            await self._get(lacking)
            listed += len(keys)
            made = chain(keys, made)
            after = keys[-1] if keys else after
            more = answer.more and bool(keys)
            if self._enough():
                return
        if listed < count or (listed == count and made != digest):
            raise await self.asker.doubt("another block than it said")

    async def _get(self, ids: Sequence[bytes]) -> None:
        async with self._storing():
            waiting = list(ids)
            while waiting:
                some = waiting[: wire.IDS_MAX]
                answer = await self.asker.ask(wire.Get(b"".join(some)), wire.Records)
                if not 0 < answer.at <= len(some):
                    raise self.asker.fault("records without an end", "garbage")
                await self._take(answer, some[: answer.at])
                waiting = waiting[answer.at :]

    # Storing

    async def _take(self, answer: wire.Records, asked: Sequence[bytes] | None) -> None:
        """Takes in the records of an answer: those with the ids asked for, if ids were."""
        try:
            raws = await self.replica.off(wire.unpack_records, answer.records)
        except wire.PeerFault as fault:
            raise self.asker.fault(fault.code, "garbage") from None
        if asked is not None and [hashlib.sha256(raw[SIGNATURE_BYTES:]).digest() for raw in raws] != list(asked):
            raise await self.asker.doubt("records that it does not have")
        self._raws += raws
        self._received += len(raws)
        self._size += sum(map(len, raws))
        if len(self._raws) >= STORED_RECORDS or self._size >= STORED_BYTES:
            await self._store()

    @asynccontextmanager
    async def _storing(self) -> AsyncIterator[None]:
        """Stores what has come, also where the stream ends early."""
        try:
            yield
        except (NetworkError, TransportError):
            await self._store()
            raise
        await self._store()

    async def _store(self) -> None:
        raws, self._raws, self._size = self._raws, [], 0
        if not raws:
            return
        if self.report.records >= CATCHING_UP_AFTER and not self._catching_up:
            self._catching_up = True
            await self._stack.enter_async_context(self.replica.catching_up(self._expected))
        done = await self.replica.take(raws)
        self.report.records += len(done.accepted)
        self.report.known += done.known
        self.report.refused += len(done.refused)
        self.asker.budget.earned(len(done.accepted))
        if self.report.known > EXTRA_RECORDS_MAX + 4 * self.report.records:
            raise self.asker.fault("records that are here already", "too much")
        if done.refused:
            self.asker.budget.fault("refused record", len(done.refused))
            if self.asker.budget.cut_off:
                raise wire.PeerFault("records that do not verify")
