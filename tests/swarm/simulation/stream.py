"""One simulated stream: two ends, bytes in order, room that runs out, and breaks that both sides come to notice.

Left out: who may open one (transport). A break that is noticed late looks like a peer that says nothing, which is what
deadlines are for.
"""

import asyncio
from typing import TYPE_CHECKING

from node.transport.ports import TransportError
from simulation.wire import WINDOW_BYTES, Wire

if TYPE_CHECKING:
    from simulation.transport import SimTransport


class SimStream:
    """One end of a stream; `other` is the other end."""

    other: "SimStream"

    def __init__(self, wire: Wire, host: "SimTransport", peer: str, protocol: str) -> None:
        self._wire = wire
        self._host = host
        self._peer = peer
        self.protocol = protocol
        self._came = bytearray()
        self._under_way = 0  # bytes that this end has sent and the other has not taken
        self._wanted = 0  # bytes that somebody waits for here: there is always room for those
        self._last_due_s = 0.0
        self._why: str | None = None  # why nothing comes or goes any more
        self._changed: list[asyncio.Future[None]] = []

    @property
    def peer(self) -> str:
        """The peer id of the other side."""
        return self._peer

    async def send(self, data: bytes) -> None:
        """Sends bytes, and returns once there is room for more; raises TransportError."""
        while self._under_way >= max(WINDOW_BYTES, self.other._wanted) and self._why is None:
            await self._change()
        if self._why is not None:
            raise self._gone()
        data = bytes(data)
        wire, me = self._wire, self._host.peer_id
        if wire.happens(wire.weather.stream_breaks):
            wire.note("break", me, self._peer)
            self.break_off("the line broke", wire.delay_s())
            await self._change()
            raise self._gone()
        wire.count(me, "out", self.protocol, len(data))
        self._under_way += len(data)
        self._last_due_s = max(self._last_due_s, self._host.sent_at(len(data)) + wire.delay_s())
        wire.loop.call_at(self._last_due_s, self.other._take, data)

    async def receive(self, size: int) -> bytes:
        """Returns exactly `size` bytes; raises TransportError when the stream ends before."""
        while len(self._came) < size:
            if self._why is not None:
                raise self._gone()
            if self._wanted != size:
                self._wanted = size
                self.other._wake()
            await self._change()
        self._wanted = 0
        data = bytes(self._came[:size])
        del self._came[:size]
        self.other._taken(size)
        return data

    async def close(self) -> None:
        """Ends both directions; calling it again does nothing."""
        if self._why is None:
            self._end("this side closed it")
            if self._last_due_s == float("inf"):  # it is breaking, which the other side will notice by itself
                return
            self._last_due_s = max(self._last_due_s, self._wire.loop.time() + self._wire.delay_s())
            self._wire.loop.call_at(self._last_due_s, self.other._end, "the other side closed it")

    def break_off(self, why: str, after_s: float) -> None:
        """Breaks the stream; both ends notice after some time, and what is under way is lost."""
        for end in (self, self.other):
            end._last_due_s = float("inf")
            self._wire.later(after_s, end._end, why)

    def drop(self) -> None:
        """Ends this end at once and without a word, as when its node dies."""
        self._came.clear()
        self._end("this node died")

    def _take(self, data: bytes) -> None:
        reachable = self._wire.reachable(self._host.peer_id, self._peer)
        if self._why is not None or self._last_due_s == float("inf") or not reachable:
            return
        self._wire.note("piece", self._peer, self._host.peer_id, len(data), data=data)
        self._wire.count(self._host.peer_id, "in", self.protocol, len(data))
        self._came += data
        self._wake()

    def _taken(self, size: int) -> None:
        self._under_way -= size
        self._wake()

    def _end(self, why: str) -> None:
        if self._why is None:
            self._why = why
            self._host.streams.pop(self, None)
            self._wake()

    def _gone(self) -> TransportError:
        return TransportError(f"The stream with {self._peer} has ended: {self._why}; try again, or ask another peer.")

    async def _change(self) -> None:
        future = self._wire.loop.create_future()
        self._changed.append(future)
        await future

    def _wake(self) -> None:
        waiting, self._changed = self._changed, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
