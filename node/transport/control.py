"""The control connection to p2pd: length-prefixed protobuf messages over a Unix socket, with deadlines and bounds.

hivemind's own client of this protocol waits for ever and reads answers of any length; its messages are used, its
client is not (but for the DHT's calls, which have a deadline of their own).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from node.transport.faults import BadAddress, DaemonLost, Unreachable, reason
from node.transport.torchless import Library

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""Bytes of one message of p2pd: a list of a few ten thousand peers fits."""
ANSWER_TIMEOUT_S = 10.0
"""How long p2pd may take to answer what needs no network."""
STREAM_BUFFER_BYTES = 128 * 1024
"""Bytes read ahead on one stream before the other side is held back."""
ERROR_CHARS_MAX = 2000
"""Characters read of an error of p2pd, in which the cause stands last."""
HANG_UP_TIMEOUT_S = 5.0
"""How long a closing stream may take to send its last bytes."""

_LOST = "The network daemon is not running just now; it is being restarted, so try again in a moment."
_VARINT_BYTES_MAX = 5

_AS_CID = bytes.fromhex("a503280172002408011220")  # /p2p/ with an Ed25519 key as a CID, 40 bytes
_AS_HASH = bytes.fromhex("a50326002408011220")  # the same as the multihash alone, 38 bytes


class Control:
    """Asks one p2pd, on one socket; every request is a connection of its own."""

    def __init__(self, library: Library, socket: Path) -> None:
        self._library = library
        self._socket = socket
        self.messages: Any = library.messages

    async def ask(self, timeout_s: float = ANSWER_TIMEOUT_S, **fields: Any) -> Any:
        """Returns p2pd's answer to one Request of these fields; raises Unreachable, DaemonLost."""
        async with self.conversation(timeout_s, **fields) as (answer, _, _):
            return answer

    @asynccontextmanager
    async def conversation(
        self, timeout_s: float = ANSWER_TIMEOUT_S, **fields: Any
    ) -> AsyncIterator[tuple[Any, asyncio.StreamReader, asyncio.StreamWriter]]:
        """Yields the answer and the pipe behind it, which is closed in the end; raises Unreachable, DaemonLost."""
        answer, reader, writer = await self.begin(timeout_s, **fields)
        try:
            yield answer, reader, writer
        finally:
            await hang_up(writer)

    async def begin(
        self, timeout_s: float = ANSWER_TIMEOUT_S, **fields: Any
    ) -> tuple[Any, asyncio.StreamReader, asyncio.StreamWriter]:
        """Returns the answer and the pipe, which is the caller's to close; raises Unreachable, DaemonLost."""
        writer = None
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=STREAM_BUFFER_BYTES)
                await send_message(writer, self.messages.Request(**fields))
                answer = await self.read(reader, self.messages.Response)
            if answer.type == self.messages.Response.ERROR:
                raise Unreachable(reason(answer.error.msg, ERROR_CHARS_MAX))
        except BaseException as error:
            if writer is not None:
                writer.transport.abort()
            if isinstance(error, TimeoutError):
                raise Unreachable(f"no answer within {timeout_s:.0f} s") from None
            if isinstance(error, OSError | EOFError):
                raise DaemonLost(_LOST) from error
            raise
        return answer, reader, writer

    async def read(self, reader: asyncio.StreamReader, kind: Callable[[], Any]) -> Any:
        """Returns the next message of p2pd; raises EOFError at the end, and on anything that is none or too large."""
        length = 0
        for place in range(_VARINT_BYTES_MAX):
            byte = (await reader.readexactly(1))[0]
            length |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                break
        if length > MESSAGE_BYTES_MAX:
            raise EOFError(f"p2pd announced a message of {length} bytes")
        message = kind()
        try:
            message.ParseFromString(await reader.readexactly(length))
        except self._library.DecodeError as error:
            raise EOFError(f"p2pd sent what is no message: {error}") from error
        return message

    def peer_bytes(self, peer: str) -> bytes:
        """Returns a peer id as p2pd wants it; raises Unreachable for what is none."""
        try:
            encoded: bytes = self._library.PeerID.from_base58(peer).to_bytes()
        except ValueError:
            raise Unreachable("this is no peer id") from None
        return encoded

    def peer_text(self, encoded: bytes) -> str:
        """Returns the peer id of p2pd's bytes."""
        text: str = self._library.PeerID(encoded).to_base58()
        return text

    def address_bytes(self, address: str) -> bytes:
        """Returns a multiaddress as p2pd wants it; raises BadAddress for what is none."""
        try:
            encoded: bytes = self._library.Multiaddr(address).to_bytes()
        except (ValueError, LookupError) as error:
            raise BadAddress(f"{address[:80]!r} is no multiaddress ({reason(str(error))}); ask for it again.") from None
        return encoded.replace(_AS_CID, _AS_HASH)  # the library writes a relay's id in a form that p2pd refuses

    def address_texts(self, encoded: list[bytes]) -> list[str]:
        """Returns multiaddresses as text, without those of transports that the binding does not know."""
        texts = []
        for each in encoded:
            with suppress(ValueError, LookupError):
                texts.append(str(self._library.Multiaddr(each)))
        return texts


async def send_message(writer: asyncio.StreamWriter, message: Any) -> None:
    """Writes one protobuf message behind its length."""
    body: bytes = message.SerializeToString()
    head, length = bytearray(), len(body)
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    writer.write(bytes(head) + body)
    await writer.drain()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Closes a pipe without waiting long for what is still to be sent."""
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(HANG_UP_TIMEOUT_S):
            await writer.wait_closed()
            return
    writer.transport.abort()
