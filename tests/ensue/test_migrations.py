"""A file of every earlier schema opens and means what it meant; one of a later schema is left alone."""

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from bodies import AUTHORS, insight, result

from ensue import archive
from ensue.errors import DiskFull, StoreError
from ensue.genesis import found
from ensue.record import sign
from ensue.store import Store
from ensue.store.database import Database
from ensue.store.schema import DERIVATION, MIGRATIONS, migrate

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
FILES = sorted(VECTORS.glob("store-v*.sqlite"))

KILLED = """
# Forks children that open the file and are killed at the n-th statement; each time the file must open.
import os, shutil, signal, sys
from pathlib import Path
import ensue.kinds, ensue.store.digest, ensue.store.rebuild, ensue.store.tables
from ensue.store import Store

old, network, digest, step = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
file = old.with_name("killed.sqlite")

def opens_until(limit):
    calls = 0
    def count(frame, event, what):
        nonlocal calls
        if event == "c_call" and what.__name__ in ("execute", "executemany"):
            calls += 1
            if calls == limit:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(count)
    Store(file, network)
    os._exit(0)

limit, killed = 1, 0
while True:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    shutil.copyfile(old, file)
    child = os.fork()
    if child == 0:
        opens_until(limit)
    done = os.waitpid(child, 0)[1] == 0
    with Store(file, network) as store:
        assert store.digest() == digest, limit
        store.check()
    if done:
        break
    killed += 1
    limit += step if limit > 40 else 4
print(killed)
"""


def test_there_is_a_file_of_every_earlier_schema() -> None:
    wanted = {f"store-v{version}.sqlite" for version in range(1, len(MIGRATIONS))}
    assert wanted <= {path.name for path in FILES}


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of a file that an earlier version wrote, and what it answered then."""
    copy = tmp_path / "replica.sqlite3"
    shutil.copyfile(request.param, copy)
    return copy, json.loads(request.param.with_suffix(".json").read_text())


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def test_it_opens_and_means_the_same(old: tuple[Path, dict[str, Any]]) -> None:
    path, then = old
    for _ in range(2):  # brought up to date, and opened again
        with Store(path, then["network"]) as store:
            assert store.digest() == then["digest"]
            report = store.rebuild(check=True)
            assert report.equal
            assert report.damaged == ()
            store.check()
            assert {one.id: one.raw.hex() for one in store.records()} == then["records"]
            assert {store.received_ms(key) for key in then["records"]} == {then["received_ms"]}
            for sha256, size in then["blobs"].items():
                data = store.blob(sha256)
                assert (len(data), hashlib.sha256(data).hexdigest()) == (size, sha256)
            assert [one.id for one in store.outbox()] == then["outbox"]
            assert {key: store.local_get(key) for key in then["local"]} == then["local"]
            assert [row.id for row in store.leaderboard(then["track"])] == then["leaderboard"]
            assert [row.id for row in store.claims.open(then["track"])] == then["open_claims"]
            for words, hits in then["search"].items():  # how hits are ordered may grow better
                assert {hit.id for hit in store.search(words)} & set(hits) or not hits
    assert version_of(path) == len(MIGRATIONS)


def test_logs_go_on_where_they_were(old: tuple[Path, dict[str, Any]]) -> None:
    path, then = old
    with Store(path, then["network"]) as store:
        for author in AUTHORS:
            before = store.head(author.peer_id)
            if store.own_log.end(author.peer_id).doubt == "missing":  # the mark stayed where the file was written
                store.own_log.confirm(author.peer_id)
            made = store.append(author, "insight", insight())
            assert made.prev == (before.id if before else None)
        assert store.rebuild(check=True).equal


def test_a_derivation_from_the_records_alone_gives_the_same(old: tuple[Path, dict[str, Any]]) -> None:
    path, then = old
    with Store(path, then["network"]) as store:
        assert store.rebuild().equal
        assert store.digest() == then["digest"]


def test_killed_at_any_statement_it_opens_the_next_time(old: tuple[Path, dict[str, Any]]) -> None:
    path, then = old
    arguments = [str(path), then["network"], then["digest"], "60"]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 2


@pytest.mark.parametrize("room_pages", [0, 1, 2, 4, 8])
def test_a_full_disk_leaves_the_old_file_whole(old: tuple[Path, dict[str, Any]], room_pages: int) -> None:
    path, then = old
    version = version_of(path)
    database = Database(path)
    database.run(f"PRAGMA max_page_count = {database.pragma('page_count') + room_pages}")
    try:
        with suppress(DiskFull):
            migrate(database, then["network"], DERIVATION)
            version = len(MIGRATIONS)
        assert database.pragma("user_version") == version
        assert len(database.rows("SELECT 1 FROM records")) == len(then["records"])
    finally:
        database.close()
    assert version_of(path) == version
    with Store(path, then["network"]) as store:
        assert store.digest() == then["digest"]


def test_a_newer_file_is_refused_in_one_sentence_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "replica.sqlite3"
    network = json.loads(FILES[-1].with_suffix(".json").read_text())["network"]
    Store(path, network).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"^[^\n]* was written by a newer version: upgrade autoresearch to read it\.$"):
        Store(path, network)
    assert path.read_bytes() == before


def test_kinds_and_fields_of_a_newer_version_are_kept_and_handed_on(tmp_path: Path) -> None:
    genesis = found(AUTHORS[0], "plain", [], created_ms=1)
    common = {"network": genesis.network_id, "time_ms": 1}
    later = [
        sign(AUTHORS[0], seq=1, prev=None, kind="x.later-2", body={"a": [{"b": 1.50}], "é": None}, **common),
        sign(AUTHORS[1], seq=1, prev=None, kind="result", body=result(mood="sure", more={"x": [1]}), **common),
    ]
    with Store(tmp_path / "a", genesis.network_id) as first, Store(tmp_path / "b", genesis.network_id) as second:
        assert len(first.ingest(one.raw for one in later).accepted) == 2
        archive.write(first, genesis, tmp_path / "memory.tar.zst")
        with archive.Archive(tmp_path / "memory.tar.zst") as opened:
            opened.into(second)
        assert {one.raw for one in second.records()} == {one.raw for one in later}
        assert second.rebuild().equal
        assert second.digest() == first.digest()
