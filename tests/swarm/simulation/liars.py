"""Peers that lie: each answers and publishes what an honest node never would.

Every liar is a node of its own on the wire. Some run the real code on a replica that is not what it seems, so that
their lies are well formed; others break the protocol. Left out: liars who run the protocol as they should and write
nonsense, whose records are records.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random

from ensue.errors import NetworkError
from ensue.record import sign
from ensue.store.exchange import Numbered
from node.sync import wire
from node.sync.answer import answer
from node.sync.ask import Asker
from node.sync.summary import chain, place, span
from node.sync.tree import Tree
from node.transport.ports import Stream, TransportError
from simulation import words
from simulation.node import SimNode

FLOOD_KEYS = 12
FOREIGN = words.bodies.sha("another network")


class Twisted:
    """A stream on which now and then a bit is turned over, bytes are lost or doubled, or the rest is cut off."""

    def __init__(self, stream: Stream, chance: Random, often: float) -> None:
        self._stream, self._chance, self._often = stream, chance, often

    @property
    def peer(self) -> str:
        return self._stream.peer

    async def send(self, data: bytes) -> None:
        chance = self._chance
        if chance.random() < self._often and data:
            at = chance.randrange(len(data))
            turned = bytes([data[at] ^ 1 << chance.randrange(8)])
            some = data[at : at + chance.randint(1, 40)]
            data = data[:at] + chance.choice([turned + data[at + 1 :], some + data[at:], b"", data[at + 1 :]])
        await self._stream.send(data)

    async def receive(self, size: int) -> bytes:
        return await self._stream.receive(size)

    async def close(self) -> None:
        await self._stream.close()


class Liar:
    """What one liar does with streams, and when it is told to lie."""

    def __init__(self, kind: str, node: SimNode, chance: Random) -> None:
        self.kind = kind
        self.node = node
        self.chance = chance
        self.lies = 0

    async def drive(self, node: SimNode) -> None:
        """Answers streams with lies."""
        ways: dict[str, Callable[[Stream], Awaitable[None]]] = {
            "garbage": self._garbage,
            "endless": self._endless,
            "loris": self._loris,
            "weaver": self._weave,
        }
        await node.transport.serve(wire.PROTOCOL, ways.get(self.kind, self._answer))

    async def lie(self, nodes: Sequence[SimNode]) -> None:
        """Writes into its replica, or hands to others, what nobody should believe."""
        store = self.node.store
        self.lies += 1
        if self.kind == "forker":  # one side hears this, the other side that
            for node in self.chance.sample(list(nodes), 2):
                record = words.fork(self.node.identity, self.chance.randint(1, 5), self.chance.getrandbits(32))
                store.ingest([record.raw])
                await self._give(node, record.raw)
        elif self.kind == "phantom":
            author = words.identity("phantom", self.node.peer_id, self.chance.randrange(3)).peer_id
            self.phantoms = [*self._phantoms(), (author, self.lies)]
        elif self.kind in ("flooder", "twister"):
            keys = range(FLOOD_KEYS if self.kind == "flooder" else 2)
            authors = [words.identity("flood", self.node.peer_id, self.lies, number) for number in keys]
            store.ingest([words.fork(author, 1, number).raw for number, author in enumerate(authors)])

    async def _give(self, node: SimNode, raw: bytes) -> None:
        transport, budget = self.node.transport, self.node.budgets.of(node.peer_id)
        try:
            await transport.connect(node.full_address)
            stream = await transport.open(node.peer_id, wire.PROTOCOL)
            async with Asker(stream, self.node.replica.network, budget) as asker:
                await asker.give(raw)
        except (TransportError, NetworkError):
            return

    def _phantoms(self) -> list[tuple[str, int]]:
        return getattr(self, "phantoms", [])

    async def _answer(self, stream: Stream) -> None:
        """Answers with the real code, from a replica that lies or over a stream that twists."""
        replica = self.node.replica
        if self.kind == "twister":
            stream = Twisted(stream, self.chance, 0.3)
        elif self.kind == "phantom":  # it says that it has what it does not have
            await replica.current()
            rows = [
                Numbered(replica.logs.upto, author, seq, bytes.fromhex(words.bodies.sha(f"{author} {seq}")))
                for author, seq in self._phantoms()
                if replica.logs.log(author) is None
            ]
            last = replica.logs.upto_id
            replica.logs.add(rows)
            replica.logs.upto_id = last
        elif self.kind == "foreign":
            await self._foreign(stream)
            return
        await answer(stream, replica, self.node.budgets.of(stream.peer))

    async def _garbage(self, stream: Stream) -> None:
        while True:
            await stream.receive(1)
            await stream.send(self.chance.randbytes(self.chance.choice((1, 4, 100, 5_000))))

    async def _weave(self, stream: Stream) -> None:
        """Shows one log without an end, each part of which fits the others, and names only records that are known."""
        known = [bytes.fromhex(record.id) for record in self.node.store.records(limit=1)] or [bytes(32)]
        author = words.identity("weaver", self.node.peer_id)
        tree = Tree()
        tree.put(place(author.public_key), 2**40, wire.LOG.pack(author.public_key, 2**40, 2**40, bytes(32)))
        await wire.receive_request(stream)
        await stream.send(wire.frame(wire.Welcome(1, "", 2**40, tree.node()[1], 0, bytes(32))))
        while True:
            request, _ = await wire.receive_request(stream)
            if isinstance(request, wire.Walk):
                await stream.send(wire.frame(wire.Nodes([tree.described(prefix) for prefix in request.prefixes])))
            elif isinstance(request, wire.Blocks):
                numbers = range(request.first, request.first + wire.BLOCKS_MAX)
                blocks = [(no, 1, chain([(span(no)[0], known[0])])) for no in numbers]
                await stream.send(wire.frame(wire.BlockList(wire.joined(wire.BLOCK, blocks), True)))
            elif isinstance(request, wire.Keys):
                keys = [(span(request.block)[0], known[0])]
                await stream.send(wire.frame(wire.KeyList(wire.joined(wire.KEY, keys), False)))
            else:
                await stream.send(wire.frame(wire.Records(b"", 2**20)))

    async def _endless(self, stream: Stream) -> None:
        """Welcomes, and answers every question with as much as a frame holds of what was never asked."""
        await wire.receive_request(stream)
        await stream.send(wire.frame(wire.Welcome(1, "", 2**40, self.chance.randbytes(32), 0, bytes(32))))
        while True:
            request, _ = await wire.receive_request(stream)
            if isinstance(request, wire.Walk):
                await stream.send(wire.frame(wire.Nodes([self._branch() for _ in request.prefixes])))
            elif isinstance(request, wire.Blocks):
                blocks = [(request.first + no, 1, self.chance.randbytes(32)) for no in range(wire.BLOCKS_MAX)]
                await stream.send(wire.frame(wire.BlockList(wire.joined(wire.BLOCK, blocks), True)))
            else:
                await stream.send(wire.frame(wire.Records(b"", 0, 1, bytes(32))))

    def _branch(self) -> wire.Branch | wire.Leaf:
        if self.chance.random() < 0.2:
            keys = [self.chance.randbytes(32) for _ in range(16)]
            return wire.Leaf(wire.joined(wire.LOG, [(key, 2**40, 2**40, key) for key in keys]))
        return wire.Branch(wire.joined(wire.CHILD, [(2**36, self.chance.randbytes(32)) for _ in range(16)]))

    async def _loris(self, stream: Stream) -> None:
        await stream.receive(4)
        data = wire.frame(wire.Refused("busy"))
        for at in range(len(data)):
            await asyncio.sleep(15.0)
            await stream.send(data[at : at + 1])

    async def _foreign(self, stream: Stream) -> None:
        """Says it is of this network, and hands out records of another one."""
        await wire.receive_request(stream)
        author = words.identity("foreign", self.lies)
        record = sign(author, network=FOREIGN, seq=1, prev=None, time_ms=0, kind="x", body={})
        log = (author.public_key, 1, 1, bytes.fromhex(record.id))
        await stream.send(wire.frame(wire.Welcome(1, "", 1, self.chance.randbytes(32), 0, bytes(32))))
        while True:
            request, _ = await wire.receive_request(stream)
            if isinstance(request, wire.Walk):
                leaf = wire.Leaf(wire.joined(wire.LOG, [log]))
                await stream.send(wire.frame(wire.Nodes([leaf for _ in request.prefixes])))
            else:
                await stream.send(wire.frame(wire.Records(wire.pack_records([record.raw]), 1)))
