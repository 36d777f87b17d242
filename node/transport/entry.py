"""What may stand in the DHT: small entries, each signed by the peer under whose id it stands, for one network.

A key names a network, a kind and a subject; under it every peer has one subkey, its own id. The signature covers
network, key, subkey, value and expiry, so nothing can be moved, prolonged or carried into another network. Entries
are hints: who reads checks them again, and believes only records and hashes. Pure: no network, no clock of its own.
Rejected: hivemind's RSA validator, which lets every unprotected key through.
"""

import functools
import hashlib
import importlib
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ensue.errors import RecordError
from ensue.identity import Identity, verify

ENTRY_BYTES_MAX = 2_048
"""Bytes of one signed entry; a full list of them stays far below the 4 MiB of one answer of p2pd."""
ENTRY_ADDRESSES_MAX = 8
"""Addresses in a peer's announcement."""
ENTRY_TEXT_CHARS_MAX = 200
"""Characters of one text in an entry."""
COUNT_MAX = 2**53
"""Largest number in an entry."""
SIGNATURES_CACHED_MAX = 1_024
"""Entries whose check is remembered."""
CLOCK_S_MAX = 600
"""Seconds by which a signer's clock may be ahead; who is further off is not found through the DHT, only by dialing."""

_msgpack: Any = importlib.import_module("msgpack")
_DOMAIN = b"autoresearch-dht-entry-v1\0"
_HEX64 = re.compile(r"[0-9a-f]{64}")
_PEER = re.compile(r"[1-9A-HJ-NP-Za-km-z]{46,64}")
_DIGEST = re.compile(r"[0-9a-f]{0,64}")


class Kind(NamedTuple):
    """One kind of key: what may be its subject, how long an entry may live (s), and which values it takes."""

    subject: re.Pattern[str]
    ttl_s_max: int
    fits: Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= ENTRY_TEXT_CHARS_MAX


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= COUNT_MAX


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_peer(value: Any) -> bool:
    """[addresses, version, reachable, records, digest, session]"""
    return (
        isinstance(value, list)
        and len(value) == 6
        and isinstance(value[0], list)
        and len(value[0]) <= ENTRY_ADDRESSES_MAX
        and all(map(_text, value[0]))
        and _text(value[1])
        and _matches(re.compile("unknown|public|private"), value[2])
        and _count(value[3])
        and _matches(_DIGEST, value[4])
        and _text(value[5])
    )


def _is_head(value: Any) -> bool:
    """[highest sequence number, number of records, digest]"""
    return (
        isinstance(value, list)
        and len(value) == 3
        and _count(value[0])
        and _count(value[1])
        and _matches(_DIGEST, value[2])
    )


KINDS = {
    "peers": Kind(re.compile(""), 3_600, _is_peer),
    "head": Kind(_PEER, 3_600, _is_head),
    "blob": Kind(_HEX64, 7_200, lambda value: value is True),
    "claim": Kind(_HEX64, 86_400, lambda value: _matches(_HEX64, value)),
}
"""Every kind there is; a value of None under any of them takes the entry back."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One verified entry: who says what under which key, until when (Unix seconds)."""

    peer: str
    kind: str
    subject: str
    value: Any
    expires: float


def key_of(network: str, kind: str, subject: str) -> bytes:
    """Returns the DHT key of a subject."""
    return f"autoresearch/1/{network}/{kind}/{subject}".encode()


def sign(identity: Identity, network: str, kind: str, subject: str, value: Any, expires: float) -> bytes:
    """Returns a signed entry; raises ValueError for what no reader would take, which is the caller's mistake."""
    rules = KINDS[kind]
    if rules.subject.fullmatch(subject) is None or not (value is None or rules.fits(value)):
        raise ValueError(f"no entry of kind {kind} has the subject {subject!r} and the value {value!r}")
    body: bytes = _msgpack.packb([network, kind, subject, value, expires])
    packed: bytes = _msgpack.packb([body, identity.sign(_message(identity.peer_id, body))])
    if len(packed) > ENTRY_BYTES_MAX:
        raise ValueError(f"an entry of {len(packed)} bytes is too large; give fewer addresses")
    return packed


def read(network: str, peer: str, key_digest: bytes, packed: bytes, expires: float, now: float) -> Entry | None:
    """Returns a verified entry, or None for anything else.

    `peer` is the subkey and `key_digest` the SHA-1 of the key under which the bytes were found, `expires` what the DHT
    says of them. Costs a signature check only when all else is right.
    """
    if len(packed) > ENTRY_BYTES_MAX or not _matches(_PEER, peer) or not isinstance(expires, float):
        return None
    try:
        body, signature = _unpacked(packed, 2)
        entry_network, kind, subject, value, entry_expires = _unpacked(body, 5)
    except (ValueError, TypeError):
        return None
    rules = KINDS.get(kind) if isinstance(kind, str) else None
    if rules is None or entry_network != network or type(entry_expires) is not float or entry_expires != expires:
        return None
    if not _matches(rules.subject, subject) or not (value is None or rules.fits(value)):
        return None
    if hashlib.sha1(key_of(network, kind, subject)).digest() != key_digest:
        return None
    if not now < expires <= now + rules.ttl_s_max + CLOCK_S_MAX or not isinstance(signature, bytes):
        return None
    return Entry(peer, kind, subject, value, expires) if _signed(peer, signature, _message(peer, body)) else None


def wrapped(packed: bytes) -> Any:
    """Returns the one text or run of bytes that the DHT's own packing holds; None for anything else."""
    try:
        found = _msgpack.unpackb(packed, raw=False, max_array_len=0, max_map_len=0, max_ext_len=0)
    except (ValueError, TypeError, OverflowError, _msgpack.UnpackException):
        return None
    return found


@functools.lru_cache(maxsize=SIGNATURES_CACHED_MAX)
def _signed(peer: str, signature: bytes, message: bytes) -> bool:
    """Returns whether a peer signed a message; the same entry comes from each of its replicas."""
    try:
        verify(peer, signature, message)
    except RecordError:
        return False
    return True


def _message(peer: str, body: bytes) -> bytes:
    name = peer.encode()
    return _DOMAIN + struct.pack(">I", len(name)) + name + body


def _unpacked(packed: Any, length: int) -> list[Any]:
    """Returns the list of `length` values in bytes; raises ValueError or TypeError for anything else."""
    try:
        found = _msgpack.unpackb(
            packed,
            raw=False,
            max_str_len=ENTRY_BYTES_MAX,
            max_bin_len=ENTRY_BYTES_MAX,
            max_array_len=16,
            max_map_len=0,
            max_ext_len=0,
        )
    except (OverflowError, RecursionError, _msgpack.UnpackException) as error:
        raise ValueError(str(error)) from error
    if not isinstance(found, list) or len(found) != length:
        raise ValueError(f"not a list of {length} values")
    return found
