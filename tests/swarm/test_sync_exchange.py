"""The reads that sync is made of: bounded, in order, sound."""

import asyncio
import sqlite3

import pytest
from sync_replicas import bodies, chain_of_scripts, lineage, raws, stores

from ensue.blobs import unpack
from ensue.store.exchange import RAWS_AT_ONCE

AUTHOR = bodies.AUTHORS[0].peer_id
LOG = [bodies.record(0, seq, "x", {"n": seq, "text": "é" * (seq % 7 * 100)}) for seq in range(1, 3 * RAWS_AT_ONCE)]
FORK = bodies.record(0, 5, "x", {"n": "the other"})
PLACES = sorted((one.seq, bytes.fromhex(one.id)) for one in [*LOG, FORK])


@pytest.fixture
def exchange(tmp_path):
    with stores(tmp_path, "here") as (here,):
        here.store.ingest(raws([*LOG[::-1], FORK]))
        yield here.store.exchange


@pytest.mark.parametrize("bytes_max", [1, 900, 20_000, 10**9])
def test_a_log_is_read_in_parts_each_record_once_forks_too(exchange, bytes_max):
    after, found, parts = (0, b""), [], 0
    while after is not None:
        some, after = exchange.tail(AUTHOR, after, bytes_max)
        assert sum(map(len, some)) <= max(bytes_max, max(map(len, some), default=0))
        found, parts = found + some, parts + 1
    by_id = {bytes.fromhex(one.id): one.raw for one in [*LOG, FORK]}
    assert found == [by_id[key] for _, key in PLACES]
    assert (parts == 1) == (bytes_max == 10**9)


def test_places_are_those_in_rows_that_are_known(exchange):
    assert exchange.keys(AUTHOR, 1, 10**6, 10**6, 10**6) == PLACES
    assert exchange.keys(AUTHOR, 5, 6, 10**6, 10, PLACES[4]) == PLACES[5:7]
    without_the_last = exchange.keys(AUTHOR, 1, 10**6, len(LOG), 10**6)
    assert (5, bytes.fromhex(FORK.id)) not in without_the_last
    assert len(without_the_last) == len(LOG)


def test_records_by_id_come_in_the_order_asked_for_and_say_where_they_ended(exchange):
    ids = [bytes.fromhex(one.id) for one in LOG[::-1]]
    unknown = bytes(32)
    found, at = exchange.raws([unknown, *ids], 10**9)
    assert (found, at) == ([one.raw for one in LOG[::-1]], len(ids) + 1)
    found, at = exchange.raws([unknown, *ids], 1)
    assert (found, at) == ([LOG[-1].raw], 2)
    assert exchange.lacking([ids[0], unknown, ids[1]]) == [unknown]


def test_damaged_records_are_not_passed_on(tmp_path):
    with stores(tmp_path, "here") as (here,):
        here.store.ingest(raws(LOG[:4]))
        with sqlite3.connect(here.store.path) as connection:
            connection.execute("UPDATE records SET raw = zeroblob(200) WHERE seq = 2")
        connection.close()
        found, after = here.store.exchange.tail(AUTHOR, (0, b""), 10**9)
        assert found == raws([LOG[0], *LOG[2:4]])
        assert after is None
        assert here.store.exchange.raws([bytes.fromhex(LOG[1].id)], 10**9) == ([], 1)


def test_scripts_are_named_with_what_they_were_made_from_until_they_are_here(tmp_path):
    scripts = chain_of_scripts(4)
    log = lineage(scripts)
    odd = [bodies.record(1, 1, "result", bodies.result(source=scripts[3].sha256, parent=None)),
           bodies.record(1, 2, "later", {"source": bodies.sha("of an unknown kind")}),
           bodies.record(1, 3, "hypothesis", bodies.hypothesis(source=bodies.sha("ready to run")))]  # fmt: skip
    with stores(tmp_path, "here") as (here,):
        here.store.ingest(raws(odd[:1] + log + odd[1:]), scripts[:1])
        named, upto = here.store.exchange.named(0, 100)
        shas = [bytes.fromhex(script.sha256) for script in scripts]
        assert {one.source: one.base for one in named} == {
            shas[1]: shas[0], shas[2]: shas[1], shas[3]: shas[2], bytes.fromhex(bodies.sha("ready to run")): None,
        }  # fmt: skip
        assert (upto, here.store.exchange.named(upto, 100)) == (7, ([], 7))
        assert [one.no for one in named] == sorted(one.no for one in named)
        here.store.ingest([], scripts)
        assert len(here.store.exchange.named(0, 100)[0]) == 1


def test_what_a_script_was_made_from_is_known_once_the_parents_record_is_here(tmp_path):
    scripts = chain_of_scripts(3)
    log, (first, second, third) = lineage(scripts), (bytes.fromhex(script.sha256) for script in scripts)

    async def main(here):
        again = bodies.record(1, 1, "result", bodies.result(source=scripts[1].sha256, parent=None))
        here.store.ingest(raws([again, *log[1:]]))
        await here.missing(recheck=True)  # as when another node asks while records are still coming
        here.store.ingest(raws(log[:1]))
        sources = await here.missing(recheck=True)
        assert sources.in_order([third, second, first]) == [(first, None), (second, first), (third, second)]

    with stores(tmp_path, "here") as (here,):
        asyncio.run(main(here))


def test_blobs_are_given_as_they_are_packed(tmp_path):
    scripts = chain_of_scripts(3, 20_000)
    with stores(tmp_path, "here") as (here,):
        here.store.ingest([], scripts)
        first, second = (here.store.exchange.packed(bytes.fromhex(one.sha256)) for one in scripts[:2])
        assert first.base is None
        assert unpack(first.data, None) == scripts[0].data
        assert second.base == bytes.fromhex(scripts[0].sha256)
        assert unpack(second.data, scripts[0].data) == scripts[1].data
        assert len(second.data) < 200
        assert here.store.exchange.packed(bytes(32)) is None
