"""A damaged replica on a real node's home: what still verifies is saved by one command."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

from ensue.genesis import Genesis
from ensue.identity import Identity
from ensue.store import Store

ROOT = Path(__file__).resolve().parents[2]


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AUTORESEARCH_HOME": str(home), "AUTORESEARCH_TRACK": str(ROOT / "tests/tracks/tiny")}
    command = [sys.executable, "-m", "node.cli.main", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=90)


def test_rebuild_saves_what_a_damaged_replica_still_holds(tmp_path: Path):
    home = tmp_path / "home"

    def autoresearch(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(home, *arguments)

    assert autoresearch("join", "--experiments", "2").returncode == 0
    database = home / "replica.sqlite3"
    pages = bytearray(database.read_bytes())
    page = len(pages) // 8192 // 2
    pages[page * 8192 : (page + 1) * 8192] = b"\xa5" * 8192
    database.write_bytes(pages)

    refused = autoresearch("leaderboard")
    if refused.returncode:  # a page that this query does not touch is found by the check only
        assert "autoresearch rebuild" in refused.stderr
        assert "Traceback" not in refused.stderr
    mended = autoresearch("rebuild")
    assert mended.returncode == 0, mended.stderr
    assert "Traceback" not in mended.stderr
    assert autoresearch("rebuild", "--check").returncode == 0
    assert autoresearch("join", "--experiments", "1").returncode == 0
    assert autoresearch("rebuild", "--check").returncode == 0


def test_a_node_mends_its_replica_at_the_start(tmp_path: Path):
    home = tmp_path / "home"

    def join() -> str:
        done = run(home, "join", "--experiments", "1", "--plain")
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "damaged" not in join()
    network = Genesis.load(home / "genesis.json").network_id
    with Store(home / "replica.sqlite3", network) as store:
        held = list(store.records())
        store.local_set("run/cpu", "half a jour")  # the journal is gone, and its claim is still open
        claim = next(one for one in held if one.kind == "claim").body
        open_claim = store.append(Identity.load(home / "node.key"), "claim", claim)
    database = home / "replica.sqlite3"
    content = bytearray(database.read_bytes())
    content[20:100] = os.urandom(80)  # most of the file's header
    database.write_bytes(content)
    said = join()
    assert "the replica was damaged: 5 records and" in said
    assert "nothing is known to be lost" in said
    with Store(home / "replica.sqlite3", network) as store:
        log = list(store.records())
        assert log[:5] == [*held, open_claim]
        assert [one.seq for one in log] == list(range(1, len(log) + 1))
        assert [one.body["target"] for one in store.records(kind="retraction")] == [open_claim.id]
        assert store.claims.open(claim["track"]) == []
    with sqlite3.connect(database) as connection:  # as after a kill while it caught up with others
        connection.execute("DROP INDEX results_best")
    connection.close()
    assert "damaged" not in join()
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'results_best'").fetchall()
    connection.close()


def test_a_restored_home_researches_only_after_its_owner_said_so(tmp_path: Path):
    home = tmp_path / "home"

    def autoresearch(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(home, *arguments)

    assert autoresearch("join", "--experiments", "1").returncode == 0
    shutil.copytree(home, tmp_path / "back-up")
    assert autoresearch("join", "--experiments", "1").returncode == 0
    shutil.rmtree(home)
    shutil.copytree(tmp_path / "back-up", home)
    for command in (("join", "--experiments", "1"), ("insight", "a copy says too much")):
        refused = autoresearch(*command)
        assert refused.returncode == 1
        assert "doctor --restored" in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert autoresearch("leaderboard").returncode == 0
    assert "goes on here, after number 4" in autoresearch("doctor", "--quick", "--restored").stdout
    assert autoresearch("insight", "it is I").returncode == 0
    assert autoresearch("join", "--experiments", "1").returncode == 0
    (home / "node.key").rename(tmp_path / "old.key")  # the other way: a log of one's own
    assert autoresearch("join", "--experiments", "1").returncode == 0
