"""Forgetting: what is left is as if the rest had never come, at every step; what others' standing hangs on stays."""

import tempfile
from pathlib import Path
from typing import Any

from bodies import ACCOUNTS, AUTHORS, NETWORK, TIME_MS, hypothesis, insight, record, result, sha, worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from ensue import statements
from ensue.blobs import Blob
from ensue.fold import fold
from ensue.identity import Identity
from ensue.people import Trust
from ensue.record import Record, sign
from ensue.store import Store
from ensue.store.ownlog import begin

VERIFIER, FOUNDER, STRANGER, CARRIER = (Identity(bytes([number]) * 32) for number in (21, 22, 23, 24))
TRUST = Trust(NETWORK, FOUNDER.peer_id, (VERIFIER.peer_id,), 1)
NODE, OTHER, THIRD = AUTHORS
ALICE, BOB = ACCOUNTS


def said(author: Identity, seq: int, kind: str, body: Any) -> Record:
    fields = body if isinstance(body, dict) else body.model_dump(mode="json")
    prev = None if seq == 1 else sha(f"before {seq}")
    return sign(author, network=NETWORK, seq=seq, prev=prev, time_ms=TIME_MS, kind=kind, body=fields)


def vouched(
    account: Identity, nodes: tuple[Identity, ...] = (), verifier: Identity = VERIFIER, lasts_ms: int = 1_000
) -> Record:
    body = {
        "account": account.peer_id,
        "address": sha("a"),
        "expires_ms": TIME_MS + lasts_ms,
        "nodes": [one.peer_id for one in nodes],
        "request": sha("request"),
        "supersedes": None,
    }
    return said(verifier, 1, "credential", body)


def delegated(node: Identity, seq: int = 1, account: Identity = ALICE) -> Record:
    return said(node, seq, "delegation", statements.delegation(account, NETWORK, node.peer_id))


def left(store: Store) -> list[Record]:
    return list(store.records())


def assert_sound(store: Store, trust: Trust | None) -> None:
    assert store.digest() == fold(left(store), trust).digest()
    report = store.inspect()
    assert report.sound, (report.derived, report.own)
    assert store.rebuild(check=True).equal


@given(
    worlds(records_max=24, people=True),
    st.sets(st.sampled_from(range(len(AUTHORS))), min_size=1),
    st.integers(1, 5),
    st.integers(0, 3),
    st.data(),
)
@settings(max_examples=30)
def test_what_is_left_is_the_fold_of_what_is_left_at_every_step(
    world: list[Record], numbers: set[int], at_once: int, verifiers: int, data: st.DataObject
) -> None:
    trust = Trust(NETWORK, AUTHORS[0].peer_id, tuple(one.peer_id for one in AUTHORS[:verifiers]), 1)
    arrived = data.draw(st.permutations(world))
    gone = {AUTHORS[number].peer_id for number in numbers}
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "replica", NETWORK, trust) as store:
        store.ingest(one.raw for one in arrived)
        everything = left(store)
        if data.draw(st.booleans()):  # some texts are in the index, some are not yet
            with store._changing(durable=False):
                store._tables.word_index.index(data.draw(st.integers(0, len(everything))))
        waiting = sorted(gone)
        while waiting:
            before = store.count()
            taken = store.forgetting.some(waiting, at_once)
            assert (taken, len(left(store))) == (before - store.count(), store.count())
            assert store.digest() == fold(left(store), trust).digest()
        store.forgetting.unnamed.sweep()
        for one in everything:
            assert one.author in gone or store.has(one.id)
            assert one.author not in gone or one.kind in ("revocation", "quorum") or not store.has(one.id)
        assert_sound(store, trust)
        store.ingest(one.raw for one in world)
        assert store.digest() == fold(everything, trust).digest()
        assert_sound(store, trust)


@given(worlds(records_max=24, people=True), st.integers(0, 3), st.integers(1, 2))
@settings(max_examples=15)
def test_who_is_verified_is_the_same_one_by_one_and_all_at_once(
    world: list[Record], verifiers: int, needed: int
) -> None:
    trust = Trust(NETWORK, AUTHORS[2].peer_id, tuple(one.peer_id for one in AUTHORS[:verifiers]), needed)
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "replica", NETWORK, trust) as store:
        store.ingest(one.raw for one in world)
        known = {one.peer_id for one in AUTHORS if store.people.verified(one.peer_id)}
        assert known == store.people.verified_nodes() & {one.peer_id for one in AUTHORS}
        officials = {key for key, standing in fold(left(store), trust).results.items() if standing.official}
        assert {store.result(key).author for key in officials} <= known


def test_who_is_verified(tmp_path: Path) -> None:
    with Store(tmp_path / "replica", NETWORK, TRUST) as store:
        people = store.people
        store.ingest(one.raw for one in [delegated(NODE), found(NODE, 2), found(OTHER, 1)])
        assert not any(people.verified(one.peer_id) for one in (NODE, OTHER, STRANGER))
        assert people.verified(FOUNDER.peer_id)
        assert people.verified(VERIFIER.peer_id)
        store.ingest([vouched(ALICE, nodes=(OTHER,), verifier=STRANGER).raw])  # whom nobody trusts
        assert not people.verified(NODE.peer_id)
        assert not people.verified(OTHER.peer_id)
        store.ingest([vouched(ALICE, nodes=(OTHER,), lasts_ms=-1).raw])
        assert people.verified(NODE.peer_id), "though it has expired"
        assert people.verified(OTHER.peer_id), "before its own log says so"
        assert people.verified_nodes() == {one.peer_id for one in (NODE, OTHER, FOUNDER, VERIFIER)}
        store.ingest([said(STRANGER, 2, "credential", vouched(ALICE, nodes=(THIRD,)).body).raw])
        assert not people.verified(THIRD.peer_id), "a verified account is not named by just anybody"


def found(author: Identity, seq: int, **more: Any) -> Record:
    return said(author, seq, "result", result(**{"value": 1.5, "seed": seq} | more))


def test_who_is_verified_later_is_back_and_official(tmp_path: Path) -> None:
    world = [delegated(NODE), found(NODE, 2), found(STRANGER, 1, value=1.4)]
    with Store(tmp_path / "replica", NETWORK, TRUST) as store:
        store.ingest(one.raw for one in world)
        assert store.forgetting.forget([NODE.peer_id, STRANGER.peer_id]) == 3
        assert (store.count(), store.best(result()["track"])) == (0, None)
        store.ingest([vouched(ALICE, nodes=(NODE,)).raw])
        assert store.people.verified(NODE.peer_id)
        store.ingest(one.raw for one in world[:2])
        best = store.best(result()["track"], level="official")
        assert best is not None
        assert best.id == world[1].id
        assert_sound(store, TRUST)


def test_descendants_of_a_result_that_goes_are_no_longer_tainted(tmp_path: Path) -> None:
    parent = found(STRANGER, 1)
    child = found(NODE, 1, parent=parent.id)
    grandchild = found(OTHER, 1, parent=child.id)
    back = said(STRANGER, 2, "retraction", {"target": parent.id, "reason": "wrong data"})
    with Store(tmp_path / "replica", NETWORK) as store:
        store.ingest(one.raw for one in [parent, child, grandchild, back])
        assert all(store.result(one.id).flags for one in (child, grandchild))
        store.forgetting.forget([STRANGER.peer_id])
        assert not any(store.result(one.id).flags for one in (child, grandchild))
        assert_sound(store, None)
        store.ingest([parent.raw, back.raw])
        assert all(store.result(one.id).flags for one in (child, grandchild))
        assert_sound(store, None)


def test_with_a_verifiers_log_goes_what_it_vouched_for(tmp_path: Path) -> None:
    with Store(tmp_path / "replica", NETWORK, TRUST) as store:
        store.ingest(one.raw for one in [delegated(NODE), found(NODE, 2), vouched(ALICE)])
        assert store.best(result()["track"], level="official") is not None
        store.forgetting.forget([VERIFIER.peer_id])
        assert store.best(result()["track"], level="official") is None
        assert_sound(store, TRUST)


def test_own_keys_are_never_forgotten(tmp_path: Path) -> None:
    with Store(tmp_path / "replica", NETWORK) as store:
        begin(store.path, NETWORK, NODE.peer_id)
        mine = store.append(NODE, "hypothesis", hypothesis())
        store.outbox_done([mine.id])
        store.ingest([record(1, 1, "insight", insight()).raw])
        assert store.forgetting.forget([NODE.peer_id, OTHER.peer_id]) == 1
        assert [one.id for one in store.records()] == [mine.id]


def test_scripts_and_logs_go_with_the_last_record_that_names_them(tmp_path: Path) -> None:
    scripts = [Blob("\n".join(sha(f"{number} {line}") for line in range(40)).encode()) for number in range(4)]
    packed = Blob(scripts[0].data + b"one more line\n", scripts[0].sha256)
    log = Blob(b"a log\n" * 50)
    world = [
        record(0, 1, "result", result(source=scripts[0].sha256, log=log.sha256)),
        record(0, 2, "result", result(source=scripts[1].sha256)),
        record(0, 3, "hypothesis", hypothesis(source=scripts[2].sha256)),
        record(1, 1, "result", result(source=scripts[1].sha256)),
        record(1, 2, "result", result(source=packed.sha256)),
    ]
    with Store(tmp_path / "replica", NETWORK) as store:
        store.ingest((one.raw for one in world), [*scripts, packed, log])
        store.forgetting.forget([NODE.peer_id])
        here = [store.has_blob(one.sha256) for one in (*scripts, packed, log)]
        # another names the second, the fifth is packed against the first, and no record ever named the fourth
        assert here == [True, True, False, True, True, False]
        assert store.blob(packed.sha256) == packed.data
        store.forgetting.forget([OTHER.peer_id])
        assert [store.has_blob(one.sha256) for one in (*scripts, packed)] == [False, False, False, True, False]
        assert store.inspect().sound


def test_a_kill_before_the_sweep_loses_no_script_to_delete(tmp_path: Path) -> None:
    script = Blob(b"a script")
    with Store(tmp_path / "replica", NETWORK) as store:
        store.ingest([record(0, 1, "result", result(source=script.sha256)).raw], [script])
        assert store.forgetting.some([NODE.peer_id]) == 1
        assert store.has_blob(script.sha256)
    with Store(tmp_path / "replica", NETWORK) as store:
        named = record(1, 1, "result", result(source=sha("missing")))
        store.ingest([named.raw])
        keys = [bytes.fromhex(sha("missing")), bytes.fromhex(sha("nobody's"))]
        assert store.forgetting.unnamed.sweep(keys) == {keys[0]: 2}
        assert not store.has_blob(script.sha256)


def test_words_and_names_that_nobody_uses_go_too(tmp_path: Path) -> None:
    with Store(tmp_path / "replica", NETWORK) as store:
        texts = [f"{word} widgets" for word in ("zebra", "zebras", "quokka", "\U00010d00" * 5)]
        store.ingest(record(0, seq, "insight", insight(text)).raw for seq, text in enumerate(texts, 1))
        store.ingest([record(1, 1, "insight", insight("A zebra runs.")).raw])
        with store._changing(durable=False):
            store._tables.word_index.index(5)
        names = store._database.rows("SELECT count(*) FROM names")[0][0]
        store.forgetting.forget([NODE.peer_id])
        words = {word for (word,) in store._database.rows("SELECT word FROM vocabulary")}
        assert words == {"zebra", "zebras", "runs"}, "the index knows words by their stems"
        assert store._database.rows("SELECT count(*) FROM names")[0][0] < names
        assert [hit.text for hit in store.search("zebar")] == ["A zebra runs."]
        assert_sound(store, None)


def test_rows_are_not_numbered_twice_and_other_processes_drop_what_they_cached(tmp_path: Path) -> None:
    with Store(tmp_path / "replica", NETWORK) as here, Store(tmp_path / "replica", NETWORK) as there:
        there.ingest(record(0, seq, "insight", insight(f"quokka {seq}")).raw for seq in (1, 2))
        here.forgetting.forget([NODE.peer_id])
        there.ingest([record(0, 3, "insight", insight("quokka again")).raw])
        assert [no for no, _ in there.numbered()] == [3]
        assert_sound(there, None)
        assert_sound(here, None)


def test_a_revocation_stays_whoever_carries_it_and_once(tmp_path: Path) -> None:
    body = statements.revocation(ALICE, NETWORK, NODE.peer_id, 1)
    nobodys = statements.revocation(BOB, NETWORK, OTHER.peer_id, 1)
    world = [delegated(NODE), found(NODE, 2), vouched(ALICE)]
    carried = [said(STRANGER, 1, "revocation", body), said(STRANGER, 2, "revocation", nobodys)]
    with Store(tmp_path / "replica", NETWORK, TRUST) as store:
        store.ingest(one.raw for one in [*world, *carried, said(CARRIER, 1, "revocation", body)])
        assert store.forgetting.forget([STRANGER.peer_id, CARRIER.peer_id]) == 2
        assert store.has(carried[0].id)
        assert store.result(world[1].id).level != "official"
        assert_sound(store, TRUST)


def test_changes_of_who_is_trusted_stay_and_copies_of_them_do_not(tmp_path: Path) -> None:
    def change(signers: list[Identity]) -> dict[str, Any]:
        fields = {"epoch": 1, "previous": NETWORK, "verifiers": [OTHER.peer_id], "needed": 1}
        statement = statements.quorum_statement(NETWORK, **fields, ended=[])  # type: ignore[arg-type]
        signed = [statements.sign_quorum(one, statement).model_dump() for one in signers]
        return fields | {"ended": [], "signatures": signed}

    world = [
        said(STRANGER, 1, "quorum", change([VERIFIER, STRANGER])),
        said(CARRIER, 1, "quorum", change([VERIFIER])),
        said(CARRIER, 2, "quorum", change([CARRIER])),
    ]
    with Store(tmp_path / "replica", NETWORK, TRUST) as store:
        store.ingest(one.raw for one in world)
        assert store.forgetting.forget([STRANGER.peer_id, CARRIER.peer_id]) == 2
        assert [one.id for one in store.records()] == [world[0].id]
        assert store.people.in_force().verifiers == (OTHER.peer_id,)
        assert store.forgetting.forget([STRANGER.peer_id]) == 0
        assert_sound(store, TRUST)
