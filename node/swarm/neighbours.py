"""The peers that this node is connected to: kept at a number, asked now and then what they have, and fetched from.

One stream to each neighbour stays open and is asked on; one that falls silent is disconnected, so that the next dial
finds it again quickly. Left out: gossip (herald), what is exchanged (sync). Rejected: trusting the daemon's list of
connections, which still names peers minutes after their cable was pulled.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from random import Random
from typing import NamedTuple

from ensue.errors import NetworkError
from node.swarm.peerbook import Peer as Known
from node.swarm.peerbook import PeerBook
from node.sync import wire
from node.sync.ask import Asker
from node.sync.budget import Budgets
from node.sync.pull import PullReport, pull, pull_heads
from node.sync.replica import Replica
from node.transport.faults import WrongPeer
from node.transport.ports import Transport, TransportError

NEIGHBOURS_WANTED = 12
"""Neighbours that a node chooses and dials itself; whoever dials in takes none of their places."""
INBOUND_MAX = 48
"""Neighbours that dialed in; of more, those go that have given nothing, the last to come first."""
INBOUND_CHECKED = 4
"""Of those that dialed in, so many are asked in one round what they have, beside all that were chosen."""
CHECK_EVERY_S = 10.0
HEARS_AFTER_S = 2.0
"""A new neighbour has joined the gossip by then: two of its heartbeats."""
CHECK_TIMEOUT_S = 5.0
"""Seconds in which a neighbour must say what it has."""
MEET_EVERY_S = 1.0
DIAL_EVERY_S = 2.0
DIAL_TIMEOUT_S = 6.0
LOST_S = 86_400.0
"""For so long a neighbour that was lost is dialed again and again, whatever the book says."""
LOST_PAUSE_SHARE = 1 / 120
"""The pause between two of these dials is such a share of the time since, so that a short cut heals quickly."""
LOST_PAUSE_S_MAX = 30.0
LOST_AT_ONCE = 8
"""Lost neighbours that are dialed in one round."""
LOST_MAX = 96
FILLED_EVERY_S, FILLED_RECORDS = 5.0, 200
"""While so many records come in such a time from one neighbour, no second one is asked for everything."""
ADDRESSES_TRIED = 3

_log = logging.getLogger(__name__)


class Neighbour:
    """One connected peer."""

    def __init__(self, peer: str, now_s: float) -> None:
        self.peer = peer
        self.since_s = self.counted_s = now_s
        self.turn = asyncio.Lock()
        self.asker: Asker | None = None
        self.welcome: wire.Welcome | None = None
        self.rtt_ms: float | None = None
        self.seen_ms = 0
        self.name = ""


class _Lost(NamedTuple):
    """Since when a neighbour is lost, and when it is to be dialed."""

    since_s: float
    due_s: float


class Neighbours:
    """Dials, checks and fetches; `run` keeps doing the first two."""

    def __init__(
        self,
        transport: Transport,
        replica: Replica,
        book: PeerBook,
        budgets: Budgets,
        *,
        wall_ms: Callable[[], int],
        dice: Random,
        software: str = "",
    ) -> None:
        self.book, self.budgets = book, budgets
        self.totals = PullReport()
        self.rounds = 0
        """Neighbours that were fully asked since the start, successfully."""
        self._transport, self._replica = transport, replica
        self._wall_ms, self._dice, self._software = wall_ms, dice, software
        self._here: dict[str, Neighbour] = {}
        self._lost: dict[str, _Lost] = {}
        self._dialed: set[str] = set()
        self._chosen: set[str] = set()
        self._meeting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._filling = 0

    def all(self) -> list[Neighbour]:
        """Returns the connected peers."""
        return list(self._here.values())

    def nodes(self) -> list[Neighbour]:
        """Returns the connected peers that have said what they have; a light client says nothing."""
        return [here for here in self._here.values() if here.welcome is not None]

    def others(self, without: str, count: int) -> list[str]:
        """Returns up to `count` connected peers other than one, drawn at random, those this node chose first.

        A node that liars have surrounded still asks those that it has found itself.
        """
        free = sorted(here.peer for here in self.nodes() if not self.budgets.of(here.peer).cut_off)
        self._dice.shuffle(free)
        free.sort(key=lambda peer: peer not in self._chosen)
        return [peer for peer in free if peer != without][:count]

    async def run(self) -> None:
        """Dials and checks until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._again(MEET_EVERY_S, self.meet))
                group.create_task(self._again(DIAL_EVERY_S, self.dial))
                group.create_task(self._checking())
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def fetch(self, peer: str, heads: Sequence[tuple[str, int]] = (), *, told: bool = False) -> PullReport:
        """Takes in what a peer has and this node lacks: of some logs only, or everything.

        `told`: the peer itself said that it has them, and is held to it. A stream that stayed open from before may have
        ended meanwhile, so the first failure is tried again.
        """
        budget = self.budgets.of(peer)
        here = self._here.get(peer) or Neighbour(peer, self._now_s())
        async with here.turn:
            used_before = here.asker is not None
            report = await self._once(here, heads)
            if used_before and isinstance(report.problem, TransportError) and not budget.cut_off:
                report = await self._once(here, heads)
            if peer not in self._here:
                await self._hang_up(here)
        if told and heads and not (report.equal or report.records or report.problem):
            own = any(author == peer for author, _ in heads)  # which nobody forgets; others' it may have by now
            if own or not budget.may_change():
                budget.fault("too much")
        self._add(report)
        return report

    async def _once(self, here: Neighbour, heads: Sequence[tuple[str, int]]) -> PullReport:
        try:
            asker = await self._asker(here)
        except TransportError as problem:
            return PullReport(problem=problem)
        if heads:
            report = await pull_heads(asker, self._replica, asker.budget, heads, software=self._software)
        else:
            report = await pull(asker, self._replica, asker.budget, software=self._software)
        if report.problem is not None:
            await self._hang_up(here)
        else:
            here.welcome = asker.theirs or here.welcome
            here.seen_ms = self._wall_ms()
        return report

    async def _asker(self, here: Neighbour) -> Asker:
        if here.asker is None:
            stream = await self._transport.open(here.peer, wire.PROTOCOL)
            here.asker = Asker(stream, self._replica.network, self.budgets.of(here.peer), self._software)
        return here.asker

    async def _hang_up(self, here: Neighbour) -> None:
        asker, here.asker = here.asker, None
        if asker is not None:
            await asker.stream.close()

    def _add(self, report: PullReport) -> None:
        total = self.totals
        total.records += report.records
        total.refused += report.refused
        total.blobs += report.blobs
        total.bytes_in += report.bytes_in
        total.bytes_out += report.bytes_out

    # Who is there

    async def _again(self, every_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except TransportError as problem:  # the daemon is being started again
                _log.info("%s", problem)
            await asyncio.sleep(every_s)

    async def meet(self) -> None:
        """Brings the neighbours up to date with the connections; who is new is asked at once."""
        async with self._meeting:
            there = set(await self._transport.peers())
            now_s = self._now_s()
            for peer in sorted(there - self._here.keys()):
                self._here[peer] = Neighbour(peer, now_s)
                self._lost.pop(peer, None)
                self._start(self._take_up(peer))
            for peer in sorted(self._here.keys() - there):
                await self._lose(peer)
            await self._make_room()

    async def _make_room(self) -> None:
        inbound = [here for peer, here in self._here.items() if peer not in self._chosen]
        inbound.sort(key=lambda here: (-self.budgets.of(here.peer).useful, here.since_s))
        for here in inbound[INBOUND_MAX:]:
            await self._hang_up(here)
            await self._transport.disconnect(here.peer)
            del self._here[here.peer]

    async def _take_up(self, peer: str) -> None:
        """Checks a new neighbour, and again when it hears our gossip for sure: what was told before passed it by."""
        await self.check(peer)
        await asyncio.sleep(HEARS_AFTER_S)
        await self.check(peer)

    async def _lose(self, peer: str) -> None:
        gone = self._here.pop(peer, None)
        self._chosen.discard(peer)
        if gone is not None:
            await self._hang_up(gone)
            if not self.budgets.of(peer).cut_off:
                self._lost[peer] = _Lost(self._now_s(), 0.0)
                while len(self._lost) > LOST_MAX:
                    del self._lost[next(iter(self._lost))]

    async def dial(self) -> None:
        """Begins to dial peers of the book while there are few neighbours, and those that were lost before."""
        now_s = self._now_s()
        self._lost = {peer: lost for peer, lost in self._lost.items() if now_s - lost.since_s < LOST_S}
        due = [peer for peer, lost in self._lost.items() if lost.due_s <= now_s and peer not in self._dialed]
        due = sorted(due, key=lambda peer: self._lost[peer].due_s)[:LOST_AT_ONCE]
        for peer in due:
            since_s = self._lost[peer].since_s
            self._lost[peer] = _Lost(since_s, now_s + min(LOST_PAUSE_S_MAX, LOST_PAUSE_SHARE * (now_s - since_s)))
        wanted = [known for peer in due if (known := self.book.get(peer)) is not None]
        few = max(0, NEIGHBOURS_WANTED - len(self._chosen) - len(self._dialed - self._lost.keys()))
        out = {*self._here, *self._lost, *self._dialed}
        wanted += self.book.candidates(few, self._wall_ms(), without=out) if few else []
        for known in wanted:
            if not self.budgets.of(known.peer_id).cut_off:
                self._dialed.add(known.peer_id)
                self._start(self._dial(known))

    async def _dial(self, known: Known) -> None:
        try:
            if await self.reach(known.addresses) is None:
                self.book.failed(known.peer_id, self._wall_ms())
        finally:
            self._dialed.discard(known.peer_id)

    async def reach(self, addresses: Iterable[str]) -> str | None:
        """Dials addresses of a peer, one after the other; returns the peer id that answered, None where nobody did."""
        for address in list(addresses)[:ADDRESSES_TRIED]:
            try:
                async with asyncio.timeout(DIAL_TIMEOUT_S):
                    peer = await self._transport.connect(address)
            except (TransportError, TimeoutError) as problem:
                _log.log(logging.WARNING if isinstance(problem, WrongPeer) else logging.DEBUG, "%s", problem)
                continue
            self.book.seen(peer, self._wall_ms(), address=address)
            self._chosen.add(peer)
            self.budgets.of(peer).chosen = True
            with contextlib.suppress(TransportError):
                await self.meet()
            return peer
        return None

    # What they have

    async def _checking(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY_S * self._dice.uniform(0.8, 1.2))
            inbound = sorted(self._here.keys() - self._chosen)
            some = self._dice.sample(inbound, min(INBOUND_CHECKED, len(inbound)))
            await asyncio.gather(*(self.check(peer) for peer in [*sorted(self._chosen), *some]))

    async def check(self, peer: str) -> None:
        """Asks a neighbour what it has, and fetches it if that differs; one that falls silent is disconnected."""
        here = self._here.get(peer)
        if here is None or here.turn.locked() or self.budgets.of(peer).cut_off:
            return
        try:
            async with here.turn, asyncio.timeout(CHECK_TIMEOUT_S):
                theirs = await self._greet(here)
        except (TransportError, NetworkError, TimeoutError) as problem:
            await self._silent(here, problem)
            return
        now_ms = here.seen_ms = self._wall_ms()
        served_s = self._now_s() - here.counted_s if peer in self._chosen else 0.0  # who dials in earns no trust by it
        self.book.seen(peer, now_ms, served_s=served_s)
        here.counted_s = self._now_s()
        await self._let_others_fill()
        if await self._differs(theirs):
            self._filling += 1
            try:
                report = await self.fetch(peer)
            finally:
                self._filling -= 1
            if report.problem is not None:
                _log.info("peer %s: %s", peer, report.problem)
                return
        self._note_equal(peer, theirs)
        self.rounds += 1

    def _note_equal(self, peer: str, theirs: wire.Welcome) -> None:
        received, logs = self._replica.received, self._replica.logs
        if received is not None and theirs.logs == logs.root()[1] and (own := logs.log(received.author)) is not None:
            received.has(peer, own.seq)

    async def _let_others_fill(self) -> None:
        """Waits while another neighbour fills this replica, so that a fresh node fetches everything once."""
        before = -FILLED_RECORDS
        while self._filling and self._count() - before >= FILLED_RECORDS:
            before = self._count()
            await asyncio.sleep(FILLED_EVERY_S)

    def _count(self) -> int:
        return self._replica.logs.root()[0]

    async def _greet(self, here: Neighbour) -> wire.Welcome:
        """Asks how much a neighbour has; a stream of its last process, or of a broken connection, is opened anew."""
        if here.asker is not None:
            try:
                return await self._welcome(here)
            except TransportError:
                await self._hang_up(here)
        return await self._welcome(here)

    async def _welcome(self, here: Neighbour) -> wire.Welcome:
        asker = await self._asker(here)
        began_s = self._now_s()
        here.welcome = await asker.again()
        here.rtt_ms = 1000 * (self._now_s() - began_s)
        return here.welcome

    async def _differs(self, theirs: wire.Welcome) -> bool:
        root = (await self._replica.current()).root()[1]
        if root != theirs.logs and not self._replica.settled.has(theirs.logs, root):
            return True
        missing = await self._replica.missing()
        return bool(missing.held()) and missing.tree.node()[1] != theirs.sources  # they may have some of those

    async def _silent(self, here: Neighbour, problem: Exception) -> None:
        """Lets a neighbour go that does not answer, or will not."""
        await self._hang_up(here)
        if isinstance(problem, wire.PeerRefused) and problem.code == "busy":
            return
        if isinstance(problem, wire.PeerRefused) and problem.code == "network":
            self.book.forget(here.peer)
        _log.info("peer %s: %s", here.peer, str(problem) or "it did not answer in time")
        with contextlib.suppress(TransportError):  # the daemon is being started again
            await self._transport.disconnect(here.peer)
        await self._lose(here.peer)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
