"""Few honest nodes among many liars: records come through, the honest do not cut each other off, floods cost little."""

import asyncio
from pathlib import Path
from random import Random
from statistics import median

import pytest
from simulation import clock, crowd, words
from simulation.crowd import TOPIC, protocol
from simulation.disk import ram_folder
from simulation.driver import drive, looking
from simulation.node import SimNode
from simulation.wire import Wire

SPREAD_S = 240.0
"""Virtual seconds in which every honest node has every honest record, while nineteen in twenty peers lie."""
AMPLIFICATION_MAX = 2.0
LATENCY_TIMES_MAX = 2.0


async def _spread(nodes: list[SimNode], within_s: float) -> float:
    """Returns after how many seconds every node has what all have acknowledged; fails beyond `within_s`."""
    loop = asyncio.get_running_loop()
    begun_s, wanted = loop.time(), {one for node in nodes for one in node.acknowledged}
    while lacking := [len(wanted - node.ids()) for node in nodes if wanted - node.ids()]:
        assert loop.time() - begun_s < within_s, f"after {within_s:.0f} s records are missing: {lacking}"
        await asyncio.sleep(0.25)
    return loop.time() - begun_s


def _eclipse(honest: int, liars: int, groups: int) -> list[float]:
    """Returns how long records take among honest nodes, in three rounds, each node at each round writing one."""

    async def main(folder: Path) -> list[float]:
        wire, chance = Wire("eclipse"), Random("eclipse")
        faces = [SimNode(wire, words.identity("face", number), f"/ip4/9.9.9.{number}/tcp/1", folder, drive)
                 for number in (1, 2)]  # fmt: skip
        nodes = crowd.honest(wire, honest, folder)
        homes = [node.full_address for node in nodes]
        for face in faces:
            await face.start()
        shams = [crowd.Sham(wire, number, groups, faces[0], faces[1]) for number in range(liars)]
        for sham in shams:
            await sham.start(homes)
        await asyncio.sleep(60.0)
        for node in nodes:
            await node.start()
            node.transport.own(crowd.rumours(node, homes + [sham.address for sham in shams], chance), "rumours")
        await asyncio.sleep(120.0)
        took = []
        for turn in range(3):
            for number, node in enumerate(nodes):
                node.append(chance, [], turn * honest + number)
            took.append(await _spread(nodes, SPREAD_S))
            if not turn:
                faces[1].store.ingest([record.raw for record in nodes[0].store.records()])
            await asyncio.sleep(30.0)
        framed = [one.peer_id for node in nodes for one in nodes if node.budgets.of(one.peer_id).cut_off]
        assert framed == []
        for node in [*nodes, *faces]:
            await node.transport.die()
            node.close()
        return took

    with ram_folder() as folder, looking(1.0):
        return clock.run(main(folder))


def _traffic(wire: Wire, nodes: list[SimNode], way: str) -> int:
    """Returns what nodes have sent or got by what they answer and ask.

    Left out is gossip: the daemon hands each message on to the six peers of its mesh before anybody here sees it.
    """
    return wire.total(way, [node.peer_id for node in nodes], protocol.PROTOCOL)


def _latencies(strangers: int, *, nodes: int = 6, appends: int = 20) -> tuple[list[float], int, int]:
    """Returns the seconds from writing a record to its being everywhere, and bytes that the nodes sent and got."""

    async def main(folder: Path) -> tuple[list[float], int, int]:
        wire = Wire("flood")
        honest = crowd.honest(wire, nodes, folder)
        homes = [node.full_address for node in honest]
        for node in honest:
            node.drive = crowd.Swarming(node.peer_id, homes, crowd.Processor())
            await node.start()
        await asyncio.sleep(30.0)
        before = {way: _traffic(wire, honest, way) for way in ("in", "out")}
        lasts_s = 0.5 * appends
        for number in range(strangers):
            stranger = crowd.Stranger(wire, number)
            await stranger.start(homes, bytes.fromhex(words.NETWORK), lasts_s)
        took, loop = [], asyncio.get_running_loop()
        for number in range(appends):
            begun_s = loop.time()
            node = honest[number % nodes]
            record = node.store.append(node.identity, "insight", words.bodies.insight(f"{number}")).id
            while not all(node.store.has(record) for node in honest):
                assert loop.time() - begun_s < 60.0, "an honest record does not come through"
                await asyncio.sleep(0.002)
            took.append(loop.time() - begun_s)
            await asyncio.sleep(max(0.0, begun_s + 0.5 - loop.time()))
        sent, got = (_traffic(wire, honest, way) - before[way] for way in ("out", "in"))
        peers = [node.peer_id for node in honest]
        gossip = {way: wire.total(way, peers, TOPIC) for way in ("in", "out")}
        print(f"gossip that the daemon hands on: {gossip['out']:,} bytes out for {gossip['in']:,} in")
        for node in honest:
            await node.transport.die()
            node.close()
        return took, sent, got

    with ram_folder() as folder:
        return clock.run(main(folder))


def _flooded(strangers: int, appends: int) -> None:
    calm, _, _ = _latencies(0, appends=appends)
    took, sent, got = _latencies(strangers, appends=appends)
    print(
        f"{strangers} fresh keys: {sent:,} bytes out for {got:,} in ({sent / got:.2f}); a record is everywhere after "
        f"{1000 * median(took):.0f} ms, at worst {1000 * max(took):.0f}; without them {1000 * median(calm):.0f} and "
        f"{1000 * max(calm):.0f} ms"
    )
    assert sent <= AMPLIFICATION_MAX * got
    assert median(took) < LATENCY_TIMES_MAX * median(calm)


def test_honest_records_come_through_a_crowd_of_liars():
    print(_eclipse(3, 27, 27))


def test_a_flood_of_fresh_keys_costs_little():
    _flooded(60, 8)


@pytest.mark.soak
def test_among_two_hundred_nodes_of_which_ten_are_honest():
    print(_eclipse(10, 190, 190))


@pytest.mark.soak
def test_a_flood_of_a_thousand_fresh_keys_costs_little():
    _flooded(1_000, 40)
