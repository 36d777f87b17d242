"""The laws of the fold, and that the live tables obey them step by step."""

import tempfile
from pathlib import Path

import pytest
from bodies import AUTHORS, NETWORK, TRACK, claim, hypothesis, insight, record, result, sha, worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from ensue.fold import Standing, State, fold
from ensue.record import Record
from ensue.store import Store


def names(state: State) -> set[str]:
    return set(state.bests.values())


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Record], list[Record]]:
    """A set of records, and one way in which it may arrive: any order, some of it twice."""
    world = draw(worlds())
    again = draw(st.lists(st.sampled_from(world), max_size=4))
    return world, draw(st.permutations(world + again))


@given(deliveries())
def test_order_and_repetition_do_not_matter(delivery: tuple[list[Record], list[Record]]) -> None:
    world, arrived = delivery
    assert fold(arrived) == fold(world)
    assert fold(arrived).digest() == fold(world).digest()


@given(deliveries(), st.integers(0, 18))
def test_live_tables_equal_the_fold(delivery: tuple[list[Record], list[Record]], cut: int) -> None:
    world, arrived = delivery
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "replica", NETWORK) as store:
        first = store.ingest(one.raw for one in arrived[:cut])
        assert store.digest() == fold(arrived[:cut]).digest()
        second = store.ingest(one.raw for one in arrived[cut:])
        assert not first.refused
        assert not second.refused
        assert len(first.accepted) + len(second.accepted) == len({one.id for one in world})
        assert store.digest() == fold(world).digest()
        assert store.rebuild().equal
        assert store.digest() == fold(world).digest()


@given(worlds())
@settings(max_examples=60)
def test_rankings_and_bests_are_those_of_the_fold(world: list[Record]) -> None:
    state = fold(world)
    track = sha("a")
    bodies = {one.id: (one, one.body) for one in world if one.id in state.results and state.results[one.id].counts}
    order = []
    for key, (one, body) in bodies.items():
        if body["track"] == track:
            sign = -1 if body["direction"] == "max" else 1
            place = {"kept": 0, "discarded": 1}.get(body["status"], 2)
            order.append((place, sign * (body["value"] or 0), key, one.author, body["hardware_class"]))
    order.sort()
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "replica", NETWORK) as store:
        store.ingest(one.raw for one in reversed(world))
        assert [row.id for row in store.leaderboard(track, limit=99)] == [key for _, _, key, *_ in order]
        for column, by in ((3, "author"), (4, "class")):
            firsts = {entry[column]: entry for entry in reversed(order)}
            board = store.leaderboard(track, by=by)
            assert [row.id for row in board] == [entry[2] for entry in sorted(firsts.values())]
        best = store.best(track)
        assert (best.id if best else None) == state.bests.get((track, "all", ""))
        waiting = {row.id for name in "ab" for row in store.claims.open(sha(name))}
        assert waiting == {key for key, is_open in state.claims.items() if is_open}
        for author in AUTHORS:
            assert store.frozen_from(author.peer_id) == state.frozen.get(author.peer_id)


@given(worlds())
@settings(max_examples=60)
def test_the_digest_tells_sets_apart(world: list[Record]) -> None:
    assert len({fold(world[:size]).digest() for size in range(len(world) + 1)}) == len({one.id for one in world}) + 1


def test_bests_are_kept_results_by_value_with_ties_by_id() -> None:
    tied = [record(0, 1, "result", result(value=1.5)), record(1, 1, "result", result(value=1.5))]
    others = [
        record(2, 1, "result", result(value=1.4, status="discarded")),
        record(2, 2, "result", result(value=1.6, hardware_class="gpu")),
    ]
    state = fold(tied + others)
    first = min(one.id for one in tied)
    assert state.bests[(TRACK, "all", "")] == first
    assert state.bests[(TRACK, "class", "gpu")] == others[1].id
    assert state.bests[(TRACK, "author", AUTHORS[2].peer_id)] == others[1].id


def test_more_is_better_where_the_direction_says_so() -> None:
    less, more = (record(0, seq, "result", result(value=seq, direction="max")) for seq in (1, 2))
    assert fold([less, more]).bests[(TRACK, "all", "")] == more.id


def test_a_retraction_counts_for_its_authors_records_only_and_taints_descendants() -> None:
    parent = record(0, 1, "result", result(value=1.5))
    child = record(1, 1, "result", result(value=1.4, parent=parent.id))
    grandchild = record(1, 2, "result", result(value=1.3, parent=child.id))
    stranger = record(2, 1, "retraction", {"target": parent.id, "reason": "envy"})
    assert fold([parent, child, stranger]).results[parent.id] == Standing()
    own = record(0, 2, "retraction", {"target": parent.id, "reason": "wrong data"})
    state = fold([parent, child, grandchild, own])
    assert state.results[parent.id] == Standing(retracted=True)
    assert state.results[child.id] == state.results[grandchild.id] == Standing(tainted=True)
    assert state.bests[(TRACK, "all", "")] == grandchild.id
    back = record(0, 3, "retraction", {"target": own.id, "reason": "right data after all"})
    assert fold([parent, own, back]).results[parent.id].retracted


def test_equivocation_freezes_the_author_from_that_number_on() -> None:
    before = record(0, 1, "result", result(value=1.5))
    fork = [record(0, 2, "result", result(value=value)) for value in (1.2, 1.3)]
    after = record(0, 3, "retraction", {"target": before.id, "reason": "no"})
    state = fold([before, *fork, after])
    assert state.frozen == {AUTHORS[0].peer_id: 2}
    assert names(state) == {before.id}
    assert all(state.results[one.id].frozen for one in fork)
    assert not state.results[before.id].retracted


def test_a_claim_is_open_until_its_author_gives_a_result_or_retracts_it() -> None:
    one = record(0, 1, "claim", claim())
    by_a_stranger = record(1, 1, "result", result(claim=one.id))
    assert fold([one, by_a_stranger]).claims == {one.id: True}
    answer = record(0, 2, "result", result(claim=one.id, status="crashed"))
    assert fold([one, answer]).claims == {one.id: False}
    retraction = record(0, 2, "retraction", {"target": one.id, "reason": "abandoned"})
    assert fold([one, retraction]).claims == {one.id: False}


def test_a_hypothesis_is_tried_by_the_results_of_claims_that_name_it() -> None:
    idea = record(2, 1, "hypothesis", hypothesis())
    one = record(0, 1, "claim", claim(hypothesis=idea.id))
    answer = record(0, 2, "result", result(claim=one.id))
    assert fold([idea, one]).hypotheses == {idea.id: (Standing(), 0)}
    assert fold([idea, one, answer]).hypotheses == {idea.id: (Standing(), 1)}


def test_unknown_kinds_and_bodies_that_break_their_rules_are_kept_and_count_for_nothing() -> None:
    unknown, broken = record(0, 1, "later", {"a": 1}), record(0, 2, "result", {"value": "much"})
    state = fold([unknown, broken, record(0, 3, "insight", insight())])
    assert state.kinds[unknown.id] == "later"
    assert state.results == {}
    assert len(state.insights) == 1


@pytest.mark.parametrize("count", [0, 1])
def test_small_sets(count: int) -> None:
    state = fold([record(0, 1, "result", result(track=sha("t")))][:count])
    assert len(state.results) == count
    assert len(state.counts) == count
