"""Replicas become equal: whatever they hold, wherever the line is cut, at a cost of what differs."""

import asyncio
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sync_replicas import bodies, chain_of_scripts, ids, lineage, pulled, raws, stores

from ensue.blobs import BLOB_BYTES_MAX, Blob
from node.sync.answer import RUN_BYTES_MAX
from node.sync.pull import pull_blobs, pull_heads
from node.sync.summary import BLOCK_SEQS
from node.sync.wire import BATCH_BYTES_MAX

EQUAL_BYTES_MAX = 2_000


@st.composite
def divided(draw: st.DrawFn):
    """Two sets of records with gaps, forks, unknown kinds; numbers in several blocks."""
    world = draw(bodies.worlds(24))
    far = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(2, 5 * BLOCK_SEQS)), max_size=8))
    world += [bodies.record(author, seq, "of-a-later-version", {"n": seq}) for author, seq in far]
    sides = draw(st.lists(st.sampled_from(["a", "b", "ab"]), min_size=len(world), max_size=len(world)))
    return [[one.raw for one, side in zip(world, sides, strict=True) if name in side] for name in "ab"]


@settings(max_examples=60)
@given(divided())
def test_two_replicas_are_equal_after_a_pull_each_way(halves):
    async def meet(one, two):
        await pulled(one, two)
        await pulled(two, one)
        last = await pulled(one, two)
        assert (last.records, last.equal, last.problem) == (0, True, None)
        assert last.bytes_in + last.bytes_out <= EQUAL_BYTES_MAX

    with tempfile.TemporaryDirectory() as folder, stores(Path(folder), "one", "two") as (one, two):
        one.store.ingest(halves[0])
        two.store.ingest(halves[1])
        asyncio.run(meet(one, two))
        assert ids(one) == ids(two)
        assert one.store.digest() == two.store.digest()
        assert one.logs.root() == two.logs.root()


def test_a_fork_far_behind_and_a_gap_are_found(tmp_path):
    whole = [bodies.record(0, seq, "x", {"n": seq}) for seq in range(1, 3 * BLOCK_SEQS)]
    fork = bodies.record(0, 700, "x", {"n": "the other"})
    with stores(tmp_path, "one", "two") as (one, two):
        one.store.ingest(raws(whole[:1500] + whole[1501:]))
        two.store.ingest(raws([*whole, fork]))
        report = asyncio.run(pulled(one, two))
        assert (report.records, report.equal) == (2, True)
        assert report.bytes_in + report.bytes_out < 120_000  # two blocks' places, not three blocks' records
        assert one.store.frozen_from(bodies.AUTHORS[0].peer_id) == 700


@pytest.fixture(scope="module")
def long_log() -> list[bytes]:
    """Returns 20,000 records of one author."""
    return [bodies.record(0, seq, "x", {"n": seq}).raw for seq in range(1, 20_001)]


def test_what_one_record_costs_does_not_grow_with_the_set(tmp_path, long_log):
    costs: dict[bool, list[int]] = {True: [], False: []}
    with stores(tmp_path, "one", "two") as (one, two):
        for start, size in ((0, 2_000), (2_000, 20_000)):
            for replica in (one, two):
                replica.store.ingest(long_log[start:size])
            for behind in costs:
                one_more = bodies.record(1, size + behind, "x", {"n": "the one that differs"})
                (two if behind else one).store.ingest([one_more.raw])
                report = asyncio.run(pulled(one, two))
                assert (report.records, report.equal, report.problem) == (int(behind), behind, None)
                costs[behind].append(report.bytes_in + report.bytes_out)
                asyncio.run(pulled(two, one))
    assert all(large <= small + 100 <= 3_000 for small, large in costs.values())


def test_a_record_in_the_middle_costs_a_block_at_most(tmp_path, long_log):
    with stores(tmp_path, "one", "two") as (one, two):
        one.store.ingest(long_log[:9_999] + long_log[10_000:])
        two.store.ingest(long_log)
        report = asyncio.run(pulled(one, two))
        assert (report.records, report.equal) == (1, True)
        assert report.bytes_in + report.bytes_out < 45_000
        back = asyncio.run(pulled(two, one))
        assert back.bytes_in + back.bytes_out <= EQUAL_BYTES_MAX


def test_wherever_the_line_is_cut_the_next_pull_goes_on(tmp_path):
    scripts = chain_of_scripts(12)
    first = lineage(scripts)
    wide = [bodies.record(1, seq, "x", {"n": seq, "text": "é" * 20_000}) for seq in range(1, 41)]  # several answers
    gaps = [bodies.record(2, seq, "x", {"n": seq}) for seq in (1, 2, 5000)]
    assert sum(len(one.raw) for one in wide) > 2 * BATCH_BYTES_MAX
    with stores(tmp_path, "there", "whole") as (there, whole):
        there.store.ingest(raws(first + wide + gaps), scripts)
        frames = []

        async def count():
            report = await pulled(whole, there)
            frames.append(report)
            return report

        assert asyncio.run(count()).equal
        cut_at, cuts = 0, 0
        while True:
            with stores(tmp_path, f"here-{cut_at}") as (here,):
                here.store.ingest(raws(gaps[1:]))  # so that every step is needed
                broken = asyncio.run(pulled(here, there, cut_at=cut_at))
                if broken.problem is None:
                    break
                had = here.store.count()
                again = asyncio.run(pulled(here, there))
                assert again.problem is None
                assert again.equal
                assert again.known == 0  # nothing that was stored before the cut comes again
                assert had + again.records == there.store.count()
                assert here.store.digest() == there.store.digest()
                assert all(here.store.blob(script.sha256) == script.data for script in scripts)
            cut_at, cuts = cut_at + 1, cuts + 1
        assert cuts >= 8


def test_scripts_come_as_differences_and_only_when_missing(tmp_path):
    scripts = chain_of_scripts(300, 25_000)
    log = lineage(scripts)
    with stores(tmp_path, "one", "two") as (one, two):
        two.store.ingest(raws(log), scripts)
        report = asyncio.run(pulled(one, two))
        assert (report.records, report.blobs, report.absent) == (300, 300, 0)
        packed = sum(len(two.store.exchange.packed(bytes.fromhex(one.sha256)).data) for one in scripts)
        records = sum(len(raw) for raw in raws(log))
        assert report.bytes_in + report.bytes_out < packed + records // 2 + 40_000 < 600_000
        again = asyncio.run(pulled(one, two))
        assert (again.blobs, again.bytes_in + again.bytes_out < EQUAL_BYTES_MAX) == (0, True)


def test_blobs_of_any_size_come_in_pieces_and_logs_when_asked_for(tmp_path):
    large = [Blob(Random(seed).randbytes(BLOB_BYTES_MAX - seed)) for seed in range(3)]
    small = [Blob(b""), Blob(b"x"), Blob(b"a log " * 10_000)]
    assert sum(len(one.data) for one in large) > RUN_BYTES_MAX
    with stores(tmp_path, "one", "two") as (one, two):
        two.store.ingest([], large + small)
        assert asyncio.run(pulled(one, two)).blobs == 0
        asked = [bytes.fromhex(blob.sha256) for blob in [small[0], *large, *small[1:]]]
        report = asyncio.run(pulled(one, two, work=pull_blobs, hashes=[*asked, bytes(32)]))
        assert (report.blobs, report.absent, report.equal, report.problem) == (6, 1, False, None)
        assert all(one.store.blob(blob.sha256) == blob.data for blob in large + small)
        report = asyncio.run(pulled(one, two, work=pull_blobs, hashes=asked))
        assert (report.blobs, report.equal) == (0, True)


def test_scripts_that_nobody_has_cost_nothing_among_equals(tmp_path):
    named = [bodies.record(0, n, "claim", bodies.claim(source=bodies.sha(f"nowhere {n}"))) for n in range(1, 401)]
    scripts = chain_of_scripts(2)
    with stores(tmp_path, "one", "two") as (one, two):
        two.store.ingest(raws(named + lineage(scripts, author=1)), scripts)
        first = asyncio.run(pulled(one, two))
        assert (first.records, first.blobs, first.absent) == (402, 2, 0)
        again = asyncio.run(pulled(one, two))
        assert again.equal
        assert again.bytes_in + again.bytes_out <= EQUAL_BYTES_MAX


def test_what_is_missing_is_remembered_from_one_start_to_the_next(tmp_path):
    scripts = chain_of_scripts(3)
    with stores(tmp_path, "one", "two") as (one, two):
        two.store.ingest(raws(lineage(scripts)), scripts[:2])
        asyncio.run(pulled(one, two))
    with stores(tmp_path, "one", "two") as (one, two):
        looked_at = []
        named = one.store.exchange.named
        one.store.exchange.named = lambda after, limit: looked_at.append(after) or named(after, limit)
        two.store.ingest([], scripts[2:])
        assert asyncio.run(pulled(one, two)).blobs == 1
        assert looked_at[0] == 3


def test_heads_bring_what_follows_with_its_script_in_two_round_trips(tmp_path):
    scripts = chain_of_scripts(4)
    log = lineage(scripts)
    with stores(tmp_path, "one", "two") as (one, two):
        one.store.ingest(raws(log[:2]), scripts[:2])
        two.store.ingest(raws(log), scripts)
        heads = [(bodies.AUTHORS[0].peer_id, 4), (bodies.AUTHORS[2].peer_id, 9)]
        report = asyncio.run(pulled(one, two, work=pull_heads, heads=heads[:1]))
        assert (report.records, report.blobs, report.equal, report.problem) == (2, 2, True, None)
        assert not asyncio.run(pulled(one, two, work=pull_heads, heads=[*heads, ("no peer id", 1)])).equal


def test_a_repair_that_numbers_the_records_anew_is_noticed(tmp_path):
    log = [bodies.record(0, seq, "x", {"n": seq}) for seq in range(1, 9)]
    with stores(tmp_path, "one", "two") as (one, two):
        one.store.ingest(raws(log))
        asyncio.run(one.current())
        two.store.ingest(raws(log[3:] + log[:2]))
        one.store = two.store
        asyncio.run(one.current())
        asyncio.run(two.current())
        assert one.logs.root() == two.logs.root()
        assert one.logs.root()[0] == 7
