"""A node among others: answers them, knows them, tells and hears the news. Everything but the wire and the process.

The same code runs over p2pd and in the simulation. Left out: starting the daemon, the DHT and the local network (main).
Rejected: a state machine over all peers; each task here can be cancelled and started again at any point.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import TypeVarTuple

from ensue.errors import StoreError
from ensue.record import Record
from ensue.store import Store
from node.swarm.herald import Herald
from node.swarm.neighbours import Neighbours
from node.swarm.peerbook import PeerBook
from node.sync import wire
from node.sync.answer import answer
from node.sync.budget import Budgets
from node.sync.received import Received
from node.sync.replica import Off, Replica
from node.sync.strangers import MIB, UNVERIFIED_MIB, Ring
from node.transport.ports import Stream, Transport

RESTART_AFTER_S = 1.0
_log = logging.getLogger(__name__)
_A = TypeVarTuple("_A")


class Peer:
    """One node's part in the swarm; `run` until cancelled."""

    def __init__(
        self,
        transport: Transport,
        store: Store,
        book: PeerBook,
        *,
        off: Off = asyncio.to_thread,
        clock: Callable[[], float],
        wall_ms: Callable[[], int],
        dice: Random,
        software: str = "",
        told: Callable[[list[Record]], None] = lambda records: None,
        stirred: Callable[[], bool] = lambda: True,
        unverified_bytes: int = UNVERIFIED_MIB * MIB,
    ) -> None:
        self.book = book
        self.replica = Replica(store, off)
        self.budgets = Budgets(clock)
        self.neighbours = Neighbours(
            transport, self.replica, book, self.budgets, wall_ms=wall_ms, dice=dice, software=software
        )
        self.herald = Herald(
            transport, store, self.replica, self.neighbours, wall_ms=wall_ms, told=told, stirred=stirred
        )
        self.replica.given = self._given
        self.received = self.replica.received = Received(transport.peer_id)
        self.ring = Ring(self.replica, clock=clock, bytes_max=unverified_bytes)
        self._transport = transport
        self._software = software
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answers, meets, tells and hears until cancelled; a full disk or a busy replica is waited out."""
        await self._patiently(self._resume)
        await self._patiently(self.replica.current)
        await self._patiently(self._warm)
        await self._transport.serve(wire.PROTOCOL, self._answered)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._patiently(self.neighbours.run))
            group.create_task(self._patiently(self.herald.run))
            group.create_task(self._patiently(self.ring.run))

    async def _resume(self) -> None:
        await self.replica.off(self.received.resume, self.replica.store)

    async def _warm(self) -> None:
        """Loads what taking in a record needs, so that the first one does not wait for it."""
        await self.replica.take([])

    async def _answered(self, stream: Stream) -> None:
        await answer(stream, self.replica, self.budgets.of(stream.peer), self._software)

    def _given(self, ids: Sequence[str]) -> None:
        """Tells the others of records that a light client handed to this node alone."""
        task = asyncio.create_task(self._tell(ids))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, ids: Sequence[str]) -> None:
        await self.herald.tell([await self.replica.off(self.replica.store.get, one) for one in ids])

    async def _patiently(self, work: Callable[[], Awaitable[object]]) -> None:
        said = ""
        while True:
            try:
                await work()
                return
            except* StoreError as problems:
                words = "; ".join(str(problem) for problem in problems.exceptions)
                if words != said:
                    _log.error("%s", words)
                    said = words
            await asyncio.sleep(RESTART_AFTER_S)
