"""A home that was restored, or of which the key alone is left, asks the others and forks nothing."""

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import Node, wait_for

from ensue.identity import Identity
from node.swarm.restored import NUMBERS_LEFT_OUT


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    made = [Node(tmp_path / name) for name in ("ada", "bob")]
    yield made
    for node in made:
        if node.process is not None and node.process.poll() is None:
            node.process.kill()
            node.process.communicate()


def own(node: Node, author: str) -> list[int]:
    return node.read(lambda store: [one.seq for one in store.records(author=author)])


@pytest.mark.parametrize("restored", ["old back-up", pytest.param("key alone", marks=pytest.mark.soak)])
def test_it_goes_on_beyond_what_anybody_knows(nodes: list[Node], tmp_path: Path, restored: str) -> None:
    ada, bob = nodes
    ada.join("--name", "ada")
    line = wait_for(lambda: ada.addresses() and ada.invite(), "an invite")
    bob.join(line, "--name", "bob", "--experiments", "1")
    assert bob.process is not None
    assert bob.process.communicate(timeout=90)[1] == ""
    shutil.copytree(bob.home, tmp_path / "back-up")
    bob.run("insight", "Said after the back-up was made.")
    bob.join("--experiments", "1")
    bob.process.communicate(timeout=90)
    bob_id = Identity.load(bob.home / "node.key").peer_id
    last = max(own(bob, bob_id))
    wait_for(lambda: max(own(ada, bob_id)) == last, "all of bob's records at ada")

    shutil.rmtree(bob.home)
    if restored == "old back-up":
        shutil.copytree(tmp_path / "back-up", bob.home)
        bob.join("--experiments", "1")
    else:
        bob.home.mkdir()
        for name in ("node.key", "hardware.json"):  # the second only saves measuring the machine again
            shutil.copy2(tmp_path / "back-up" / name, bob.home / name)
        bob.join(line, "--experiments", "1")
    out, err = bob.process.communicate(timeout=120)
    assert bob.process.returncode == 0, out + err
    assert f"know {last} records of this one" in out + err
    numbers = own(bob, bob_id)
    assert set(range(1, last + 1)) < set(numbers)
    assert max(Counter(numbers).values()) == 1
    assert min(number for number in numbers if number > last) == last + NUMBERS_LEFT_OUT + 1
    wait_for(lambda: sorted(own(ada, bob_id)) == sorted(numbers), "the new records at ada")
    assert ada.read(lambda store: store.frozen_from(bob_id)) is None
    ada.run("pause")
    time.sleep(1)
    wait_for(lambda: ada.ask("rebuild", "--check")["equal"], "an equal state")


def test_alone_it_signs_nothing_and_says_why(nodes: list[Node], tmp_path: Path) -> None:
    ada = nodes[0].join("--experiments", "1")
    assert ada.process is not None
    ada.process.communicate(timeout=90)
    shutil.copytree(ada.home, tmp_path / "back-up")
    shutil.rmtree(ada.home)
    shutil.copytree(tmp_path / "back-up", ada.home)
    ada.join("--experiments", "1")
    out, err = ada.process.communicate(timeout=90)
    assert ada.process.returncode == 1
    assert err.count("\n") == 1
    assert "is in doubt" in err, out
