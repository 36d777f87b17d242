"""News: told to somebody before they leave the outbox, heard within bounds, and never more than hints."""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "ensue"))
from bodies import AUTHORS, NETWORK, claim, insight, sha

from ensue.identity import Identity, public_key_from_peer_id
from ensue.store import Store
from node.swarm import herald as module
from node.swarm.herald import LEASE_S, NEWS_BURST, Herald
from node.sync import news
from node.sync.budget import Budgets
from node.sync.pull import PullReport
from node.sync.replica import Replica, inline
from node.transport.ports import TransportError

ME, OTHER, THIRD = AUTHORS
TTL_S = 60


class Air:
    """Carries gossip between the heralds of one test."""

    def __init__(self) -> None:
        self.said: list[tuple[str, bytes]] = []
        self.listeners: dict[str, Callable[[str, bytes], None]] = {}


class Voice:
    """One node's way into the air: what a herald uses of a transport."""

    def __init__(self, air: Air, peer_id: str) -> None:
        self.air, self.peer_id, self.broken = air, peer_id, False

    async def publish(self, topic: str, data: bytes) -> None:
        if self.broken:
            raise TransportError("The daemon is gone.")
        self.air.said.append((self.peer_id, data))
        for peer, listener in self.air.listeners.items():
            if peer != self.peer_id:
                listener(self.peer_id, data)

    async def subscribe(self, topic: str, listener: Callable[[str, bytes], None]) -> None:
        assert topic == f"autoresearch/1/{NETWORK}"
        self.air.listeners[self.peer_id] = listener


class Around:
    """The neighbours as a herald sees them; remembers who was asked for what."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.budgets = Budgets(lambda: self.now_s)
        self.present: list[str] = [OTHER.peer_id]
        self.light = False
        self.asked: list[tuple[str, list[tuple[str, int]]]] = []
        self.gives: dict[str, PullReport] = {}

    def nodes(self) -> list[str]:
        return [] if self.light else self.present

    def all(self) -> list[str]:
        return self.present

    def others(self, without: str, count: int) -> list[str]:
        return [peer for peer in self.present if peer != without][:count]

    async def fetch(self, peer: str, heads: Sequence[tuple[str, int]] = (), *, told: bool = False) -> PullReport:
        self.asked.append((peer, list(heads)))
        return self.gives.get(peer, PullReport(records=1, equal=True))


class One:
    """A herald with its store, in the air of a test."""

    def __init__(self, air: Air, identity: Identity, folder: Path) -> None:
        self.identity, self.around = identity, Around()
        self.voice = Voice(air, identity.peer_id)
        self.store = Store(folder / identity.peer_id[-6:], NETWORK)
        self.ahead_s = 0.0
        voice, around = self.voice, self.around
        replica = Replica(self.store, inline)
        self.herald = Herald(voice, self.store, replica, around, wall_ms=self.wall_ms)  # type: ignore[arg-type]

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000 + int(1000 * self.ahead_s)


def during(one: One, *others: One, until: Callable[[], Any], within_s: float = 10.0) -> None:
    """Run heralds until something is so."""

    async def all_of() -> None:
        tasks = [asyncio.create_task(each.herald.run()) for each in (*others, one)]
        try:
            async with asyncio.timeout(within_s):
                while not until():
                    await asyncio.sleep(0.005)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(all_of())


@pytest.fixture
def pair(tmp_path: Path) -> Any:
    air = Air()
    made = [One(air, ME, tmp_path), One(air, OTHER, tmp_path)]
    yield made
    for one in made:
        one.store.close()


def heard(one: One, teller: str, message: bytes) -> None:
    async def hear() -> None:
        one.herald._hear(teller, message)
        await asyncio.sleep(0.05)

    asyncio.run(hear())


def test_own_records_leave_the_outbox_when_somebody_was_told(pair: list[One]) -> None:
    one, other = pair
    one.around.present = []
    made = one.store.append(ME, "insight", insight())
    began = time.monotonic()
    during(one, other, until=lambda: time.monotonic() - began > 0.2)
    assert [record.id for record in one.store.outbox()] == [made.id]
    assert one.voice.air.said == []
    one.around.present = [OTHER.peer_id]
    during(one, other, until=lambda: not one.store.outbox())
    assert other.around.asked == [(ME.peer_id, [(ME.peer_id, made.seq)])]
    assert one.herald.records_out == 1


def test_a_light_client_is_told_once_and_nothing_leaves_the_outbox(pair: list[One]) -> None:
    one, other = pair
    one.around.light = True
    first = one.store.append(ME, "insight", insight())
    began = time.monotonic()
    during(one, other, until=lambda: time.monotonic() - began > 0.7)
    assert len(one.voice.air.said) == 1
    assert [record.id for record in one.store.outbox()] == [first.id]
    one.around.light = False
    during(one, other, until=lambda: not one.store.outbox())
    assert len(one.voice.air.said) == 2


def test_a_broken_transport_loses_nothing(pair: list[One], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.01)
    one, other = pair
    one.voice.broken = True
    one.store.append(ME, "insight", insight())
    began = time.monotonic()
    during(one, other, until=lambda: time.monotonic() - began > 0.2)
    assert len(one.store.outbox()) == 1
    one.voice.broken = False
    during(one, other, until=lambda: not one.store.outbox())


def test_a_log_in_doubt_is_said_and_not_told(pair: list[One], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = pair
    one.store.append(ME, "insight", insight())
    next(one.store.path.parent.glob(f"{one.store.path.name}.mark-*")).unlink()
    during(one, other, until=lambda: one.herald.problem)
    assert "is in doubt" in str(one.herald.problem)
    assert one.voice.air.said == []
    assert len(one.store.outbox()) == 1


def test_a_heartbeat_keeps_a_claim_live_everywhere_and_its_end_frees_it(pair: list[One]) -> None:
    one, other = pair
    held = one.store.append(ME, "claim", claim(ttl_s=TTL_S))
    other.store.ingest([held.raw])
    born = other.store.received_ms(held.id)
    one.ahead_s = other.ahead_s = 50.0
    during(one, other, until=lambda: other.store.claims.held(sha("experiment"), born + 1000 * (TTL_S + 1)))
    end = other.wall_ms() + int(1000 * LEASE_S)
    for store in (one.store, other.store):
        assert store.claims.held(sha("experiment"), end - 5000) == held.id
        assert store.claims.held(sha("experiment"), end + 5000) is None  # a dead node's claim frees itself


def test_nobody_keeps_another_ones_claim_live(pair: list[One]) -> None:
    one, other = pair
    held = one.store.append(ME, "claim", claim(ttl_s=TTL_S))
    other.store.ingest([held.raw])
    born = other.store.received_ms(held.id)
    heard(other, THIRD.peer_id, news.encode(news.News([], [bytes.fromhex(held.id)])))
    assert other.store.claims.held(sha("experiment"), born + 1000 * (TTL_S + 1)) is None


def test_what_a_teller_does_not_give_is_asked_of_others(pair: list[One]) -> None:
    one, other = pair
    other.around.gives[ME.peer_id] = PullReport(problem=TransportError("out of reach"))
    other.around.present = [ME.peer_id, THIRD.peer_id]
    one.store.append(ME, "insight", insight())
    during(one, other, until=lambda: len(other.around.asked) == 2)
    assert [peer for peer, _ in other.around.asked] == [ME.peer_id, THIRD.peer_id]


def test_news_that_are_none_cost_their_teller(pair: list[One]) -> None:
    one, _ = pair
    budget = one.around.budgets.of(OTHER.peer_id)
    for garbage in (b"", b"\x93", b"\xc1", b"[]", b"\x93\xa4ne\xffs\x90\x90", news.encode(news.News([]))[:-1]):
        before = budget.standing
        heard(one, OTHER.peer_id, garbage)
        assert budget.standing < before or budget.cut_off
    assert budget.cut_off
    heard(one, OTHER.peer_id, news.encode(news.News([_head(THIRD, 5)])))
    assert one.around.asked == []  # nobody listens to who is cut off


def test_a_key_of_small_order_is_no_author(pair: list[One]) -> None:
    one, _ = pair
    heard(one, OTHER.peer_id, news.encode(news.News([news.Head(bytes(32), 5)])))
    assert one.around.asked == []
    assert one.around.budgets.of(OTHER.peer_id).standing < 100


def test_a_flood_of_news_is_read_up_to_a_bound(pair: list[One]) -> None:
    one, _ = pair
    one.around.gives[OTHER.peer_id] = PullReport(equal=True)

    async def flood() -> None:
        for number in range(1, 10 * int(NEWS_BURST)):
            one.herald._hear(OTHER.peer_id, news.encode(news.News([_head(THIRD, number)])))
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)

    asyncio.run(flood())
    assert max(seq for _, heads in one.around.asked for _, seq in heads) <= NEWS_BURST
    one.around.now_s += 60
    heard(one, OTHER.peer_id, news.encode(news.News([_head(THIRD, 10**6)])))
    assert one.around.asked[-1] == (OTHER.peer_id, [(THIRD.peer_id, 10**6)])


def test_what_is_here_already_is_not_asked_for(pair: list[One]) -> None:
    one, other = pair
    made = other.store.append(OTHER, "insight", insight())
    one.store.ingest([made.raw])

    async def follow() -> None:
        await one.herald._replica.current()

    asyncio.run(follow())
    heard(one, OTHER.peer_id, news.encode(news.News([_head(OTHER, made.seq)])))
    assert one.around.asked == []


def _head(identity: Identity, seq: int) -> news.Head:
    return news.Head(public_key_from_peer_id(identity.peer_id), seq)
