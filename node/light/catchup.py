"""Fetches from a node the records that are not here, at a cost of what differs.

Digests of the tree are compared from the root down to the logs that differ. Of a log that only grew, its end is asked
for; where that does not settle it (gaps, two records of one number), its blocks, their places, and records by their
ids. Every record is verified as it is taken in. Left out: giving (a light client hands over its own records at once).
Knows no event loop: what blocks goes through `off`.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from ensue.store import Store
from node.light import wire
from node.light.digests import Digests, held
from node.light.wire import BadAnswer, Batch, Bytes, LogHead, Place

RECORDS_MAX = 5_000_000
"""Records that one node may bring here in one round."""
LOGS_MAX = 1_000_000
"""Logs that one node may say differ."""
LATE_RECORDS_MAX = 10_000
"""Records that may come to a node between its welcome and an answer."""
QUESTIONS_MAX = 100_000
"""Questions of one round; a network of a million records, none of them here, takes some thousands."""

Off = Callable[..., Awaitable[Any]]
"""Calls a function that blocks, with its arguments, where it blocks nobody, and returns what it returns."""


class Catchup:
    """Makes a store equal to what a node has, over and over."""

    def __init__(self, store: Store, off: Off) -> None:
        self._store = store
        self._off = off
        self._digests = Digests(store)
        self._questions = 0
        self.refused: list[str] = []
        """Why records of the last round were not taken in."""

    @property
    def upto(self) -> int:
        """The last row of the store that is compared with the node's."""
        return self._digests.upto

    async def round(self, stream: Bytes, network: str, software: str) -> int:
        """Takes in what the node has and is not here, and returns how many records that were.

        Raises Refusal, BadAnswer or TransportError; what came before is kept, and the next round goes on from there.
        """
        self.refused = []
        self._questions = 0
        await self._off(self._digests.refresh)
        there = await wire.hello(stream, network, software)
        if there == self._digests.node():
            return 0
        before = self._digests.node().records
        differing = await self._differing(stream, min(LOGS_MAX, there.records + LATE_RECORDS_MAX))
        many = self._store.catching_up(min(RECORDS_MAX, there.records))
        await self._off(many.__enter__)
        try:
            await self._ends(stream, differing)
            await self._off(self._digests.refresh)
            for log in differing:
                if not await self._off(self._settled, log):
                    await self._gaps(stream, log)
        finally:
            many.__exit__(None, None, None)
        await self._off(self._digests.refresh)
        return self._digests.node().records - before

    async def _differing(self, stream: Bytes, logs_max: int) -> list[LogHead]:
        """Returns the logs of the node that are not the same here; every node of its tree has a record below it."""
        found: list[LogHead] = []
        ahead = [""]
        while ahead:
            self._question()
            now, ahead = ahead[: wire.PREFIXES_MAX], ahead[wire.PREFIXES_MAX :]
            for prefix, node in zip(now, await wire.walk(stream, now), strict=True):
                for digit, part in enumerate(node):
                    if isinstance(part, LogHead):
                        if part != self._digests.log(part.key):
                            found.append(part)
                    elif part.records and part != self._digests.node(f"{prefix}{digit:x}"):
                        if len(prefix) >= 2 * wire.HASH_BYTES - 1:
                            raise BadAnswer("a tree without leaves")
                        ahead.append(f"{prefix}{digit:x}")
            if len(found) + len(ahead) > logs_max:
                raise BadAnswer("more logs than records")
        return found

    async def _ends(self, stream: Bytes, differing: Sequence[LogHead]) -> None:
        """Takes in the ends of logs of which everything before is here, as far as the numbers tell."""
        wanted: list[tuple[bytes, Place]] = []
        for log in differing:
            here = self._digests.log(log.key)
            if here.records == here.high < log.high:
                wanted.append((log.key, self._digests.end(log.key)))
        taken = 0
        for start in range(0, len(wanted), wire.TAILS_MAX):
            asked = wanted[start : start + wire.TAILS_MAX]
            while asked:
                self._question()
                batch = await wire.tails(stream, asked)
                taken += await self._take(batch)
                asked = _rest(asked, batch)
                if taken > RECORDS_MAX:
                    raise BadAnswer("more records than a network has")

    def _settled(self, there: LogHead) -> bool:
        """Returns whether a log of the node is the same here, or the beginning of what is here."""
        here = self._digests.log(there.key)
        return here == there or (here.high > there.high and self._digests.beginning(there.key, there.high) == there)

    async def _gaps(self, stream: Bytes, log: LogHead) -> None:
        """Takes in the records of one log that are not here, wherever they are in it."""
        first, more = 0, True
        while more:
            self._question()
            found, more = await wire.blocks(stream, log.key, first)
            for block in found:
                if block.number < first:
                    raise BadAnswer("blocks out of order")
                first = block.number + 1
                if block != self._digests.block(log.key, block.number):
                    await self._block(stream, log.key, block.number)
            if more and not found:
                raise BadAnswer("blocks without end")

    async def _block(self, stream: Bytes, key: bytes, number: int) -> None:
        here = await self._off(lambda: set(held(self._store, key, number)))
        after, more = Place(0, b""), True
        while more:
            self._question()
            found, more = await wire.places(stream, key, number, after)
            if found != sorted(set(found)) or (found and found[0] <= after) or (more and not found):
                raise BadAnswer("places out of order")
            missing = [place.id for place in found if place not in here]
            for start in range(0, len(missing), wire.IDS_MAX):
                await self._fetch(stream, missing[start : start + wire.IDS_MAX])
            after = found[-1] if found else after

    async def _fetch(self, stream: Bytes, ids: Sequence[bytes]) -> None:
        while ids:
            self._question()
            batch = await wire.get(stream, ids)
            if not 0 < batch.at <= len(ids):
                raise BadAnswer("no way on")
            await self._take(batch)
            ids = ids[batch.at :]

    def _question(self) -> None:
        self._questions += 1
        if self._questions > QUESTIONS_MAX:
            raise BadAnswer("answers without end")

    async def _take(self, batch: Batch) -> int:
        if batch.raws:
            report = await self._off(self._store.ingest, batch.raws)
            self.refused.extend(report.refused)
        return len(batch.raws)


def _rest(asked: Sequence[tuple[bytes, Place]], batch: Batch) -> list[tuple[bytes, Place]]:
    """Returns what is still to be asked for after an answer, which must have brought it on."""
    if batch.at >= len(asked):
        return []
    key, before = asked[batch.at]
    if batch.at == 0 and batch.after <= before:
        raise BadAnswer("no way on")
    return [(key, max(batch.after, before)), *asked[batch.at + 1 :]]


def handed(raws: Iterable[bytes]) -> list[list[bytes]]:
    """Returns records in batches that a node takes at once."""
    batches: list[list[bytes]] = []
    size = 0
    for raw in raws:
        if not batches or size + len(raw) + 4 > wire.GIVEN_BYTES_MAX:
            batches.append([])
            size = 0
        batches[-1].append(raw)
        size += len(raw) + 4
    return batches
