"""A node with some research in its replica, run in a thread with an event loop of its own, and peers that lie.

So the command line can run in the main thread, as it does for people.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from sync_replicas import bodies
from transport_peers import LOCAL

from ensue.genesis import TrackRef, found
from ensue.identity import Identity
from ensue.store import Blob, Store, ownlog
from node.home import Home
from node.swarm.peer import Peer
from node.swarm.peerbook import PeerBook
from node.sync import wire
from node.transport.daemon import P2pdTransport
from node.transport.index import Index
from node.transport.ports import Stream

FOUNDER = Identity(bytes([7]) * 32)
GENESIS = found(FOUNDER, "test", [TrackRef("made-up", bodies.TRACK)], created_ms=1_700_000_000_000)
SCRIPTS = ["LR = 1\nDEPTH = 1\n", "LR = 2\nDEPTH = 1\n", "LR = 2\nDEPTH = 2\n", "LR = 2\nDEPTH = 3\n"]


class Loop:
    """An event loop in a thread, and what runs in it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._stack = contextlib.AsyncExitStack()

    def run(self, work: Awaitable[Any]) -> Any:
        """Returns what comes of some work in the loop."""

        async def awaited() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(30)

    def keep(self, context: "contextlib.AbstractAsyncContextManager[Any]") -> Any:
        """Enters a context that is left when the loop ends."""
        return self.run(self._stack.enter_async_context(context))

    def end(self) -> None:
        try:
            self.run(self._stack.aclose())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


@contextlib.asynccontextmanager
async def transport(folder: Path, name: str, **options: Any):
    """Runs a transport with a key of its own; yields it and its address."""
    Identity.load_or_create(folder / f"{name}.key")
    running = await P2pdTransport.start(folder / f"{name}.key", **{**LOCAL, **options})
    try:
        yield running, (await running.addresses())[0]
    finally:
        await running.close()


@contextlib.asynccontextmanager
async def serving(folder: Path, name: str, store: Store, **options: Any):
    """Runs a node without research; yields its transport and address."""
    async with transport(folder, name, **options) as (running, address):
        book = PeerBook(running.peer_id)
        clock, wall_ms = time.monotonic, lambda: time.time_ns() // 10**6
        peer = Peer(running, store, book, clock=clock, wall_ms=wall_ms, dice=Random(7), software="autoresearch 0")
        work = asyncio.create_task(peer.run())
        try:
            yield running, address, peer
        finally:
            work.cancel()
            await asyncio.wait([work])


@contextlib.asynccontextmanager
async def indexed(running: P2pdTransport, key: Path):
    """Runs a transport's part in the index."""
    index = await Index.start(running, Identity.load(key), GENESIS.network_id)
    try:
        yield index
    finally:
        await index.close()


class World:
    """A founded home with some research in it, and a node that answers for it."""

    def __init__(self, folder: Path, loop: Loop) -> None:
        self.home, self.loop = Home(folder / "ada"), loop
        self.home.create()
        GENESIS.save(self.home.genesis)
        self.identity = Identity.load_or_create(self.home.key)
        ownlog.begin(self.home.database, GENESIS.network_id, self.identity.peer_id)
        self.store = Store(self.home.database, GENESIS.network_id)
        self._fill()
        self.transport, self.address, self.peer = loop.keep(serving(folder, "node", self.store))
        self.index = loop.keep(indexed(self.transport, folder / "node.key"))

    def _fill(self) -> None:
        self.line: list[str] = []
        for number, (value, script) in enumerate(zip([1.61, 1.60, 1.59, 1.50], SCRIPTS, strict=True)):
            self.line.append(self.add(value, script, self.line[-1] if self.line else None, number))
        self.store.append(self.identity, "retraction", {"target": self.line[3], "reason": "a mistake"})
        self.heir = self.add(1.55, "LR = 3\n", self.line[3], 4, hardware_class="gpu-x", agent="bob")
        self.add(1.7, "LR = 4\n", self.line[2], 5, status="discarded")
        self.add(1.4, "LR = 5\n", None, 6, track=bodies.sha("second track"))

    def add(self, value: float, script: str, parent: str | None, number: int, **more: Any) -> str:
        blob = Blob(script.encode())
        said = {"mean": 1.6, "sd": 0.1}
        claim = bodies.claim(source=blob.sha256, parent=parent, experiment=bodies.sha(f"e{number}"), expectation=said)
        key = self.store.append(self.identity, "claim", claim, [blob]).id
        body = bodies.result(
            **{
                "value": value,
                "source": blob.sha256,
                "parent": parent,
                "claim": key,
                "experiment": bodies.sha(f"e{number}"),
                "seed": number,
                **more,
            }
        )
        return self.store.append(self.identity, "result", body, [blob]).id


@contextlib.contextmanager
def also(world: World, context: "contextlib.AbstractAsyncContextManager[Any]") -> Iterator[Any]:
    """Runs something beside the node for the length of a test."""
    entered = world.loop.run(context.__aenter__())
    try:
        yield entered
    finally:
        world.loop.run(context.__aexit__(None, None, None))


@contextlib.asynccontextmanager
async def liar(world: World, handler: Callable[[Stream], Awaitable[None]], *, whole: bool = False):
    """Runs a peer that speaks the protocol as a handler does; yields its address."""
    async with transport(world.home.path.parent, handler.__name__) as (running, address):
        await running.serve(wire.PROTOCOL, handler)
        yield (running, address) if whole else address


def says(*answers: wire.Answer | bytes) -> Callable[[Stream], Awaitable[None]]:
    """Returns a handler that answers in turn, whatever it is asked."""

    async def handler(stream: Stream) -> None:
        for answer in answers:
            await wire.receive_request(stream)
            await stream.send(answer if isinstance(answer, bytes) else wire.frame(answer))
        await stream.receive(2**20)

    return handler
