"""kill -9 at random moments of real nodes: nothing finished is lost, nothing forks, nothing is left running."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from faults import few_or_many, table, wanted

from ensue.genesis import Genesis
from ensue.identity import Identity
from ensue.store import Store
from experiments.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
SEED = 20261121
DEADLINE_S = 120.0
LIVES_A_HOME = 25
LINES_MAX = 16  # from a node's start into its third experiment
NODES = 2  # at once
ANNOUNCED = " · val_bpb "


@dataclass
class Toll:
    """What the kills met, summed up."""

    kills: int = 0
    results: int = 0
    before_first_record: int = 0
    mid_run: int = 0
    scored_again: int = 0
    seconds: float = 0.0
    seen: set[str] = field(default_factory=set)


def join(home: Path, *arguments: str, more: dict[str, str] | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "AUTORESEARCH_HOME": str(home), "AUTORESEARCH_DISK_FREE_BYTES": "0"}
    environment["AUTORESEARCH_TRACK"] = str(ROOT / "tests/tracks/tiny")
    environment |= more or {}
    command = [sys.executable, "-m", "node.cli.main", "join", "--plain", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def survivors(home: Path) -> list[str]:
    """Return the command lines of processes that name the home: the node's own, and its sandboxes."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if f"{home}/" in line:
                found.append(line)
    return found


def wait_until_gone(home: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while left := survivors(home):
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.02)


def check(home: Path, toll: Toll, output: str) -> None:
    """Assert that the home is whole after a kill, and that all that was ever announced or seen is there."""
    if not (home / "genesis.json").exists():
        assert ANNOUNCED not in output
        toll.before_first_record += 1
        return
    with Store(home / "replica.sqlite3", Genesis.load(home / "genesis.json").network_id) as store:
        store.check()
        log = list(store.records())
        assert [one.seq for one in log] == list(range(1, len(log) + 1)), "a gap or a fork"
        assert [one.prev for one in log] == [None, *(one.id for one in log[:-1])][: len(log)]
        results = {one.id for one in log if one.kind == "result"}
        assert toll.seen <= results, "a result is gone"
        assert len(results - toll.seen) >= output.count(ANNOUNCED), "an announced result is not there"
        report = store.rebuild(check=True)
        assert report.equal
        assert report.damaged == ()
        answered = {one.body.get("claim") or one.body.get("target") for one in log}
        unanswered = [one.id for one in log if one.kind == "claim" and one.id not in answered]
        entry = json.loads(store.local_get("run/cpu") or "{}")
        assert unanswered == ([entry["claim"]] if entry else []), "a claim that no journal knows"
        toll.mid_run += bool(entry)
        toll.scored_again += bool(entry.get("trained"))
        toll.results += len(results - toll.seen)
        toll.seen = results
        for one in log:
            if "source" in one.body:
                store.blob(one.body["source"])


def check_the_end(home: Path) -> None:
    """Assert that one undisturbed start clears up: no open claim, no left-over run, a history that can be read."""
    process = join(home, "--experiments", "1")
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, output
    assert list((home / "runs").iterdir()) == []
    toll = Toll()
    check(home, toll, output)
    assert toll.mid_run == 0
    workspace = Workspace(home / "workspace", "cpu")
    with Store(home / "replica.sqlite3", Genesis.load(home / "genesis.json").network_id) as store:
        for one in store.records(kind="result"):
            commit = workspace.find(one.body["experiment"])
            assert commit is not None
            assert workspace.source(commit) == store.blob(one.body["source"])


def one_home(home: Path, kills: int) -> Toll:
    """Start a node again and again on one home, and kill it each time."""
    toll, dice, began = Toll(), random.Random(f"{SEED} {home.name}"), time.monotonic()
    for _ in range(kills):
        process = join(home)
        assert process.stdout is not None
        # So many lines, whatever the machine's speed, and a moment more.
        lines = [
            process.stdout.readline() for _ in range(dice.choice((0, *(dice.randrange(LINES_MAX) for _ in range(4)))))
        ]
        time.sleep(dice.uniform(0.0, 0.4 if lines else 1.2))  # the moment of the fault, not a wait for anything
        process.send_signal(signal.SIGKILL)
        output = "".join(lines) + process.communicate(timeout=DEADLINE_S)[0]
        assert process.returncode == -signal.SIGKILL, output
        wait_until_gone(home)
        toll.kills += 1
        check(home, toll, output)
    check_the_end(home)
    toll.seconds = time.monotonic() - began
    return toll


@pytest.mark.timeout(7200)
@few_or_many
def test_a_node_killed_at_random_moments(tmp_path: Path, soak: bool) -> None:
    kills, began = wanted("KILLS", soak=soak), time.monotonic()
    shares = [min(LIVES_A_HOME, kills - start) for start in range(0, kills, LIVES_A_HOME)]
    with ThreadPoolExecutor(NODES if soak else 1) as pool:
        tolls = list(pool.map(lambda one: one_home(tmp_path / f"home-{one[0]}", one[1]), enumerate(shares)))
    assert sum(toll.kills for toll in tolls) == kills
    if soak:
        table(
            "kill -9 of a node",
            kills=kills,
            before_founding=sum(toll.before_first_record for toll in tolls),
            in_an_experiment=sum(toll.mid_run for toll in tolls),
            of_these_trained=sum(toll.scored_again for toll in tolls),
            results=sum(toll.results for toll in tolls),
            lost=0,
            forks=0,
            left_running=0,
            seconds=round(time.monotonic() - began),
        )


WRITER = """
import os, sys
from bodies import AUTHORS, NETWORK, result
from ensue.store import Blob, Store
from experiments.workspace import Workspace
for line in sys.stdin:
    home, life = line.split()
    if os.fork():
        continue
    print("pid", os.getpid(), flush=True)
    workspace = Workspace(f"{home}/workspace", "cpu")
    with Store(f"{home}/replica.sqlite3", NETWORK) as store:
        head = store.head(AUTHORS[0].peer_id)
        parent, commit = (head.body["source"], store.local_get("commit")) if head else (None, None)
        number = 0
        while True:
            number += 1
            data = b"x = 1\\n" * 3000 + f"{life} {number}".encode()
            blob = Blob(data, parent)
            commit = workspace.commit(data, "one", commit)
            made = store.append(
                AUTHORS[0], "result", result(seed=number, source=blob.sha256), [blob], {"commit": commit}
            )
            parent = blob.sha256
            print("made", made.id, commit, flush=True)
"""


@pytest.mark.timeout(7200)
@few_or_many
def test_a_writer_killed_at_random_moments(tmp_path: Path, soak: bool) -> None:
    """Records, blobs and git commits of a smaller process, which leaves no moment untouched."""
    kills, began, records = wanted("WRITER_KILLS", soak=soak), time.monotonic(), 0
    home, known = tmp_path, set[str]()
    dice = random.Random(SEED)
    pipe = subprocess.PIPE
    command, folder = [sys.executable, "-c", WRITER], ROOT / "tests/ensue"
    with subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, text=True, env=path_with(ROOT)) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for life in range(kills):
            if life % LIVES_A_HOME == 0:
                home = tmp_path / str(life)
                home.mkdir()
            parent.stdin.write(f"{home} {life}\n")
            parent.stdin.flush()
            last_words = []
            while (said := parent.stdout.readline().split())[0] != "pid":
                last_words.append(said[1])
            assert set(last_words) <= known, "an acknowledged record is not there"
            made = [parent.stdout.readline().split()[1] for _ in range(dice.choice((0, 1, 1, 2, 5)))]
            time.sleep(dice.uniform(0.0, 0.05))  # the moment of the fault, not a wait for anything
            os.kill(int(said[1]), signal.SIGKILL)
            known = check_writer(home)
            assert set(made) <= known, "an acknowledged record is not there"
            records += len(known)
        parent.stdin.close()
    if soak:
        table("kill -9 of a writer", kills=kills, records=records, forks=0, seconds=round(time.monotonic() - began))


def path_with(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder)}


def check_writer(home: Path) -> set[str]:
    """Assert that a log, its blobs and its commits are whole; return the records."""
    from bodies import AUTHORS, NETWORK

    me: Identity = AUTHORS[0]
    with Store(home / "replica.sqlite3", NETWORK) as store:
        log = list(store.records(author=me.peer_id))
        assert [one.seq for one in log] == list(range(1, len(log) + 1))
        assert [one.prev for one in log] == [None, *(one.id for one in log[:-1])][: len(log)]
        report = store.rebuild(check=True)
        assert report.equal
        assert report.damaged == ()
        noted = store.local_get("commit")
        if log and noted:
            assert Workspace(home / "workspace", "cpu").source(noted) == store.blob(log[-1].body["source"])
    return {one.id for one in log}
