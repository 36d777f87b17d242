"""Real nodes on hosts of their own: cables are pulled, processes killed, homes deleted; nothing is lost."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from namespaces import Network, NoNamespaces, children, equal, healed_s, joined, killed, said, swarm_process
from nodes import Node, wait_for

from ensue.genesis import Genesis, found
from ensue.identity import Identity
from node.swarm.invite import encode

HEALED_S_MAX = 10.0
CUT_S = 5.0
YEARS_AHEAD = 3
CLOCK = f"""
import time
ahead_ns = {YEARS_AHEAD} * 365 * 86_400 * 10**9
real, real_ns = time.time, time.time_ns
time.time, time.time_ns = lambda: real() + ahead_ns / 1e9, lambda: real_ns() + ahead_ns
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    try:
        with Network(4) as made:
            yield made
    except NoNamespaces as error:
        pytest.skip(f"no network namespaces: {error}")


@pytest.fixture(scope="module")
def nodes(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """Three nodes that keep the memory and run nothing; every test leaves them equal."""
    folder = tmp_path_factory.mktemp("hosts")
    made = [network.node(host, folder / host) for host in network.hosts[:3]]
    joined(made)
    yield made
    network.close()


@pytest.fixture
def stranger(network: Network, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes on the fourth host, which are killed in the end."""
    made: list[Node] = []

    def make(**options: str) -> Node:
        made.append(network.node("d", tmp_path / f"stranger {len(made)}", **options))
        return made[-1]

    yield make
    network.clear("d")
    for node in made:
        node.stop(signal.SIGKILL)


def has_all(nodes: list[Node], records: list[str]) -> bool:
    return all(node.read(lambda store: all(store.has(one) for one in records)) for node in nodes)


def address_of(network: Network, host: str, peer_id: str) -> str:
    return f"/ip4/{network.address(host)}/tcp/4001/p2p/{peer_id}"


@pytest.mark.parametrize("way", ["cable pulled", "packets lost"])
def test_after_a_partition_all_are_equal_within_ten_seconds(network: Network, nodes: list[Node], way: str) -> None:
    pulled, begun = way == "cable pulled", time.monotonic()
    (network.cut if pulled else network.hush)("a")
    records = [said(node, f"{way}, said on one side") for node in nodes]
    wait_for(lambda: has_all(nodes[1:], records[1:]), "the records of one side")
    assert not has_all(nodes[:1], records[1:2])
    assert not has_all(nodes[1:2], records[:1])
    time.sleep(max(0.0, CUT_S - (time.monotonic() - begun)))
    (network.mend if pulled else network.unhush)("a")
    took_s = healed_s(nodes, HEALED_S_MAX)
    print(f"{way}: equal again after {took_s:.1f} s")
    assert has_all(nodes, records)


@pytest.mark.parametrize("victim", ["join", "network process", "p2pd"])
def test_nothing_acknowledged_is_lost_by_a_kill(network: Network, nodes: list[Node], victim: str) -> None:
    first, hit, third = nodes
    assert hit.process is not None
    wait_for(lambda: hit.connected() == 2, "neighbours")
    swarm = swarm_process(hit)
    network.hush("b")  # what is said now is acknowledged, and has not left the host when it dies
    records = [said(hit, f"said before the {victim} was killed")]
    if victim == "join":
        killed(hit)
    else:
        os.kill(swarm if victim == "network process" else children(swarm)[0], signal.SIGKILL)
    network.unhush("b")
    assert not has_all([first], records)
    records.append(said(first, f"said while the {victim} was away"))
    wait_for(lambda: has_all([third], records[1:]), "the others go on")
    if victim == "join":
        hit.join()
    wait_for(lambda: has_all(nodes, records) and equal(nodes), "everything everywhere", 30)
    wait_for(lambda: (swarm_process(hit) == swarm) == (victim == "p2pd"), "the process that runs now")
    assert hit.process.poll() is None


def test_a_deleted_home_comes_back_from_the_others(network: Network, nodes: list[Node]) -> None:
    first, _, hit = nodes
    wait_for(lambda: equal(nodes), "equal digests")
    line, old = first.invite(), Identity.load(hit.home / "node.key").peer_id
    before = first.read(lambda store: [one.id for one in store.records()])
    network.clear("c")
    hit.stop(signal.SIGKILL)
    shutil.rmtree(hit.home)
    hit.join(line, "--name", "c")
    wait_for(lambda: hit.addresses() and has_all([hit], before) and equal(nodes), "the same memory", 30)
    assert Identity.load(hit.home / "node.key").peer_id != old
    assert hit.ask("rebuild", "--check")["equal"]
    wait_for(lambda: has_all(nodes, [said(hit, "said in a new home")]), "a record of the new key")


def test_a_bootstrap_that_lies_about_its_id_is_not_believed(
    network: Network, nodes: list[Node], stranger: Callable[..., Node]
) -> None:
    first, second = nodes[:2]
    genesis = Genesis.load(first.home / "genesis.json")
    liar = address_of(network, "a", Identity.load(second.home / "node.key").peer_id)
    node = stranger().join(encode(genesis, [liar]))
    wait_for(node.addresses, "an address")
    wait_for(lambda: "it has another key; ask for its address again" in node.log(), "a line about the liar")
    assert node.connected() == 0
    network.clear("d")
    node.stop(signal.SIGKILL)
    node.join(first.invite())
    wait_for(lambda: node.addresses() and node.digest() == first.digest(), "the memory, from an honest address")


def test_a_taken_port_is_said_in_a_line_and_taken_when_it_is_free(
    nodes: list[Node], stranger: Callable[..., Node]
) -> None:
    there = stranger().join(nodes[0].invite())
    wait_for(there.addresses, "an address")
    late = stranger().join(nodes[0].invite())
    wait_for(late.log, "what the network process says")
    killed(there)
    wait_for(lambda: late.addresses() and late.digest() == nodes[0].digest(), "a place in the network", 30)
    taken = [line for line in "".join(late.stop()).splitlines() if "Port 4001 is taken by another program" in line]
    assert taken, "a line about the port"
    print(taken[0])


def test_peers_of_another_network_are_turned_away(
    network: Network, nodes: list[Node], stranger: Callable[..., Node], tmp_path: Path
) -> None:
    founder = Identity.load_or_create(tmp_path / "founder.key")
    other = found(founder, "elsewhere", [], created_ms=1)
    ids = [Identity.load(node.home / "node.key").peer_id for node in nodes]
    lines = encode(other, [address_of(network, host, one) for host, one in zip("abc", ids, strict=True)])
    node = stranger().join(lines)
    wait_for(node.addresses, "an address")
    record = said(node, "said in another network")
    refused = wait_for(lambda: [one for one in node.log().splitlines() if "network" in one and ids[0] in one], "no")
    print(refused[0])
    wait_for(lambda: node.connected() == 0, "no connection")
    mine = said(nodes[0], "said while strangers dialed")
    wait_for(lambda: has_all(nodes, [mine]) and equal(nodes), "the network goes on")
    assert not has_all(nodes[:1], [record])


def test_a_clock_years_ahead_changes_nothing(nodes: list[Node], stranger: Callable[..., Node], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    node = stranger(PYTHONPATH=str(tmp_path)).join(nodes[0].invite())
    wait_for(lambda: node.addresses() and node.digest() == nodes[0].digest(), "the memory", 30)
    records = [said(node, "said in years to come"), said(nodes[1], "said today")]
    wait_for(lambda: has_all([*nodes, node], records) and equal([*nodes, node]), "records of both clocks")
    late, today = (nodes[0].read(lambda store, one=one: store.get(one).time_ms) for one in records)
    assert late - today > (YEARS_AHEAD - 1) * 365 * 86_400_000


def test_hosts_and_processes_are_gone_with_the_network(tmp_path: Path) -> None:
    try:
        with Network(2) as network:
            node = network.node("a", tmp_path / "home").join()
            wait_for(node.addresses, "an address")
            swarm = swarm_process(node)
            pids = [swarm, *children(swarm), *network.processes("a")]
            assert len(pids) >= 4
    except NoNamespaces as error:
        pytest.skip(f"no network namespaces: {error}")
    for pid in pids[:2]:
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "the end of a host's process", 10)
    assert node.process is not None
    node.process.communicate()
