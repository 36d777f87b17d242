"""What holds at any size: batches equal single steps, bytes stay verbatim, questions have an index, memory a bound."""

import os
import re
import signal
import sqlite3
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from bodies import AUTHORS, NETWORK, TRACK, claim, hypothesis, insight, record, result, sha

from ensue.errors import StoreDamaged
from ensue.fold import fold
from ensue.record import Record
from ensue.store import Blob, Draft, Store
from ensue.store.indexes import drop
from ensue.store.intake import Intake
from ensue.store.repair import repair
from ensue.store.schema import QUERY_INDEXES
from ensue.store.shelf import LEARN_AT
from ensue.store.verification import WORTHWHILE_RECORDS, Readers, chunks

ME = AUTHORS[0]
SIZE = WORTHWHILE_RECORDS + 700


def make(size: int) -> list[Record]:
    """Records of three authors that name each other, with retractions, a fork, and something of a later version."""
    made: list[Record] = []
    heads = [0, 0, 0]
    for number in range(size):
        author = number % 3
        heads[author] += 1
        seq, turn = heads[author], number % 10
        near = [one.id for one in made[-30:] if one.kind == "result"]
        mine = [one.id for one in made[-30:] if one.kind == "claim" and one.author == AUTHORS[author].peer_id]
        if turn < 4:
            kind, body = "claim", claim(experiment=sha(f"{number}"), hypothesis=made[0].id if made else None)
        elif turn < 8:
            value = 1.6 + number % 97 / 100
            kind, body = (
                "result",
                result(value=value, parent=(near or [None])[0], claim=(mine or [None])[0], seed=number),
            )
        elif turn == 8 and near and number % 50 == 8:
            kind, body = "retraction", {"target": near[-1], "reason": "wrong"}
        else:
            kind, body = "insight" if number % 3 else "later", insight(f"text {number} of a node")
        made.append(record(author, seq, kind, body))
    made.insert(1, record(2, 1_000_000, "hypothesis", hypothesis()))
    return [*made, record(2, 40, "result", result(seed=7))]


@pytest.fixture(scope="module")
def world() -> list[Record]:
    return make(SIZE)


@pytest.fixture(scope="module")
def filled(world: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scale") / "replica.sqlite3"
    with Store(path, NETWORK) as store:
        report = store.ingest(one.raw for one in world)
        assert (len(report.accepted), report.refused) == (len(world), ())
        assert store.append(ME, "result", result(seed=1)).seq > 900
    return path


@pytest.fixture
def store(filled: Path) -> Iterator[Store]:
    with Store(filled, NETWORK) as opened:
        yield opened


def test_many_at_once_on_every_processor_equal_one_by_one_and_the_fold(world: list[Record], tmp_path: Path) -> None:
    raws = [one.raw for one in world]
    bad = bytearray(raws[5])
    bad[-30] ^= 1
    with Store(tmp_path / "many", NETWORK) as many:
        report = many.ingest([*raws, raws[0], bytes(bad), b"", record(0, 9, "result", {"value": "much"}).raw])
        assert (len(report.accepted), report.known, len(report.refused)) == (len(raws), 1, 3)
        assert list(many.records()) == world
        assert many.count() == len(world)
        digest = many.digest()
        assert many.rebuild().equal
        assert many.digest() == digest == fold(world).digest()
    few = world[:200] + world[-1:]
    with Store(tmp_path / "one", NETWORK) as one_by_one, Store(tmp_path / "batch", NETWORK) as batch:
        for one in few:
            one_by_one.ingest([one.raw])
        batch.ingest(one.raw for one in few[::-1])
        assert one_by_one.digest() == batch.digest() == fold(few).digest()


def test_catching_up_does_without_indexes_and_makes_them_again(world: list[Record], tmp_path: Path) -> None:
    def indexes(store: Store) -> set[str]:
        return {name for (name,) in store._database.rows("SELECT name FROM sqlite_schema WHERE type = 'index'")}

    with Store(tmp_path / "plain", NETWORK) as store:
        store.ingest(one.raw for one in world)
        expected, rows, all_indexes = store.digest(), store.leaderboard(TRACK), indexes(store)
    with Store(tmp_path / "late", NETWORK) as store:
        with store.catching_up(len(world)):  # too few to be worth it
            assert indexes(store) == all_indexes
        with store.catching_up(1_000_000):
            store.ingest(one.raw for one in world)
            assert all_indexes - indexes(store) == set(QUERY_INDEXES)
            assert [row.id for row in store.leaderboard(TRACK)] == [row.id for row in rows]
        assert indexes(store) == all_indexes
        assert store.digest() == expected
        with pytest.raises(RuntimeError), store.catching_up(1_000_000):
            raise RuntimeError("the line is cut")
        assert indexes(store) == all_indexes
        with store._changing(durable=False):  # what a kill leaves
            drop(store._database)
    with Store(tmp_path / "late", NETWORK) as store:
        assert indexes(store) != all_indexes
        assert [row.id for row in store.leaderboard(TRACK)] == [row.id for row in rows]
        store.complete()
        assert indexes(store) == all_indexes
        assert store.inspect().sound


def test_a_worker_that_is_killed_loses_nothing(world: list[Record]) -> None:
    raws = [one.raw for one in world[:1_500]]
    readers = Readers(NETWORK, {})
    try:
        readers._workers[0].send_signal(signal.SIGKILL)
        readers._workers[0].wait()
        answers = [answer for part in readers.read(chunks(raws)) for answer in part]
        assert [answer.raw for answer in answers if not isinstance(answer, str)] == raws
    finally:
        readers.close()


def test_packed_records_come_back_letter_for_letter(world: list[Record], store: Store, filled: Path) -> None:
    last = store._database.rows("SELECT max(no) FROM records WHERE form = 0")[0][0]
    assert LEARN_AT[0] <= last < len(world), "what came before the dictionary stays as it was, and nothing after it"
    size = store._database.rows("SELECT sum(length(raw)) FROM records WHERE form = 1")[0][0]
    assert size < 0.55 * sum(len(one.raw) for one in world[last:])
    assert [one.raw for one in store.records(limit=len(world))] == [one.raw for one in world]
    assert store.get(world[7].id).signature == world[7].signature
    assert len(world) > LEARN_AT[0]


@pytest.mark.parametrize("copies", [("dictionaries",), ("dictionaries_copy",), ("dictionaries", "dictionaries_copy")])
def test_a_damaged_dictionary_has_a_copy(filled: Path, world: list[Record], tmp_path: Path, copies: list[str]) -> None:
    with sqlite3.connect(filled) as source, sqlite3.connect(tmp_path / "replica") as target:
        source.backup(target)
        for table in copies:
            target.execute(f"UPDATE {table} SET data = zeroblob(length(data))")
    source.close()
    target.close()
    with Store(tmp_path / "replica", NETWORK) as store:
        if len(copies) == 1:
            assert store.get(world[-3].id) == world[-3]
        else:
            with pytest.raises(StoreDamaged):
                store.get(world[-3].id)
        verbatim = store._database.rows("SELECT count(*) FROM records WHERE form = 0")[0][0]
    assert repair(tmp_path / "replica", NETWORK).records == (len(world) + 1 if len(copies) == 1 else verbatim)


def test_a_flipped_bit_of_a_packed_record_is_noticed(filled: Path, world: list[Record], tmp_path: Path) -> None:
    with sqlite3.connect(filled) as source, sqlite3.connect(tmp_path / "replica") as target:
        source.backup(target)
        key = bytes.fromhex(world[-3].id)
        packed = bytearray(target.execute("SELECT raw FROM records WHERE id = ? AND form = 1", (key,)).fetchone()[0])
        packed[len(packed) // 2] ^= 1
        target.execute("UPDATE records SET raw = ? WHERE id = ?", (bytes(packed), key))
    source.close()
    target.close()
    with Store(tmp_path / "replica", NETWORK) as store:
        with pytest.raises(StoreDamaged):
            store.get(world[-3].id)
        assert store.rebuild(check=True).damaged == (world[-3].id,)


SMALL = {"up", "names", "meta", "local", "frozen", "dictionaries", "counts", "totals", "outbox"}
"""Tables that may be walked: they do not grow with the records, or are asked for; `up` is the way to the root."""


def ask_everything(store: Store, world: list[Record]) -> None:
    author, best = ME.peer_id, store.best(TRACK)
    assert best is not None
    store.best(TRACK, author=author)
    store.best(TRACK, hardware_class="cpu-2t")
    for by in ("result", "agent", "account", "class", "author"):
        store.leaderboard(TRACK, by=by)
    store.result(best.id)
    store.results(TRACK, 20)
    store.results(TRACK, 20, author=author)
    store.claims.open(TRACK)
    store.hypotheses(TRACK, open_only=True)
    store.insights(TRACK)
    store.lineage(best.id)
    store.frozen_from(author)
    store.stats(TRACK)
    store.claims.taken(sha("4"))
    for text in ("text node", "matrix", "mtarix", "no such thing at all"):
        store.search(text)
    store.resolve(best.id[:12], kinds=["result"])
    store.head(author)
    store.count()
    store.received_ms(best.id)
    list(store.records(author=author, kind="insight", limit=30))
    list(store.numbered(after_rowid=500, limit=30))
    store.outbox()
    store.local_get("x")
    store.has_blob(sha("x"))
    store.append(ME, "result", result(seed=2, parent=best.id), [Blob(b"script", sha("gone"))], {"x": "1"})
    store.append(ME, "claim", claim(experiment=sha("once more")))
    store.append(ME, "retraction", {"target": best.id, "reason": "again"})
    store.ingest([record(1, 5_000, "result", result(parent=best.id)).raw, world[0].raw])
    store.outbox_done([best.id])


def test_every_question_and_every_change_has_an_index(world: list[Record], tmp_path: Path) -> None:
    asked: dict[str, str] = {}
    with Store(tmp_path / "replica", NETWORK) as store:
        store.ingest(one.raw for one in world[:1_500])
        connection = store._database._connection
        connection.set_trace_callback(lambda sql: asked.update({re.sub(r"x?'[^']*'|\b\d+\b", "0", sql): sql}))
        ask_everything(store, world)
        connection.set_trace_callback(None)
        walks = {}
        for sql in asked.values():
            if sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
                plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
                walked = [step for step in plan if step.startswith("SCAN") and is_a_walk(step)]
                if walked:
                    walks[sql] = walked
    assert len(asked) > 60
    assert walks == {}


def is_a_walk(step: str) -> bool:
    words = step.split()
    # `o` is the outbox, which is what is asked for; of `missing` one row is looked at
    return "VIRTUAL TABLE INDEX" not in step and words[1] not in SMALL | {
        "keys",
        "tree",
        "t",
        "o",
        "missing",
        "CONSTANT",
    }


def test_memory_does_not_grow_with_the_set(world: list[Record], tmp_path: Path) -> None:
    def peak_bytes(count: int) -> int:
        with Store(tmp_path / f"{count}", NETWORK) as store:
            store.ingest([world[0].raw])
            tracemalloc.start()
            try:
                with store._changing(durable=False):
                    intake: Intake = store._intake
                store.ingest(one.raw for one in world[:count])
                assert sum(1 for _ in store.records()) == count
                store._derive()
                store.digest()
                store.search("text node")
                assert intake is store._intake
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    assert peak_bytes(1_900) < peak_bytes(1_100) + 300_000


def test_opening_reads_a_few_pages_whatever_the_size(filled: Path) -> None:
    assert filled.stat().st_size > 2_000_000
    with Store(filled, NETWORK) as store:
        assert store._database.rows("PRAGMA cache_spill")  # it is open
        status = Path(f"/proc/{os.getpid()}/io")
        if status.exists():
            before = int(status.read_text().split("rchar: ")[1].split()[0])
            with Store(filled, NETWORK) as again:
                again.leaderboard(TRACK)
            read = int(status.read_text().split("rchar: ")[1].split()[0]) - before
            assert read < 6_000_000


def test_several_records_with_one_wait_are_one_log(tmp_path: Path) -> None:
    with Store(tmp_path / "replica", NETWORK) as store:
        first = store.append(ME, "insight", insight("first"))
        drafts = [Draft("insight", insight(f"{n}"), [Blob(b"%d" % n)], lambda one: {"last": one.id}) for n in range(5)]
        made = store.append_all(ME, drafts)
        assert [one.seq for one in made] == [2, 3, 4, 5, 6]
        assert [one.prev for one in made] == [first.id, *(one.id for one in made[:-1])]
        assert store.local_get("last") == made[-1].id
        assert store.append_all(ME, []) == []
        assert [one.id for one in store.outbox()] == [one.id for one in (first, *made)]
        assert store.append(ME, "insight", insight("next")).prev == made[-1].id
        assert store.rebuild(check=True).equal


def test_a_store_that_rests_has_no_processes_and_takes_in_again(world: list[Record], tmp_path: Path) -> None:
    def children() -> list[str]:
        return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()

    raws = [one.raw for one in world]
    with Store(tmp_path / "replica", NETWORK) as store:
        before = children()
        store.ingest(raws)
        assert len(children()) > len(before)
        store.rest()
        assert children() == before
        assert store.ingest(raws).known == len(raws)
