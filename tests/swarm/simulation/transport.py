"""A node's way to the others over the simulated wire: what node.transport.ports asks, and a switch to kill it.

Gossip goes from peer to peer along connections, as GossipSub's does, and is passed on before the node has looked at it.
Left out: discovery. Rejected: delivering a message to everybody at once, which would let a node hear of others that no
choice of peers connects it with.
"""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

from node.transport.ports import Handler, Listener, Stream, TransportError
from simulation.clock import OWNED
from simulation.stream import SimStream
from simulation.wire import (
    DIAL_TIMEOUT_S,
    GOSSIP_BYTES_MAX,
    GOSSIP_DEGREE,
    GOSSIP_DIALLED,
    GOSSIP_FACTOR,
    HEARTBEAT_S,
    HEARTBEATS,
    OFFER_BYTES,
    Wire,
)

_SEEN_MAX = 50_000


class SimTransport:
    """One node on the wire, up from the moment it is made until `close` or `die`."""

    def __init__(self, wire: Wire, peer_id: str, address: str) -> None:
        self._wire = wire
        self._peer_id = peer_id
        self.address = address
        """Where it can be dialled, without the peer id."""
        self.linked: dict[str, bool] = {}
        """Peers with a connection, in order of their coming, and whether this node dialled."""
        self.streams: dict[SimStream, None] = {}
        self.passes_on = True
        """Whether it forwards the gossip of others."""
        self._known: dict[str, None] = {}
        self._handlers: dict[str, Handler] = {}
        self._listeners: dict[str, list[Listener]] = {}
        self._seen: dict[tuple[str, int], None] = {}
        self._published = 0
        self._sender_free_s = 0.0
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.context = contextvars.copy_context()
        """What runs in it, and all that this starts, ends when the node dies."""
        self.context.run(OWNED.set, self.tasks)
        wire.join(self)

    @property
    def peer_id(self) -> str:
        """This node's own peer id."""
        return self._peer_id

    @property
    def up(self) -> bool:
        """Whether it is on the wire."""
        return self._wire.hosts.get(self._peer_id) is self

    async def addresses(self) -> list[str]:
        """Returns the multiaddresses that others may dial, each ending in /p2p/PEER_ID."""
        return [f"{self.address}/p2p/{self._peer_id}"]

    async def connect(self, address: str) -> str:
        """Dials a multiaddress and returns the peer id that answered; raises TransportError."""
        home, _, wanted = address.partition("/p2p/")
        there = self._wire.homes.get(home)
        if there is None or there.peer_id != wanted or wanted == self._peer_id:
            await self._nobody(address)
        await self._dial(wanted)
        return wanted

    async def disconnect(self, peer: str) -> None:
        """Closes every connection to a peer; it may come again."""
        for stream in [one for one in self.streams if one.peer == peer]:
            await stream.close()
        self.linked.pop(peer, None)
        if (there := self._wire.hosts.get(peer)) is not None:
            self._wire.later(self._wire.delay_s(), there._unlink, self._peer_id)

    async def peers(self) -> list[str]:
        """Returns the peer ids of those that are connected."""
        return list(self.linked)

    async def open(self, peer: str, protocol: str) -> Stream:
        """Opens a stream to a peer; raises TransportError."""
        if peer not in self.linked:
            if peer not in self._known:
                raise TransportError(f"Nobody here knows where {peer} is: connect to its address first.")
            await self._dial(peer)
        await asyncio.sleep(self._wire.delay_s())
        there = self._wire.hosts.get(peer)
        if there is None or not self._wire.reachable(self._peer_id, peer):
            await self._nobody(peer)
            raise AssertionError
        handler = there._handlers.get(protocol)
        if handler is None:
            raise TransportError(f"{peer} does not speak {protocol}: ask another peer, or wait until it was updated.")
        mine = SimStream(self._wire, self, peer, protocol)
        theirs = SimStream(self._wire, there, self._peer_id, protocol)
        mine.other, theirs.other = theirs, mine
        self.streams[mine] = there.streams[theirs] = None
        self._wire.note("open", self._peer_id, peer, protocol)
        there.own(there._answer(handler, theirs), f"answer {self._peer_id}")
        return mine

    async def serve(self, protocol: str, handler: Handler) -> None:
        """Answers streams that others open; each runs in a task of its own and is closed when the handler returns."""
        self._handlers[protocol] = handler

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossips a small message to all who subscribed; raises TransportError when it is too large or nobody runs."""
        if len(data) > GOSSIP_BYTES_MAX:
            raise TransportError(f"A message has at most {GOSSIP_BYTES_MAX} bytes, not {len(data)}; send it otherwise.")
        if not self.up:
            raise TransportError("This node is off the wire; start it again.")
        self._published += 1
        key = (self._peer_id, self._published)
        self._remember(key)
        self._spread(key, topic, bytes(data), "")

    async def subscribe(self, topic: str, listener: Listener) -> None:
        """Calls `listener` for each message of others."""
        self._listeners.setdefault(topic, []).append(listener)

    async def close(self) -> None:
        """Says good-bye and ends; calling it again does nothing."""
        if self.up:
            for stream in list(self.streams):
                await stream.close()
            self._go(lambda: self._wire.delay_s())

    async def die(self) -> None:
        """Ends as with a power cut: nobody is told, and nothing that runs here runs on; returns when nothing does."""
        if self.up:
            self._go(self._wire.notice_s)
        while tasks := [task for task in self.tasks if not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def own(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Starts a task that ends with this node."""
        name = f"{name} at {self._peer_id[-6:]}"
        return asyncio.get_running_loop().create_task(work, name=name, context=self.context.copy())

    def cut(self, other: str, notice_s: float) -> None:
        """Takes away the connection with a peer, which both notice after some time."""
        there = self._wire.hosts.get(other)
        for stream in [one for one in self.streams if one.peer == other]:
            stream.break_off("the peer is out of reach", notice_s)
        self._wire.later(notice_s, self._unlink, other)
        if there is not None:
            self._wire.later(notice_s, there._unlink, self._peer_id)

    def sent_at(self, size: int) -> float:
        """Returns when a piece that is handed over now has left, after all that was handed over before."""
        now = self._wire.loop.time()
        self._sender_free_s = max(now, self._sender_free_s) + size / self._wire.weather.bytes_per_s
        return self._sender_free_s

    # What the wire brings

    async def _answer(self, handler: Handler, stream: SimStream) -> None:
        try:
            await handler(stream)
        except TransportError:
            pass  # the other side went away
        finally:
            await stream.close()

    async def _dial(self, peer: str) -> None:
        await asyncio.sleep(2 * self._wire.delay_s())
        if not self._wire.reachable(self._peer_id, peer) or self._wire.happens(self._wire.weather.dial_fails):
            await self._nobody(peer)
        there = self._wire.hosts[peer]
        for one, other in ((self, there), (there, self)):
            one.linked.setdefault(other._peer_id, one is self)
            one._known[other._peer_id] = None
        self._wire.note("link", self._peer_id, peer)

    async def _nobody(self, whom: str) -> None:
        await asyncio.sleep(DIAL_TIMEOUT_S)
        raise TransportError(f"Nobody answers at {whom[:200]}: try another address, or later.")

    def _unlink(self, peer: str) -> None:
        there = self._wire.hosts.get(peer)
        if there is None or self._peer_id not in there.linked or not self._wire.reachable(self._peer_id, peer):
            self.linked.pop(peer, None)

    def _go(self, notice_s: Any) -> None:
        others = [self._wire.hosts[peer] for peer in self.linked if peer in self._wire.hosts]
        self._wire.leave(self)
        for stream in list(self.streams):
            stream.break_off("the peer is gone", notice_s())
            stream.drop()
        for host in others:
            self._wire.later(notice_s(), host._unlink, self._peer_id)
        self.linked.clear()

    # Gossip

    def _spread(self, key: tuple[str, int], topic: str, data: bytes, came_from: str) -> None:
        wire = self._wire
        others = self._subscribed(topic, came_from, key[0])
        rest: list[str] = []
        if len(others) > GOSSIP_DEGREE:
            dialled = [peer for peer in others if self.linked[peer]]
            mesh = wire.chance.sample(dialled, min(GOSSIP_DIALLED, len(dialled)))
            mesh += wire.chance.sample([peer for peer in others if peer not in mesh], GOSSIP_DEGREE - len(mesh))
            rest, others = others, mesh
        self._send_on(key, topic, data, others)
        if rest:
            wire.later(HEARTBEAT_S, self._offer, key, topic, data, HEARTBEATS)

    def _subscribed(self, topic: str, *without: str) -> list[str]:
        hosts = self._wire.hosts
        return [
            peer for peer in self.linked if peer not in without and peer in hosts and topic in hosts[peer]._listeners
        ]

    def _offer(self, key: tuple[str, int], topic: str, data: bytes, left: int) -> None:
        """Tells some others of a message, and sends it to those that have not heard it: GossipSub's lazy half."""
        if not self.up:
            return
        others = self._subscribed(topic, key[0])
        count = max(GOSSIP_DEGREE, round(GOSSIP_FACTOR * len(others)))
        some = self._wire.chance.sample(others, min(count, len(others)))
        for peer in some:
            self._wire.count(self._peer_id, "out", "offers", OFFER_BYTES)
            self._wire.count(peer, "in", "offers", OFFER_BYTES)
        self._send_on(key, topic, data, [peer for peer in some if key not in self._wire.hosts[peer]._seen])
        if left > 1:
            self._wire.later(HEARTBEAT_S, self._offer, key, topic, data, left - 1)

    def _send_on(self, key: tuple[str, int], topic: str, data: bytes, others: list[str]) -> None:
        wire = self._wire
        for peer in others:
            wire.count(self._peer_id, "out", topic, len(data))
            due = self.sent_at(len(data)) - wire.loop.time()
            if wire.happens(wire.weather.gossip_lost):
                continue
            wire.later(due + wire.delay_s(), wire.hosts[peer]._hear, key, topic, data, self._peer_id, False)
            if wire.happens(wire.weather.gossip_twice):
                wire.later(due + 3 * wire.delay_s(), wire.hosts[peer]._hear, key, topic, data, self._peer_id, True)

    def _hear(self, key: tuple[str, int], topic: str, data: bytes, sender: str, again: bool) -> None:
        if not (self.up and self._wire.reachable(self._peer_id, sender)) or key[0] == self._peer_id:
            return
        self._wire.count(self._peer_id, "in", topic, len(data))
        if key in self._seen and not again:
            return
        first = key not in self._seen
        self._remember(key)
        self._wire.note("gossip", key[0], self._peer_id, topic, data=data)
        for listener in self._listeners.get(topic, []):
            self.context.copy().run(listener, key[0], data)
        if first and self.passes_on:
            self._spread(key, topic, data, sender)

    def _remember(self, key: tuple[str, int]) -> None:
        self._seen[key] = None
        if len(self._seen) > _SEEN_MAX:
            del self._seen[next(iter(self._seen))]
