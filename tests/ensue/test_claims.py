"""Who holds an experiment: leases, and which of two claims counts, the same on every node."""

import itertools
from pathlib import Path

import pytest
from bodies import AUTHORS, NETWORK, TRACK, claim, result, sha

from ensue.record import Record, sign
from ensue.store import Store

ME, OTHER, THIRD = AUTHORS
EXPERIMENT = sha("experiment")


def signed(author: int, seq: int, kind: str, body: dict[str, object], prev: str | None = None) -> Record:
    return sign(AUTHORS[author], network=NETWORK, seq=seq, prev=prev, time_ms=1, kind=kind, body=body)


def test_of_two_claims_the_lower_id_counts_in_every_order_of_arrival(tmp_path: Path) -> None:
    claims = [signed(author, 1, "claim", claim(ttl_s=600)) for author in range(3)]
    first, *others = sorted(claims, key=lambda one: one.id)
    for number, order in enumerate(itertools.permutations(claims)):
        with Store(tmp_path / str(number), NETWORK) as store:
            for one in order:
                store.ingest([one.raw])
            assert store.claims.held(EXPERIMENT) == first.id
            assert store.claims.taken(EXPERIMENT) == first.id
            assert store.claims.beaten_by(first.id) is None
            for other in others:
                rival = store.claims.beaten_by(other.id)
                assert rival is not None
                assert rival.id == first.id


def test_ones_own_claims_never_beat_each_other(tmp_path: Path) -> None:
    with Store(tmp_path / "replica", NETWORK) as store:
        made = [store.append(ME, "claim", claim(seed=number)) for number in range(4)]
        assert [store.claims.beaten_by(one.id) for one in made] == [None] * 4
        assert store.claims.held(EXPERIMENT) == min(one.id for one in made)


def test_a_claim_is_live_as_long_as_its_author_says(tmp_path: Path) -> None:
    with Store(tmp_path / "replica", NETWORK) as store:
        mine = store.append(ME, "claim", claim(ttl_s=60))
        then = store.received_ms(mine.id)
        assert store.claims.held(EXPERIMENT, then + 59_999) == mine.id
        assert store.claims.held(EXPERIMENT, then + 60_000) is None
        assert store.claims.renew(OTHER.peer_id, [mine.id], then + 500_000) == 0
        assert store.claims.held(EXPERIMENT, then + 60_000) is None
        assert store.claims.renew(ME.peer_id, [mine.id, "00" * 32, "no id"], then + 500_000) == 1
        assert store.claims.held(EXPERIMENT, then + 499_999) == mine.id
        assert store.claims.held(EXPERIMENT, then + 500_000) is None
        assert store.claims.renew(ME.peer_id, [mine.id], then) == 1  # a lease never shortens what the claim itself says
        assert store.claims.held(EXPERIMENT, then + 59_999) == mine.id
        store.append(ME, "retraction", {"target": mine.id, "reason": "abandoned"})
        assert store.claims.renew(ME.peer_id, [mine.id], then + 500_000) == 0
        assert store.claims.held(EXPERIMENT, then) is None


def test_leases_of_claims_that_are_done_go_away(tmp_path: Path) -> None:
    with Store(tmp_path / "replica", NETWORK) as store:
        for number in range(20):
            mine = store.append(ME, "claim", claim(experiment=sha(str(number))))
            store.claims.renew(ME.peer_id, [mine.id], 2**50)
            store.append(ME, "result", result(claim=mine.id, experiment=sha(str(number))))
        store.claims.renew(ME.peer_id, [], 2**50)
        assert store._database.rows("SELECT * FROM leases") == []


@pytest.mark.parametrize("status", ["kept", "crashed"])
def test_finished_work_counts_more_than_any_claim(tmp_path: Path, status: str) -> None:
    claims = sorted((signed(author, 1, "claim", claim(ttl_s=600)) for author in range(2)), key=lambda one: one.id)
    low, high = claims
    finisher = [identity.peer_id for identity in AUTHORS].index(high.author)
    changed = {"status": status} if status == "kept" else {"status": status, "value": None, "reason": "it fell over"}
    answer = signed(finisher, 2, "result", result(claim=high.id, **changed), prev=high.id)
    with Store(tmp_path / "replica", NETWORK) as store:
        store.ingest([low.raw, high.raw])
        assert store.claims.beaten_by(low.id) is None
        store.ingest([answer.raw])
        rival = store.claims.beaten_by(low.id)
        assert rival is not None
        assert rival.id == high.id
        assert store.claims.taken(EXPERIMENT) == answer.id


def test_an_expired_or_withdrawn_claim_beats_nobody(tmp_path: Path) -> None:
    low, high = sorted((signed(author, 1, "claim", claim(ttl_s=60)) for author in range(2)), key=lambda one: one.id)
    with Store(tmp_path / "replica", NETWORK) as store:
        store.ingest([low.raw, high.raw])
        later = max(store.received_ms(low.id), store.received_ms(high.id)) + 60_000
        assert store.claims.beaten_by(high.id, later - 1000) is not None
        assert store.claims.beaten_by(high.id, later) is None
        author = [identity.peer_id for identity in AUTHORS].index(low.author)
        gone = signed(author, 2, "retraction", {"target": low.id, "reason": "abandoned"}, prev=low.id)
        store.ingest([gone.raw])
        assert store.claims.beaten_by(high.id) is None


def test_experiments_whose_keys_begin_alike_are_two(tmp_path: Path) -> None:
    other = EXPERIMENT[:16] + sha("x")[16:]
    with Store(tmp_path / "replica", NETWORK) as store:
        mine = store.append(ME, "claim", claim())
        assert store.claims.held(other) is None
        theirs = store.append(OTHER, "claim", claim(experiment=other))
        assert store.claims.held(other) == theirs.id
        assert store.claims.beaten_by(mine.id) is None
        assert store.claims.beaten_by(theirs.id) is None


def test_an_unknown_claim_is_beaten_by_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "replica", NETWORK) as store:
        assert store.claims.beaten_by("00" * 32) is None
        assert store.claims.beaten_by("no id") is None
        assert store.claims.open(TRACK) == []
