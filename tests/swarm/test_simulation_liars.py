"""Peers that lie, one by one: each is cut off for a while, costs a bounded number of bytes, and changes nothing."""

import asyncio
from random import Random

import pytest
from simulation import clock, words
from simulation.disk import ram_folder
from simulation.driver import drive, exchange
from simulation.liars import Liar
from simulation.node import SimNode
from simulation.wire import Wire

PULLS_MAX = 60
WOVEN_BYTES_MAX = 1024 * 1024
BYTES_MAX = 256 * 1024
"""What one may make us take before it is cut off."""


def meet(kind: str, seed: int = 1, pulls: int = PULLS_MAX) -> tuple[list[str], int, bool, int]:
    """Returns how each pull from a liar ended, bytes that came, whether it was cut off, and records that were lost."""

    async def main(folder) -> tuple[list[str], int, bool, int]:
        wire = Wire(seed)
        chance = Random(seed)
        node, friend = (
            SimNode(wire, words.identity("honest", number), f"/ip4/10.0.0.{number}/tcp/4001", folder, drive)
            for number in (1, 2)
        )
        liar_node = SimNode(wire, words.identity("liar"), "/ip4/10.0.0.9/tcp/4001", folder, drive)
        liar = Liar(kind, liar_node, chance)
        liar_node.drive = liar.drive
        everybody = [node, friend, liar_node]
        for one in everybody:
            await one.start()
        for number in range(6):
            node.append(chance, [], number)
        liar_node.store.ingest([record.raw for record in node.store.records()][:3])
        ended = []
        for _ in range(pulls):
            await liar.lie([node, friend])
            report = await exchange(node, liar_node.peer_id, liar_node.full_address)
            if report is None:
                break
            ended.append("fine" if report.problem is None else str(report.problem))
            await asyncio.sleep(1.0)
        came = wire.total("in", [node.peer_id])
        cut_off = node.budgets.of(liar_node.peer_id).cut_off
        report = await exchange(friend, node.peer_id, node.full_address)
        assert report is not None
        assert report.problem is None
        lacking = len(set(node.acknowledged) - friend.ids())
        for one in everybody:
            await one.transport.die()
            one.close()
        return ended, came, cut_off, lacking

    with ram_folder() as folder:
        return clock.run(main(folder))


@pytest.mark.parametrize("kind", ["garbage", "endless", "loris", "foreign", "twister", "phantom"])
def test_who_breaks_the_protocol_is_cut_off(kind: str):
    ended, came, cut_off, lacking = meet(kind)
    assert cut_off, ended
    assert lacking == 0
    assert came <= BYTES_MAX
    assert all(text == "fine" or text.endswith(("try later.", "ask another peer.")) for text in ended)


def test_a_lie_without_an_end_costs_a_bounded_number_of_bytes():
    """Each part of it fits, and no record in it is new, so only the deadline ends it."""
    _, came, _, lacking = meet("weaver", pulls=1)
    assert lacking == 0
    assert came <= WOVEN_BYTES_MAX


@pytest.mark.parametrize("kind", ["forker", "flooder"])
def test_who_only_writes_nonsense_is_heard_and_voids_itself(kind: str):
    ended, came, cut_off, lacking = meet(kind)
    assert not cut_off
    assert set(ended) == {"fine"}
    assert lacking == 0
    assert came < 4 * 1024 * 1024
