"""Eight agents that want the same experiments divide them; whatever is lost on the wire costs a duplicate at worst."""

import asyncio
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from simulation import agents, clock, words
from simulation.disk import ram_folder
from simulation.driver import Swarming, looking
from simulation.node import SimNode
from simulation.wire import FAIR, Weather, Wire

AGENTS, CLAIMS = 8, 400
LOOK_EVERY_S = 0.05
SETTLED_S = 300.0
EXPERIMENTS = [words.sha(f"experiment {number}") for number in range(2 * CLAIMS)]
LOSSY = Weather(gossip_lost=0.3, stream_breaks=0.05, dial_fails=0.3)


async def _nodes(wire: Wire, folder: Path, seed: int) -> list[SimNode]:
    peers: list[str] = []
    nodes = [
        SimNode(wire, words.identity("agent", number), f"/ip4/10.0.0.{number + 1}/tcp/4001", folder,
                Swarming((seed, number), peers))
        for number in range(AGENTS)
    ]  # fmt: skip
    peers += [node.full_address for node in nodes]
    for node in nodes:
        await node.start()
    await asyncio.sleep(60.0)
    return nodes


async def _research(nodes: list[SimNode], plan: agents.Plan, seed: int) -> None:
    with agents.clock():
        work = [agents.research(node, plan, Random(f"{seed} {number}")) for number, node in enumerate(nodes)]
        await asyncio.gather(*work)


async def _agree(nodes: list[SimNode]) -> None:
    """Waits until every node has what any has; fails beyond SETTLED_S."""
    end_s = asyncio.get_running_loop().time() + SETTLED_S
    while any(node.ids() != nodes[0].ids() for node in nodes):
        assert asyncio.get_running_loop().time() < end_s, [len(node.ids()) for node in nodes]
        await asyncio.sleep(1.0)
    assert len({node.store.digest() for node in nodes}) == 1


def _close(nodes: list[SimNode]) -> None:
    for node in nodes:
        node.close()


def _twice(results: list[tuple[str, str]]) -> int:
    return sum(times - 1 for times in Counter(experiment for experiment, _ in results).values())


def _crowd(seed: int, weather: Weather, claims: int) -> agents.Plan:
    async def main(folder: Path) -> agents.Plan:
        wire, plan = Wire(seed), agents.Plan(EXPERIMENTS, claims)
        nodes = await _nodes(wire, folder, seed)
        wire.weather = weather
        await _research(nodes, plan, seed)
        wire.weather = FAIR
        await _agree(nodes)
        for experiment, times in Counter(experiment for experiment, _ in plan.results).items():
            signed = {result for one, result in plan.results if one == experiment}
            assert len(signed) == times
            assert all(set(node.store.claims.results_of(experiment)) == signed for node in nodes)
        for node in nodes:
            await node.transport.die()
        _close(nodes)
        return plan

    with ram_folder() as folder, looking(LOOK_EVERY_S):
        return clock.run(main(folder))


def test_hardly_an_experiment_is_run_twice_where_a_third_is_lost() -> None:
    plan = _crowd(1, LOSSY, 100)
    assert len(plan.results) >= 100
    assert _twice(plan.results) <= 0.05 * len(plan.results)
    assert plan.given_way > 0, "nobody ever wanted the same, so nothing was shown"


@pytest.mark.soak
@pytest.mark.parametrize("weather, share_max", [(FAIR, 0.01), (LOSSY, 0.05)], ids=["fair", "a third lost"])
def test_hardly_an_experiment_of_thousands_is_run_twice(weather: Weather, share_max: float) -> None:
    plans = [_crowd(seed, weather, CLAIMS) for seed in range(10)]
    done, twice = sum(len(plan.results) for plan in plans), sum(_twice(plan.results) for plan in plans)
    given_way = sum(plan.given_way for plan in plans)
    print(f"{twice} of {done:,} run twice in {len(plans)} crowds, {given_way} given up for a rival")
    assert twice <= share_max * done
    assert given_way > 0


def test_a_partition_costs_duplicates_that_all_recognise_when_it_heals() -> None:
    async def main(folder: Path) -> None:
        wire, plan = Wire("parted"), agents.Plan(EXPERIMENTS[:60], 40)
        nodes = await _nodes(wire, folder, 2)
        wire.part([[node.peer_id for node in nodes[: AGENTS // 2]]])
        await _research(nodes, plan, 2)
        assert _twice(plan.results) > 0
        wire.heal()
        await _agree(nodes)
        for experiment, _ in plan.results:
            signed = {result for one, result in plan.results if one == experiment}
            assert all(set(node.store.claims.results_of(experiment)) == signed for node in nodes)
        assert all(node.store.frozen_from(one.peer_id) is None for node in nodes for one in nodes)
        for node in nodes:
            await node.transport.die()
        _close(nodes)

    with ram_folder() as folder, looking(LOOK_EVERY_S):
        clock.run(main(folder))
