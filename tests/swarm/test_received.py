"""How far others have one's own log: noted when it is sent, when they say that they have it, and over restarts."""

import asyncio
import json

from sync_replicas import bodies, pulled, raws, stores

from node.sync import received as module
from node.sync.pull import pull_heads
from node.sync.received import NOTE, PEERS_MAX, Received, count, read

OWN, OTHER = (author.peer_id for author in bodies.AUTHORS[:2])
ASKS = "the one who asks"
LOG = [bodies.record(0, seq, "insight", bodies.insight(text=f"lesson {seq}")) for seq in range(1, 8)]
FOREIGN = [bodies.record(1, seq, "insight", bodies.insight(text=f"theirs {seq}")) for seq in range(1, 12)]


def test_what_a_peer_was_sent_is_noted_and_no_more(tmp_path):
    with stores(tmp_path, "mine", "theirs") as (mine, theirs):
        mine.received = Received(OWN)
        mine.store.ingest(raws([*LOG[:4], *FOREIGN]))
        asyncio.run(pulled(theirs, mine))
        assert mine.received._numbers == {ASKS: 4}
        mine.store.ingest(raws(LOG[4:6]))
        heads = [(OWN, 6)]
        asyncio.run(pulled(theirs, mine, work=lambda *given, **more: pull_heads(*given, heads, **more)))
        assert mine.received._numbers == {ASKS: 6}
        mine.store.ingest(raws(LOG[6:]))
        mine.received.save(mine.store)
        assert [count(read(mine.store, OWN), seq) for seq in (1, 6, 7)] == [1, 1, 0]


def test_a_stream_that_is_cut_before_the_records_notes_nothing(tmp_path):
    with stores(tmp_path, "mine", "theirs") as (mine, theirs):
        mine.received = Received(OWN)
        mine.store.ingest(raws(LOG))
        report = asyncio.run(pulled(theirs, mine, cut_at=2))
        assert report.problem is not None
        assert mine.received._numbers == {}


def test_who_asks_for_other_logs_only_is_not_counted(tmp_path):
    with stores(tmp_path, "mine", "theirs") as (mine, theirs):
        mine.received = Received(OWN)
        mine.store.ingest(raws([*LOG, *FOREIGN]))
        heads = [(OTHER, 11)]
        asyncio.run(pulled(theirs, mine, work=lambda *given, **more: pull_heads(*given, heads, **more)))
        assert theirs.store.count() == len(FOREIGN)
        assert mine.received._numbers == {}


def test_the_note_survives_a_restart_a_new_key_and_damage(tmp_path):
    with stores(tmp_path, "mine") as (mine,):
        first = Received(OWN)
        first.has("peer a", 5)
        first.has("peer a", 3)
        first.has(OWN, 9)
        first.save(mine.store)
        again = Received(OWN)
        again.resume(mine.store)
        again.has("peer b", 2)
        again.save(mine.store)
        assert read(mine.store, OWN) == {"peer a": 5, "peer b": 2}
        rotated = Received(OTHER)
        rotated.resume(mine.store)
        rotated.has("peer a", 1)
        rotated.save(mine.store)
        assert (read(mine.store, OWN), read(mine.store, OTHER)) == ({"peer a": 5, "peer b": 2}, {"peer a": 1})
        for text in ("", "[]", "{", '{"v":1}', '{"v":1,"logs":[]}', '{"v":1,"logs":{"a":3}}', "[" * 100_000):
            mine.store.local_set(NOTE, text)
            assert read(mine.store, OWN) == {}
        odd = {"v": 1, "logs": {OWN: {"a": -1, "b": "5", "c": True, "d": 4, "e" * 99: 4, "f": 2**60}}}
        mine.store.local_set(NOTE, json.dumps(odd))
        assert read(mine.store, OWN) == {"d": 4}


def test_a_crowd_of_peers_is_bounded_and_those_that_have_the_most_stay(tmp_path):
    with stores(tmp_path, "mine") as (mine,):
        crowd = Received(OWN)
        for number in range(10 * PEERS_MAX):
            crowd.has(f"12D3Koo{number:045}", 1 + number % 7)
        for number in range(10):
            crowd.has(f"honest {number}", 50)
        crowd.save(mine.store)
        noted = read(mine.store, OWN)
        assert len(noted) == PEERS_MAX
        assert count(noted, 50) == 10
        assert min(noted.values()) == 7
        assert len(mine.store.local_get(NOTE) or "") < module.NOTE_BYTES_MAX
