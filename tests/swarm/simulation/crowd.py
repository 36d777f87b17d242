"""Many peers, few of them honest: whom a node knows, dials and asks is up to the real swarm and its book of peers.

Each honest node was invited by one honest node; all else that it hears of others, liars fill with liars, and every liar
dials every honest node again and again. Left out: schedules (world), and how books are filled (the DHT and the local
network; here a list that is drawn from everybody).
"""

import asyncio
from pathlib import Path
from random import Random

from ensue.errors import NetworkError
from node.sync import news
from node.sync import wire as protocol
from node.sync.answer import answer
from node.sync.replica import Off, inline
from node.transport.ports import Stream, TransportError
from simulation import words
from simulation.driver import Swarming
from simulation.node import SimNode
from simulation.transport import SimTransport
from simulation.wire import Wire

TOPIC = news.TOPIC + words.NETWORK
HEARD_EACH_S = 30.0
HEARD = 8
"""Addresses that a node hears of at once."""
DIALS_EACH_S = 60.0


def honest(wire: Wire, count: int, folder: Path, off: Off = inline) -> list[SimNode]:
    """Returns honest nodes, each invited by one that was there before, and the first by the second."""
    nodes: list[SimNode] = []
    chance = Random("who invites whom")
    for number in range(count):
        inviter = chance.randrange(number) if number else 1
        invited = f"{_home(inviter)}/p2p/{words.identity('honest', inviter).peer_id}"
        who = words.identity("honest", number)
        nodes.append(SimNode(wire, who, _home(number), folder, Swarming(number, [invited], off)))
    return nodes


async def rumours(node: SimNode, crowd: list[str], chance: Random) -> None:
    """Lets a node hear of others, as from a DHT that is full of liars."""
    while True:
        node.drive.book.add(chance.sample(crowd, min(HEARD, len(crowd))), "dht")
        await asyncio.sleep(HEARD_EACH_S)


def _home(number: int) -> str:
    return f"/ip4/{11 + number}.{number}.0.1/tcp/4001"


class Sham:
    """A liar: it passes on nothing and tells of what it does not have; the ways of answering take turns.

    It answers as a node that never gets anything, with garbage, with silence, or as one that has an old copy of all.
    """

    def __init__(self, wire: Wire, number: int, groups: int, hollow: SimNode, stale: SimNode) -> None:
        self.number = number
        group = number % groups
        address = f"/ip4/{100 + group // 200}.{group % 200}.{number // 250}.{number % 250 + 1}/tcp/4001"
        self.identity = words.identity("sham", number)
        self.transport = SimTransport(wire, self.identity.peer_id, address)
        self.transport.passes_on = False
        self._faces = (hollow, stale)
        self._chance = Random(f"sham {number}")

    @property
    def address(self) -> str:
        """Where to dial, peer id included."""
        return f"{self.transport.address}/p2p/{self.transport.peer_id}"

    async def start(self, victims: list[str]) -> None:
        """Goes on the wire, dials every victim again and again, and tells them of heads that it does not have."""
        await self.transport.serve(protocol.PROTOCOL, self._answer)
        await self.transport.subscribe(TOPIC, lambda *_: None)
        self.transport.own(self._press(victims), "press")

    async def _press(self, victims: list[str]) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, 30.0))
        while True:
            for address in victims:
                try:
                    await self.transport.connect(address)
                except TransportError:
                    continue
            heads = [news.Head(self.identity.public_key, self._chance.randint(1, 1_000))]
            await self.transport.publish(TOPIC, news.encode(news.News(heads)))
            await asyncio.sleep(DIALS_EACH_S)

    async def _answer(self, stream: Stream) -> None:
        way = self.number % 4
        if way == 0:
            await stream.receive(4)
            await stream.send(self._chance.randbytes(200))
        elif way == 1:
            await asyncio.sleep(600.0)
        else:
            face = self._faces[way - 2]
            await answer(stream, face.replica, face.budgets.of(stream.peer))


class Stranger:
    """A fresh key that has one true record, tells everybody of it again and again, and asks for all there is."""

    def __init__(self, wire: Wire, number: int) -> None:
        self.identity = words.identity("stranger", number)
        self._raw = words.fork(self.identity, 1, number).raw
        address = f"/ip4/{150 + number % 20}.{number // 250}.0.{number % 250 + 1}/tcp/4001"
        self.transport = SimTransport(wire, self.identity.peer_id, address)
        self.transport.passes_on = False
        self._chance = Random(f"stranger {number}")

    async def start(self, victims: list[str], network: bytes, for_s: float) -> None:
        """Begins at a moment of its own within some seconds."""
        await self.transport.serve(protocol.PROTOCOL, self._answer)
        await self.transport.subscribe(TOPIC, lambda *_: None)
        self.transport.own(self._press(victims, network, for_s), "press")

    async def _press(self, victims: list[str], network: bytes, for_s: float) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, for_s))
        address = self._chance.choice(victims)
        try:
            peer = await self.transport.connect(address)
            heads = [news.Head(self.identity.public_key, 1)]
            await self.transport.publish(TOPIC, news.encode(news.News(heads)))
            stream = await self.transport.open(peer, protocol.PROTOCOL)
            hello = protocol.Hello(protocol.VERSION, network)
            await stream.send(protocol.frame(hello) + protocol.frame(protocol.Give(protocol.pack_records([self._raw]))))
            while True:
                await protocol.receive_answer(stream)
        except (TransportError, NetworkError):
            return

    async def _answer(self, stream: Stream) -> None:
        while True:
            request, _ = await protocol.receive_request(stream)
            if isinstance(request, protocol.Hello):
                answer = protocol.Welcome(protocol.VERSION, "", 1, self._chance.randbytes(32), 0, bytes(32))
            else:
                answer = protocol.Records(protocol.pack_records([self._raw]), 1)
            await stream.send(protocol.frame(answer))


class Processor:
    """The seam for slow calls of one node: they take virtual time, one after the other, as on one core."""

    CALL_S = 0.0005
    RECORD_S = 0.0002

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def __call__(self, call, /, *values):
        """Runs a call and returns its result once it would have been done."""
        records = len(values[0]) if values and isinstance(values[0], list) else 0
        async with self._turn:
            await asyncio.sleep(self.CALL_S + records * self.RECORD_S)
            return call(*values)
