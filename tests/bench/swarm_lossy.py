"""`python swarm_lossy.py HOME`: the swarm process of a node, on a wire that loses a share of the messages.

AUTORESEARCH_BENCH_LOSS is the share. Lost are: gossip, at each node that hears it; streams as they are opened; requests
on a stream, which break it, as streams are reliable. Everything above the transport is the real thing.
"""

import os
import sys
from random import SystemRandom
from typing import Any

from node.swarm import main as swarm
from node.transport.ports import Listener, Stream, TransportError

LOSS = float(os.environ.get("AUTORESEARCH_BENCH_LOSS", "0"))
_dice = SystemRandom()


def lost() -> bool:
    """Return whether this one is lost."""
    return _dice.random() < LOSS


class LossyStream:
    """A stream that breaks at a request that is lost."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.peer = stream.peer

    async def send(self, data: bytes) -> None:
        if lost():
            await self._stream.close()
            raise TransportError("The wire broke; try again.")
        await self._stream.send(data)

    async def receive(self, size: int) -> bytes:
        return await self._stream.receive(size)

    async def close(self) -> None:
        await self._stream.close()


class Lossy:
    """A transport that loses; what is not named here is the transport's own."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    async def open(self, peer: str, protocol: str) -> Stream:
        if lost():
            raise TransportError("The peer was not reached; try again.")
        return LossyStream(await self._transport.open(peer, protocol))

    async def subscribe(self, topic: str, listener: Listener) -> None:
        await self._transport.subscribe(topic, lambda peer, data: None if lost() else listener(peer, data))


class LossySwarm(swarm.Swarm):
    """The swarm process on such a wire."""

    async def _start(self, book: Any) -> Any:
        return Lossy(await super()._start(book))


if __name__ == "__main__":
    swarm.Swarm = LossySwarm  # type: ignore[misc]
    sys.exit(swarm.main(sys.argv[1:]))
