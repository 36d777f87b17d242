"""Who speaks for whom and what is official: rule by rule, in any order of arrival, in the fold and in the tables."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from bodies import ACCOUNTS, AUTHORS, NETWORK, TIME_MS, TRACK, claim, result, sha, worlds
from hypothesis import given
from hypothesis import strategies as st

from ensue import statements
from ensue.errors import BadSignature, InvalidBody
from ensue.fold import State, fold
from ensue.identity import Identity
from ensue.people import NEVER, Trust, in_force, quorum, spans
from ensue.record import Record, sign
from ensue.store import Store

V1, V2, V3 = (Identity(bytes([number]) * 32) for number in (21, 22, 23))
ALICE, BOB = ACCOUNTS
NODE, OTHER, THIRD = AUTHORS
ONE = Trust(NETWORK, V3.peer_id, (V1.peer_id,), 1)
TWO_OF_THREE = Trust(NETWORK, V3.peer_id, (V1.peer_id, V2.peer_id, V3.peer_id), 2)


def said(author: Identity, seq: int, kind: str, body: Any, time_ms: int = TIME_MS) -> Record:
    fields = body if isinstance(body, dict) else body.model_dump(mode="json")
    prev = None if seq == 1 else sha(f"before {seq}")
    return sign(author, network=NETWORK, seq=seq, prev=prev, time_ms=time_ms, kind=kind, body=fields)


def delegated(node: Identity, seq: int, account: Identity = ALICE) -> Record:
    return said(node, seq, "delegation", statements.delegation(account, NETWORK, node.peer_id))


def revoked(
    node: Identity, last_seq: int, account: Identity = ALICE, seq: int = 1, carrier: Identity = THIRD
) -> Record:
    body = statements.revocation(account, NETWORK, node.peer_id, last_seq, "lost")
    return said(THIRD, 1, "revocation", body)


def vouched(verifier: Identity, seq: int, account: Identity = ALICE, address: str = "a", **more: Any) -> Record:
    body = {
        "account": account.peer_id,
        "address": sha(address),
        "expires_ms": TIME_MS + 1_000,
        "nodes": [],
        "request": sha(f"{verifier.peer_id} {seq}"),
    }
    return said(verifier, seq, "credential", body | more)


def leaving(account: Identity, **heads: int) -> dict[str, Any]:
    nodes = {"node": NODE, "other": OTHER}
    listed = [{"node": nodes[name].peer_id, "last_seq": seq} for name, seq in heads.items()]
    return {"account": account.peer_id, "heads": listed}


def found(author: Identity, seq: int, value: float = 1.5, time_ms: int = TIME_MS) -> Record:
    return said(author, seq, "result", result(value=value, seed=seq), time_ms)


def named(previous: str, epoch: int, verifiers: list[Identity], signers: list[Identity], **more: Any) -> dict[str, Any]:
    fields = {"epoch": epoch, "previous": previous, "verifiers": [one.peer_id for one in verifiers], "needed": 1} | more
    ended = fields.pop("ended", [])
    statement = statements.quorum_statement(NETWORK, **fields, ended=ended)
    return fields | {
        "ended": [{"verifier": one, "last_seq": seq} for one, seq in ended],
        "signatures": [statements.sign_quorum(one, statement).model_dump() for one in signers],
    }


def judged(records: list[Record], trust: Trust = ONE) -> State:
    """The state, after the tables have come to the same in two orders of arrival, and when others are trusted last."""
    state = fold(records, trust)
    for arrived, first in ((records, trust), (records[::-1], trust), (records, None)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "replica"
            with Store(path, NETWORK, first) as store:
                for one in arrived:
                    store.ingest([one.raw])
            with Store(path, NETWORK, trust) as store:
                assert store.digest() == state.digest()
                assert store.rebuild(check=True).equal
                assert store.rebuild().equal
                assert store.digest() == state.digest()
                officials = {row.id for row in store.leaderboard(TRACK, level="official", limit=99)}
                assert officials == {key for key, standing in state.results.items() if standing.official}
                assert store.people.in_force() == state.trusted
    return state


def official(state: State, *records: Record) -> list[bool]:
    return [state.results[one.id].official for one in records]


def test_a_credential_makes_earlier_and_later_results_official() -> None:
    first, last = found(NODE, 2), found(NODE, 3)
    assert official(judged([delegated(NODE, 1), first, last]), first, last) == [False, False]
    assert official(judged([delegated(NODE, 1), first, vouched(V1, 1), last]), first, last) == [True, True]


def test_a_delegation_speaks_for_what_came_before_it() -> None:
    first = found(NODE, 1)
    assert official(judged([first, delegated(NODE, 2), vouched(V1, 1)]), first) == [True]


def test_a_second_delegation_speaks_from_its_number_on() -> None:
    first, last = found(NODE, 2), found(NODE, 4)
    state = judged([delegated(NODE, 1), first, delegated(NODE, 3, BOB), last, vouched(V1, 1, BOB)])
    assert official(state, first, last) == [False, True]
    assert state.speaks[NODE.peer_id] == ((1, ALICE.peer_id), (3, BOB.peer_id))


def test_a_verifier_that_nobody_trusts_makes_nothing_official() -> None:
    one = found(NODE, 2)
    assert official(judged([delegated(NODE, 1), one, vouched(V2, 1)]), one) == [False]
    assert official(judged([delegated(NODE, 1), one, vouched(V1, 1)], Trust(NETWORK)), one) == [False]


def test_two_of_three_must_vouch_and_one_that_vouches_twice_is_one() -> None:
    one = found(NODE, 2)
    world = [delegated(NODE, 1), one, vouched(V1, 1), vouched(V1, 2, address="another")]
    assert official(judged(world, TWO_OF_THREE), one) == [False]
    assert official(judged([*world, vouched(V3, 1)], TWO_OF_THREE), one) == [True]


def test_a_revoked_key_counts_up_to_the_number_that_the_account_names() -> None:
    first, theft = found(NODE, 2, 1.5), found(NODE, 3, 1.0)
    undo = said(NODE, 4, "retraction", {"target": first.id, "reason": "the thief's"})
    state = judged([delegated(NODE, 1), first, theft, undo, vouched(V1, 1), revoked(NODE, 2)])
    assert official(state, first, theft) == [True, False]
    assert state.results[theft.id].revoked
    assert state.bests[TRACK, "all", ""] == first.id


def test_only_the_account_revokes_and_not_for_a_time_before_its_own() -> None:
    mine, theirs = found(NODE, 2), found(NODE, 4)
    world = [delegated(NODE, 1), mine, delegated(NODE, 3, BOB), theirs, vouched(V1, 1)]
    state = judged([*world, revoked(NODE, 0, BOB)])
    assert [state.results[one.id].revoked for one in (mine, theirs)] == [False, True]
    forged = statements.revocation(BOB, NETWORK, NODE.peer_id, 0).model_copy(update={"account": ALICE.peer_id})
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "a", NETWORK) as store:
        done = store.ingest([said(THIRD, 1, "revocation", forged).raw])
        assert done.refused == ("The statement in this revocation is not signed by who is said to; refuse it.",)
        with pytest.raises(BadSignature):
            store.append(THIRD, "revocation", forged)
        with pytest.raises(InvalidBody):
            store.append(THIRD, "revocation", {"account": "me"})


def test_an_account_of_a_thief_cannot_be_given_what_was_found_before() -> None:
    mine, stolen = found(NODE, 2), found(NODE, 4)
    world = [delegated(NODE, 1), mine, delegated(NODE, 3, BOB), stolen, revoked(NODE, 2), vouched(V1, 1, BOB)]
    state = judged(world)
    assert official(state, mine, stolen) == [False, False]
    assert state.speaks[NODE.peer_id] == ((1, ALICE.peer_id),)


def test_an_expired_credential_covers_what_was_made_before() -> None:
    before, after = found(NODE, 2, time_ms=TIME_MS + 999), found(NODE, 3, time_ms=TIME_MS + 1_000)
    world = [delegated(NODE, 1), before, after, vouched(V1, 1)]
    assert official(judged(world), before, after) == [True, False]
    renewed = vouched(V1, 2, expires_ms=TIME_MS + 2_000)
    assert official(judged([*world, renewed]), before, after) == [True, True]


def test_an_address_that_moves_leaves_the_older_account_what_the_verifier_saw() -> None:
    old, late, new = found(NODE, 2), found(NODE, 3), found(OTHER, 2)
    world = [delegated(NODE, 1), old, late, vouched(V1, 1), delegated(OTHER, 1, BOB), new]
    assert official(judged(world), old, late, new) == [True, True, False]
    moved = vouched(V1, 2, BOB, supersedes=leaving(ALICE, node=2))
    assert official(judged([*world, moved]), old, late, new) == [True, False, True]
    assert official(judged([*world, vouched(V1, 2, BOB)]), old, late, new) == [False, False, True]
    back = vouched(V1, 3, ALICE, supersedes=leaving(BOB, other=2))
    assert official(judged([*world, moved, back]), old, late, new) == [True, True, True]


def test_a_verifier_takes_a_credential_back() -> None:
    one, given = found(NODE, 2), vouched(V1, 1)
    back = said(V1, 2, "retraction", {"target": given.id, "reason": "issued by mistake"})
    assert official(judged([delegated(NODE, 1), one, given, back]), one) == [False]
    foreign = said(V2, 1, "retraction", {"target": given.id, "reason": "mine now"})
    assert official(judged([delegated(NODE, 1), one, given, foreign]), one) == [True]


def test_a_verifier_that_forks_its_log_counts_up_to_the_fork() -> None:
    one, two = found(NODE, 2), found(OTHER, 2)
    world = [delegated(NODE, 1), delegated(OTHER, 1, BOB), one, two, vouched(V1, 1), vouched(V1, 2, BOB, "b")]
    assert official(judged(world), one, two) == [True, True]
    assert official(judged([*world, vouched(V1, 2, ALICE, "x")]), one, two) == [True, False]


def test_a_node_that_forks_its_log_loses_what_follows() -> None:
    one, two = found(NODE, 2), found(NODE, 3)
    state = judged([delegated(NODE, 1), one, two, found(NODE, 3, 1.0), vouched(V1, 1)])
    assert official(state, one, two) == [True, False]


def test_a_quorum_replaces_a_verifier_and_what_it_said_before_goes_on_counting() -> None:
    one, two = found(NODE, 2), found(OTHER, 2)
    world = [delegated(NODE, 1), delegated(OTHER, 1, BOB), one, two, vouched(V1, 1), vouched(V1, 2, BOB, "b")]
    change = named(NETWORK, 1, [V2], [V1], ended=[(V1.peer_id, 1)])
    state = judged([*world, said(THIRD, 1, "quorum", change)])
    assert official(state, one, two) == [True, False]
    assert state.trusted.verifiers == (V2.peer_id,)
    dropped = named(NETWORK, 1, [V2], [V1])
    assert official(judged([*world, said(THIRD, 1, "quorum", dropped)]), one, two) == [False, False]


def test_a_change_without_a_quorum_changes_nothing() -> None:
    change = named(NETWORK, 1, [V3], [V1, NODE])
    assert judged([said(THIRD, 1, "quorum", change)], TWO_OF_THREE).trusted.epoch == 0
    both = [named(NETWORK, 1, [V3], [V1]), named(NETWORK, 1, [V3], [V2])]  # each alone is too little
    state = judged([said(THIRD, seq, "quorum", body) for seq, body in enumerate(both, 1)], TWO_OF_THREE)
    assert state.trusted.verifiers == (V3.peer_id,)


def test_changes_follow_one_another_and_of_two_the_lower_hash_counts() -> None:
    first, rival = named(NETWORK, 1, [V2], [V1]), named(NETWORK, 1, [V3], [V1])
    hashes = []
    for body in (first, rival):
        kept = {key: value for key, value in body.items() if key not in ("signatures", "ended")}
        hashes.append(statements.statement_hash(statements.quorum_statement(NETWORK, **kept)))
    world = [said(THIRD, seq, "quorum", body) for seq, body in enumerate((first, rival), 1)]
    winner = 0 if hashes[0] < hashes[1] else 1
    state = judged(world)
    assert state.trusted.statement == hashes[winner]
    successor = named(hashes[winner], 2, [NODE, OTHER], [(V2, V3)[winner]], needed=2)
    state = judged([*world, said(THIRD, 3, "quorum", successor)])
    assert (state.trusted.epoch, state.trusted.needed) == (2, 2)


def test_where_nobody_is_trusted_the_founder_names_the_first() -> None:
    trust = Trust(NETWORK, V3.peer_id)
    assert judged([said(THIRD, 1, "quorum", named(NETWORK, 1, [V1], [V2]))], trust).trusted.verifiers == ()
    assert judged([said(THIRD, 1, "quorum", named(NETWORK, 1, [V1], [V3]))], trust).trusted.verifiers == (V1.peer_id,)


def test_more_than_half_are_a_quorum() -> None:
    assert [quorum(["v"] * count) for count in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]
    assert in_force(ONE, []).limit(V2.peer_id) == 0


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from("ab")), max_size=6),
    st.sampled_from([NEVER, 3, 6]),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 9)),
)
def test_nobody_speaks_for_more_than_its_log_holds(made: list[Any], forked: int, revoked_after: dict[str, int]) -> None:
    speaks, void_from = spans(made, forked, lambda account: revoked_after.get(account, NEVER))
    assert void_from <= forked
    assert all(start <= void_from for start, _ in speaks)
    assert [start for start, _ in speaks] == sorted(start for start, _ in speaks)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Record], list[Record], int]:
    """A set of records with many about people, an order of arrival, and where the intake is cut in two."""
    world = draw(worlds(records_max=24, people=True))
    arrived = draw(st.permutations(world))
    return world, arrived, draw(st.integers(0, len(world)))


@given(deliveries(), st.integers(0, 3), st.integers(1, 2))
def test_tables_equal_the_fold_whoever_is_trusted(
    delivery: tuple[list[Record], list[Record], int], verifiers: int, needed: int
) -> None:
    world, arrived, cut = delivery
    trust = Trust(NETWORK, AUTHORS[0].peer_id, tuple(one.peer_id for one in AUTHORS[:verifiers]), needed)
    assert fold(arrived, trust) == fold(world, trust)
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "replica", NETWORK, trust) as store:
        store.ingest(one.raw for one in arrived[:cut])
        assert store.digest() == fold(_kept(arrived[:cut]), trust).digest()
        store.ingest(one.raw for one in arrived[cut:])
        state = fold(_kept(world), trust)
        assert store.digest() == state.digest()
        for (track, scope, name), best in state.officials.items():
            account = store.people.account_of(store.result(best).author, store.result(best).seq)
            assert scope != "account" or name == account
            if scope == "all":
                assert store.best(track, level="official").id == best  # type: ignore[union-attr]


def _kept(records: list[Record]) -> list[Record]:
    """Those that a replica takes: not the ones with a statement that somebody else signed."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "any", NETWORK) as store:
        taken = set(store.ingest(one.raw for one in records).accepted)
    return [one for one in records if one.id in taken]


def test_who_speaks_for_an_account_is_told() -> None:
    world = [delegated(NODE, 1), found(NODE, 2), delegated(OTHER, 1), vouched(V1, 1), revoked(OTHER, 1)]
    world.append(said(OTHER, 2, "claim", claim()))
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "replica", NETWORK, ONE) as store:
        store.ingest(one.raw for one in world)
        nodes = {row.node: (row.head_seq, row.void_from) for row in store.people.nodes(ALICE.peer_id)}
        assert nodes == {NODE.peer_id: (2, None), OTHER.peer_id: (2, 2)}
        (given,) = store.people.credentials(ALICE.peer_id)
        assert (given.verifier, given.counts, given.superseded) == (V1.peer_id, True, False)
        assert store.people.holder(V1.peer_id, sha("a")) == ALICE.peer_id
        assert store.people.holder(V1.peer_id, sha("b")) is None
        standing = store.people.standing(ALICE.peer_id, TIME_MS)
        assert (standing.covering, standing.official, standing.expires_ms) == ((V1.peer_id,), True, TIME_MS + 1_000)
        assert not store.people.standing(ALICE.peer_id, TIME_MS + 1_000).official
        assert (store.people.issued(V1.peer_id, TIME_MS), store.people.issued(V1.peer_id, TIME_MS + 1)) == (1, 0)
        assert store.people.announced(V1.peer_id) is None
        store.ingest([said(V1, 2, "verifier", {"url": "https://v.example", "name": "V", "contact": ""}).raw])
        assert store.people.announced(V1.peer_id).url == "https://v.example"  # type: ignore[union-attr]


def test_accounts_are_ranked_by_their_best_over_all_their_nodes() -> None:
    mine, more, theirs, nobody = found(NODE, 2, 1.4), found(OTHER, 2, 1.3), found(NODE, 4, 1.2), found(THIRD, 1, 1.0)
    world = [delegated(NODE, 1), mine, delegated(OTHER, 1), more, delegated(NODE, 3, BOB), theirs, nobody]
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "replica", NETWORK, ONE) as store:
        store.ingest(one.raw for one in [*world, vouched(V1, 1, ALICE)])
        recorded = store.leaderboard(TRACK, by="account")
        assert [row.id for row in recorded] == [nobody.id, theirs.id, more.id]
        assert [row.id for row in store.leaderboard(TRACK, by="account", level="official")] == [more.id]
        assert [row.id for row in store.leaderboard(TRACK, by="agent", level="official")] == [more.id, mine.id]
        assert [row.id for row in store.leaderboard(TRACK, by="class", level="official")] == [more.id]
        assert [row.level for row in recorded] == ["recorded", "recorded", "official"]
