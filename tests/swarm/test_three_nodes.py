"""Three nodes on one machine, as in the tutorial: one memory, one leaderboard, no experiment twice."""

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import TINY, Node, wait_for

EACH = 3
AT_REST_S = 5.0
TRAINS_S = 2.0


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    yield from _nodes(tmp_path, TINY)


@pytest.fixture
def unhurried(tmp_path: Path) -> Iterator[list[Node]]:
    """Nodes whose experiments take longer than the news of a claim, as all real ones do."""
    track = tmp_path / "unhurried"
    shutil.copytree(TINY, track)
    script = (TINY / "baseline.py").read_text()
    waits = script.replace("    counts = np.full(", f"    __import__('time').sleep({TRAINS_S})\n    counts = np.full(")
    assert waits != script
    (track / "baseline.py").write_text(waits)
    yield from _nodes(tmp_path, track)


def _nodes(folder: Path, track: Path) -> Iterator[list[Node]]:
    made = [Node(folder / name, track=track) for name in ("ada", "bob", "cyd")]
    yield made
    for node in made:
        if node.process is not None and node.process.poll() is None:
            node.process.kill()
            node.process.communicate()


def results(node: Node, author: str | None = None) -> int:
    if not (node.home / "genesis.json").exists():
        return 0
    return node.read(lambda store: sum(one.author == author or not author for one in store.records(kind="result")))


def at_rest(nodes: list[Node]) -> bool:
    """Return whether all have one state that stays: a scoring in progress is not held by a pause."""
    before = {node.digest() for node in nodes}
    time.sleep(AT_REST_S)
    return len(before) == 1 and {node.digest() for node in nodes} == before


def peer_id(node: Node) -> str:
    from ensue.identity import Identity

    return Identity.load(node.home / "node.key").peer_id


@pytest.mark.slow
def test_three_nodes_share_one_memory_and_divide_the_work(unhurried: list[Node]) -> None:
    nodes = ada, bob, cyd = unhurried
    ada.join("--name", "ada")
    wait_for(lambda: results(ada), "ada's first result")
    line = ada.invite()
    bob.join(line, "--name", "bob")
    cyd.join(line, "--name", "cyd")
    for node in (bob, cyd):
        wait_for(lambda node=node: (node.home / "node.key").exists(), "a key")
        wait_for(lambda node=node: results(ada, peer_id(node)) >= EACH, "results of each node at the first one")
    for node in nodes:
        node.run("pause")
    wait_for(lambda: at_rest(nodes), "one digest that stays", 60)
    boards = [[row["id"] for row in node.ask("leaderboard", "--limit", "100")] for node in nodes]
    assert boards[0] == boards[1] == boards[2]
    records = ada.read(lambda store: list(store.records(kind="result")))
    again = [key for key, number in Counter(one.body["experiment"] for one in records).items() if number > 1]
    assert again == []
    authors = {one.id: one.author for one in records}
    foreign = [one for one in records if one.body["parent"] and authors[one.body["parent"]] != one.author]
    assert foreign, "nobody built on another's result"
    assert {one.body["agent"] for one in records} == {"ada", "bob", "cyd"}
    for node in nodes:
        assert node.ask("rebuild", "--check")["equal"]
        assert node.read(lambda store: [one.id for one in records if not store.has_blob(one.body["source"])]) == []
        wait_for(lambda node=node: node.connected() == 2, "two neighbours", 60)
    for node in nodes:
        assert node.stop()[1] == ""


def test_what_a_stopped_node_publishes_is_sent_when_it_runs_again(nodes: list[Node]) -> None:
    ada, bob, _ = nodes
    ada.join("--name", "ada", "--hours", "1")
    wait_for(lambda: results(ada), "a result")
    bob.join(ada.invite(), "--experiments", "1")
    assert bob.process is not None
    bob.process.communicate(timeout=90)
    bob.run("insight", "Passes matter more than smoothing.")
    bob.run("hypothesis", "More passes help.")
    waiting = bob.read(lambda store: [one.id for one in store.outbox()])
    assert len(waiting) == 2
    bob.join()
    for key in waiting:
        wait_for(lambda key=key: ada.read(lambda store: store.has(key)), "what was published while stopped")
    wait_for(lambda: bob.read(lambda store: all(one.id not in waiting for one in store.outbox())), "an empty outbox")


def test_the_network_process_is_started_again_and_research_goes_on(nodes: list[Node]) -> None:
    ada = nodes[0].join("--name", "ada")
    wait_for(ada.addresses, "an address")
    before = ada.read(lambda store: json.loads(store.local_get("swarm")))
    os.kill(before["pid"], signal.SIGKILL)

    def again() -> bool:
        now = ada.read(lambda store: json.loads(store.local_get("swarm")))
        return bool(now["pid"] != before["pid"] and now["addresses"])

    wait_for(again, "another network process")
    count = results(ada)
    wait_for(lambda: results(ada) > count, "another result")
    out, err = ada.stop()
    assert "the network process ended" in out + err


def test_nothing_of_a_node_is_left_when_it_is_killed(nodes: list[Node]) -> None:
    ada = nodes[0].join("--name", "ada")
    wait_for(ada.addresses, "an address")
    swarm = ada.read(lambda store: json.loads(store.local_get("swarm")))["pid"]
    children = Path(f"/proc/{swarm}/task/{swarm}/children").read_text().split()
    assert children, "p2pd runs below the network process"
    ada.stop(signal.SIGKILL)
    for pid in [swarm, *map(int, children)]:
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "the end of what belonged to a killed node", 60)


def test_leave_says_good_bye_and_status_and_doctor_say_who_is_there(nodes: list[Node]) -> None:
    ada, bob, _ = nodes
    ada.join("--name", "ada")
    wait_for(lambda: results(ada), "a result")
    bob.join(ada.invite(), "--name", "bob")
    wait_for(lambda: bob.addresses() and bob.connected() == 1, "a neighbour")
    assert ada.ask("status")["swarm"]["running"]
    found = {check["name"]: check for check in bob.ask("doctor", "--quick")["checks"]}
    assert "1 peer connected" in found["reachability"]["found"]
    answer = bob.ask("leave")
    assert answer == {"was_running": True, "waiting_to_be_sent": 0}
    assert bob.process is not None
    bob.process.communicate(timeout=20)
    assert bob.process.returncode == 0
    stopped = {"running": False, "connected": 0, "reachable": "unknown", "problem": None, "unverified": None}
    assert bob.ask("status")["swarm"] == stopped
    assert bob.ask("leave")["was_running"] is False
    wait_for(lambda: ada.connected() == 0, "the neighbour's leaving")
    everything = bob.read(lambda store: {one.id for one in store.records()})
    wait_for(lambda: everything <= ada.read(lambda store: {one.id for one in store.records()}), "all that bob made")


def test_a_node_that_only_serves_keeps_the_memory_for_others(nodes: list[Node]) -> None:
    ada, bob, cyd = nodes
    bob.run("config", "set", "research", "off")
    ada.join("--name", "ada")
    wait_for(lambda: results(ada), "a result")
    bob.join(ada.invite())
    wait_for(lambda: results(bob), "the result at the serving node")
    line = wait_for(lambda: bob.addresses() and bob.run("invite", "--no-qr"), "an invite of the serving node")
    ada.run("leave")
    cyd.join(line, "--experiments", "1")
    assert cyd.process is not None
    assert cyd.process.communicate(timeout=90)[1] == ""
    made = cyd.read(lambda store: [one.author for one in store.records(kind="result")])
    assert len(made) > 1
    assert peer_id(ada) in made
    assert {one.kind for one in bob.read(lambda store: list(store.records(author=peer_id(bob))))} == {"delegation"}
