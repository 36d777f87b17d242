"""The smallest work of a node: answers, gossips its heads, and asks others, at once and now and then.

It stands in for the running swarm wherever a test needs to see each exchange by itself; the real one is node.swarm.
Left out: finding peers, which the world tells it.
"""

import asyncio
import json
from random import Random

from node.sync import wire
from node.sync.answer import answer
from node.sync.pull import PullReport, pull
from node.transport.ports import Stream, TransportError
from simulation.node import SimNode

TOPIC = f"autoresearch/1/{'0' * 8}"
PULL_TIMEOUT_S = 300.0


async def drive(node: SimNode) -> None:
    """Answers streams, and does nothing unasked."""

    async def answered(stream: Stream) -> None:
        await answer(stream, node.replica, node.budgets.of(stream.peer))

    await node.transport.serve(wire.PROTOCOL, answered)


async def exchange(node: SimNode, peer: str, address: str) -> PullReport | None:
    """Fetches what a peer has and this node lacks, and returns what came of it; None for a peer out of reach."""
    budget = node.budgets.of(peer)
    if budget.cut_off:
        return None
    try:
        if peer not in await node.transport.peers():
            await node.transport.connect(address)
        stream = await node.transport.open(peer, wire.PROTOCOL)
    except TransportError:
        return None
    return await pull(stream, node.replica, budget, deadline_s=PULL_TIMEOUT_S)


class Lively:
    """A driver that gossips heads when there are new records, asks whoever tells of more, and repairs at random."""

    def __init__(self, chance: Random, peers: dict[str, str], period_s: float) -> None:
        self._chance, self._peers, self._period_s = chance, peers, period_s

    async def __call__(self, node: SimNode) -> None:
        await drive(node)
        wanted: dict[str, None] = {}
        rung = asyncio.Event()

        def hear(peer: str, data: bytes) -> None:
            try:
                author, seq = json.loads(data)
                head = node.store.head(author)
            except (ValueError, TypeError):
                return
            if peer in self._peers and (head is None or head.seq < seq):
                wanted[peer] = None
                rung.set()

        await node.transport.subscribe(TOPIC, hear)
        node.transport.own(self._ask(node, wanted, rung), "ask")
        node.transport.own(self._repair(node), "repair")
        node.transport.own(self._tell(node), "tell")

    async def _ask(self, node: SimNode, wanted: dict[str, None], rung: asyncio.Event) -> None:
        while True:
            await rung.wait()
            rung.clear()
            for peer in list(wanted):
                del wanted[peer]
                await exchange(node, peer, self._peers[peer])

    async def _repair(self, node: SimNode) -> None:
        while True:
            peer = self._chance.choice([one for one in self._peers if one != node.peer_id])
            await exchange(node, peer, self._peers[peer])
            await asyncio.sleep(self._period_s * self._chance.uniform(0.5, 1.5))

    async def _tell(self, node: SimNode) -> None:
        while True:
            await node.news.wait()
            node.news.clear()
            head = node.store.head(node.peer_id)
            if head is not None:
                await node.transport.publish(TOPIC, json.dumps([node.peer_id, head.seq]).encode())
