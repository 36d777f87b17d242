"""Streams over p2pd: opened through its control connection, accepted on a Unix socket of ours, bounded in number.

Plain libp2p streams, so that any libp2p implementation may be at the other end.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from node.transport.control import STREAM_BUFFER_BYTES, Control, hang_up
from node.transport.faults import DaemonLost, Unreachable, cause
from node.transport.ports import Handler, Stream, TransportError

STREAMS_OPENED_MAX = 100
"""Streams that this node has opened at one time; p2pd ends some without a word when there are 300."""
STREAMS_ACCEPTED_MAX = 100
"""Streams of others that are answered at one time; further ones are closed at once."""
STREAMS_OF_PEER_MAX = 16
"""Streams of one peer that are answered at one time."""
OPEN_TIMEOUT_S = 15.0
"""How long opening a stream may take, the wait for a free place included."""
GREETING_TIMEOUT_S = 5.0
"""How long p2pd may take to say whose stream it hands over."""

_ENDED = "The stream to {} ended before all was sent; ask another peer, or this one again."
logger = logging.getLogger(__name__)


class P2pdStream:
    """One stream to an authenticated peer."""

    def __init__(
        self, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, release: Callable[[], None]
    ) -> None:
        self._peer = peer
        self._reader = reader
        self._writer = writer
        self._release: Callable[[], None] | None = release

    @property
    def peer(self) -> str:
        """The peer id of the other side."""
        return self._peer

    async def send(self, data: bytes) -> None:
        """Sends bytes, and returns once there is room for more; raises TransportError."""
        if self._release is None:
            raise TransportError(f"The stream to {self._peer} is closed already; open another.")
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            raise TransportError(_ENDED.format(self._peer)) from None

    async def receive(self, size: int) -> bytes:
        """Returns exactly `size` bytes; raises TransportError when the stream ends before."""
        try:
            return await self._reader.readexactly(size)
        except (OSError, EOFError):
            raise TransportError(_ENDED.format(self._peer)) from None

    async def close(self) -> None:
        """Ends both directions; calling it again does nothing."""
        release, self._release = self._release, None
        if release is None:
            return
        try:
            await hang_up(self._writer)
        finally:
            release()


class Streams:
    """Opens streams, and answers those of others with the handlers that were given; survives a restart of p2pd."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._places = asyncio.Semaphore(STREAMS_OPENED_MAX)
        self._answering: dict[asyncio.Task[None], str] = {}
        self._server: asyncio.Server | None = None
        self._control: Control | None = None
        self._socket = Path()

    async def attach(self, control: Control, folder: Path) -> None:
        """Begins to work with a p2pd that has just started, and registers every handler with it."""
        await self.detach()
        self._socket = folder / "streams"
        self._server = await asyncio.start_unix_server(self._accept, str(self._socket), limit=STREAM_BUFFER_BYTES)
        self._control = control
        for protocol in list(self._handlers):
            await self._register(protocol)

    async def detach(self) -> None:
        """Ends what is being answered; handlers are kept."""
        self._control = None
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._answering)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def serve(self, protocol: str, handler: Handler) -> None:
        """Answers streams of a protocol; raises TransportError where p2pd refuses it."""
        fresh = protocol not in self._handlers
        self._handlers[protocol] = handler
        if fresh and self._control is not None:
            with contextlib.suppress(DaemonLost):  # the restart registers it
                await self._register(protocol)

    async def open(self, peer: str, protocol: str) -> Stream:
        """Opens a stream to a peer; raises TransportError."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._places.acquire()
        except TimeoutError:
            raise TransportError(
                f"All {STREAMS_OPENED_MAX} streams are in use; try again when some have ended."
            ) from None
        try:
            control = self._control
            if control is None:
                raise DaemonLost("The network daemon is being restarted; try again in a moment.")
            request = control.messages.StreamOpenRequest(peer=control.peer_bytes(peer), proto=[protocol])
            kind = control.messages.Request.STREAM_OPEN
            answer, reader, writer = await control.begin(OPEN_TIMEOUT_S, type=kind, streamOpen=request)
        except BaseException as error:
            self._places.release()
            if isinstance(error, Unreachable):
                raise Unreachable(
                    f"{peer} cannot be reached for {protocol} ({cause(error)}); try another peer, or later."
                ) from None
            raise
        return P2pdStream(control.peer_text(answer.streamInfo.peer), reader, writer, self._places.release)

    async def _register(self, protocol: str) -> None:
        assert self._control is not None
        messages = self._control.messages
        address = f"/unix{self._socket}"
        request = messages.StreamHandlerRequest(
            addr=self._control.address_bytes(address), proto=[protocol], balanced=False
        )
        await self._control.ask(type=messages.Request.STREAM_HANDLER, streamHandler=request)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        control = self._control
        if control is None or len(self._answering) >= STREAMS_ACCEPTED_MAX:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._answer(control, reader, writer), name="stream of a peer")
        self._answering[task] = ""
        task.add_done_callback(self._answering.pop)

    async def _answer(self, control: Control, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        peer = ""
        try:
            async with asyncio.timeout(GREETING_TIMEOUT_S):
                info = await control.read(reader, control.messages.StreamInfo)
            peer = control.peer_text(info.peer)
            if sum(other == peer for other in self._answering.values()) >= STREAMS_OF_PEER_MAX:
                return
            self._answering[task] = peer
            handler = self._handlers.get(info.proto)
            if handler is not None:
                await handler(P2pdStream(peer, reader, writer, lambda: None))
        except (TransportError, OSError, EOFError, TimeoutError) as error:
            logger.debug("a stream of %s ended early: %s", peer or "a peer", error)
        except Exception:  # the handler's own fault must not end the node
            logger.exception("answering a stream of %s failed", peer)
        finally:
            await hang_up(writer)
