"""What unverified keys hold here, within a bound: who was heard of longest ago is forgotten first, whole log by log.

Any fresh key may sign any number of true records, so what nobody vouches for has a ring of fixed size. Own keys are not
in it, nor logs that verified participants or this node have built on. What was forgotten is remembered for a day, so
that peers who keep it do not hand it over again and again, unless its author is verified by then. Left out: taking
records out (ensue.store.forgetting), who is verified (ensue.people). Rejected: refusing strangers when the ring is
full, which lets whoever floods first keep out all who come later; and forgetting single records, which leaves gaps.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ensue.store.weights import Arrived
from node.sync.replica import Replica

MIB = 1024 * 1024
UNVERIFIED_MIB = 512
"""The ring's size unless an owner says otherwise."""
LOG_BYTES, RECORD_BYTES = 8 * 1024, 1024
"""What each log and each record counts beside the bytes that it is kept in: tables, indexes and memory."""
FREED_SHARE = 0.25
"""Share of the ring that is free again after forgetting."""
LOOK_AFTER_S = 1.0
"""New records are counted so much later, many at once."""
LOOK_EVERY_S = 60.0
ROWS_AT_ONCE = 2_000
FORGOTTEN_FOR_S = 86_400.0
FORGOTTEN_MAX = 50_000
"""Logs remembered as forgotten; beyond it pulls bring no unknown log of an unverified key for a day."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Weight:
    """What one log takes: records, and bytes."""

    records: int = 0
    bytes: int = LOG_BYTES

    def add(self, records: int, size: int) -> None:
        """Counts more records, whose bytes are `size` altogether."""
        self.records += records
        self.bytes += size + records * RECORD_BYTES


@dataclass(frozen=True, slots=True)
class Fill:
    """How full the ring is; `forgotten`: logs that are remembered as forgotten, `relied`: logs that others built on."""

    records: int = 0
    logs: int = 0
    bytes: int = 0
    bytes_max: int = 0
    forgotten: int = 0
    relied: int = 0


class Ring:
    """The logs of unverified keys in one replica, in order of last arrival; `run` keeps them within the bound."""

    def __init__(self, replica: Replica, *, clock: Callable[[], float], bytes_max: int = UNVERIFIED_MIB * MIB) -> None:
        self.bytes_max = bytes_max
        self.turns = 0
        """How often logs were forgotten since the start."""
        self._replica, self._clock = replica, clock
        self._known: set[str] = set()
        self._trusted: frozenset[str] = frozenset()
        self._seen: object = None
        self._begin()
        self._stirred = asyncio.Event()
        self._scripts: list[tuple[bytes, int]] = []
        replica.unwanted = self.unwanted
        replica.grown = self._grown

    def _begin(self) -> None:
        self._logs: OrderedDict[str, Weight] = OrderedDict()
        self._relied: dict[str, Weight] = {}
        self._forgotten: OrderedDict[str, float] = OrderedDict()
        self._overrun_until_s = float("-inf")
        self._records = self._bytes = self._upto = 0

    @property
    def fill(self) -> Fill:
        """How full it is."""
        return Fill(
            *(self._records, len(self._logs), self._bytes, self.bytes_max, len(self._forgotten), len(self._relied))
        )

    def unwanted(self, author: str, told: bool) -> bool:
        """Returns whether a log is not to be fetched now; `told`: its author, or who was given it, spoke of it."""
        until_s = self._forgotten.get(author)
        if until_s is not None:
            return self._clock() < until_s
        unknown = author not in self._logs and author not in self._relied and author not in self._known
        return unknown and not told and self._clock() < self._overrun_until_s

    async def run(self) -> None:
        """Counts what comes and forgets what is too much, until cancelled; raises StoreError."""
        while True:
            self._stirred.clear()
            await self.look()
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._stirred.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(LOOK_AFTER_S)

    def _grown(self, scripts: Sequence[tuple[bytes, int]]) -> None:
        self._scripts += scripts
        self._stirred.set()

    async def look(self) -> None:
        """Counts what has come since the last time, and forgets if that is too much; the first time everything."""
        self._expire()
        await self._replica.current()
        if self._seen is not self._replica.logs:  # the first time, and where a repair has numbered the records anew
            await self._begin_anew()
        weights, again = self._replica.store.weights, False
        own = await self._replica.off(self._replica.store.own_log.keys)
        self._known |= own
        while rows := await self._replica.off(weights.arrived, self._upto, ROWS_AT_ONCE):
            again |= self._may_change(rows)
            for row in rows:
                if row.author not in self._known:
                    self._add(row.author, 1, row.bytes)
            self._upto = rows[-1].no
            if len(rows) < ROWS_AT_ONCE:
                break
        await self._count_scripts()
        if again:
            await self._sort()
        if self._bytes > self.bytes_max:
            await self._forget()

    # Counting

    async def _begin_anew(self) -> None:
        """Counts all that is here: one pass in order of authors, and one over the records of unverified ones."""
        self._begin()
        self._seen = self._replica.logs
        await self._learn()
        heard = await self._replica.off(self._replica.store.weights.heard)
        self._upto = max((last for _, last in heard), default=0)
        for author, _ in heard:
            if author not in self._known:
                await self._weigh(author)

    async def _weigh(self, author: str) -> None:
        records, size = await self._replica.off(self._replica.store.weights.log, author, self._upto)
        if records:
            self._add(author, records, size)

    async def _learn(self) -> None:
        """Asks who is verified, and whom the network trusts."""
        store = self._replica.store
        trusted = await self._replica.off(store.people.in_force)
        self._trusted = frozenset({*trusted.limits, trusted.founder})
        self._known = await self._replica.off(store.people.verified_nodes) | await self._replica.off(store.own_log.keys)

    def _may_change(self, rows: Iterable[Arrived]) -> bool:
        """Returns whether records may make others verified than before."""
        by_trusted = ("credential", "retraction")
        return any(
            row.kind in ("delegation", "revocation", "quorum")
            or (row.kind in by_trusted and row.author in self._trusted)
            for row in rows
        )

    def _add(self, author: str, records: int, size: int) -> None:
        weight = self._relied.get(author)
        if weight is not None:
            weight.add(records, size)
            return
        weight = self._logs.get(author)
        if weight is None:
            weight = self._logs[author] = Weight()
            self._bytes += weight.bytes
        before = weight.bytes
        weight.add(records, size)
        self._records += records
        self._bytes += weight.bytes - before
        if records:
            self._logs.move_to_end(author)

    def _remove(self, author: str) -> Weight | None:
        weight = self._logs.pop(author, None)
        if weight is not None:
            self._records -= weight.records
            self._bytes -= weight.bytes
        return weight

    async def _count_scripts(self) -> None:
        """Counts scripts that came, each with the author of the record that was the first to name it."""
        kept, self._scripts = self._scripts, []
        for author, size in await self._replica.off(self._replica.store.weights.scripts, kept) if kept else []:
            if author in self._logs or author in self._relied:
                self._add(author, 0, size)

    async def _sort(self) -> None:
        """Takes those out of the ring who are verified now, and puts those in who no longer are."""
        before = self._known
        await self._learn()
        for author in self._known & (self._logs.keys() | self._relied.keys()):
            self._remove(author)
            self._relied.pop(author, None)
        back = [author for author in self._forgotten if author in self._known]
        for author in back:
            del self._forgotten[author]
        if back or self._known - before:
            self._replica.settled.clear()
        for author in sorted(before - self._known):
            await self._weigh(author)

    # Forgetting

    def _expire(self) -> None:
        now_s = self._clock()
        before = len(self._forgotten)
        while self._forgotten and next(iter(self._forgotten.values())) <= now_s:
            self._forgotten.popitem(last=False)
        if len(self._forgotten) < before:
            self._replica.settled.clear()

    async def _forget(self) -> None:
        """Forgets logs, those heard of longest ago first, until a share of the ring is free again."""
        built_on, left, going = self._replica.store.weights.built_on, self._bytes, list[str]()
        for author in list(self._logs):
            if left <= (1 - FREED_SHARE) * self.bytes_max:
                break
            weight = self._logs.get(author)
            if weight is None:
                continue
            left -= weight.bytes
            if self._known & await self._replica.off(built_on, author):
                self._remove(author)
                self._relied[author] = weight
            else:
                going.append(author)
        until_s = self._clock() + FORGOTTEN_FOR_S
        for author in going:
            self._remove(author)
            self._forgotten[author] = until_s
            self._forgotten.move_to_end(author)
        while len(self._forgotten) > FORGOTTEN_MAX:
            _, unexpired_s = self._forgotten.popitem(last=False)
            self._overrun_until_s = max(self._overrun_until_s, unexpired_s)
        if going:
            self.turns += 1
            gone = await self._replica.forget(going)
            _log.info("forgot %d records of %d unverified keys", gone, len(going))
