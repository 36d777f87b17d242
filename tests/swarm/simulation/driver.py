"""What drives a simulated node: nothing but answers, so that a test sees each exchange, or the real swarm.

Left out: the process around the swarm (node.swarm.main), whose part here is to tell a node where others are.
"""

import time
from collections.abc import Iterable
from random import Random
from unittest import mock

from node.swarm import herald
from node.swarm.peer import Peer
from node.swarm.peerbook import PeerBook
from node.sync import wire
from node.sync.answer import answer
from node.sync.pull import PullReport, pull
from node.sync.replica import Off, inline
from node.sync.strangers import MIB, UNVERIFIED_MIB
from node.transport.ports import Stream, TransportError
from simulation.node import SimNode

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


class Swarming:
    """The real swarm of a node that was invited by some; `book` is what it knows of others."""

    def __init__(
        self, seed: object, invited: Iterable[str], off: Off = inline, unverified_bytes: int = UNVERIFIED_MIB * MIB
    ) -> None:
        self._unverified_bytes = unverified_bytes
        self._dice = Random(f"swarming {seed!r}")
        self.invited = invited
        self._off = off
        self.book: PeerBook

    async def __call__(self, node: SimNode) -> None:
        self.book = PeerBook.load(node.store, node.peer_id, self._dice)
        self.book.add(self.invited, "invite")
        node.peer = Peer(
            node.transport,
            node.store,
            self.book,
            off=self._off,
            clock=node.wire.loop.time,
            wall_ms=lambda: time.time_ns() // 1_000_000,
            dice=self._dice,
            unverified_bytes=self._unverified_bytes,
        )
        node.replica, node.budgets = node.peer.replica, node.peer.budgets
        node.transport.own(node.peer.run(), "swarm")


def looking(every_s: float) -> "mock._patch[float]":
    """Lets heralds look at the outbox less often: in virtual time nothing else takes as many steps."""
    return mock.patch.object(herald, "LOOK_EVERY_S", every_s)
