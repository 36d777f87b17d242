"""A disk that is full at any one write: nothing is lost, the loop waits, and goes on when there is room."""

import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faults import few_or_many, table, wanted
from faulty_disk import Switch, environment, library
from test_kill import DEADLINE_S, ROOT, Toll, check, join

SEED = 20261121
REFUSALS = 3  # before there is room again
NODES = 2  # at once

STORE = """
import sys
from pathlib import Path
sys.path.append(sys.argv[4])
from faulty_disk import NEVER, Switch
from bodies import AUTHORS, NETWORK, insight, record, result, sha
from ensue.errors import AutoresearchError
from ensue.genesis import Genesis, TrackRef, found
from ensue.identity import Identity
from ensue.store import Blob, Store

root, switch, wanted = Path(sys.argv[1]), Switch(Path(sys.argv[2])), [int(one) for one in sys.argv[3].split(",")]
refused, REFUSALS = 0, int(sys.argv[5])

def until_done(step):
    global refused
    for _ in range(100):
        try:
            return step()
        except AutoresearchError as error:
            assert "full" in str(error) or "No space left" in str(error), (type(error), error)
            refused += 1
            if refused == REFUSALS:
                switch.room()
    raise SystemExit("the disk has room, and still nothing goes on")

def scenario(home):
    me = until_done(lambda: Identity.load_or_create(home / "node.key"))
    genesis = found(AUTHORS[0], "n", [TrackRef("t", sha("track"))], created_ms=1)
    until_done(lambda: genesis.save(home / "genesis.json"))
    network = Genesis.load(home / "genesis.json").network_id
    made, parent = [], None
    for life in range(2):
        store = until_done(lambda: Store(home / "replica.sqlite3", NETWORK))
        for number in range(3):
            blob = Blob(b"x = 1\\n" * 3000 + b"%d %d" % (life, number), parent)
            body = result(seed=number, source=blob.sha256)
            made.append(until_done(lambda: store.append(me, "result", body, [blob], {"done": str(number)})))
            parent = blob.sha256
        raws = [record(1, life * 30 + seq, "insight", insight("y" * 1500 + str(seq))).raw for seq in range(1, 31)]
        until_done(lambda: store.ingest(raws))
        until_done(lambda: store.local_set("status", "x" * 9000, durable=False))
        until_done(lambda: store.outbox_done([made[-1].id]))
        until_done(lambda: store.own_log.seal(me.peer_id))
        store.close()
    return me, made

def check(home, me, made):
    with Store(home / "replica.sqlite3", NETWORK) as store:
        store.check()
        log = list(store.records(author=me.peer_id))
        assert log == made, (len(log), len(made))
        assert [one.seq for one in log] == list(range(1, len(log) + 1))
        assert [one.prev for one in log] == [None, *(one.id for one in log[:-1])]
        assert len(list(store.records(author=AUTHORS[1].peer_id))) == 60
        assert len(store.outbox()) == len(made) - 2
        for one in log:
            store.blob(one.body["source"])
        assert store.rebuild(check=True).equal
        assert store.own_log.end(me.peer_id).doubt is None

for number in wanted:
    home = root / str(number)
    home.mkdir()
    switch.start()
    switch.full(number if number >= 0 else NEVER)
    refused = 0
    made = scenario(home)
    changes = switch.changes
    switch.room()
    check(home, *made)
    print(changes, refused, flush=True)
"""


def on_a_store(tmp_path: Path, so: Path, wanted_points: list[int]) -> list[tuple[int, int]]:
    """Fill the disk at each of the points of a scenario; return the scenario's changes and refusals for each."""
    root, switch = tmp_path / "stores", tmp_path / "switch"
    root.mkdir(exist_ok=True)
    Switch(switch)
    watched = {**os.environ, "PYTHONPATH": str(ROOT), **environment(so, root, switch=switch)}
    numbers = ",".join(str(point) for point in wanted_points)
    command = [sys.executable, "-c", STORE, str(root), str(switch), numbers, str(Path(__file__).parent), str(REFUSALS)]
    done = subprocess.run(command, env=watched, cwd=ROOT / "tests/ensue", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [(int(line.split()[0]), int(line.split()[1])) for line in done.stdout.splitlines()]


@pytest.mark.timeout(7200)
@few_or_many
def test_a_store_on_a_disk_that_is_full_at_one_write(tmp_path: Path, soak: bool) -> None:
    so = library(tmp_path)
    ((changes, refused),) = on_a_store(tmp_path, so, [-1])
    assert refused == 0
    count = min(wanted("FULL", soak=soak), changes)
    points = sorted(random.Random(SEED).sample(range(changes), count))
    met = on_a_store(tmp_path, so, points)
    assert len(met) == count
    assert sum(refused > 0 for _, refused in met) > count / 2
    if soak:
        table("store on a full disk", write_points=count, refused=sum(refused for _, refused in met), lost=0, forks=0)


class Said:
    """The lines of a process, read as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._come: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._come.put(line)
        self._come.put("")

    def __iter__(self) -> Iterator[str]:
        while line := self._come.get(timeout=DEADLINE_S):
            self.lines.append(line)
            yield line
        self._come.put("")  # whoever asks again

    def until(self, word: str) -> bool:
        """Return whether a line with a word came before the end."""
        return any(word in line for line in self)


def one_node(folder: Path, so: Path, ahead: int) -> tuple[int, bool]:
    """Fill a node's disk so many changes after its second experiment began; return the changes and if it waited."""
    home = folder / "home"
    home.mkdir(parents=True)
    switch = Switch(folder / "switch")
    process = join(home, "--experiments", "3", more=environment(so, home, switch=folder / "switch"))
    said = Said(process)
    assert said.until("#2 "), said.lines
    began = switch.changes
    if ahead >= 0:
        switch.full(began + ahead)
    waited = said.until("waiting" if ahead >= 0 else "#3 ")
    changes = switch.changes - began
    switch.room()
    rest = list(said)
    process.wait(DEADLINE_S)
    output = "".join(said.lines)
    assert rest or not waited
    assert process.returncode == 0, output
    assert "Traceback" not in output
    toll = Toll()
    check(home, toll, output)
    assert (toll.results, toll.mid_run) == (3, 0), output
    assert list((home / "runs").iterdir()) == []
    return changes, waited


@pytest.mark.timeout(7200)
@few_or_many
def test_the_loop_on_a_disk_that_is_full_at_one_write(tmp_path: Path, soak: bool) -> None:
    so, began = library(tmp_path), time.monotonic()
    points = [60]  # in the middle of an experiment
    if soak:
        changes, _ = one_node(tmp_path / "first", so, -1)
        points = sorted(random.Random(SEED).sample(range(changes), min(wanted("FULL", soak=soak), changes)))
    count = len(points)
    with ThreadPoolExecutor(NODES if soak else 1) as pool:
        met = list(pool.map(lambda ahead: one_node(tmp_path / str(ahead), so, ahead), points))
    waited = sum(waited for _, waited in met)
    assert waited
    if soak:
        seconds = round(time.monotonic() - began)
        table("loop on a full disk", write_points=count, waited_and_went_on=waited, lost=0, forks=0, seconds=seconds)


def one_start(folder: Path, so: Path, point: int) -> tuple[int, bool]:
    """Fill the disk at one change of a first start; return the changes and whether it ended with a sentence."""
    home = folder / "home"
    home.mkdir(parents=True)
    switch = Switch(folder / "switch")
    switch.full(point if point >= 0 else 2**62)
    process = join(home, "--experiments", "1", more=environment(so, home, switch=folder / "switch"))
    said = Said(process)
    waited = said.until("waiting" if point >= 0 else "#1 ")
    changes = switch.changes
    switch.room()
    list(said)
    process.wait(DEADLINE_S)
    output = "".join(said.lines)
    assert "Traceback" not in output
    if process.returncode:
        assert not waited
        assert "full" in said.lines[-1] or "No space left" in said.lines[-1], output
        process = join(home, "--experiments", "1")
        output, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, output
    toll = Toll()
    check(home, toll, output)
    assert (toll.results, toll.mid_run) == (1, 0)
    return changes, bool(process.returncode)


@pytest.mark.timeout(7200)
@pytest.mark.soak
def test_a_first_start_on_a_disk_that_is_full_at_one_write(tmp_path: Path) -> None:
    so, began = library(tmp_path), time.monotonic()
    changes, _ = one_start(tmp_path / "first", so, -1)
    count = min(wanted("FULL", soak=True), changes)
    points = sorted(random.Random(SEED).sample(range(changes), count))
    with ThreadPoolExecutor(NODES) as pool:
        list(pool.map(lambda point: one_start(tmp_path / str(point), so, point), points))
    seconds = round(time.monotonic() - began)
    table("first start on a full disk", write_points=count, next_start_works=count, seconds=seconds)
