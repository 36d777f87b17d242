"""One simulated node: real keys, the real store on a disk that can lose, the real sync code, and a driver.

Left out: the agent, and what a driver does (driver). A crash loses what memory held and what the disk had not yet.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random

from ensue.identity import Identity
from ensue.kinds import KINDS
from ensue.people import Trust
from ensue.record import Record
from ensue.store import Store
from node.swarm.peer import Peer
from node.sync.budget import Budgets
from node.sync.replica import Replica, inline
from simulation import words
from simulation.disk import Disk
from simulation.transport import SimTransport
from simulation.wire import Wire

RECORDS_MAX = 1_000_000
Driver = Callable[["SimNode"], Awaitable[None]]
"""Starts a node's work on its transport: answers, gossip, repair; tasks that it makes end with the node."""


class SimNode:
    """A node that is up from `start` to `crash`, and again from the next `start`."""

    def __init__(
        self, wire: Wire, identity: Identity, address: str, folder: Path, drive: Driver, trust: Trust | None = None
    ) -> None:
        self.wire = wire
        self.identity = identity
        self.address = address
        self.drive = drive
        self.disk = Disk(folder / identity.peer_id, words.NETWORK, trust)
        self.transport: SimTransport
        self.peer: Peer | None = None
        """The running swarm, where the driver is the real one."""
        self.replica: Replica
        self.budgets: Budgets
        self.acknowledged: list[str] = []
        """Ids of the records that `append` has returned."""
        self.up = False
        self._newer: Record | None = None

    @property
    def peer_id(self) -> str:
        """The node's peer id, which is the author of its records."""
        return self.identity.peer_id

    @property
    def store(self) -> Store:
        """The replica as it is now."""
        return self.disk.store

    @property
    def full_address(self) -> str:
        """Where to dial, peer id included."""
        return f"{self.address}/p2p/{self.peer_id}"

    async def start(self) -> None:
        """Brings the node up with an empty memory."""
        assert not self.up
        self.transport = SimTransport(self.wire, self.peer_id, self.address)
        self.replica = Replica(self.store, inline)
        self.budgets = Budgets(self.wire.loop.time)
        self.up = True
        await self.transport.own(self.drive(self), "start")

    async def crash(self, chance: Random, *, lose_disk: bool = False) -> None:
        """Cuts the power: nothing in memory stays, and of the disk what `Disk.cut_power` says."""
        if lose_disk:
            self.disk.lose()
        else:
            self.disk.cut_power(chance)
        self.up = False
        await self.transport.die()
        self.disk.restore()

    def append(self, chance: Random, made: Sequence[Record], number: int) -> Record:
        """Writes a record of this node's own, or takes in one of a newer program, and returns it."""
        draft = words.draft(chance, made, self.peer_id, number)
        if draft.kind not in KINDS:  # a newer program's own log, of which a crash here may leave a part: a gap
            self._newer = record = words.later(self.peer_id, self._newer, draft.kind, draft.body)
            self.store.ingest([record.raw])
        else:
            record = self.store.append(self.identity, draft.kind, draft.body, draft.blobs)
            self.acknowledged.append(record.id)
        self.wire.note("append", self.peer_id, record.id)
        return record

    def ids(self) -> set[str]:
        """Returns the ids of all records here."""
        return {row.id.hex() for row in self.store.exchange.rows(0, RECORDS_MAX)}

    def close(self) -> None:
        """Closes the store."""
        self.disk.close()
