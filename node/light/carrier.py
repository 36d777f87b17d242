"""Carries the light client's bytes over py-libp2p: one connection to one node, streams to it, gossip from it.

The only module that speaks libp2p; `library.require` is called before it is imported. Left out: what the bytes mean.
Rejected: addresses to listen on, since the node answers over the connection that was dialled, so that a laptop behind
any router takes part; and the key of the person as the identity on the wire, as two programs with one peer id would
take each other's messages. It is a new one each time.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.exceptions import BaseLibp2pError
from libp2p.io.exceptions import IOException
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from ensue.errors import NetworkError, UserError
from node.swarm.address import Address, parse
from node.transport.ports import TransportError

DIAL_TIMEOUT_S = 20.0
"""Dialling, encrypting, agreeing on a multiplexer; over the far side of the world it takes 2 s."""
STREAM_TIMEOUT_S = 20.0
"""Opening a stream, and each wait for room to send."""
GONE_LOOKED_S = 0.5
"""How often the connection is looked at."""
STREAMS_IN_MAX = 4
"""Streams of the node that are answered at a time; more are closed."""
TOPIC_LOOKED_S = 0.05

_MESHSUB = ("/meshsub/1.1.0", "/meshsub/1.0.0")
_BROKEN = (BaseLibp2pError, IOException, OSError, EOFError, trio.BrokenResourceError, trio.ClosedResourceError)

log = logging.getLogger(__name__)
logging.getLogger("libp2p").addHandler(logging.NullHandler())  # what matters of it is in our own errors


class LightStream:
    """A pair of byte streams with the node; see `node.transport.ports.Stream`."""

    def __init__(self, stream: Any, peer: str) -> None:
        self._stream = stream
        self.peer = peer
        self._kept = b""

    async def send(self, data: bytes) -> None:
        """Sends bytes; raises TransportError when the stream is closed or finds no room for STREAM_TIMEOUT_S."""
        with _explained("sending to it"), trio.fail_after(STREAM_TIMEOUT_S):
            await self._stream.write(data)

    async def receive(self, size: int, timeout_s: float = STREAM_TIMEOUT_S) -> bytes:
        """Returns exactly `size` bytes; raises TransportError when the stream ends or `timeout_s` pass before."""
        parts, missing = [], size
        with _explained("answering"), trio.fail_after(timeout_s):
            while missing:
                part = await self._stream.read(missing)
                if not part:
                    raise TransportError("The node closed the stream in the middle of an answer: try again.")
                parts.append(part)
                missing -= len(part)
        return b"".join(parts)

    async def close(self) -> None:
        """Ends both directions."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1), contextlib.suppress(*_BROKEN):
            await self._stream.close()


class Carrier:
    """One connection to a node; made by `connected`."""

    def __init__(self, host: Any, gossip: Any, node: Any) -> None:
        self._host = host
        self._gossip = gossip
        self._node = node
        self._answering = 0
        self.node: str = node.to_base58()
        """The node's peer id, which its key has proved."""

    async def open(self, protocol: str) -> LightStream:
        """Opens a stream to the node; raises TransportError, also when the node does not speak the protocol."""
        with _explained(f"opening a stream for {protocol}"), trio.fail_after(STREAM_TIMEOUT_S):
            return LightStream(await self._host.new_stream(self._node, [protocol]), self.node)

    def serve(self, protocol: str, handler: Callable[[LightStream], Awaitable[None]]) -> None:
        """Answers streams of that protocol which the node opens."""

        async def answer(stream: Any) -> None:
            theirs = LightStream(stream, self.node)
            self._answering += 1
            try:
                if self._answering <= STREAMS_IN_MAX:
                    await handler(theirs)
            except (NetworkError, TransportError) as error:
                log.debug("a stream of the node ended early: %s", error)
            finally:
                self._answering -= 1
                await theirs.close()

        self._host.set_stream_handler(protocol, answer)

    async def messages(self, topic: str) -> AsyncIterator[bytes]:
        """Yields what others gossip, without end; what comes while the reader is busy may be left out."""
        subscription = await self._gossip.subscribe(topic)
        mine = self._host.get_id().to_bytes()
        while True:
            message = await subscription.get()
            if message.from_id != mine:
                yield message.data

    async def topic(self, beginning: str, within_s: float) -> str | None:
        """Returns a topic that the node listens to and that begins so, None if none is heard of within some seconds."""
        with trio.move_on_after(within_s):
            while True:
                for topic, peers in self._gossip.peer_topics.items():
                    if topic.startswith(beginning) and self._node in peers:
                        return str(topic)
                await trio.sleep(TOPIC_LOOKED_S)
        return None

    async def gone(self) -> None:
        """Returns once the connection has ended."""
        while any(not link.is_closed for link in self._host.get_network().connections.get(self._node, [])):
            await trio.sleep(GONE_LOOKED_S)


@contextlib.asynccontextmanager
async def connected(address: str) -> AsyncIterator[Carrier]:
    """Dials a multiaddress and yields the connection, which ends with the block.

    Raises UserError for an address of the wrong form, TransportError where nobody answers or somebody else does, or
    where the library itself fails.
    """
    where = parse(address.strip())
    host = new_host(key_pair=create_new_key_pair(), disable_identify_address_discovery=True)
    router = GossipSub(
        protocols=list(_MESHSUB),
        degree=6,
        degree_low=1,
        degree_high=12,
        heartbeat_interval=1,
        spam_protection_enabled=False,  # its bound of 10 messages a second would drop a quarter of what nodes say
    )
    gossip = Pubsub(host, router)
    mine: BaseException | None = None
    try:
        async with host.run(listen_addrs=[]), background_trio_service(gossip), background_trio_service(router):
            try:
                await gossip.wait_until_ready()
                await _dial(host, where)
                yield Carrier(host, gossip, ID.from_string(where.peer_id))
            except BaseException as error:
                mine = alone(error)
                raise
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1), contextlib.suppress(*_BROKEN):
                    await host.disconnect(ID.from_string(where.peer_id))
    except BaseExceptionGroup as group:
        if mine is not None and not isinstance(mine, trio.Cancelled):
            raise mine from None
        log.warning("py-libp2p failed", exc_info=group)
        raise TransportError(
            f"The connection to the node broke down ({_first_line(alone(group))}): try again."
        ) from group


async def _dial(host: Any, where: Address) -> None:
    if where.transport != "tcp" or where.relay is not None:
        raise UserError(f"{where.text} is no plain TCP address, and `watch` speaks nothing else: give another one.")
    try:
        with trio.fail_after(DIAL_TIMEOUT_S):
            found = await trio.socket.getaddrinfo(where.host, where.port, type=trio.socket.SOCK_STREAM)
            places = list(dict.fromkeys(place[4][0] for place in found))
            kinds = ["ip6" if ":" in place else "ip4" for place in places]
            addresses = [
                Multiaddr(f"/{kind}/{place}/tcp/{where.port}") for kind, place in zip(kinds, places, strict=True)
            ]
            await host.connect(PeerInfo(ID.from_string(where.peer_id), addresses))
    except (trio.TooSlowError, *_BROKEN) as error:
        raise TransportError(
            f"Nobody who holds the key of {where.peer_id} answers at {where.host} port {where.port}: see whether the "
            "node runs, can be reached from here, and the address is whole."
        ) from error


def alone(error: BaseException) -> BaseException:
    """Returns the error inside groups that hold no other, as nurseries make them."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@contextlib.contextmanager
def _explained(doing: str) -> Iterator[None]:
    try:
        yield
    except trio.TooSlowError as error:
        raise TransportError(f"The node took too long at {doing}: try again, or another node.") from error
    except _BROKEN as error:
        why = _first_line(error)
        raise TransportError(f"The node failed at {doing}: try again, or another node ({why}).") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
