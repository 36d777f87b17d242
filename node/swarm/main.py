"""The swarm process of a node: `python -m node.swarm.main HOME`, started by `join` and gone when that is gone.

It owns p2pd, the DHT and the local network, runs a Peer over them, and tells through the replica's notes how that goes.
Its standard input is a leash: when it ends, the process says good-bye and ends. Left out: starting it again (child).
Rejected: a thread of the loop's own process, whose memory and crashes would be the research's.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from random import SystemRandom

from ensue.errors import AutoresearchError, StoreError
from ensue.identity import Identity
from ensue.record import Record
from node.home import Home, open_replica
from node.settings import Settings, load
from node.swarm import status
from node.swarm.address import parsed
from node.swarm.child import SYNCED_NOTE
from node.swarm.lan import Lan
from node.swarm.peer import Peer
from node.swarm.peerbook import PeerBook
from node.swarm.report import snapshot
from node.swarm.stirring import Stirring
from node.sync.strangers import MIB
from node.transport.daemon import P2pdTransport
from node.transport.faults import PortInUse
from node.transport.index import Index
from node.transport.ports import TransportError

PORT_NOTE = "swarm port"
STATUS_EVERY_S = 2.0
ANNOUNCE_EVERY_S = 60.0
ANNOUNCE_FIRST_S = 2.0
ANNOUNCE_EVERY_S_MAX = 900.0
"""A node announces itself and looks for others after a minute, then half as often each time that nobody is new."""
SAVE_EVERY_S = 20.0
TOLD_MAX = 1_000
"""Own records that wait to be noted in the DHT; beyond it some are not, which costs nobody more than a question."""
NOTED_AFTER_S = 2.0
"""Own records are noted so much later, several at once: neighbours are fetching them just then."""
NOTED_SOURCES_MAX = 8
"""Scripts noted at once, the newest ones."""
LEAVE_TIMEOUT_S = 4.0

_log = logging.getLogger(__name__)
_AUTORESEARCH = f"autoresearch {version('autoresearch')}"


def wall_ms() -> int:
    """Return this machine's wall clock in milliseconds."""
    return time.time_ns() // 1_000_000


class Swarm:
    """Everything of one running swarm process."""

    def __init__(self, home: Home, chosen: Settings) -> None:
        self._home, self._chosen = home, chosen
        self._identity = Identity.load(home.key)
        self.store = open_replica(home)
        self._told: asyncio.Queue[Record] = asyncio.Queue(TOLD_MAX)
        self._index: Index | None = None
        self._last: status.SwarmStatus | None = None
        self._tasks: set[asyncio.Task[object]] = set()

    async def run(self, ended: asyncio.Event) -> None:
        """Take part until `ended`; raises TransportError where p2pd cannot be started at all."""
        book = PeerBook.load(self.store, self._identity.peer_id, SystemRandom())
        self._transport = await self._start(book)
        try:
            self._keep_port(await self._transport.addresses())
            self.peer = Peer(
                self._transport,
                self.store,
                book,
                clock=time.monotonic,
                wall_ms=wall_ms,
                dice=SystemRandom(),
                software=_AUTORESEARCH,
                told=self._note,
                stirred=Stirring(self.store.path),
                unverified_bytes=self._chosen.unverified_mib * MIB,
            )
            await self._until(ended)
        finally:
            with contextlib.suppress(StoreError):
                book.save(self.store)
                self._say_good_bye()
            await self._transport.close()

    async def _until(self, ended: asyncio.Event) -> None:
        jobs = [self.peer.run, self._reporting, self._saving]
        jobs += [self._indexing] if self._chosen.swarm_dht == "on" else []
        jobs += [self._listening_nearby] if self._chosen.swarm_lan == "on" else []
        over = asyncio.create_task(ended.wait())
        tasks = {over, *(asyncio.create_task(job()) for job in jobs)}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {over}:
                task.result()
            if self.peer.neighbours.all() or len(self.peer.book):
                await self.peer.herald.settled(LEAVE_TIMEOUT_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            with contextlib.suppress(StoreError):
                self.peer.received.save(self.store)
            with contextlib.suppress(TransportError, TimeoutError):
                if self._index is not None:
                    async with asyncio.timeout(LEAVE_TIMEOUT_S):
                        await self._index.leave()
                    await self._index.close()

    async def _start(self, book: PeerBook) -> P2pdTransport:
        listen = [one.strip() for one in self._chosen.swarm_listen.split(",") if one.strip()]
        announce = [one.strip() for one in self._chosen.swarm_announce.split(",") if one.strip()]
        known = [address for peer in book.candidates(8, wall_ms()) for address in peer.addresses[:1]]
        more = {
            "announce": announce,
            "bootstrap": known if self._chosen.swarm_relay == "on" else [],
            "relay": self._chosen.swarm_relay == "on",
            "auto_relay": self._chosen.swarm_relay == "on",
            "nat_port_map": self._chosen.swarm_nat == "on",
            "auto_nat": self._chosen.swarm_nat == "on",
        }
        if listen:
            return await P2pdTransport.start(self._home.key, listen=listen, **more)  # type: ignore[arg-type]
        port = self.store.local_get(PORT_NOTE) or "0"
        try:
            return await P2pdTransport.start(self._home.key, listen=[_everywhere(port)], **more)  # type: ignore[arg-type]
        except PortInUse:
            return await P2pdTransport.start(self._home.key, listen=[_everywhere("0")], **more)  # type: ignore[arg-type]

    def _keep_port(self, addresses: list[str]) -> None:
        """Remember the port, so that addresses in invites stay true."""
        ports = [address.split("/tcp/")[1].split("/")[0] for address in addresses if "/tcp/" in address]
        if ports and ports[0].isdecimal():
            with contextlib.suppress(StoreError):
                self.store.local_set(PORT_NOTE, ports[0], durable=False)

    # Telling owners

    async def _reporting(self) -> None:
        synced = False
        while True:
            with contextlib.suppress(TransportError, StoreError):
                if not synced and self.peer.neighbours.rounds:
                    self.store.local_set(SYNCED_NOTE, str(os.getpid()), durable=False)
                    synced = True
                await self._report()
            await asyncio.sleep(STATUS_EVERY_S if synced else STATUS_EVERY_S / 10)

    async def _report(self) -> None:
        reach = await self._transport.reachability()
        document = await snapshot(self.peer, self.store, await self._transport.addresses(), reach, wall_ms())
        self._last = document
        await asyncio.to_thread(status.write, self.store, document)
        await asyncio.to_thread(self.peer.received.save, self.store)

    def _say_good_bye(self) -> None:
        if self._last is not None:
            away = tuple(replace(peer, connected=False) for peer in self._last.peers)
            status.write(self.store, replace(self._last, updated_ms=0, peers=away))

    async def _saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            with contextlib.suppress(StoreError):
                await asyncio.to_thread(self.peer.book.save, self.store)

    # The index and the local network

    def _note(self, records: list[Record]) -> None:
        for record in records:
            with contextlib.suppress(asyncio.QueueFull):
                self._told.put_nowait(record)

    async def _indexing(self) -> None:
        while self._index is None:
            try:
                self._index = await Index.start(self._transport, self._identity, self.store.network)
            except TransportError as error:
                _log.warning("no index: %s", error)
                await asyncio.sleep(ANNOUNCE_FIRST_S)
        await asyncio.gather(self._announcing(self._index), self._noting(self._index))

    async def _announcing(self, index: Index) -> None:
        await asyncio.sleep(ANNOUNCE_FIRST_S)
        pause_s = ANNOUNCE_EVERY_S
        while True:
            where, new = self._where(), 0
            with contextlib.suppress(TransportError):
                records, digest = (await self.peer.replica.current()).root()
                await index.announce(
                    await self._transport.addresses(),
                    version=_AUTORESEARCH,
                    reachable=await self._transport.reachability(),
                    records=records,
                    digest=digest.hex(),
                )
                found = await index.find_peers()
                new = self.peer.book.add((address for one in found for address in one.addresses), "dht")
            alone = not self.peer.neighbours.all()
            end_s = time.monotonic() + pause_s
            pause_s = ANNOUNCE_EVERY_S if new or alone else min(2 * pause_s, ANNOUNCE_EVERY_S_MAX)
            await asyncio.sleep(ANNOUNCE_FIRST_S)
            while time.monotonic() < end_s and self.peer.neighbours.all() and self._where() == where:
                await asyncio.sleep(ANNOUNCE_FIRST_S)

    def _where(self) -> object:
        """Return what makes an announcement untrue when it changes."""
        return None if self._last is None else (frozenset(self._last.addresses), self._last.reachable)

    async def _noting(self, index: Index) -> None:
        while True:
            records = [await self._told.get()]
            await asyncio.sleep(NOTED_AFTER_S)
            while not self._told.empty():
                records.append(self._told.get_nowait())
            with contextlib.suppress(TransportError):
                await _noted(index, records, self.peer)

    async def _listening_nearby(self) -> None:
        lan = Lan(self.store.network, self._identity.peer_id, self._heard_nearby)
        try:
            while True:
                with contextlib.suppress(TransportError):
                    await lan.refresh(await self._transport.addresses())
                await asyncio.sleep(ANNOUNCE_EVERY_S)
        finally:
            await lan.close()

    def _heard_nearby(self, addresses: list[str]) -> None:
        self.peer.book.add(addresses, "lan")
        peers = {found.peer_id for address in addresses if (found := parsed(address)) is not None}
        if peers - {here.peer for here in self.peer.neighbours.all()}:
            task: asyncio.Task[object] = asyncio.create_task(self.peer.neighbours.reach(addresses))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _noted(index: Index, records: list[Record], peer: Peer) -> None:
    """Tell the index of own records: where the log ends, who works on what, who has which script."""
    last = records[-1]
    log = peer.replica.logs.log(last.author)
    count, seq = (log.count, log.seq) if log is not None else (last.seq, last.seq)
    await index.announce_head(last.author, seq=max(seq, last.seq), records=count, digest=last.id)
    claims, sources = dict[str, Record](), list[str]()
    for record in records:
        experiment = str(record.body.get("experiment", ""))
        if record.kind == "claim":
            claims[experiment] = record
        elif record.kind == "result":
            claims.pop(experiment, None)
            sources.append(str(record.body.get("source")))
            await index.release(experiment)
    for experiment, claim in claims.items():
        await index.claim(experiment, claim.id, float(claim.body.get("ttl_s", 0)))
    for source in sources[-NOTED_SOURCES_MAX:]:
        await index.provide(source)


def _everywhere(port: str) -> str:
    return f"/ip4/0.0.0.0/tcp/{port}"


async def _leash(ended: asyncio.Event) -> None:
    """End when standard input does, as when the process that started this one is gone."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass
    ended.set()


async def _take_part(home: Home) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # a Ctrl-C is for the loop, which then lets go of the leash
    leash = asyncio.create_task(_leash(ended))
    swarm = Swarm(home, load(home.settings))
    try:
        await swarm.run(ended)
    finally:
        leash.cancel()
        await asyncio.wait([leash])
        swarm.store.close()


def main(arguments: list[str]) -> int:
    """Take part in the network of a home until standard input ends; return the exit code."""
    logging.basicConfig(level=os.environ.get("AUTORESEARCH_LOG", "WARNING"), format="%(asctime)s %(name)s %(message)s")
    try:
        asyncio.run(_take_part(Home(Path(arguments[0]))))
    except AutoresearchError as error:
        print(f"autoresearch: the network: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
