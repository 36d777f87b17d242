"""Several processes on one home at once: a node that researches, and people who publish meanwhile."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ensue.genesis import Genesis
from ensue.store import Store

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/tracks/tiny"
DEADLINE_S = 120.0
EACH = 3  # hypotheses, insights and scripts


def test_publishing_while_a_node_appends_loses_and_forks_nothing(tmp_path: Path):
    home = tmp_path / "home"
    environment = {**os.environ, "AUTORESEARCH_HOME": str(home), "AUTORESEARCH_TRACK": str(TINY)}
    environment["AUTORESEARCH_DISK_FREE_BYTES"] = "0"

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "node.cli.main", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)

    def publish(arguments: list[str]) -> str:
        process = start(*arguments, "--json")
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err
        assert err == ""
        return str(json.loads(out)["id"])

    first = start("join", "--experiments", "1", "--plain")
    assert first.communicate(timeout=DEADLINE_S)[1] == ""
    baseline = (TINY / "baseline.py").read_text()
    wanted = []
    for number in range(EACH):
        script = tmp_path / f"idea-{number}.py"
        script.write_text(baseline.replace("SMOOTHING = 0.5", f"SMOOTHING = 0.{number + 6}"))
        wanted += [
            ["hypothesis", f"smooth {number} times as much"],
            ["insight", f"number {number} says little"],
            ["submit", str(script)],
        ]
    node = start("join", "--experiments", "6", "--plain")
    with ThreadPoolExecutor(3) as pool:
        published = list(pool.map(publish, wanted))
    output, errors = node.communicate(timeout=DEADLINE_S)
    assert node.returncode == 0, errors
    assert errors == ""
    assert "locked" not in output
    with Store(home / "replica.sqlite3", Genesis.load(home / "genesis.json").network_id) as store:
        log = list(store.records())
        assert [one.seq for one in log] == list(range(1, len(log) + 1))
        assert [one.prev for one in log] == [None, *(one.id for one in log[:-1])]
        assert set(published) <= {one.id for one in log}
        assert len([one for one in log if one.kind == "result"]) == 7
        assert len(store.outbox(1000)) == len(log)
        assert store.rebuild(check=True).equal
