"""What a run printed stays at its author's node, and comes to another one when somebody asks."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import TINY, Node, wait_for


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    track = tmp_path / "talkative"
    shutil.copytree(TINY, track)
    script = (TINY / "baseline.py").read_text()
    talkative = script.replace("    counts = np.full(", '    print(f"seed {run.seed}")\n    counts = np.full(')
    assert talkative != script
    (track / "baseline.py").write_text(talkative)
    made = [Node(tmp_path / name, track=track) for name in ("ada", "bob")]
    yield made
    for node in made:
        if node.process is not None and node.process.poll() is None:
            node.process.kill()
            node.process.communicate()


def test_an_output_is_fetched_on_request_kept_and_else_missed_in_a_sentence(nodes: list[Node]) -> None:
    ada, bob = nodes
    ada.join("--experiments", "2")
    assert ada.process is not None
    ada.process.communicate(timeout=90)
    ada.run("config", "set", "research", "off")
    ada.join()
    line = wait_for(lambda: ada.addresses() and ada.invite(), "an invite")
    bob.run("config", "set", "research", "off")
    bob.join(line)
    rows = wait_for(lambda: bob.addresses() and len(found := bob.ask("leaderboard")) == 2 and found, "ada's results")
    first, second = (row["id"] for row in rows)
    printed = ada.run("show", first, "--log")
    assert "seed " in printed
    assert bob.run("show", first, "--log") == printed
    bob.stop()
    ada.stop()
    assert bob.run("show", first, "--log") == printed, "what was fetched is kept"
    with pytest.raises(AssertionError) as missed:
        bob.run("show", second, "--log")
    said = str(missed.value)
    assert "printed is not here, and could not be fetched" in said
    assert "Traceback" not in said
