"""The ring of unverified keys: what it counts, whom it forgets and whom never, and that nobody is blamed for it."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from sync_replicas import Clock, End, bodies, budgets, ids, pulled, raws, stores, streams

from ensue import statements
from ensue.blobs import Blob
from ensue.identity import Identity
from ensue.people import Trust
from ensue.record import Record, sign
from ensue.store.ownlog import begin
from node.sync import strangers
from node.sync.answer import answer
from node.sync.budget import CHANGES_EACH_S, CHANGES_MAX
from node.sync.pull import pull
from node.sync.replica import Replica
from node.sync.strangers import FORGOTTEN_FOR_S, LOG_BYTES, RECORD_BYTES, Ring

VERIFIER, ACCOUNT = Identity(b"v" * 32), Identity(b"a" * 32)
TRUST = Trust(bodies.NETWORK, Identity(b"f" * 32).peer_id, (VERIFIER.peer_id,), 1)
BODY_BYTES = 4_000
LOG_TAKES = LOG_BYTES + RECORD_BYTES + BODY_BYTES
"""At least; what is packed takes a little more."""


def key(number: int) -> Identity:
    return Identity(hashlib.sha256(f"stranger {number}".encode()).digest())


def said(author: Identity, seq: int, kind: str = "x", body: Any = None, at_ms: int = bodies.TIME_MS) -> Record:
    noise = hashlib.shake_128(f"{author.peer_id} {seq}".encode()).hexdigest(BODY_BYTES // 2)
    fields = {"noise": noise} if body is None else body if isinstance(body, dict) else body.model_dump(mode="json")
    prev = None if seq == 1 else bodies.sha(f"before {seq}")
    return sign(author, network=bodies.NETWORK, seq=seq, prev=prev, time_ms=at_ms, kind=kind, body=fields)


def credential(*nodes: Identity) -> Record:
    body = {
        "account": ACCOUNT.peer_id,
        "address": bodies.sha("address"),
        "expires_ms": bodies.TIME_MS + 1_000,
        "nodes": [one.peer_id for one in nodes],
        "request": bodies.sha("request"),
        "supersedes": None,
    }
    return said(VERIFIER, 1, "credential", body)


def delegation(node: Identity, seq: int = 1) -> Record:
    return said(node, seq, "delegation", statements.delegation(ACCOUNT, bodies.NETWORK, node.peer_id))


def authors(replica: Replica) -> set[str]:
    return {record.author for record in replica.store.records()}


def run(folder: Path, test: Any, *names: str) -> None:
    async def main() -> None:
        with stores(folder, *names, trust=TRUST) as opened:
            await test(*opened)

    asyncio.run(main())


def test_the_quietest_are_forgotten_until_a_quarter_is_free(tmp_path: Path) -> None:
    async def test(one: Replica) -> None:
        ring = Ring(one, clock=Clock(), bytes_max=int(12.5 * LOG_TAKES))
        await one.take(raws(said(key(number), 1) for number in range(10)))
        await ring.look()
        assert (ring.fill.logs, ring.fill.records) == (10, 10)
        assert LOG_TAKES <= ring.fill.bytes / 10 <= 1.1 * LOG_TAKES
        await one.take(raws([said(key(0), 2, "x", {"still": "here"})]))
        await one.take(raws(said(key(number), 1) for number in range(10, 14)))
        await ring.look()
        gone = {key(number).peer_id for number in range(14)} - authors(one)
        assert key(0).peer_id not in gone
        assert gone == {key(number).peer_id for number in range(1, 1 + len(gone))}
        assert 0.5 * ring.bytes_max < ring.fill.bytes <= 0.75 * ring.bytes_max
        assert ring.fill.forgotten == len(gone)
        assert {one.logs.log(author) for author in gone} == {None}
        count, digest = one.logs.root()
        assert count == one.store.count()
        fresh = Replica(one.store, one.off)
        assert (await fresh.current()).root() == (count, digest)

    run(tmp_path, test, "one")


def test_at_the_start_the_ring_counts_what_it_would_have_counted(tmp_path: Path) -> None:
    async def test(one: Replica) -> None:
        ring, script = Ring(one, clock=Clock(), bytes_max=2**30), Blob(hashlib.shake_128(b"script").digest(9_000))
        await ring.look()
        results = [bodies.result(source=script.sha256, seed=seq) for seq in (1, 2)]
        await one.take(raws([said(key(1), seq, "result", body) for seq, body in enumerate(results, 1)]))
        await one.missing()
        await one.keep([script])
        await one.take(raws([said(key(number), 1) for number in (2, 3)]))
        await ring.look()
        assert ring.fill.bytes > 3 * LOG_BYTES + 4 * RECORD_BYTES + 9_000
        later = Ring(one, clock=Clock(), bytes_max=2**30)
        await later.look()
        assert later.fill == ring.fill
        assert list(later._logs) == list(ring._logs)

    run(tmp_path, test, "one")


def test_own_logs_and_those_that_verified_ones_built_on_stay(tmp_path: Path) -> None:
    async def test(one: Replica) -> None:
        me, verified, base, own_base = key(100), key(101), key(102), key(103)
        begin(one.store.path, one.store.network, me.peer_id)
        bases = [said(author, 1, "result", bodies.result(seed=1)) for author in (base, own_base)]
        child = said(verified, 2, "result", bodies.result(parent=bases[0].id))
        await one.take(raws([*bases, delegation(verified), child, credential()]))
        one.store.append(me, "result", bodies.result(parent=bases[1].id))
        ring = Ring(one, clock=Clock(), bytes_max=3 * LOG_TAKES)
        await one.take(raws(said(key(number), 1) for number in range(20)))
        await ring.look()
        assert {author.peer_id for author in (me, verified, base, own_base, VERIFIER)} <= authors(one)
        assert ring.fill.relied == 2
        assert ring.fill.bytes <= 0.75 * ring.bytes_max
        assert ring.fill.logs < 3

    run(tmp_path, test, "one")


def test_who_is_verified_leaves_the_ring_and_who_no_longer_is_comes_into_it(tmp_path: Path) -> None:
    async def test(one: Replica) -> None:
        ring = Ring(one, clock=Clock(), bytes_max=2**30)
        await one.take(raws([delegation(key(1)), said(key(2), 1)]))
        await ring.look()
        assert ring.fill.logs == 2
        given = credential(key(2))
        await one.take(raws([given]))
        await ring.look()
        assert (ring.fill.logs, ring.fill.bytes, ring.fill.records) == (0, 0, 0)
        back = said(VERIFIER, 2, "retraction", {"target": given.id, "reason": "a mistake"})
        await one.take(raws([back]))
        await ring.look()
        assert (ring.fill.logs, ring.fill.records) == (2, 2)

    run(tmp_path, test, "one")


def test_what_was_forgotten_is_not_fetched_again_for_a_day_and_costs_next_to_nothing(tmp_path: Path) -> None:
    async def test(one: Replica, two: Replica) -> None:
        clock = Clock()
        ring = Ring(one, clock=clock, bytes_max=10 * LOG_TAKES)
        everybody = raws(said(key(number), 1) for number in range(100))
        await two.take(everybody)
        first = await pulled(one, two)
        assert first.equal
        await ring.look()
        held = ids(one)
        assert len(held) < 10
        again = await pulled(one, two)
        assert (again.problem, again.records) == (None, 0)
        third = await pulled(one, two)
        assert (third.problem, third.records) == (None, 0)
        assert third.bytes_in < min(again.bytes_in, 500), "nothing is listed that was listed before"
        other_way = await pulled(two, one)
        assert (other_way.problem, other_way.records) == (None, 0)
        assert (await pulled(two, one)).bytes_in < 500
        await two.take(raws([said(key(999), 1)]))
        news = await pulled(one, two)
        assert (news.problem, news.records) == (None, 1)
        for replica in (one, two):
            await replica.take(raws([said(key(999), 2)]))
        changed = await pulled(one, two)
        assert (changed.problem, changed.records) == (None, 0)
        assert changed.bytes_in < again.bytes_in / 2, "only where something has changed is looked at again"
        clock.now_s = FORGOTTEN_FOR_S + 1.0
        await ring.look()
        assert (await pulled(one, two)).equal
        assert ids(one) == ids(two)

    run(tmp_path, test, "one", "two")


def test_who_is_verified_after_being_forgotten_is_fetched_again_at_once(tmp_path: Path) -> None:
    async def test(one: Replica, two: Replica) -> None:
        ring = Ring(one, clock=Clock(), bytes_max=5 * LOG_TAKES)
        node = key(100)
        result = said(node, 2, "result", bodies.result())
        await two.take(raws([delegation(node), result]))
        await pulled(one, two)
        await one.take(raws(said(key(number), 1) for number in range(20)))
        await ring.look()
        assert node.peer_id not in authors(one)
        assert (await pulled(one, two)).records == 0
        await one.take(raws([credential(node)]))
        await ring.look()
        assert (await pulled(one, two)).records == 2
        best = one.store.best(bodies.TRACK, level="official")
        assert best is not None
        assert best.id == result.id

    run(tmp_path, test, "one", "two")


def test_where_more_is_forgotten_than_can_be_remembered_pulls_bring_no_unknown_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "FORGOTTEN_MAX", 5)

    async def test(one: Replica, two: Replica) -> None:
        clock = Clock()
        ring = Ring(one, clock=clock, bytes_max=4 * LOG_TAKES)
        await two.take(raws(said(key(number), 1) for number in range(20)))
        await pulled(one, two)
        await ring.look()
        assert ring.fill.forgotten == 5
        assert (await pulled(one, two)).records == 0
        assert ring.unwanted(key(50).peer_id, False)
        assert not ring.unwanted(key(50).peer_id, True), "whoever speaks for itself is heard"
        clock.now_s = FORGOTTEN_FOR_S + 1.0
        assert not ring.unwanted(key(50).peer_id, False)

    run(tmp_path, test, "one", "two")


class Forgetful(End):
    """The end of one who answers, and forgets logs just before it sends something for a certain time."""

    def __init__(self, peer: str, replica: Replica, forgets_at: int, whom: list[str]) -> None:
        super().__init__(peer)
        self.replica, self.forgets_at, self.whom = replica, forgets_at, whom

    async def send(self, data: bytes) -> None:
        if self.sends == self.forgets_at:
            await self.replica.forget(self.whom)
        await super().send(data)


def test_a_peer_that_forgets_while_it_is_asked_loses_no_standing(tmp_path: Path) -> None:
    """At any point of a pull: of logs that are new, of one with a gap, of scripts."""
    scripts = [Blob(hashlib.shake_128(f"{number}".encode()).digest(2_000)) for number in range(3)]
    going = [said(key(number), seq, "result", bodies.result(source=scripts[0].sha256, seed=seq))
             for number in range(3) for seq in (1, 2, 3)]  # fmt: skip
    staying = [said(key(number), 1, "result", bodies.result(source=scripts[1].sha256)) for number in range(10, 40)]
    known = [record for record in going if record.seq != 2]
    problems: list[str] = []

    async def asked(here: Replica, there: Replica, forgets_at: int) -> bool:
        """Return whether the one who answers came so far as to forget."""
        await there.take(raws([*going, *staying]))
        await there.missing()
        await there.keep(scripts)
        await here.take(raws([*known, *staying[:5]]))
        mine, _ = streams()
        theirs = Forgetful("the one who asks", there, forgets_at, [key(number).peer_id for number in range(3)])
        mine.other, theirs.other = theirs, mine
        held = budgets()
        serving = asyncio.create_task(answer(theirs, there, held.of("asks")))
        report = await pull(mine, here, held.of("answers"))
        await serving
        assert (held.of("asks").standing, held.of("answers").standing) == (100, 100), (forgets_at, report.problem)
        problems.append(str(report.problem or ""))
        again = await pulled(here, there)
        assert again.problem is None
        assert {record.id for record in staying} <= ids(here)
        return theirs.sends > forgets_at

    async def main() -> None:
        forgets_at, came = 0, True
        while came:
            with stores(tmp_path, f"here {forgets_at}", f"there {forgets_at}") as (here, there):
                came = await asked(here, there, forgets_at)
            forgets_at += 1
        assert forgets_at > 5

    asyncio.run(main())
    assert any(problems), "some of these pulls met the change"


def test_saying_less_again_and_again_is_a_fault() -> None:
    clock = Clock()
    peer = budgets().of("peer")
    assert [peer.may_change() for _ in range(6)] == [True] * int(CHANGES_MAX) + [False] * 2
    slow = 1 / CHANGES_EACH_S
    known = budgets()
    known.clock = clock  # type: ignore[assignment]
    other = known.of("other")
    for _ in range(20):
        clock.now_s += slow
        assert other.may_change()
