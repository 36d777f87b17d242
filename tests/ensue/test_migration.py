"""A file that the code of an earlier schema wrote opens, says what it said, and is brought to today's tables."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ensue.store import Store
from ensue.store.repair import repair

VECTORS = Path(__file__).resolve().parents[1] / "vectors"


@pytest.fixture
def told() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((VECTORS / "store-v1.json").read_text())
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(VECTORS / "store-v1.sqlite", tmp_path / "replica.sqlite3"))


def test_a_file_of_schema_1_opens_and_says_what_it_said(path: Path, told: dict[str, Any]) -> None:
    for _ in range(2):  # the second time it is a file of today
        with Store(path, told["network"]) as store:
            assert store.digest() == told["digest"]
            assert {one.id: one.raw.hex() for one in store.records()} == told["records"]
            assert {sha: len(store.blob(sha)) for sha in told["blobs"]} == told["blobs"]
            assert [one.id for one in store.outbox()] == told["outbox"]
            assert all(store.local_get(key) == value for key, value in told["local"].items())
            assert [row.id for row in store.leaderboard(told["track"])] == told["leaderboard"]
            assert [row.id for row in store.claims.open(told["track"])] == told["open_claims"]
            for text, ids in told["search"].items():
                assert {hit.id for hit in store.search(text)} == set(ids), text
            assert {store.received_ms(key) for key in told["records"]} == {told["received_ms"]}
            assert store.count() == len(told["records"])
            assert store.rebuild(check=True).equal


def test_a_migrated_file_has_the_tables_of_a_new_one(path: Path, told: dict[str, Any], tmp_path: Path) -> None:
    def tables(file: Path) -> dict[str, str]:
        with Store(file, told["network"]) as store:
            return dict(store._database.rows("SELECT name, sql FROM sqlite_schema"))

    assert tables(path) == tables(tmp_path / "new")


def test_a_damaged_file_of_schema_1_is_repaired(path: Path, told: dict[str, Any]) -> None:
    report = repair(path, told["network"])
    assert (report.records, report.blobs) == (len(told["records"]), len(told["blobs"]))
    with Store(path, told["network"]) as store:
        assert store.digest() == told["digest"]
        assert {one.id: one.raw.hex() for one in store.records()} == told["records"]
        assert {store.received_ms(key) for key in told["records"]} == {told["received_ms"]}
