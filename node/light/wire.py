"""The messages that the light client asks and is answered with, by the document of the protocol.

Written apart from the node's own messages on purpose: two programs that read one document and agree prove the document.
A frame is a length in four bytes and a MessagePack array that begins with the message's name. Left out: blobs, and
answering: a node that asks is told to come back tomorrow, since it has what is here. Rejected: sharing the node's
classes, with which a mistake would be in both.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from ensue import packing
from ensue.errors import NetworkError, StoreDamaged
from ensue.record import RECORD_BYTES_MAX

PROTOCOL = "/autoresearch/sync/1"
TOPIC_BEGINNING = "autoresearch/1/"
VERSION = 1
ANSWER_BYTES_MAX = 1024 * 1024
"""An answer's frame."""
BATCH_BYTES_MAX = 768 * 1024
"""What the records of one answer may unpack to."""
REQUEST_BYTES_MAX = 72 * 1024
"""What a node may ask in one frame."""
BUSY_S = 86_400
"""When a node that asks may come back."""
GIVEN_BYTES_MAX = 70 * 1024
"""Packed records that are handed over at once."""
PREFIXES_MAX = 64
"""Nodes of the tree asked for at once."""
TAILS_MAX = 512
"""Logs asked for at once."""
IDS_MAX = 1_024
"""Records asked for by id at once."""
HASH_BYTES = 32
FANOUT = 16
LEAF_ENTRIES = 16

_LENGTH = struct.Struct(">I")
_CHILD = struct.Struct(">Q32s")
_LOG = struct.Struct(">32sQQ32s")
_BLOCK = struct.Struct(">QQ32s")
_KEY = struct.Struct(">Q32s")

_REASONS = {
    "version": "it speaks another version of the protocol: upgrade autoresearch on the older of the two machines",
    "network": "it belongs to another network: use an address of the network you want to follow",
    "busy": "it has answered enough for now: try again later",
    "cut off": "it answers this machine no more for a while: try another node",
}


class BadAnswer(NetworkError):
    """A node answered something that the protocol does not allow."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The node's answer breaks the protocol ({what}): try another node of the network.")


class Refusal(NetworkError):
    """A node will not answer; `retry_s` says when to ask again, 0 if it does not say."""

    def __init__(self, code: str, retry_s: int) -> None:
        reason = _REASONS.get(code, "it does not say why in words known here: try another node")
        super().__init__(f"The node does not answer, as {reason}.")
        self.code = code
        self.retry_s = retry_s


class Bytes(Protocol):
    """What carries frames: see `node.transport.ports.Stream`."""

    async def send(self, data: bytes) -> None:
        """Sends bytes."""

    async def receive(self, size: int) -> bytes:
        """Returns exactly so many bytes."""


class Place(NamedTuple):
    """A place in a log: sequence number, and id, which orders forks; an empty id is before every other."""

    seq: int
    id: bytes


class Child(NamedTuple):
    """One of the sixteen children of a branch: how many records are below it, and their digest."""

    records: int
    digest: bytes


class LogHead(NamedTuple):
    """A log as it is compared: public key, number of records, highest number, digest."""

    key: bytes
    records: int
    high: int
    digest: bytes


class Block(NamedTuple):
    """1,024 numbers of a log: which, number of records, digest."""

    number: int
    records: int
    digest: bytes


class Batch(NamedTuple):
    """Records as their authors signed them, and where to go on: at which thing asked for, after which place."""

    raws: list[bytes]
    at: int
    after: Place


Node = Sequence[Child | LogHead]
"""A branch as its sixteen children, a leaf as its logs."""


def encoded(name: str, *fields: Any) -> bytes:
    """Returns a message as a frame."""
    body = msgspec.msgpack.encode([name, *fields])
    return _LENGTH.pack(len(body)) + body


async def ask(stream: Bytes, wanted: str, name: str, *fields: Any) -> list[Any]:
    """Asks, and returns the fields of the answer named `wanted`.

    Raises Refusal, BadAnswer, or TransportError where the stream fails.
    """
    await stream.send(encoded(name, *fields))
    (size,) = _LENGTH.unpack(await stream.receive(_LENGTH.size))
    if not 0 < size <= ANSWER_BYTES_MAX:
        raise BadAnswer(f"a frame of {size:,} bytes")
    try:
        answer = msgspec.msgpack.decode(await stream.receive(size))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise BadAnswer("no MessagePack") from None
    if not isinstance(answer, list) or not answer:
        raise BadAnswer("no message")
    if answer[0] == "refused":
        code, retry_s = [*answer[1:], 0][:2] if len(answer) > 1 else ("", 0)
        raise Refusal(str(code)[:40], retry_s if type(retry_s) is int and 0 <= retry_s <= 86_400 else 0)
    if answer[0] != wanted:
        raise BadAnswer(f"{str(answer[0])[:40]!r} where {wanted!r} was due")
    return answer[1:]


async def turn_away(stream: Bytes) -> None:
    """Answers the first question of a node, whatever it is; raises BadAnswer, or TransportError."""
    (size,) = _LENGTH.unpack(await stream.receive(_LENGTH.size))
    if size > REQUEST_BYTES_MAX:
        raise BadAnswer(f"a question of {size:,} bytes")
    await stream.receive(size)
    await stream.send(encoded("refused", "busy", BUSY_S))


async def hello(stream: Bytes, network: str, software: str) -> Child:
    """Opens a stream, and returns how many records the node has, with their digest."""
    fields = await ask(stream, "welcome", "hello", VERSION, bytes.fromhex(network), software)
    if _count(fields, 0) != VERSION:
        raise BadAnswer("another version")
    return Child(_count(fields, 2), _hash(fields, 3))


async def walk(stream: Bytes, prefixes: Sequence[str]) -> list[Node]:
    """Returns nodes of the tree of logs, each by the hexadecimal digits that lead to it."""
    (nodes,) = _some(await ask(stream, "nodes", "walk", "logs", list(prefixes)), 1)
    if not isinstance(nodes, list) or len(nodes) != len(prefixes):
        raise BadAnswer("another number of nodes")
    return [_node(node) for node in nodes]


async def tails(stream: Bytes, logs: Sequence[tuple[bytes, Place]]) -> Batch:
    """Returns records of logs, each by its author's public key and the place after which they are wanted."""
    return _batch(await ask(stream, "records", "tails", [[key, *place] for key, place in logs]))


async def blocks(stream: Bytes, key: bytes, first: int) -> tuple[list[Block], bool]:
    """Returns the blocks of a log from number `first` on, and whether there are more."""
    rows, more = _some(await ask(stream, "block list", "blocks", key, first), 2)
    return [Block(*row) for row in _rows(_BLOCK, rows)], bool(more)


async def places(stream: Bytes, key: bytes, block: int, after: Place) -> tuple[list[Place], bool]:
    """Returns the places in one block of a log after one of them, and whether there are more."""
    rows, more = _some(await ask(stream, "key list", "keys", key, block, *after), 2)
    return [Place(*row) for row in _rows(_KEY, rows)], bool(more)


async def get(stream: Bytes, ids: Sequence[bytes]) -> Batch:
    """Returns records by their ids."""
    return _batch(await ask(stream, "records", "get", b"".join(ids)))


async def give(stream: Bytes, raws: Sequence[bytes]) -> tuple[int, int, int]:
    """Hands records over, and returns how many the node took in, knew already and refused."""
    packed = packing.pack(b"".join(part for raw in raws for part in (_LENGTH.pack(len(raw)), raw)), None)
    fields = await ask(stream, "took", "give", packed)
    return _count(fields, 0), _count(fields, 1), _count(fields, 2)


def log_head(head: LogHead) -> bytes:
    """Returns the bytes that stand for a log in the digest of a leaf."""
    return _LOG.pack(*head)


def children(some: Iterable[Child]) -> bytes:
    """Returns the bytes that stand for children in the digest of a branch."""
    return b"".join(_CHILD.pack(*child) for child in some)


def block_list(some: Iterable[Block]) -> bytes:
    """Returns the bytes that stand for blocks in the digest of a log."""
    return b"".join(_BLOCK.pack(*block) for block in some)


def _node(node: Any) -> Node:
    name, data = _some(node, 2)
    if name == "branch":
        found = [Child(*row) for row in _rows(_CHILD, data)]
        if len(found) != FANOUT:
            raise BadAnswer("a branch without sixteen children")
        return found
    logs = [LogHead(*row) for row in _rows(_LOG, data)]
    if name != "leaf" or len(logs) > LEAF_ENTRIES:
        raise BadAnswer("no node of a tree")
    return logs


def _batch(fields: list[Any]) -> Batch:
    packed, at, seq, record_id = [*_some(fields, 2), *fields[2:4], *[0, b""][max(0, len(fields) - 2) :]][:4]
    if not isinstance(packed, bytes) or not isinstance(record_id, bytes) or len(record_id) > HASH_BYTES:
        raise BadAnswer("a batch that is none")
    return Batch(unpacked(packed), _count([at], 0), Place(_count([seq], 0), record_id))


def unpacked(packed: bytes) -> list[bytes]:
    """Returns the records in a zstd frame, each after its length; raises BadAnswer."""
    if not packed:
        return []
    try:
        data = packing.unpack(packed, None, BATCH_BYTES_MAX)
    except StoreDamaged:
        raise BadAnswer("records that do not unpack") from None
    raws, at = [], 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise BadAnswer("records cut short")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if not 0 < size <= min(RECORD_BYTES_MAX, len(data) - at):
            raise BadAnswer("records of wrong lengths")
        raws.append(data[at : at + size])
        at += size
    return raws


def _rows(layout: struct.Struct, data: Any) -> list[tuple[Any, ...]]:
    if not isinstance(data, bytes) or len(data) % layout.size:
        raise BadAnswer("rows cut short")
    return list(layout.iter_unpack(data))


def _some(fields: Any, count: int) -> list[Any]:
    if not isinstance(fields, list) or len(fields) < count:
        raise BadAnswer("fields missing")
    return fields[:count]


def _count(fields: list[Any], at: int) -> int:
    value = fields[at] if at < len(fields) else None
    if type(value) is not int or not 0 <= value < 2**63:
        raise BadAnswer("no count")
    return value


def _hash(fields: list[Any], at: int) -> bytes:
    value = fields[at] if at < len(fields) else None
    if not isinstance(value, bytes) or len(value) != HASH_BYTES:
        raise BadAnswer("no hash")
    return value
