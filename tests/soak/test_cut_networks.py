"""Real nodes on hosts of their own for longer: experiments on both sides of a cut, kill after kill, idle traffic."""

import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "swarm"))

from namespaces import Network, NoNamespaces, children, equal, healed_s, joined, killed, said, swarm_process
from nodes import Node, wait_for

from ensue.genesis import Genesis
from ensue.identity import Identity
from node.swarm.invite import encode

HEALED_S_MAX = 10.0
KILLS = int(os.environ.get("SOAK_NODE_KILLS", "20"))
IDLE_BYTES_PER_S_MAX = 2_000
IDLE_S = 30.0


@pytest.fixture
def network() -> Iterator[Network]:
    try:
        with Network(4) as made:
            yield made
    except NoNamespaces as error:
        pytest.skip(f"no network namespaces: {error}")


def researching(network: Network, folder: Path) -> list[Node]:
    nodes = [network.node(host, folder / host, research=True) for host in network.hosts[:3]]
    joined(nodes)
    return nodes


def results(node: Node) -> set[str]:
    return {one.id for one in node.read(lambda store: list(store.records(kind="result")))}


def all_records(node: Node) -> set[str]:
    return {one.id for one in node.read(lambda store: list(store.records()))}


def hold(nodes: list[Node]) -> None:
    """Pause the nodes, and wait until nothing is being written any more."""
    for node in nodes:
        node.run("pause")
    before: list[set[str]] = []

    def still() -> bool:
        nonlocal before
        time.sleep(3.0)
        now = [all_records(node) for node in nodes]
        quiet, before = now == before, now
        return quiet

    wait_for(still, "an end of writing")


def check_whole(nodes: list[Node], acknowledged: set[str]) -> None:
    for node in nodes:
        lost = acknowledged - all_records(node)
        assert not lost, f"{len(lost)} records are not at {node.home.name}"
        assert node.ask("rebuild", "--check")["equal"]


@pytest.mark.soak
@pytest.mark.parametrize("seconds", [40.0, 300.0])
@pytest.mark.parametrize("way", ["cable pulled", "packets lost"])
def test_experiments_on_both_sides_of_a_partition(network: Network, tmp_path: Path, way: str, seconds: float) -> None:
    nodes = researching(network, tmp_path)
    wait_for(lambda: all(results(node) for node in nodes), "results everywhere")
    (network.cut if way == "cable pulled" else network.hush)("a")
    begun, before = time.monotonic(), [results(node) for node in nodes]
    wait_for(lambda: all(len(results(node) - old) >= 2 for node, old in zip(nodes, before, strict=True)), "work")
    hold(nodes)
    assert not equal(nodes[:2])
    time.sleep(max(0.0, seconds - (time.monotonic() - begun)))
    acknowledged = set().union(*(all_records(node) for node in nodes))
    (network.mend if way == "cable pulled" else network.unhush)("a")
    took_s = healed_s(nodes, 60)
    made = Counter(one.body["experiment"] for one in nodes[0].read(lambda store: list(store.records(kind="result"))))
    twice = sum(count - 1 for count in made.values())
    print(
        f"{way} for {time.monotonic() - begun - took_s:.0f} s: equal again after {took_s:.1f} s, {len(acknowledged)} "
        f"records, {len(made)} experiments, {twice} of them run on both sides"
    )
    assert took_s <= HEALED_S_MAX
    check_whole(nodes, acknowledged)


@pytest.mark.soak
def test_kill_after_kill_loses_nothing(network: Network, tmp_path: Path) -> None:
    nodes, dice = researching(network, tmp_path), Random("kill after kill")
    acknowledged: set[str] = set()
    caught_up: list[float] = []
    for number in range(KILLS):
        hit, what = dice.choice(nodes), dice.choice(["join", "network process", "p2pd"])
        time.sleep(dice.uniform(0.0, 4.0))
        wait_for(lambda hit=hit: hit.addresses() and children(swarm_process(hit)), "a running node")
        mine = said(hit, f"said before kill {number}")
        swarm = swarm_process(hit)
        if what == "join":
            killed(hit)
        else:
            os.kill(swarm if what == "network process" else children(swarm)[0], signal.SIGKILL)
        acknowledged |= all_records(hit)
        other = dice.choice([node for node in nodes if node is not hit])
        acknowledged.add(said(other, f"said after kill {number}"))
        if what == "join":
            hit.join()
        begun = time.monotonic()
        wait_for(lambda wanted={mine, *acknowledged}, hit=hit: wanted <= all_records(hit), "catching up")
        wait_for(lambda mine=mine: all(mine in all_records(node) for node in nodes), "what the victim said")
        caught_up.append(time.monotonic() - begun)
    hold(nodes)
    took_s = healed_s(nodes, 30)
    print(
        f"{KILLS} kills, {len(acknowledged)} records acknowledged before them, none lost; the victims caught up after "
        f"{sorted(caught_up)[len(caught_up) // 2]:.1f} s, at worst {max(caught_up):.1f} s; equal {took_s:.1f} s later"
    )
    check_whole(nodes, acknowledged)


@pytest.mark.soak
def test_a_home_of_which_the_key_is_left_forks_nothing(network: Network, tmp_path: Path) -> None:
    nodes = researching(network, tmp_path)
    hit = nodes[2]
    wait_for(lambda: all(len(results(node)) >= 3 for node in nodes), "results")
    said(hit, "said before the home was deleted")
    hold(nodes)
    wait_for(lambda: equal(nodes), "equal digests")
    line, before = nodes[0].invite(), nodes[0].digest()
    killed(hit)
    key = (hit.home / "node.key").read_bytes()
    shutil.rmtree(hit.home)
    hit.home.mkdir(mode=0o700)
    (hit.home / "node.key").write_bytes(key)
    (hit.home / "node.key").chmod(0o600)
    hit.join(line, "--name", "c", "--experiments", "1")
    assert hit.process is not None
    out, err = hit.process.communicate(timeout=180)
    assert hit.process.returncode == 0, out + err
    print(next(line for line in out.splitlines() + err.splitlines() if "records of this one" in line))
    wait_for(lambda: equal(nodes), "equal digests", 30)
    assert nodes[0].digest() != before
    own = Identity.load(hit.home / "node.key").peer_id
    numbers = Counter(one.seq for one in nodes[0].read(lambda store: list(store.records(author=own))))
    assert max(numbers.values()) == 1
    assert nodes[0].read(lambda store: store.frozen_from(own)) is None
    check_whole(nodes, all_records(nodes[0]))


@pytest.mark.soak
def test_with_a_bootstrap_that_lies_research_begins_alone(network: Network, tmp_path: Path) -> None:
    nodes = researching(network, tmp_path)
    genesis = Genesis.load(nodes[0].home / "genesis.json")
    liar = f"/ip4/{network.address('a')}/tcp/4001/p2p/{Identity.load(nodes[1].home / 'node.key').peer_id}"
    node = network.node("d", tmp_path / "d", research=True).join(encode(genesis, [liar]), "--experiments", "1")
    assert node.process is not None
    out, err = node.process.communicate(timeout=240)
    assert node.process.returncode == 0, out + err
    assert "no other node has answered yet" in out + err
    assert "it has another key" in node.log()
    assert len(results(node)) == 1


@pytest.mark.soak
@pytest.mark.parametrize("shipped", [False, True], ids=["dialed only", "as shipped"])
def test_traffic_of_an_idle_node_with_three_peers(network: Network, tmp_path: Path, shipped: bool) -> None:
    on = {f"AUTORESEARCH_SWARM_{name}": "on" for name in ("NAT", "LAN", "RELAY")} if shipped else {}
    nodes = [network.node(host, tmp_path / host, **on) for host in network.hosts]
    joined(nodes)
    time.sleep(IDLE_S)
    rates: list[tuple[float, float]] = []
    for _ in range(4):
        begun, before = time.monotonic(), [network.traffic(host) for host in network.hosts]
        time.sleep(IDLE_S)
        lasted_s = time.monotonic() - begun
        for (received, sent), host in zip(before, network.hosts, strict=True):
            now = network.traffic(host)
            rates.append(((now[0] - received) / lasted_s, (now[1] - sent) / lasted_s))
    mean = [sum(rate[way] for rate in rates) / len(rates) for way in (0, 1)]
    print(
        f"idle with 3 peers, {'as shipped' if shipped else 'dialed only'}: {mean[0]:.0f} bytes/s in and {mean[1]:.0f} "
        f"out; of 30 s the most {max(map(sum, rates)):.0f}, the least {min(map(sum, rates)):.0f} both ways"
    )
    assert sum(mean) <= IDLE_BYTES_PER_S_MAX
