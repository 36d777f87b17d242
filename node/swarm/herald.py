"""Tells the others what is new here, and listens to what is new there.

Own records wait in the outbox until they were gossiped to somebody; what others tell is fetched from who told it, else
from any neighbour. Claims in progress are told again and again, so that they stay live elsewhere. Left out: fetching
(neighbours), which claim counts (Store.claims). Rejected: handing on what others told; gossip has reached them already.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine

from ensue.errors import LogInDoubt, NetworkError, RecordError, StoreError
from ensue.identity import peer_id_from_public_key, public_key_from_peer_id
from ensue.record import Record
from ensue.store import Store
from node.swarm.neighbours import Neighbours
from node.sync import news
from node.sync.budget import Account
from node.sync.replica import Replica
from node.transport.ports import Transport, TransportError

LOOK_EVERY_S = 0.02
"""How often the outbox is looked at."""
LOOK_AGAIN_S = 0.5
"""The same while nobody is connected, or something is wrong."""
FETCHED_AFTER_S = 2.5
"""Who was told of a record has fetched it by then, unless the way is slow; repair finds it elsewhere later.

Gossip reaches a peer that has just come with the beat of a second, and not at once.
"""
SCRIPTS_AFTER_S = 0.5
"""Whoever has fetched a record has its script so much later."""
OUTBOX_AT_ONCE = 200
BEAT_EVERY_S = 30.0
"""How often claims in progress are told again."""
LEASE_S = 120.0
"""For how long a claim is live after its author was heard."""
TELLERS_MAX = 256
"""Peers whose news wait to be fetched; of more, some are not waited for, and repair finds it."""
WANTED_MAX = 256
"""Logs that one peer's news may wait for."""
NEWS_BURST, NEWS_EACH_S = 200.0, 20.0
"""Messages taken from one peer at once, and a second; more of them are not read."""
ELSEWHERE_AFTER_S = 0.3
ELSEWHERE_PEERS = 2

_log = logging.getLogger(__name__)


class Herald:
    """Speaks and listens on the topic of one network."""

    def __init__(
        self,
        transport: Transport,
        store: Store,
        replica: Replica,
        neighbours: Neighbours,
        *,
        wall_ms: Callable[[], int],
        told: Callable[[list[Record]], None] = lambda records: None,
        stirred: Callable[[], bool] = lambda: True,
    ) -> None:
        self.records_out = 0
        self.problem: str | None = None
        self._told_s = float("-inf")
        self._told_of_others_s = float("-inf")
        self._told_upto = 0
        self._heard_lightly: set[str] = set()
        self._transport, self._store, self._replica, self._neighbours = transport, store, replica, neighbours
        self._wall_ms, self._told, self._stirred = wall_ms, told, stirred
        self._topic = news.TOPIC + store.network
        self._wanted: dict[str, dict[str, int]] = defaultdict(dict)
        self._heard: dict[str, Account] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._off = replica.off

    async def run(self) -> None:
        """Listens, and tells what is new, until cancelled."""
        await self._transport.subscribe(self._topic, self._hear)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._telling())
                group.create_task(self._beating())
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    # Telling

    async def _telling(self) -> None:
        while True:
            pause_s = LOOK_EVERY_S
            try:
                if self._stirred() and (records := await self._off(self._store.outbox, OUTBOX_AT_ONCE)):
                    pause_s = 0.0 if await self._tell(records) else LOOK_AGAIN_S
                self.problem = None
            except LogInDoubt as error:
                self._say(str(error))
                pause_s = LOOK_AGAIN_S
            except (TransportError, StoreError) as error:
                _log.info("news wait: %s", error)
                pause_s = LOOK_AGAIN_S
            await asyncio.sleep(pause_s)

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            _log.warning("%s", problem)

    async def _tell(self, records: list[Record]) -> bool:
        """Gossips the ends of logs that have grown; returns whether a node was there to hear it.

        Light clients hear it too, but keep nothing for others: for them alone nothing leaves the outbox.
        """
        for author in {record.author for record in records}:
            await self._off(self._store.own_log.seal, author)  # else a back-up could give out a number twice
        nodes = bool(self._neighbours.nodes())
        fresh = [record for record in records if nodes or record.id not in self._heard_lightly]
        if fresh and self._neighbours.all():
            await self._publish(news.News(_heads(fresh)))
        if not nodes:
            self._heard_lightly = {record.id for record in records} if self._neighbours.all() else set()
            return False
        await self._off(self._store.outbox_done, [record.id for record in records])
        self.records_out += len(records)
        self._told_s = asyncio.get_running_loop().time()
        own = [record.seq for record in records if record.author == self._transport.peer_id]
        self._told_upto = max([self._told_upto, *own])
        if len(own) < len(records):
            self._told_of_others_s = self._told_s
        self._told(records)
        return True

    async def settled(self, within_s: float) -> bool:
        """Waits until nothing waits to be told and a node has it, or had the time to fetch it; returns whether."""
        loop = asyncio.get_running_loop()
        end_s, since_s = loop.time() + within_s, float("inf")
        while (now_s := loop.time()) < end_s:
            since_s = min(since_s, now_s) if self._fetched(now_s) else float("inf")
            had_time = now_s - self._told_s > FETCHED_AFTER_S or now_s - since_s > SCRIPTS_AFTER_S
            if had_time and not await self._off(self._store.outbox, 1):
                return True
            await asyncio.sleep(LOOK_EVERY_S)
        return False

    def _fetched(self, now_s: float) -> bool:
        """Returns whether a node has fetched what was told; of other keys' records, as a verifier's, it is unknown."""
        if now_s - self._told_of_others_s <= FETCHED_AFTER_S:
            return False
        received = self._replica.received
        nodes = (here.peer for here in self._neighbours.nodes())
        return received is not None and received.somebody_has(self._told_upto, nodes)

    async def _publish(self, message: news.News) -> None:
        await self._transport.publish(self._topic, news.encode(message))

    async def tell(self, records: list[Record]) -> None:
        """Gossips records of others that came to this node alone."""
        try:
            await self._publish(news.News(_heads(records)))
        except TransportError as error:
            _log.info("news of others: %s", error)

    async def _beating(self) -> None:
        while True:
            try:
                await self.beat()
            except (TransportError, StoreError) as error:
                _log.info("no heartbeat: %s", error)
            await asyncio.sleep(BEAT_EVERY_S)

    async def beat(self) -> None:
        """Tells which own claims are still worked on, and renews them here."""
        own = self._transport.peer_id
        claims = await self._off(self._store.claims.in_progress, own, news.BEATS_MAX)
        if claims:
            await self._off(self._store.claims.renew, own, claims, self._wall_ms() + int(1000 * LEASE_S))
            await self._publish(news.News([], [bytes.fromhex(claim) for claim in claims]))

    # Listening

    def _hear(self, teller: str, data: bytes) -> None:
        """Takes a message of another node; anything may be in it."""
        budget = self._neighbours.budgets.of(teller)
        if teller == self._transport.peer_id or budget.cut_off or not self._listens_to(teller):
            return
        message = news.decode(data)
        if message is None:
            budget.fault("garbage")
            return
        wanted = self._wanted.get(teller, {})
        for head in message.heads:
            try:
                author = peer_id_from_public_key(head.author)
                public_key_from_peer_id(author)
            except RecordError:
                budget.fault("garbage")
                return
            if self._replica.unwanted(author, True):
                continue
            log = self._replica.logs.log(author)
            if (log is None or log.seq < head.seq) and (author in wanted or len(wanted) < WANTED_MAX):
                wanted[author] = max(head.seq, wanted.get(author, 0))
        if wanted and teller not in self._wanted and len(self._wanted) < TELLERS_MAX:
            self._wanted[teller] = wanted
            self._start(self._fetch(teller))
        if message.claims:
            self._start(self._renew(teller, [claim.hex() for claim in message.claims]))

    def _listens_to(self, teller: str) -> bool:
        account = self._heard.get(teller)
        if account is None:
            if len(self._heard) >= 4 * TELLERS_MAX:
                self._heard.clear()
            account = self._heard[teller] = Account(NEWS_BURST, NEWS_EACH_S, self._neighbours.budgets.clock)
        if account.amount() < 1:
            return False
        account.take(1)
        return True

    async def _fetch(self, teller: str) -> None:
        """Fetches what a peer told of, as long as it tells more meanwhile."""
        try:
            while wanted := dict(self._wanted[teller]):
                self._wanted[teller].clear()
                await self._get(teller, wanted)
        except StoreError as error:
            _log.error("%s", error)
        finally:
            self._wanted.pop(teller, None)

    async def _get(self, teller: str, wanted: dict[str, int]) -> None:
        report = await self._neighbours.fetch(teller, list(wanted.items()), told=True)
        if report.equal or (report.problem is None and report.records):
            return
        await asyncio.sleep(ELSEWHERE_AFTER_S)
        for peer in self._neighbours.others(teller, ELSEWHERE_PEERS):
            if (await self._neighbours.fetch(peer, list(wanted.items()))).equal:
                return

    async def _renew(self, teller: str, claims: list[str]) -> None:
        try:
            await self._off(self._store.claims.renew, teller, claims, self._wall_ms() + int(1000 * LEASE_S))
        except (StoreError, NetworkError) as error:
            _log.info("no lease: %s", error)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _heads(records: list[Record]) -> list[news.Head]:
    ends: dict[str, int] = {}
    for record in records:
        ends[record.author] = max(record.seq, ends.get(record.author, 0))
    return [news.Head(public_key_from_peer_id(author), seq) for author, seq in ends.items()][: news.HEADS_MAX]
