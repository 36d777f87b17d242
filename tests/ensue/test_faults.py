"""Kills, full disks and damaged files: what was acknowledged is there, and nothing half."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bodies import AUTHORS, NETWORK, TRACK, insight, record, result, sha

from ensue.errors import DiskFull, StoreDamaged, StoreError
from ensue.record import Record
from ensue.store import Blob, Store
from ensue.store.repair import repair

ME, OTHER, _ = AUTHORS

WRITER = """
import sys
from bodies import AUTHORS, NETWORK, result
from ensue.store import Blob, Store
with Store(sys.argv[1], NETWORK) as store:
    parent = None
    for number in range(100_000):
        blob = Blob(b"x = 1\\n" * 3000 + sys.argv[2].encode() + b" %d" % number, parent)
        parent = blob.sha256
        body = result(seed=number, source=blob.sha256)
        made = store.append(AUTHORS[0], "result", body, [blob], {"done": f"{sys.argv[2]} {number}"})
        print(number, made.id, blob.sha256, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replica.sqlite3"


def fill(path: Path, count: int) -> list[Record]:
    with Store(path, NETWORK) as store:
        parent: str | None = None
        made = []
        for number in range(count):
            blob = Blob(b"y = 2\n" * 500 + os.urandom(20).hex().encode(), parent)
            parent = blob.sha256
            body = result(seed=number, source=parent, experiment=sha(str(number)), description=f"change {number}")
            made.append(store.append(ME, "result", body, [blob], {"done": str(number)}))
    return made


@pytest.mark.parametrize("round_", range(3))
def test_kill_9_while_writing(path: Path, round_: int) -> None:
    acknowledged: list[list[str]] = []
    dice = random.Random(round_)
    for life in "abc":
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), life],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )
        assert process.stdout is not None
        wanted = dice.randint(1, 40)
        lines = [process.stdout.readline().split() for _ in range(wanted)]
        for _ in range(dice.randint(0, 20_000)):  # not always right after an acknowledgement
            pass
        process.send_signal(signal.SIGKILL)
        rest = [line.split() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        process.wait()
        process.stdout.close()
        acknowledged += [line for line in lines + rest if len(line) == 3 and len(line[2]) == 64]
        with Store(path, NETWORK) as store:
            log = list(store.records())
            assert {line[1] for line in acknowledged} <= {one.id for one in log}
            assert [one.prev for one in log] == [None, *(one.id for one in log[:-1])]
            assert [one.seq for one in log] == list(range(1, len(log) + 1))
            assert store.blob(log[-1].body["source"]).startswith(b"x = 1")
            assert store.local_get("done") == f"{life} {log[-1].body['seed']}"  # the note moved with the record
            assert len(store.outbox(limit=100_000)) == len(log)
            store.check()
            assert store.rebuild(check=True).equal


def test_kill_9_while_a_file_is_made(tmp_path: Path) -> None:
    code = "import sys; from ensue.store import Store; print(1, flush=True); Store(sys.argv[1], sys.argv[2])"
    dice = random.Random(7)
    for number in range(6):
        path = tmp_path / str(number)
        process = subprocess.Popen([sys.executable, "-c", code, str(path), NETWORK], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(dice.random() * 0.03)  # the moment of the fault, not a wait for anything
        process.kill()
        process.wait()
        process.stdout.close()
        with Store(path, NETWORK) as store:
            assert store.append(ME, "insight", insight()).seq == 1
            assert store.rebuild(check=True).equal


@pytest.mark.parametrize("room_pages", [0, 1, 3, 6, 10, 20])
def test_a_full_disk_changes_nothing_and_space_lets_it_go_on(path: Path, room_pages: int) -> None:
    fill(path, 20)
    with Store(path, NETWORK) as store:
        digest, count = store.digest(), store.count()
        database = store._database
        database.run(f"PRAGMA max_page_count = {database.pragma('page_count') + room_pages}")
        blob = Blob(os.urandom(200_000))
        with pytest.raises(DiskFull, match="full"):
            store.append(ME, "result", result(source=blob.sha256), [blob], {"done": "never"})
        with pytest.raises(DiskFull):
            store.ingest(record(1, seq, "insight", insight("z" * 1900 + str(seq))).raw for seq in range(1, 400))
        with pytest.raises(DiskFull):
            store.local_set("big", "x" * 500_000)
        assert (store.digest(), store.count()) == (digest, count)
        assert store.local_get("done") == "19"
        assert not store.has_blob(blob.sha256)
        database.run("PRAGMA max_page_count = 1000000")
        made = store.append(ME, "result", result(source=blob.sha256, agent="new name"), [blob], {"done": "20"})
        assert made.seq == 21
        assert store.blob(blob.sha256) == blob.data
        store.check()
        assert store.rebuild(check=True).equal


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small disk needs root")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        (disk / "room").write_bytes(bytes(200_000))
        with Store(disk / "replica", NETWORK) as store:
            made: list[Record] = []
            with pytest.raises(DiskFull):
                append_until_full(store, made)
            assert len(made) > 5
            assert list(store.records()) == made
        fill_up(disk / "more")
        with pytest.raises(DiskFull):
            Store(disk / "second", NETWORK)
        with Store(disk / "replica", NETWORK) as store:  # reading needs no room
            assert len(store.leaderboard(TRACK, limit=1000)) == len(made)
        (disk / "more").unlink()
        (disk / "room").unlink()
        with Store(disk / "replica", NETWORK) as store:
            assert list(store.records()) == made
            assert store.append(ME, "insight", insight()).seq == len(made) + 1
            assert store.rebuild(check=True).equal
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def append_until_full(store: Store, made: list[Record]) -> None:
    for number in range(1000):
        blob = Blob(os.urandom(30_000))
        made.append(store.append(ME, "result", result(seed=number, source=blob.sha256), [blob]))


def fill_up(file: Path) -> None:
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(4096))
        except OSError:
            return


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(StoreDamaged, match="rebuild"):
        Store(path, NETWORK)
    report = repair(path, NETWORK)
    assert report.records == 0
    assert report.damaged_file.read_bytes().startswith(b"not a database")
    with Store(path, NETWORK) as store:
        assert store.count() == 0


def test_a_file_cut_short(path: Path) -> None:
    fill(path, 60)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StoreDamaged):
        Store(path, NETWORK)


@pytest.mark.parametrize("which", ["the best", "another"])
def test_a_record_whose_bytes_changed_is_never_shown(path: Path, which: str) -> None:
    made = fill(path, 30)
    with Store(path, NETWORK) as store:
        best = store.best(TRACK)
    assert best is not None
    number, hit = next((n, one) for n, one in enumerate(made) if (one.id == best.id) == (which == "the best"))
    needle = f'"change {number}"'.encode()
    content = path.read_bytes()
    assert needle in content
    path.write_bytes(content.replace(needle, needle.replace(b"change", b"chance")))  # the page's structure stays sound
    with Store(path, NETWORK) as store:
        with pytest.raises(StoreDamaged):
            store.get(hit.id)
        with pytest.raises(StoreDamaged):
            store.leaderboard(TRACK, limit=100)
        report = store.rebuild(check=True)
        assert report.damaged == (hit.id,)
        assert not report.equal
    report = repair(path, NETWORK)
    assert report.records == 29
    with Store(path, NETWORK) as store:
        assert len(store.leaderboard(TRACK, limit=100)) == 29


@pytest.mark.parametrize("seed", range(12))
def test_damaged_pages_are_noticed_and_the_rest_is_saved(path: Path, seed: int) -> None:
    made = fill(path, 80)
    content = bytearray(path.read_bytes())
    dice = random.Random(seed)
    pages = len(content) // 8192
    page = dice.randrange(pages)
    content[page * 8192 : (page + 1) * 8192] = dice.randbytes(8192)
    path.write_bytes(content)
    noticed = False
    try:
        with Store(path, NETWORK) as store:
            noticed = bool(store.rebuild(check=True).damaged)
            for one in made:
                store.blob(one.body["source"])
    except StoreError:
        noticed = True
    repair(path, NETWORK)
    with Store(path, NETWORK) as store:
        store.check()
        saved = list(store.records())
        assert {one.id for one in saved} <= {one.id for one in made}
        report = store.rebuild(check=True)
        assert report.equal
        assert report.damaged == ()
        whole = saved == made and all(store.has_blob(one.body["source"]) for one in made)
        assert noticed or whole  # a free page harms nothing
        if page > 0:
            assert len(saved) >= len(made) - 8, "one page holds few records"


def altered(path: Path, needle: bytes, change: bytes, sql: str) -> None:
    """Overwrite the one of several places that hold some bytes which a query reads from."""
    content = path.read_bytes()
    with sqlite3.connect(path) as connection:
        (before,) = connection.execute(sql).fetchone()
    at = -1
    while (at := content.index(needle, at + 1)) >= 0:
        path.write_bytes(content[:at] + change + content[at + len(change) :])
        with sqlite3.connect(path) as connection:
            (after,) = connection.execute(sql).fetchone()
        if after != before:
            return


@pytest.mark.parametrize("what", ["name", "data"])
def test_a_damaged_script_takes_no_other_along_that_can_be_read(path: Path, what: str) -> None:
    made = fill(path, 12)
    sources = [one.body["source"] for one in made]
    key = bytes.fromhex(sources[4])
    if what == "name":
        altered(path, key, key[:-1] + bytes([key[-1] ^ 1]), "SELECT sha FROM blobs WHERE no = 5")
    else:
        with sqlite3.connect(path) as connection:
            (data,) = connection.execute("SELECT data FROM blobs WHERE no = 5").fetchone()
        altered(path, data, bytes(4) + data[4:], "SELECT data FROM blobs WHERE no = 5")
    with Store(path, NETWORK) as store:
        assert not store.inspect().sound
    report = repair(path, NETWORK)
    with Store(path, NETWORK) as store:
        assert store.inspect().sound
        here = [source for source in sources if store.has_blob(source)]
        for source in here:
            store.blob(source)
    assert here == (sources if what == "name" else sources[:4])
    assert set(report.lost_blobs) == set(sources) - set(here)


def test_a_number_is_not_used_twice_when_the_last_record_is_lost(path: Path) -> None:
    made = fill(path, 30)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"change 29", b"change 92"))
    assert repair(path, NETWORK).records == 29
    with Store(path, NETWORK) as store:
        following = store.append(ME, "insight", insight())
        assert (following.seq, following.prev) == (31, made[-1].id)
        assert len(store.outbox()) == 30


def test_repair_leaves_another_networks_file_alone(path: Path) -> None:
    fill(path, 3)
    with pytest.raises(StoreError, match="another network"):
        repair(path, sha("other"))
    with Store(path, NETWORK) as store:
        assert store.count() == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_file_that_may_not_be_written(path: Path) -> None:
    fill(path, 3)
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        with pytest.raises(StoreError, match=r"right to write|cannot be opened"):
            Store(path, NETWORK).append(ME, "insight", insight())
    finally:
        path.parent.chmod(0o700)
