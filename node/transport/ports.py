"""What the rest of a node asks of a transport; the libp2p daemon and the simulated wire both answer it.

Peers are named by their peer ids, which are the authors of records too: a stream's other side is authenticated.
Left out: framing and meaning of what is sent (sync.wire). Rejected: unary calls of hivemind, whose framing is its
daemon's own, so that no other implementation could speak with us.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from ensue.errors import UserError


class TransportError(UserError):
    """A peer could not be reached, or a stream ended early; another peer, or a later try, may do better."""


class Stream(Protocol):
    """A reliable, ordered, authenticated pair of byte streams between two nodes."""

    @property
    def peer(self) -> str:
        """The peer id of the other side."""

    async def send(self, data: bytes) -> None:
        """Sends bytes, and returns once there is room for more; raises TransportError."""

    async def receive(self, size: int) -> bytes:
        """Returns exactly `size` bytes; raises TransportError when the stream ends before."""

    async def close(self) -> None:
        """Ends both directions; calling it again does nothing."""


Handler = Callable[[Stream], Awaitable[None]]
Listener = Callable[[str, bytes], None]
"""Takes the peer id that published a message, and the message; must not block."""


class Transport(Protocol):
    """One node's way to the others."""

    @property
    def peer_id(self) -> str:
        """This node's own peer id."""

    async def addresses(self) -> list[str]:
        """Returns the multiaddresses that others may dial, each ending in /p2p/PEER_ID."""

    async def connect(self, address: str) -> str:
        """Dials a multiaddress and returns the peer id that answered; raises TransportError."""

    async def disconnect(self, peer: str) -> None:
        """Closes every connection to a peer; it may come again. Raises TransportError."""

    async def peers(self) -> list[str]:
        """Returns the peer ids of those that are connected."""

    async def open(self, peer: str, protocol: str) -> Stream:
        """Opens a stream to a peer; raises TransportError."""

    async def serve(self, protocol: str, handler: Handler) -> None:
        """Answers streams that others open; each runs in a task of its own and is closed when the handler returns."""

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossips a small message to all who subscribed; raises TransportError when it is too large or nobody runs."""

    async def subscribe(self, topic: str, listener: Listener) -> None:
        """Calls `listener` for each message of others."""

    async def close(self) -> None:
        """Says good-bye and ends; calling it again does nothing."""
