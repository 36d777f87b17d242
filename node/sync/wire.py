"""The messages between two nodes, and how they are framed: the only module of the node that speaks msgpack.

A frame is a length in four bytes, then a MessagePack array whose first element names the message. Every field has a
bound that is checked while it is decoded; elements beyond those known here are ignored, so that later versions may add
some. Left out: what is asked when (pull, answer). Rejected: protobuf, which needs a compiler and bounds nothing; and
one frame for everything that is missing, which nobody could bound or go on with.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from ensue import packing
from ensue.errors import NetworkError, StoreDamaged
from ensue.record import RECORD_BYTES_MAX
from node.transport.ports import Stream

PROTOCOL = "/autoresearch/sync/1"
VERSION = 1
FRAME_BYTES_MAX = 1024 * 1024
"""An answer's body."""
REQUEST_BYTES_MAX = 72 * 1024
"""A request's body: one record of any size fits."""
BATCH_BYTES_MAX = 768 * 1024
"""Records in one answer, before they are packed, with their lengths."""
BATCH_FILL_BYTES = 640 * 1024
"""Where an answer with records is full: their lengths still fit."""
TAILS_MAX = 512
"""Logs whose ends are asked for at once."""
IDS_MAX = 1_024
"""Records asked for by id at once."""
PREFIXES_MAX = 64
"""Nodes of a tree asked for at once."""
BLOCKS_MAX = 1_024
"""Blocks of a log described in one answer."""
KEYS_MAX = 2_048
"""Places in a log listed in one answer."""
WANTS_MAX = 500
"""Blobs asked for at once."""
TOP_MAX = 100
"""Results of a leaderboard asked for at once."""
SOFTWARE_CHARS_MAX = 100
LABEL_CHARS_MAX = 400

HASH_BYTES = 32
FANOUT = 16
CHILD = struct.Struct(">Q32s")
"""A child of a branch: weight, digest."""
LOG = struct.Struct(">32sQQ32s")
"""A log in a leaf: public key, number of records, highest sequence number, digest."""
BLOCK = struct.Struct(">QQ32s")
"""A block of a log: its number, number of records, digest."""
KEY = struct.Struct(">Q32s")
"""A place in a log: sequence number, id."""
HASH = struct.Struct("32s")
_LENGTH = struct.Struct(">I")

Hash = Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
MaybeHash = Annotated[bytes, Meta(max_length=HASH_BYTES)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Tree = Annotated[str, Meta(pattern="^(logs|sources)$")]
Prefix = Annotated[str, Meta(pattern="^[0-9a-f]{0,63}$")]
Label = Annotated[str, Meta(max_length=LABEL_CHARS_MAX)]


class PeerFault(NetworkError):
    """A peer broke the protocol, or said what it does not keep; `code` names how."""

    def __init__(self, code: str) -> None:
        super().__init__(f"A peer broke the protocol of nodes ({code}): ask another peer.")
        self.code = code


class PeerRefused(NetworkError):
    """A peer will not answer; `code` is its reason, `retry_s` when to ask again, `network` which one it belongs to.

    The latter is None unless the peer said it.
    """

    def __init__(self, code: str, retry_s: int = 0, network: bytes = b"") -> None:
        super().__init__(REASONS.get(code, "The peer will not answer: ask another peer."))
        self.code = code if code in REASONS else "unknown"
        self.retry_s = retry_s
        self.network = network if len(network) == HASH_BYTES else None


REASONS = {
    "version": "The peer speaks another version of the protocol: upgrade autoresearch on the older of the two nodes.",
    "network": "The peer belongs to another network: check the invite that named it.",
    "busy": "The peer has answered enough for now: ask again later, or ask another peer.",
    "cut off": "The peer answers this node no more for a while, as it saw it break the protocol: ask another peer.",
    "protocol": "The peer did not understand what this node asked: upgrade autoresearch on the older of the two nodes.",
    "trouble": "The peer has trouble with its own replica: ask another peer.",
}


class _Message(Struct, frozen=True, array_like=True):
    pass


# What is asked


class Hello(_Message, tag="hello", frozen=True):
    """Opens every stream."""

    version: Count
    network: Hash
    software: Annotated[str, Meta(max_length=SOFTWARE_CHARS_MAX)] = ""


class Walk(_Message, tag="walk", frozen=True):
    """Asks for nodes of a tree, each by the hexadecimal digits that lead to it; answered by Nodes."""

    tree: Tree
    prefixes: Annotated[list[Prefix], Meta(max_length=PREFIXES_MAX)]


class Tail(_Message, frozen=True):
    """A log, by its author's public key, and the place after which it is wanted; an empty id is before every id."""

    author: Hash
    seq: Count
    id: MaybeHash = b""


class Tails(_Message, tag="tails", frozen=True):
    """Asks for the ends of logs; answered by Records."""

    logs: Annotated[list[Tail], Meta(max_length=TAILS_MAX)]


class Blocks(_Message, tag="blocks", frozen=True):
    """Asks for the blocks of a log from block `first` on; answered by BlockList."""

    author: Hash
    first: Count


class Keys(_Message, tag="keys", frozen=True):
    """Asks for the places in one block of a log, after one of them; answered by KeyList."""

    author: Hash
    block: Count
    seq: Count
    id: MaybeHash


class Get(_Message, tag="get", frozen=True):
    """Asks for records by their ids, one after the other; answered by Records."""

    ids: Annotated[bytes, Meta(max_length=IDS_MAX * HASH_BYTES)]


class Want(_Message, frozen=True):
    """A blob, and another one that is known to who asks when the answer comes, empty for none."""

    hash: Hash
    base: MaybeHash = b""


class Blobs(_Message, tag="blobs", frozen=True):
    """Asks for blobs; answered by one or more Pieces."""

    wants: Annotated[list[Want], Meta(max_length=WANTS_MAX)]


class Best(_Message, tag="best", frozen=True):
    """Asks for the best result of a track, of a hardware class if one is named; answered by Records."""

    track: Hash
    hardware_class: Label = ""


class Top(_Message, tag="top", frozen=True):
    """Asks for a leaderboard, results first, then the claims that they name; answered by Records."""

    track: Hash
    by: Annotated[str, Meta(pattern="^(result|agent|account|class|author)$")] = "result"
    limit: Annotated[int, Meta(ge=1, le=TOP_MAX)] = 20


class Give(_Message, tag="give", frozen=True):
    """Hands over packed records, of a node that cannot be asked; answered by Took."""

    records: Annotated[bytes, Meta(max_length=REQUEST_BYTES_MAX)]


# What is answered


class Welcome(_Message, tag="welcome", frozen=True):
    """What is here: number of records and digest of all logs, number and digest of the scripts that are missing."""

    version: Count
    software: Annotated[str, Meta(max_length=SOFTWARE_CHARS_MAX)]
    records: Count
    logs: Hash
    missing: Count
    sources: Hash


class Refused(_Message, tag="refused", frozen=True):
    """Why there is no answer; the stream ends. With `network` as the reason, which network it is here."""

    code: Annotated[str, Meta(max_length=20)]
    retry_s: Annotated[int, Meta(ge=0, le=86_400)] = 0
    network: MaybeHash = b""


class Branch(_Message, tag="branch", frozen=True):
    """A node with its sixteen children, each a CHILD."""

    children: Annotated[bytes, Meta(min_length=FANOUT * CHILD.size, max_length=FANOUT * CHILD.size)]


class Leaf(_Message, tag="leaf", frozen=True):
    """A node with its entries themselves: each a LOG, or a hash."""

    entries: Annotated[bytes, Meta(max_length=FANOUT * LOG.size)]


class Nodes(_Message, tag="nodes", frozen=True):
    """The nodes asked for, in that order."""

    nodes: Annotated[list[Branch | Leaf], Meta(max_length=PREFIXES_MAX)]


class Records(_Message, tag="records", frozen=True):
    """Packed records, and where to go on: at which of what was asked for (their number: done), after which place."""

    records: Annotated[bytes, Meta(max_length=FRAME_BYTES_MAX)]
    at: Count
    seq: Count = 0
    id: MaybeHash = b""


class BlockList(_Message, tag="block list", frozen=True):
    """Blocks, each a BLOCK, in order; `more` if there are others after them."""

    blocks: Annotated[bytes, Meta(max_length=BLOCKS_MAX * BLOCK.size)]
    more: bool


class KeyList(_Message, tag="key list", frozen=True):
    """Places, each a KEY, in order; `more` if there are others after them."""

    keys: Annotated[bytes, Meta(max_length=KEYS_MAX * KEY.size)]
    more: bool


class Piece(_Message, frozen=True):
    """A part of a packed blob: which of those asked for, whether packed against its base, bytes still to come, data."""

    at: Count
    based: bool
    left: Count
    data: Annotated[bytes, Meta(max_length=FRAME_BYTES_MAX)]


class Pieces(_Message, tag="pieces", frozen=True):
    """Parts of blobs, and which are not here. `more`: another frame follows; else `at` says where to ask on."""

    pieces: Annotated[list[Piece], Meta(max_length=WANTS_MAX)]
    absent: Annotated[list[Count], Meta(max_length=WANTS_MAX)]
    at: Count
    more: bool


class Took(_Message, tag="took", frozen=True):
    """What became of records that were given."""

    accepted: Count
    known: Count
    refused: Count


Request = Hello | Walk | Tails | Blocks | Keys | Get | Blobs | Best | Top | Give
Answer = Welcome | Refused | Nodes | Records | BlockList | KeyList | Pieces | Took

_M = TypeVar("_M")
_ENCODER = msgspec.msgpack.Encoder()
_REQUESTS = msgspec.msgpack.Decoder(Request)
_ANSWERS = msgspec.msgpack.Decoder(Answer)


def frame(message: Request | Answer) -> bytes:
    """Returns a message as it goes over the wire."""
    body = _ENCODER.encode(message)
    assert len(body) <= FRAME_BYTES_MAX
    return _LENGTH.pack(len(body)) + body


async def receive_request(stream: Stream) -> tuple[Request, int]:
    """Returns the next request, and its bytes on the wire; raises PeerFault or TransportError."""
    body = await _body(stream, REQUEST_BYTES_MAX)
    return _decoded(_REQUESTS, body), len(body) + _LENGTH.size


async def receive_answer(stream: Stream) -> tuple[Answer, int]:
    """Returns the next answer, and its bytes on the wire; raises PeerFault or TransportError."""
    body = await _body(stream, FRAME_BYTES_MAX)
    return _decoded(_ANSWERS, body), len(body) + _LENGTH.size


async def _body(stream: Stream, bytes_max: int) -> bytes:
    (size,) = _LENGTH.unpack(await stream.receive(_LENGTH.size))
    if not 0 < size <= bytes_max:
        raise PeerFault("frame too large")
    return await stream.receive(size)


def _decoded(decoder: "msgspec.msgpack.Decoder[_M]", body: bytes) -> _M:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # a name that is no UTF-8 is a ValueError
        raise PeerFault("no message") from None


def pack_records(raws: Sequence[bytes]) -> bytes:
    """Returns records as one zstd frame: each after its length in four bytes; nothing for none."""
    if not raws:
        return b""
    return packing.pack(b"".join(part for raw in raws for part in (_LENGTH.pack(len(raw)), raw)), None)


def unpack_records(packed: bytes) -> list[bytes]:
    """Returns the records in a zstd frame that declares at most BATCH_BYTES_MAX; raises PeerFault."""
    if not packed:
        return []
    try:
        data = memoryview(packing.unpack(packed, None, BATCH_BYTES_MAX))
    except StoreDamaged:
        raise PeerFault("records do not unpack") from None
    raws = []
    at = 0
    while at < len(data):
        size = _LENGTH.unpack_from(data, at)[0] if at + _LENGTH.size <= len(data) else 0
        at += _LENGTH.size
        if not 0 < size <= min(RECORD_BYTES_MAX, len(data) - at):
            raise PeerFault("records of wrong lengths")
        raws.append(bytes(data[at : at + size]))
        at += size
    return raws


def joined(layout: struct.Struct, rows: Iterable[tuple[int | bytes, ...]]) -> bytes:
    """Returns rows of one layout as they stand in a message."""
    return b"".join(layout.pack(*row) for row in rows)


def split(layout: struct.Struct, data: bytes) -> list[tuple[int | bytes, ...]]:
    """Returns the rows of one layout in a field; raises PeerFault where it ends within a row."""
    if len(data) % layout.size:
        raise PeerFault("rows cut short")
    return list(layout.iter_unpack(data))
