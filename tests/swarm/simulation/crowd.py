"""Many peers, few of them honest: who is connected with whom is left to the book of peers and to chance.

Honest nodes know one address each from an invite, and hear of others by gossip, which liars fill with liars. Left out:
schedules (world). The driver here is the smallest that finds peers; the real one is node.swarm.
"""

import asyncio
import json
from collections import deque
from pathlib import Path
from random import Random

from node.swarm.peerbook import PeerBook
from node.sync import wire as protocol
from node.sync.pull import pull, pull_heads
from node.transport.ports import Stream, TransportError
from simulation import words
from simulation.driver import drive
from simulation.node import SimNode
from simulation.transport import SimTransport
from simulation.wire import Wire

TOPIC = "autoresearch/1/crowd"
OUTBOUND = 8
"""Connections that a node makes of its own choice."""
ROUND_S = 10.0
RINGS_MAX = 64
"""Heads that wait to be asked for; of strangers the oldest goes when there are more."""
LINKS_S = 120.0
"""After so long a connection that brought nothing makes room for another."""


class Mixing:
    """A driver that keeps connections with peers that the book proposes, and lets go of those that bring nothing."""

    def __init__(self, seed: object, invited: list[str]) -> None:
        self._chance = Random(f"mixing {seed!r}")
        self._invited = invited
        self.book: PeerBook
        self.links: dict[str, float] = {}
        """Peers that this node chose, and since when they have been of use."""

    async def __call__(self, node: SimNode) -> None:
        await drive(node)
        self.node = node
        self.links.clear()
        self.book = PeerBook.load(node.store, node.peer_id, self._chance)
        self.book.add(self._invited, "invite")
        self._friends: deque[tuple[str, int, str]] = deque(maxlen=RINGS_MAX)
        self._strangers: deque[tuple[str, int, str]] = deque(maxlen=RINGS_MAX)
        self._rung = asyncio.Event()
        await node.transport.subscribe(TOPIC, self._hear)
        for work in (self._keep_links(), self._answer_rings(), self._tell()):
            node.transport.own(work, "mix")

    @property
    def _now_ms(self) -> int:
        return int(self.node.wire.loop.time() * 1000) + 1

    def _hear(self, peer: str, data: bytes) -> None:
        try:
            seq, address, others = json.loads(data)
            self.book.add([address, *others[:8]], "gossip")
        except (ValueError, TypeError):
            return
        log = self.node.replica.logs.log(peer)
        if seq > (log.seq if log else 0):
            rings = self._friends if self.node.budgets.of(peer).useful else self._strangers
            rings.append((peer, seq, address))
            self._rung.set()

    async def _tell(self) -> None:
        told, at_s = 0, -1e9
        while True:
            head, now_s = self.node.store.head(self.node.peer_id), self.node.wire.loop.time()
            seq = head.seq if head else 0
            if seq > told or now_s - at_s > 60.0:
                told, at_s = seq, now_s
                known = [peer.addresses[0] for peer in self.book.candidates(4, self._now_ms)]
                await self.node.transport.publish(TOPIC, json.dumps([seq, self.node.full_address, known]).encode())
            await asyncio.sleep(0.05)

    async def _answer_rings(self) -> None:
        while True:
            await self._rung.wait()
            while self._friends or self._strangers:
                peer, seq, address = (self._friends or self._strangers).popleft()
                log = self.node.replica.logs.log(peer)
                if seq > (log.seq if log else 0) and (stream := await self._opened(peer, address)) is not None:
                    await pull_heads(stream, self.node.replica, self.node.budgets.of(peer), [(peer, seq)])
            self._rung.clear()

    async def _opened(self, peer: str, address: str) -> Stream | None:
        transport = self.node.transport
        if self.node.budgets.of(peer).cut_off:
            return None
        try:
            if peer not in await transport.peers() and await transport.connect(address) != peer:
                return None
            return await transport.open(peer, protocol.PROTOCOL)
        except TransportError:
            return None

    async def _keep_links(self) -> None:
        while True:
            await self._link()
            for peer in list(self.links):
                await self._use(peer)
            self.book.save(self.node.store)
            await asyncio.sleep(ROUND_S * self._chance.uniform(0.8, 1.2))

    async def _link(self) -> None:
        for found in self.book.candidates(OUTBOUND - len(self.links), self._now_ms, without=self.links):
            stream = await self._opened(found.peer_id, found.addresses[0])
            if stream is None:
                self.book.failed(found.peer_id, self._now_ms)
                continue
            await stream.close()
            self.links[found.peer_id] = self.node.wire.loop.time()
            self.book.seen(found.peer_id, self._now_ms, address=found.addresses[0])

    async def _use(self, peer: str) -> None:
        known = self.book.get(peer)
        stream = await self._opened(peer, known.addresses[0]) if known else None
        budget, now_s = self.node.budgets.of(peer), self.node.wire.loop.time()
        report = await pull(stream, self.node.replica, budget, deadline_s=30.0) if stream else None
        if report is not None and report.records:
            self.links[peer] = now_s
            self.book.seen(peer, self._now_ms, served_s=ROUND_S)
        elif report is None or report.problem is not None or now_s - self.links[peer] > LINKS_S:
            del self.links[peer]
            self.book.failed(peer, self._now_ms)


def honest(wire: Wire, count: int, folder: Path) -> list[SimNode]:
    """Returns honest nodes, each invited by one that was there before, and the first by the second."""
    nodes: list[SimNode] = []
    chance = Random("who invites whom")
    for number in range(count):
        inviter = chance.randrange(number) if number else 1
        invited = f"{_home(inviter)}/p2p/{words.identity('honest', inviter).peer_id}"
        who = words.identity("honest", number)
        nodes.append(SimNode(wire, who, _home(number), folder, Mixing(number, [invited])))
    return nodes


def _home(number: int) -> str:
    return f"/ip4/{11 + number}.{number}.0.1/tcp/4001"


class Sham:
    """A liar without a replica of its own: it answers as a replica does that never has anything, or in worse ways."""

    def __init__(self, wire: Wire, number: int, groups: int, empty: SimNode) -> None:
        self.number = number
        self.wire = wire
        group = number % groups
        address = f"/ip4/{100 + group // 200}.{group % 200}.{number // 250}.{number % 250 + 1}/tcp/4001"
        self.transport = SimTransport(wire, words.identity("sham", number).peer_id, address)
        self.transport.passes_on = False
        self.empty = empty
        self._chance = Random(f"sham {number}")

    @property
    def address(self) -> str:
        """Where to dial, peer id included."""
        return f"{self.transport.address}/p2p/{self.transport.peer_id}"

    async def start(self, crowd: list[str], victims: list[str]) -> None:
        """Goes on the wire, dials every victim again and again, and tells them of liars."""
        await self.transport.serve(protocol.PROTOCOL, self._answer)
        await self.transport.subscribe(TOPIC, lambda *_: None)
        self.transport.own(self._advertise(crowd, victims), "advertise")

    async def _advertise(self, crowd: list[str], victims: list[str]) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, 30.0))
        while True:
            for address in victims:
                try:
                    await self.transport.connect(address)
                except TransportError:
                    continue
            others = self._chance.sample(crowd, min(8, len(crowd)))
            seq = self._chance.choice((0, 0, 0, 5))  # now and then a head that it does not have
            await self.transport.publish(TOPIC, json.dumps([seq, self.address, others]).encode())
            await asyncio.sleep(60.0)

    async def _answer(self, stream: Stream) -> None:
        from node.sync.answer import answer

        if self.number % 3 == 0:  # a node that has nothing, and keeps to the protocol
            await answer(stream, self.empty.replica, self.empty.budgets.of(stream.peer))
        elif self.number % 3 == 1:  # garbage
            await stream.receive(4)
            await stream.send(self._chance.randbytes(200))
        else:  # says nothing
            await asyncio.sleep(600.0)
