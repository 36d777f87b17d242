"""Very many fresh keys sign true records: the verified go on as before, the ring holds, and nobody is blamed for it."""

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median
from unittest import mock

import pytest
from simulation import clock, words
from simulation.crowd import Processor
from simulation.disk import ram_folder
from simulation.driver import looking
from simulation.floods import Flooder, account, credentials, delegation, participants
from simulation.node import SimNode
from simulation.plan import plan
from simulation.wire import Wire
from simulation.world import World

from ensue.fold import fold
from node.sync.budget import Budget
from node.sync.strangers import MIB, Fill

LATENCY_TIMES_MAX = 2.0
TINY_BYTES = 60_000
OVER_MAX = 0.25
"""What comes in the second until it is counted, as a share of a ring that is very small beside such a flood."""
WITHIN_S = 60.0


async def until(holds: Callable[[], bool], within_s: float = WITHIN_S, look_s: float = 0.002) -> float:
    """Returns after how many virtual seconds something holds; fails beyond `within_s`."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    while not holds():
        assert loop.time() - begun_s < within_s, f"not within {within_s:.0f} s"
        await asyncio.sleep(look_s)
    return loop.time() - begun_s


async def verify(nodes: list[SimNode], people: list[SimNode]) -> None:
    """Lets some nodes say whose they are, and a verifier vouch for those people."""
    for node in people:
        node.store.append(node.identity, "delegation", delegation(node.identity))
    given = [record.raw for record in credentials([node.identity for node in people])]
    for node in nodes:
        node.store.ingest(given)


def fill(node: SimNode) -> Fill:
    assert node.peer is not None
    return node.peer.ring.fill


def blamed(nodes: list[SimNode]) -> list[float]:
    """Returns the standings among nodes that are less than whole."""
    found = [node.budgets.of(other.peer_id).standing for node in nodes for other in nodes if other is not node]
    return [standing for standing in found if standing < 100]


def simulated(work: Callable[[Path], Awaitable[None]], look_s: float = 0.25) -> None:
    with ram_folder() as folder, looking(look_s):
        clock.run(work(folder))


async def end(nodes: list[SimNode]) -> None:
    for node in nodes:
        await node.transport.die()
        node.close()


def latencies(flooders: int, records: int, ring_bytes: int, appends: int, nodes: int = 6) -> tuple[list[float], Fill]:
    """Returns how long each result of a verified node takes to be official everywhere, and the fullest of the rings."""
    took: list[float] = []
    fullest = Fill()

    async def main(folder: Path) -> None:
        nonlocal fullest
        wire = Wire("strangers")
        people = participants(wire, nodes, folder, ring_bytes)
        for node in people:
            node.drive._off = Processor()
            await node.start()
        await verify(people, people)
        await asyncio.sleep(30.0)
        lasts_s = 0.5 * appends
        given = 0
        for number in range(flooders):
            flooder = Flooder(wire, number, records)
            given += flooder.bytes
            await flooder.start([node.full_address for node in people], lasts_s)
        loop = asyncio.get_running_loop()
        for number in range(appends):
            begun_s, author = loop.time(), people[number % nodes]
            body = words.bodies.result(seed=number, value=1.6 - number / 1_000)
            key = author.store.append(author.identity, "result", body).id
            took.append(await until(lambda key=key: all(is_official(node, key) for node in people)))
            fullest = max([fullest, *(fill(node) for node in people)], key=lambda one: one.bytes)
            await asyncio.sleep(max(0.0, begun_s + 0.5 - loop.time()))
        await asyncio.sleep(30.0)
        own = {
            one for node in people for one in node.ids() if node.store.get(one).author in {p.peer_id for p in people}
        }
        for node in people:
            assert own <= node.ids()
            assert fill(node).bytes <= ring_bytes, "the ring holds what it may"
            assert blamed(people) == []
            if given > len(people) * ring_bytes:
                assert node.peer.ring.turns > 0, "nothing was forgotten, so nothing was tested"
        await end(people)

    with ram_folder() as folder:  # the outbox is looked at as often as by a real node: latency is what is measured
        clock.run(main(folder))
    return took, fullest


def is_official(node: SimNode, key: str) -> bool:
    return node.store.has(key) and node.store.result(key).level == "official"


def flooded(flooders: int, records: int, ring_bytes: int, appends: int) -> None:
    calm, _ = latencies(0, 0, ring_bytes, appends)
    took, fullest = latencies(flooders, records, ring_bytes, appends)
    print(
        f"{flooders} fresh keys with {records} records each: official everywhere after {1000 * median(took):.0f} ms, at"
        f" worst {1000 * max(took):.0f}; without them {1000 * median(calm):.0f} and {1000 * max(calm):.0f} ms; ring at"
        f" most {fullest.bytes:,} of {ring_bytes:,} bytes, {fullest.logs} logs"
    )
    assert median(took) < LATENCY_TIMES_MAX * median(calm)
    assert fullest.bytes < (1 + OVER_MAX) * ring_bytes


def test_a_flood_of_true_records_costs_the_verified_little() -> None:
    flooded(40, 3, MIB // 2, 8)


@pytest.mark.soak
def test_a_thousand_fresh_keys_cost_the_verified_little() -> None:
    flooded(1_000, 10, 24 * MIB, 120)


def memory(keys: int, ring_bytes: int) -> tuple[float, Fill]:
    """Returns how many MiB of objects a node holds more after so many fresh keys, and how full its ring is."""
    found: list[tuple[float, Fill]] = []

    async def main(folder: Path) -> None:
        wire = Wire("memory")
        (node,) = participants(wire, 1, folder, ring_bytes)
        await node.start()
        await asyncio.sleep(2.0)
        tracemalloc.start()
        for first in range(0, keys, 100):
            records = [words.fork(words.identity("fresh", number), 1, number) for number in range(first, first + 100)]
            await node.replica.take([record.raw for record in records])
            await asyncio.sleep(3.0)
        gc.collect()
        found.append((tracemalloc.get_traced_memory()[0] / MIB, fill(node)))
        tracemalloc.stop()
        await end([node])

    simulated(main, look_s=1.0)
    return found[0]


def test_memory_does_not_grow_with_the_number_of_keys_that_came() -> None:
    some, more = memory(500, MIB), memory(1_500, MIB)
    print(f"after 500 fresh keys {some[0]:.1f} MiB, after 1,500 {more[0]:.1f} MiB; {more[1]}")
    assert some[1].logs < 125
    assert more[1].forgotten > 1_250
    forgotten_kib = (more[0] - some[0]) * 1024 / (more[1].forgotten - some[1].forgotten)
    assert forgotten_kib < 1.0, "what is remembered of a log that was forgotten"


def test_who_is_verified_after_being_forgotten_is_fully_back_and_official() -> None:
    async def main(folder: Path) -> None:
        wire, chance = Wire("verified late"), Random("verified late")
        nodes = participants(wire, 3, folder, MIB // 4)
        late, *others = nodes
        for node in nodes:
            await node.start()
        for number in range(6):
            late.append(chance, [], number)
        made = list(late.acknowledged)
        key = late.store.append(late.identity, "result", words.bodies.result(seed=77)).id
        await until(lambda: all(node.ids() >= {key, *made} for node in nodes), look_s=1.0)
        for number in range(40):
            flooder = Flooder(wire, number, 3)
            await flooder.start([node.full_address for node in others], 10.0)
        gone = [lambda node=node: late.peer_id not in {one.author for one in node.store.records()} for node in others]
        await until(lambda: all(went() for went in gone), look_s=1.0)
        late.store.append(late.identity, "delegation", delegation(late.identity))
        await asyncio.sleep(60.0)
        assert all(went() for went in gone), "nobody fetches it meanwhile"
        assert late.ids() >= {key, *made}, "it keeps its own"
        others[0].store.ingest(record.raw for record in credentials([late.identity]))
        others[0].peer.ring._stirred.set()
        everything = set(late.acknowledged) | {key, *made}
        took_s = await until(
            lambda: all(node.ids() >= everything and is_official(node, key) for node in nodes), look_s=1.0
        )
        print(f"back after {took_s:.0f} s")
        assert {node.store.people.account_of(late.peer_id) for node in nodes} == {account(late.identity).peer_id}
        assert blamed(nodes) == []
        await end(nodes)

    simulated(main)


def hours(count: float, flooders: int, ring_bytes: tuple[int, int]) -> None:
    """Two nodes with different rings live on for hours while one of them works: nothing goes round in circles."""

    async def main(folder: Path) -> None:
        wire, chance = Wire("two rings"), Random("two rings")
        nodes = participants(wire, 2, folder, ring_bytes[0])
        nodes[1].drive._unverified_bytes = ring_bytes[1]
        for node in nodes:
            await node.start()
        await verify(nodes, nodes)
        flood = [Flooder(wire, number, 3) for number in range(flooders)]
        for flooder in flood:
            await flooder.start([chance.choice(nodes).full_address], 60.0)
        await asyncio.sleep(120.0)
        for flooder in flood:
            await flooder.transport.die()
        await asyncio.sleep(120.0)
        assert all(node.peer.ring.turns for node in nodes)
        assert nodes[0].ids() != nodes[1].ids()
        held = [node.ids() for node in nodes]
        before = [wire.total("in", [node.peer_id]) for node in nodes]
        turns = [node.peer.ring.turns for node in nodes]
        minutes = int(60 * count)
        for minute in range(minutes):
            author = nodes[minute % 2]
            author.store.append(author.identity, "insight", words.bodies.insight(f"of minute {minute}"))
            await asyncio.sleep(60.0)
        came = [wire.total("in", [node.peer_id]) - number for node, number in zip(nodes, before, strict=True)]
        flooded = sum(one.bytes for one in flood)
        print(f"{count:.0f} hours: {came} bytes came, {minutes} records written; the flood had {flooded:,}")
        assert [node.peer.ring.turns for node in nodes] == turns
        for node, ids, size in zip(nodes, held, came, strict=True):
            assert ids <= node.ids()
            assert len(node.ids() - ids) == minutes
            assert size < 2_000_000 * count / 6, "some kilobytes for each record and each minute of asking"
        assert blamed(nodes) == []
        await end(nodes)

    simulated(main, look_s=2.0)


def test_two_nodes_with_different_rings_do_not_fetch_in_circles() -> None:
    hours(1, 40, (MIB // 4, MIB // 3))


@pytest.mark.soak
def test_two_nodes_with_different_rings_do_not_fetch_in_circles_for_hours() -> None:
    hours(20, 300, (MIB, 2 * MIB))


def schedule(seed: int) -> int:
    """Carries out a schedule of crashes, cuts and liars among nodes with tiny rings; returns how often they forgot.

    Their records differ in the end. What must hold is that each node's tables follow from its records, that nobody has
    lost what it signed, and that no honest node has held forgetting against another; silence, which the weather brings,
    is held against it.
    """
    turns = 0
    held: list[str] = []
    fault = Budget.fault

    def noted(budget: Budget, code: str, times: float = 1.0) -> None:
        peers = budget._budgets._peers
        if times and code != "slow" and any(budget is one for peer, one in peers.items() if peer in honest):
            held.append(code)
        fault(budget, code, times)

    drawn = plan(seed)
    honest = {words.identity("honest", number).peer_id for number in range(drawn.honest)}

    async def main(folder: Path) -> None:
        nonlocal turns
        world = World(drawn, folder, unverified_bytes=TINY_BYTES)
        await world.run()
        for node in world.nodes:
            assert node.store.digest() == fold(node.store.records()).digest()
            assert node.store.inspect().sound
            assert node.peer_id in world.lost_disks or set(node.acknowledged) <= node.ids()
            turns += node.peer.ring.turns
        await world.close()

    with mock.patch.object(Budget, "fault", noted):
        simulated(main, look_s=2.0)
    assert held == [], f"seed {seed}"
    return turns


def lively(first: int, count: int) -> list[int]:
    """Returns the next schedules in which nodes run the real swarm."""
    return list(islice((seed for seed in range(first, 2**31) if plan(seed).lively), count))


def test_tiny_rings_come_through_a_bad_day() -> None:
    assert sum(schedule(seed) for seed in (5, 14)) > 0


@pytest.mark.soak
def test_tiny_rings_come_through_many_bad_days() -> None:
    seeds = lively(0, 150)
    turns = [schedule(seed) for seed in seeds]
    print(f"{len(seeds)} schedules, {sum(turns)} times something was forgotten")
    assert sum(turns) > len(seeds)
