"""Carries out a schedule, heals everything, and says what is wrong then: nothing may be, whatever happened before.

Left out: drawing schedules (plan). Rejected: asserting while there is still trouble; what must hold then is only that
nothing acknowledged disappears from its author's disk, and that holds at every crash.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from ensue.record import Record
from node.sync.pull import PullReport
from node.sync.strangers import MIB, UNVERIFIED_MIB
from simulation import clock, words
from simulation.driver import Swarming, drive, exchange, looking
from simulation.liars import Liar
from simulation.node import SimNode
from simulation.plan import LASTS_S, Plan, Step
from simulation.wire import FAIR, Wire

HEALING_S = 1_800.0
"""Virtual seconds in which lively nodes must be equal again, by themselves."""
LOOK_EVERY_S = 2.0
BYTES_A_NODE_MAX = 64 * 1024 * 1024


@dataclass(slots=True)
class Outcome:
    """What a schedule came to."""

    trace: str
    digests: list[str]
    records: int
    bytes_sent: int
    wrong: list[str] = field(default_factory=list)
    log: list[str] | None = None


class World:
    """The nodes of one schedule."""

    def __init__(
        self, plan: Plan, folder: Path, *, verbose: bool = False, unverified_bytes: int = UNVERIFIED_MIB * MIB
    ) -> None:
        self.plan = plan
        self.chance = Random(f"world {plan.seed}")
        self.wire = Wire(plan.seed, plan.weather)
        self.wire.log = [] if verbose else None
        self.made: list[Record] = []
        self.wrong: list[str] = []
        peers: list[str] = []
        self.nodes = [
            SimNode(self.wire, words.identity("honest", number), f"/ip4/10.0.0.{number + 1}/tcp/4001", folder,
                    Swarming((plan.seed, number), peers, unverified_bytes=unverified_bytes) if plan.lively else drive)
            for number in range(plan.honest)
        ]  # fmt: skip
        self.liars: list[Liar] = []
        for number, kind in enumerate(plan.liars):
            address = f"/ip4/10.1.0.{number + 1}/tcp/4001"
            node = SimNode(self.wire, words.identity("liar", number), address, folder, drive)
            liar = Liar(kind, node, self.chance)
            node.drive = liar.drive
            self.liars.append(liar)
        self.all = [*self.nodes, *(liar.node for liar in self.liars)]
        peers += [node.full_address for node in self.all]
        self.lost_disks: set[str] = set()
        self.digests: list[str] = []

    async def run(self) -> Outcome:
        """Carries out the schedule and heals; the outcome lists what is wrong."""
        for node in self.all:
            await node.start()
        jobs: list[asyncio.Task[object]] = []
        for step in self.plan.steps:
            await asyncio.sleep(step.at_s - self.wire.loop.time())
            job = asyncio.get_running_loop().create_task(self._do(step), name=step.what)
            jobs.append(job)
        await asyncio.sleep(max(0.0, LASTS_S - self.wire.loop.time()))
        await asyncio.gather(*jobs)
        await self._heal()
        self._check()
        return Outcome(
            self.wire.trace(),
            self.digests,
            self.nodes[0].store.count(),
            self.wire.total("out"),
            self.wrong,
            self.wire.log,
        )

    async def close(self) -> None:
        """Ends every node and closes its store."""
        for node in self.all:
            if node.up:
                await node.transport.die()
            node.close()

    async def _do(self, step: Step) -> None:
        who = [self.all[number] for number in step.who]
        match step.what:
            case "append" | "burst":
                self._append(who[0], 1 if step.what == "append" else 4)
            case "sync":
                if who[0].up:
                    await exchange_at(who[0], who[1])
            case "import":
                self._import(who[0], who[1])
            case "part":
                self.wire.part([[node.peer_id for node in who]])
            case "heal":
                self.wire.heal()
            case "crash" | "lose disk":
                await self._crash(who[0], lose_disk=step.what == "lose disk")
            case "lie":
                await self.liars[step.who[0] - self.plan.honest].lie(self.nodes)

    def _append(self, node: SimNode, number: int) -> None:
        if not node.up or node.peer_id in self.lost_disks:  # it must not sign before it knows where its log ends
            return
        for _ in range(number):
            self.made.append(node.append(self.chance, self.made, len(self.made)))

    def _import(self, node: SimNode, other: SimNode) -> None:
        """Takes in some of another's records, as from an archive of a part of the memory: logs with gaps."""
        raws = [record.raw for record in other.store.records()]
        if node.up and raws:
            node.store.ingest(self.chance.sample(raws, self.chance.randint(1, len(raws))))

    async def _crash(self, node: SimNode, *, lose_disk: bool) -> None:
        if not node.up:
            return
        if lose_disk:
            others = [other for other in self.nodes if other is not node]
            promised = {one for author in self.nodes for one in author.acknowledged}
            if (node.ids() & promised) - set().union(*(other.ids() for other in others)):
                return  # the only copy there is
            for other in others:  # what is now kept for others has been on the disk for long
                other.store.local_set("settled", f"{self.wire.loop.time():.3f}")
            self.lost_disks.add(node.peer_id)
        await node.crash(self.chance, lose_disk=lose_disk)
        if not lose_disk and not set(node.acknowledged) <= node.ids() and node.peer_id not in self.lost_disks:
            self.wrong.append(f"a crash at {self.wire.loop.time():.3f} s took records that {node.peer_id} had signed")
        await asyncio.sleep(self.chance.uniform(0.1, 30.0))
        await node.start()

    # The end

    async def _heal(self) -> None:
        self.wire.heal()
        self.wire.weather = FAIR
        if self.plan.lively:
            until_s = self.wire.loop.time() + HEALING_S
            while self.wire.loop.time() < until_s and not self._equal():
                await asyncio.sleep(2.0)
            return
        await asyncio.sleep(200.0)  # what hangs has noticed by then, and who was cut off for a minute is heard again
        hub, *others = self.nodes
        for liar in self.liars:  # they have their say as well
            await exchange_at(hub, liar.node)
        for one, other in [*((hub, node) for node in others), *((node, hub) for node in others)]:
            report = await exchange_at(one, other)
            if report is None or report.problem is not None:
                why = "no connection" if report is None else repr(report.problem)
                self.wrong.append(f"in fair weather an exchange of honest nodes ended with {why}")

    def _equal(self) -> bool:
        return all(node.ids() == self.nodes[0].ids() for node in self.nodes[1:])

    def _check(self) -> None:
        first = self.nodes[0]
        self.digests = [node.store.digest() for node in self.nodes]
        held, everything = first.ids(), {one for node in self.nodes for one in node.acknowledged}
        for node, digest in zip(self.nodes, self.digests, strict=True):
            ids = node.ids()
            if ids != held:
                self.wrong.append(f"{node.peer_id} has {len(ids - held)} records more, {len(held - ids)} less")
            if everything - ids:
                self.wrong.append(f"{node.peer_id} lacks {len(everything - ids)} acknowledged records")
            if digest != self.digests[0]:
                self.wrong.append(f"{node.peer_id} has another digest")
            if node.store.frozen_from(node.peer_id) is not None or first.store.frozen_from(node.peer_id) is not None:
                self.wrong.append(f"{node.peer_id} is frozen and never signed a number twice")
            self._check_budgets(node)
            sent = self.wire.total("out", [node.peer_id])
            if sent > BYTES_A_NODE_MAX:
                self.wrong.append(f"{node.peer_id} sent {sent:,} bytes")

    def _check_budgets(self, node: SimNode) -> None:
        for other in self.nodes:
            if other is not node and node.budgets.of(other.peer_id).cut_off:
                self.wrong.append(f"{node.peer_id} has cut off {other.peer_id}, which is honest")


async def exchange_at(one: SimNode, other: SimNode) -> PullReport | None:
    """Lets a node fetch from another."""
    return await exchange(one, other.peer_id, other.full_address)


def carry_out(plan: Plan, folder: Path, *, verbose: bool = False) -> Outcome:
    """Returns what a schedule comes to, in a folder of its own."""

    async def main() -> Outcome:
        world = World(plan, folder, verbose=verbose)
        try:
            return await world.run()
        finally:
            await world.close()

    with looking(LOOK_EVERY_S):
        return clock.run(main())
