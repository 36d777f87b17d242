"""What nodes gossip: which logs have grown, and which claims are still worked on. Hints only, small and bounded.

Left out: acting on it (swarm.herald). Rejected: records inside, which every node would be sent several times.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from node.sync.wire import Count, Hash

TOPIC = "autoresearch/1/"
"""Beginning of the topic of a network; its id follows in hexadecimal digits."""
HEADS_MAX = 64
"""Logs in one message."""
BEATS_MAX = 64
"""Claims in one message."""


class Head(Struct, frozen=True, array_like=True):
    """An author's public key, and the highest sequence number of his log."""

    author: Hash
    seq: Count


class News(Struct, frozen=True, array_like=True, tag="news"):
    """Logs that have grown, and ids of the sender's own claims that it still works on."""

    heads: Annotated[list[Head], Meta(max_length=HEADS_MAX)]
    claims: Annotated[list[Hash], Meta(max_length=BEATS_MAX)] = []


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(News)


def encode(news: News) -> bytes:
    """Returns a message as it is gossiped."""
    return _ENCODER.encode(news)


def decode(data: bytes) -> News | None:
    """Returns a message that was gossiped, None where it is none."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
