"""The replica: append, ingest, notes, ids, queries; two processes at once; other files than its own."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bodies import AUTHORS, NETWORK, TRACK, claim, hypothesis, insight, record, result, sha

from ensue.errors import AmbiguousId, BlobMissing, InvalidBody, RecordTooLarge, StoreError, UnknownId
from ensue.kinds import Insight, parse_body
from ensue.store import Blob, Store

ME, OTHER, _ = AUTHORS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "replica.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path, NETWORK) as opened:
        yield opened


def test_append_numbers_and_links_ones_own_records(store: Store) -> None:
    first = store.append(ME, "insight", insight("first"))
    second = store.append(ME, "insight", insight("second"))
    other = store.append(OTHER, "insight", insight("third"))
    assert [(one.seq, one.prev) for one in (first, second, other)] == [(1, None), (2, first.id), (1, None)]
    assert store.head(ME.peer_id) == second
    assert store.head("nobody") is None
    assert store.count() == 3
    assert list(store.records()) == [first, second, other]
    assert list(store.records(author=ME.peer_id, limit=1)) == [first]
    assert list(store.records(kind="claim")) == []
    assert [number for number, _ in store.numbered(after_rowid=1)] == [2, 3]


def test_logs_have_one_order_wherever_the_records_are(store: Store, tmp_path: Path) -> None:
    made = [record(author, seq, "insight", insight(f"{author} {seq}")) for author in range(3) for seq in range(1, 602)]
    twin = record(1, 5, "insight", insight("the same number again"))
    store.ingest(one.raw for one in [twin, *made])
    wanted = sorted([*made, twin], key=lambda one: (one.author, one.seq, one.id))
    assert list(store.logs()) == wanted
    with Store(tmp_path / "other.sqlite3", NETWORK) as other:
        other.ingest(one.raw for one in reversed(wanted))
        assert list(other.logs()) == wanted
        assert other.has(twin.id)
        assert not other.has(sha("nothing"))


def test_append_takes_a_model_and_keeps_unknown_fields_of_a_mapping(store: Store) -> None:
    model = parse_body("insight", insight())
    assert isinstance(model, Insight)
    assert store.append(ME, "insight", model).body["text"] == insight()["text"]
    kept = store.append(ME, "insight", insight(mood="sure"))
    assert store.get(kept.id).body["mood"] == "sure"


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        ("rumour", {}, InvalidBody),
        ("insight", {"text": "no track"}, InvalidBody),
        ("result", result(value=float("nan")), InvalidBody),
        ("insight", insight(more="x" * 70_000), RecordTooLarge),
    ],
)
def test_append_refuses_and_changes_nothing(store: Store, kind: str, body: dict, error: type[Exception]) -> None:
    before = store.digest()
    with pytest.raises(error):
        store.append(ME, kind, body, [Blob(b"script")], {"journal": "half"})
    assert store.digest() == before
    assert store.local_get("journal") is None
    assert not store.has_blob(sha("script"))
    assert store.append(ME, "insight", insight()).seq == 1


def test_record_blobs_notes_and_outbox_change_together(store: Store, path: Path) -> None:
    blob = Blob(b"print(1)\n" * 100)
    store.local_set("journal", "running")
    made = store.append(
        ME, "result", result(source=blob.sha256), [blob], {"journal": None, "seen": "é\n\0" + "x" * 1000}
    )
    with Store(path, NETWORK) as again:
        assert again.get(made.id) == made
        assert again.blob(blob.sha256) == blob.data
        assert again.local_get("journal") is None
        assert again.local_get("seen") == "é\n\0" + "x" * 1000
        assert [one.id for one in again.outbox()] == [made.id]
        again.outbox_done([made.id])
        assert again.outbox() == []
        with pytest.raises(BlobMissing):
            again.blob(sha("nothing"))


def test_ingest_takes_the_good_counts_the_known_and_refuses_the_bad(store: Store) -> None:
    good = record(0, 1, "result", result())
    unknown = record(1, 1, "later", {"any": ["thing", {"at": "all"}]})
    flipped = bytearray(record(0, 2, "insight", insight()).raw)
    flipped[-20] ^= 1
    broken = record(0, 3, "result", {"value": "much"})
    report = store.ingest([good.raw, bytes(flipped), unknown.raw, b"", broken.raw, good.raw], [Blob(b"log")])
    assert report.accepted == (good.id, unknown.id)
    assert report.known == 1
    assert len(report.refused) == 3
    assert store.get(unknown.id).body == unknown.body
    assert store.has_blob(Blob(b"log").sha256)
    assert store.outbox() == []


def test_a_record_of_another_network_is_refused(store: Store, tmp_path: Path) -> None:
    with Store(tmp_path / "other", sha("elsewhere")) as other:
        foreign = other.append(ME, "insight", insight())
    assert len(store.ingest([foreign.raw]).refused) == 1


def test_resolve(store: Store) -> None:
    made = [
        record(0, seq, "result" if seq % 2 else "insight", result() if seq % 2 else insight()) for seq in range(1, 90)
    ]
    store.ingest(one.raw for one in made)
    one = made[0]
    assert store.resolve(one.id) == one.id
    assert store.resolve(f" {one.id[:13].upper()} ") == one.id
    assert store.resolve(one.id[:12], kinds=["claim", "result"]) == one.id
    with pytest.raises(UnknownId):
        store.resolve(one.id[:12], kinds=["claim"])
    for bad in ("", "abc", "xyzw", "0" * 65, "%%%%", "'; DROP TABLE records", "🦜🦜🦜🦜", "\udcff" * 4):
        with pytest.raises(UnknownId):
            store.resolve(bad)
    with pytest.raises(UnknownId):
        store.get(one.id[:-1] + ("0" if one.id[-1] != "0" else "1"))
    with pytest.raises(UnknownId):
        store.get("Z" * 64)


def test_resolve_says_when_several_fit(store: Store) -> None:
    seen: dict[str, str] = {}
    for seq in range(1, 5_000):
        one = record(0, seq, "x", {"n": seq})
        if one.id[:4] in seen:
            break
        seen[one.id[:4]] = one.raw.hex()
    store.ingest([one.raw, bytes.fromhex(seen[one.id[:4]])])
    with pytest.raises(AmbiguousId):
        store.resolve(one.id[:4])
    assert store.resolve(one.id[:16]) == one.id


def test_rankings(store: Store) -> None:
    rows = {
        name: store.append(author, "result", result(**body)).id
        for name, author, body in (
            ("base", ME, {"value": 1.6}),
            ("lucky", ME, {"value": 1.4, "status": "discarded"}),
            ("best", OTHER, {"value": 1.5, "hardware_class": "gpu", "agent": "b"}),
            ("broken", OTHER, {"status": "timed_out", "agent": "b"}),
            ("wrong", ME, {"value": 1.1}),
            ("elsewhere", ME, {"value": 1.0, "track": sha("other track")}),
        )
    }
    store.append(ME, "retraction", {"target": rows["wrong"], "reason": "bad data"})
    board = store.leaderboard(TRACK)
    assert [row.id for row in board] == [rows[name] for name in ("best", "base", "lucky", "broken")]
    assert board[0] == store.best(TRACK)
    assert [row.id for row in store.leaderboard(TRACK, limit=1)] == [rows["best"]]
    assert [row.id for row in store.leaderboard(TRACK, by="class")] == [rows["best"], rows["base"]]
    for by in ("author", "account", "agent"):
        assert [row.id for row in store.leaderboard(TRACK, by=by)] == [rows["best"], rows["base"]]
    assert store.leaderboard(TRACK, level="official") == []
    with pytest.raises(ValueError):
        store.leaderboard(TRACK, by="luck")
    best = store.best(TRACK, hardware_class="cpu-2t")
    assert best is not None
    assert best.id == rows["base"]
    assert store.best(TRACK, author=ME.peer_id) == best
    assert store.best(TRACK, hardware_class="tpu") is None
    assert store.best("\udcff") is None
    assert store.result(rows["wrong"]).flags == ("retracted",)
    assert [row.id for row in store.results(TRACK, limit=2)] == [rows["broken"], rows["wrong"]]
    assert {row.author for row in store.results(TRACK, author=ME.peer_id)} == {ME.peer_id}
    stats = store.stats(TRACK)
    assert (stats.results, stats.by_status) == (4, {"kept": 2, "discarded": 1, "timed_out": 1})


def test_a_row_has_what_was_signed(store: Store) -> None:
    body = result(value=2, log=sha("log"))
    made = store.append(ME, "result", body)
    row = store.result(made.id)
    for name, value in body.items():
        assert getattr(row, name, None) == (tuple(value) if isinstance(value, list) else value), name
    assert isinstance(row.value, float)
    assert row.created_ms == made.time_ms
    assert row.level == "recorded"
    assert row.received_ms == store.received_ms(made.id)


def test_claims_hold_experiments_until_they_expire_are_answered_or_withdrawn(store: Store) -> None:
    one = store.append(ME, "claim", claim(ttl_s=600))
    assert [row.id for row in store.claims.open(TRACK)] == [one.id]
    assert store.claims.taken(sha("experiment")) == one.id
    assert store.claims.taken(sha("experiment"), now_ms=one.time_ms + 700_000) is None
    store.append(ME, "retraction", {"target": one.id, "reason": "abandoned"})
    assert store.claims.taken(sha("experiment")) is None
    two = store.append(ME, "claim", claim())
    answer = store.append(ME, "result", result(claim=two.id, status="crashed"))
    assert store.claims.open(TRACK) == []
    assert store.claims.taken(sha("experiment"), now_ms=2**53) == answer.id


def test_ideas_are_open_until_a_result_came_of_them(store: Store) -> None:
    idea = store.append(OTHER, "hypothesis", hypothesis("warm up longer"))
    withdrawn = store.append(OTHER, "hypothesis", hypothesis("cool down"))
    store.append(OTHER, "retraction", {"target": withdrawn.id, "reason": "nonsense"})
    one = store.append(ME, "claim", claim(hypothesis=idea.id))
    (row,) = store.hypotheses(TRACK, open_only=True)
    assert (row.id, row.tried, row.claimed) == (idea.id, 0, 1)
    store.append(ME, "result", result(claim=one.id))
    assert store.hypotheses(TRACK, open_only=True) == []
    assert [(row.tried, row.flags) for row in store.hypotheses(TRACK)] == [(1, ()), (0, ("retracted",))]
    store.append(ME, "insight", insight(evidence=[one.id], valid_days=30))
    assert store.insights(TRACK)[0].evidence == (one.id,)


def test_lineage_and_the_flag_of_descendants(store: Store) -> None:
    chain = [store.append(ME, "result", result())]
    for seed in range(4):
        chain.append(store.append(OTHER, "result", result(parent=chain[-1].id, seed=seed)))
    side = store.append(OTHER, "result", result(parent=chain[1].id, seed=9))
    ancestors, descendants = store.lineage(chain[2].id)
    assert [row.id for row in ancestors] == [chain[1].id, chain[0].id]
    assert [row.id for row in descendants] == [chain[3].id, chain[4].id]
    store.append(ME, "retraction", {"target": chain[0].id, "reason": "wrong data"})
    assert all(store.result(one.id).flags == ("descends from retracted",) for one in (*chain[1:], side))


def test_an_author_who_forks_is_frozen(store: Store) -> None:
    mine = store.append(ME, "result", result(value=1.5))
    assert store.frozen_from(ME.peer_id) is None
    store.ingest([record(0, 1, "result", result(value=1.4)).raw])
    assert store.frozen_from(ME.peer_id) == 1
    assert store.best(TRACK) is None
    assert store.leaderboard(TRACK) == []
    assert store.result(mine.id).flags == ("frozen",)


def test_another_networks_file_is_refused(path: Path) -> None:
    Store(path, NETWORK).close()
    with pytest.raises(StoreError, match="choose another home"):
        Store(path, sha("other"))


def test_a_newer_versions_file_is_refused(path: Path) -> None:
    Store(path, NETWORK).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="newer version"):
        Store(path, NETWORK)


def test_a_file_of_another_program_is_refused_untouched(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs(title)")
    connection.close()
    with pytest.raises(StoreError, match="no replica"):
        Store(path, NETWORK)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="folder"):
        Store(tmp_path / "no" / "replica", NETWORK)


def test_tables_of_older_rules_are_derived_anew_on_opening(path: Path) -> None:
    with Store(path, NETWORK) as store:
        made = store.append(ME, "result", result())
        digest = store.digest()
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM results")
        connection.execute("UPDATE meta SET value = '0' WHERE key = 'derivation'")
    connection.close()
    with Store(path, NETWORK) as store:
        assert store.digest() == digest
        assert store.leaderboard(TRACK)[0].id == made.id


def test_rebuild_notices_and_mends_a_live_table_that_lies(path: Path) -> None:
    with Store(path, NETWORK) as store:
        for seed in range(5):
            store.append(ME, "result", result(seed=seed, value=1.6 - seed / 100))
        assert store.rebuild(check=True).equal
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE results SET score = 0 WHERE no = 1")
        connection.close()
        assert not store.rebuild(check=True).equal
        report = store.rebuild()
        assert report.equal
        assert (report.records, report.damaged) == (5, ())
        best = store.best(TRACK)
        assert best is not None
        assert best.value == 1.56
        assert len(store.search("matrix lr")) == 5


WRITER = """
import sys
from bodies import AUTHORS, NETWORK, result
from ensue.store import Blob, Store
with Store(sys.argv[1], NETWORK) as store:
    parent = None
    for number in range(int(sys.argv[2])):
        blob = Blob(b"x = 1\\n" * 2000 + sys.argv[3].encode() + b"%d" % number, parent)
        parent = blob.sha256
        body = result(seed=number, source=blob.sha256)
        made = store.append(AUTHORS[0], "result", body, [blob], {"done": str(number)})
        print(made.seq, made.id, blob.sha256, flush=True)
"""


def writer(path: Path, count: int, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(count), name],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    )


def test_two_processes_append_to_one_log_without_a_fork(path: Path) -> None:
    writers = [writer(path, 40, name) for name in "ab"]  # the file itself is made by whoever comes first
    with Store(path, NETWORK) as store:
        for number in range(20):
            store.append(ME, "insight", insight(f"between {number}"))
    outputs = [process.communicate(timeout=120)[0] for process in writers]
    assert [process.returncode for process in writers] == [0, 0]
    with Store(path, NETWORK) as store:
        log = list(store.records(author=ME.peer_id))
        assert [one.seq for one in log] == list(range(1, 101))
        assert [one.prev for one in log] == [None, *(one.id for one in log[:-1])]
        assert {line.split()[1] for text in outputs for line in text.splitlines()} <= {one.id for one in log}
        assert store.rebuild(check=True).equal


def test_threads_share_one_store(store: Store) -> None:
    def work(number: int) -> None:
        for turn in range(10):
            store.append(AUTHORS[number], "insight", insight(f"{number} {turn}"))
            store.local_set("control", str(turn), durable=False)
            store.leaderboard(TRACK)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert store.count() == 30


def test_own_records_wait_for_the_disk_again_after_writes_that_did_not(store: Store, path: Path) -> None:
    full = 2
    store.ingest([record(1, 1, "insight", insight()).raw])
    store.local_set("status", "x", durable=False)
    assert store._database.pragma("synchronous") == full
    store._database.run("PRAGMA busy_timeout = 1")
    with sqlite3.connect(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="Another process"):
            store.local_set("status", "y", durable=False)
    connection.close()
    assert store._database.pragma("synchronous") == full
    store.local_set("status", "y")
    assert store.local_get("status") == "y"


def test_a_reader_is_not_held_up_by_a_writer(path: Path) -> None:
    with Store(path, NETWORK) as store, Store(path, NETWORK) as reader:
        made = store.append(ME, "result", result())
        with sqlite3.connect(path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            assert reader.leaderboard(TRACK)[0].id == made.id
            assert time.monotonic() - started < 5
        connection.close()


def test_opening_and_a_leaderboard_are_quick(path: Path) -> None:
    with Store(path, NETWORK) as store:
        store.ingest(record(0, seq, "result", result(value=1 + seq / 1000, seed=seq)).raw for seq in range(1, 1001))
    times = []
    for _ in range(5):
        started = time.perf_counter()
        with Store(path, NETWORK) as store:
            assert len(store.leaderboard(TRACK)) == 20
        times.append(time.perf_counter() - started)
    assert min(times) < 0.05


def test_queries_import_nothing_heavy(path: Path) -> None:
    code = (
        "import sys; from ensue.store import Store; store = Store(*sys.argv[1:]);"
        "store.leaderboard('t'); store.search('x'); store.local_set('control', 'pause');"
        "print([name for name in ('torch', 'numpy', 'optuna', 'pydantic') if name in sys.modules])"
    )
    argv = [sys.executable, "-c", code, str(path), NETWORK]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_texts_come_in_order_however_many_and_as_many_as_asked_for(store: Store) -> None:
    ideas = [record(0, seq, "hypothesis", hypothesis(f"idea {seq}")) for seq in range(1, 451)]
    lessons = [record(1, seq, "insight", insight(f"lesson {seq}")) for seq in range(1, 451)]
    store.ingest(one.raw for one in [*ideas, *lessons])
    assert [row.id for row in store.hypotheses(TRACK)] == [one.id for one in ideas]
    assert [row.id for row in store.hypotheses(TRACK, open_only=True, limit=3)] == [one.id for one in ideas[:3]]
    assert [row.id for row in store.hypotheses(TRACK, limit=203, newest=True)] == [one.id for one in ideas[-203:]]
    assert [row.id for row in store.insights(TRACK)] == [one.id for one in lessons]
    assert [row.id for row in store.insights(TRACK, limit=203)] == [one.id for one in lessons[-203:]]
