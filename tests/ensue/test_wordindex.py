"""Texts that wait for the full-text index are found as those inside are, whoever wrote them, and after any kill."""

import sqlite3
from pathlib import Path

import pytest
from bodies import AUTHORS, NETWORK, insight, result

from ensue.errors import StoreDamaged
from ensue.store import Store
from ensue.store.database import Database
from ensue.store.wordindex import DEFERRED_RECORDS, last_indexed

ME, OTHER = AUTHORS[:2]


def indexed(path: Path) -> int:
    database = Database(path)
    try:
        return last_indexed(database)
    finally:
        database.close()


@pytest.mark.parametrize("number", [1, DEFERRED_RECORDS - 1, DEFERRED_RECORDS, DEFERRED_RECORDS + 1, 150])
def test_every_text_is_found_wherever_the_index_ends(tmp_path: Path, number: int) -> None:
    path = tmp_path / "replica"
    with Store(path, NETWORK) as store:
        made = [store.append(ME, "result", result(seed=i, description=f"common word{i:03}")) for i in range(number)]
        assert number - DEFERRED_RECORDS < indexed(path) <= number
        assert [hit.id for hit in store.search("common", number)] == [one.id for one in reversed(made)]
        for i in {0, number // 2, number - 1}:
            assert [hit.id for hit in store.search(f"word{i:03}", 1)] == [made[i].id]
            assert made[i].id in {hit.id for hit in store.search(f"wrod{i:03}", 4)}
        assert store.inspect().derived == ()
        assert store.rebuild(check=True).equal


def test_a_typo_and_a_beginning_find_a_text_that_waits(tmp_path: Path) -> None:
    with Store(tmp_path / "replica", NETWORK) as store:
        for number in range(DEFERRED_RECORDS):
            store.append(ME, "insight", insight(f"embedding {number}"))
        fresh = store.append(ME, "insight", insight("Zirconium helps embeddings"))
        for asked in ("zirconium", "zirc", "zircomium", "ZIRCONIUM embedding", "zirconium embeddings"):
            assert store.search(asked, 1)[0].id == fresh.id, asked
        gone = store.append(ME, "retraction", {"target": fresh.id, "reason": "not so"})
        assert store.search("zirconium") == []
        assert store.has(gone.id)


def test_two_writers_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "replica"
    with Store(path, NETWORK) as first, Store(path, NETWORK) as second:
        for number in range(DEFERRED_RECORDS):
            first.append(ME, "insight", insight(f"alpha{number:03}"))
            second.append(OTHER, "insight", insight(f"beta{number:03}"))
        assert indexed(path) >= DEFERRED_RECORDS
        for number in range(DEFERRED_RECORDS):
            assert first.search(f"beta{number:03}", 1)[0].text == f"beta{number:03}"
            assert second.search(f"alpha{number:03}", 1)[0].text == f"alpha{number:03}"
        assert first.inspect().derived == ()


def test_a_search_writes_nothing_and_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "replica"
    with Store(path, NETWORK) as store, Store(path, NETWORK) as writer:
        writer.append(ME, "insight", insight("alpha"))
        before = indexed(path)
        with writer._database.write():  # another process in the middle of its transaction
            assert [hit.text for hit in store.search("alpha")] == ["alpha"]
        assert indexed(path) == before


@pytest.mark.parametrize("wrong", ["x", "", "-1", b"\x00\xff", "0", "40", "999999"])
def test_a_damaged_end_is_noticed_and_mended(tmp_path: Path, wrong: str | bytes) -> None:
    path = tmp_path / "replica"
    with Store(path, NETWORK) as store:
        for number in range(DEFERRED_RECORDS + 30):
            store.append(ME, "insight", insight(f"alpha{number:03}"))
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = ? WHERE key = 'indexed'", (wrong,))
    connection.commit()
    connection.close()
    with Store(path, NETWORK) as store:
        assert "words" in store.inspect().derived
        store.rebuild()
        assert store.inspect().derived == ()
        assert store.search("alpha090", 1)[0].text == "alpha090"


def test_an_unreadable_end_is_said_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "replica"
    with Store(path, NETWORK) as store:
        store.append(ME, "insight", insight("alpha"))
        with store._database.write():
            store._database.run("DELETE FROM meta WHERE key = 'indexed'")
        with pytest.raises(StoreDamaged, match="run `autoresearch rebuild`"):
            store.search("alpha")
        store.rebuild()
        assert store.search("alpha")
