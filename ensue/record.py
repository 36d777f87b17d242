"""The signed record: bytes that an author signed once and that everybody keeps and forwards verbatim.

Leaves out what a body means (kinds) and what a set of records means (fold). Canonical JSON was rejected: the signature
covers the bytes that came, so nobody ever encodes a record again, and fields of later versions survive untouched.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import orjson

from ensue import identity as keys
from ensue.errors import MalformedRecord, RecordTooLarge, WrongNetwork

RECORD_BYTES_MAX = 65_536
"""Bytes of a whole record, signature included; checked before anything else is looked at."""
DEPTH_MAX = 16
"""Objects and arrays inside each other, the outermost one counted; checked before JSON is parsed."""
INTEGER_MAX = 2**53 - 1
"""Largest magnitude of an integer: what every JSON reader holds exactly (RFC 7493, section 2.2)."""
KIND_CHARS_MAX = 40
VERSION = 1

_DOMAIN = b"ensue-record-v1\0"
_HEX64 = re.compile(r"[0-9a-f]{64}")
_KIND = re.compile(rf"[a-z][a-z0-9_.-]{{0,{KIND_CHARS_MAX - 1}}}")
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"?|[][{}]', re.DOTALL)
_INTEGER_CHARS_MAX = len(str(-INTEGER_MAX))


@dataclass(frozen=True, slots=True)
class Record:
    """One verified record; equal to another when the wire bytes are. Unknown envelope fields are in `raw` only."""

    raw: bytes
    id: str = field(compare=False)
    network: str = field(compare=False)
    author: str = field(compare=False)
    seq: int = field(compare=False)
    prev: str | None = field(compare=False)
    time_ms: int = field(compare=False)
    kind: str = field(compare=False)
    body: dict[str, Any] = field(compare=False)

    @property
    def signature(self) -> bytes:
        """The author's 64 bytes."""
        return self.raw[: keys.SIGNATURE_BYTES]

    @property
    def payload(self) -> bytes:
        """The signed UTF-8 JSON; its SHA-256 is the id."""
        return self.raw[keys.SIGNATURE_BYTES :]


def sign(
    identity: keys.Identity,
    *,
    network: str,
    seq: int,
    prev: str | None,
    time_ms: int,
    kind: str,
    body: Mapping[str, Any],
) -> Record:
    """Return a new signed record; `prev` is the id of the author's record `seq - 1`, None for the first.

    Raises RecordTooLarge or MalformedRecord on anything that `decode` would refuse, before signing it. The body is not
    compared with the rules of its kind.
    """
    envelope = {
        "v": VERSION,
        "network": network,
        "author": identity.peer_id,
        "seq": seq,
        "prev": prev,
        "time_ms": time_ms,
        "kind": kind,
        "body": dict(body),
    }
    payload = encode_payload(envelope)
    _check_size(keys.SIGNATURE_BYTES + len(payload))
    parsed = parse_payload(payload)  # before the signature: what this node signs, every node can read
    return _from_fields(identity.sign(_DOMAIN + payload) + payload, payload, parsed)


def decode(raw: bytes, network: str | None = None) -> Record:
    """Return the record in wire bytes after every check: size, depth, JSON, envelope, network, signature.

    Raises RecordTooLarge, MalformedRecord, WrongNetwork (only if `network` is given) or BadSignature.
    """
    record = decode_stored(raw)
    if network is not None and record.network != network:
        raise WrongNetwork("The record belongs to another network; keep it out of this one.")
    keys.verify(record.author, record.raw[: keys.SIGNATURE_BYTES], _DOMAIN + record.raw[keys.SIGNATURE_BYTES :])
    return record


def decode_stored(raw: bytes) -> Record:
    """Return the record in wire bytes without checking its signature: for rows of one's own store.

    Raises RecordTooLarge or MalformedRecord; the caller compares `id` with the row's to see damage.
    """
    raw = bytes(raw)
    _check_size(len(raw))
    payload = raw[keys.SIGNATURE_BYTES :]
    return _from_fields(raw, payload, parse_payload(payload))


def decode_known(raw: bytes, record_id: str) -> Record | None:
    """Return the record in wire bytes that hash to an id which was accepted before; None when they do not.

    The id stands for every check that was made then, so only the hash is compared: half the time of `decode_stored`.
    """
    payload = raw[keys.SIGNATURE_BYTES :]
    if hashlib.sha256(payload).hexdigest() != record_id:
        return None
    try:
        fields = orjson.loads(payload)
        envelope = [fields[name] for name in ("network", "author", "seq", "prev", "time_ms", "kind", "body")]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # somebody made up both the bytes and the id
    return Record(raw, record_id, *envelope)


def encode(record: Record) -> bytes:
    """Return the wire bytes of a record: a 64-byte signature, then the payload, as they came."""
    return record.raw


def encode_payload(fields: Mapping[str, Any]) -> bytes:
    """Return fields as compact UTF-8 JSON, spelled so that reading it is fast; raises MalformedRecord if that fails."""
    try:
        spelled = orjson.dumps(fields)
        if orjson.loads(spelled) != fields:  # not finite, which is written as null, or a tuple, which comes back a list
            json.dumps(fields, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedRecord(f"These fields do not fit into JSON ({error}); give plain, finite values.") from None
    return spelled


def parse_payload(payload: bytes) -> dict[str, Any]:
    """Return the object in strict UTF-8 JSON bytes, whose length the caller has bounded.

    Raises MalformedRecord on: nesting beyond DEPTH_MAX, no UTF-8, a BOM, duplicate keys, NaN, Infinity or a number that
    overflows, an integer beyond INTEGER_MAX, a lone surrogate, anything after the object.
    """
    _check_depth(payload)
    if (usual := _parse_usual(payload)) is not None:
        return usual
    try:
        fields = _DECODER.decode(payload.decode("utf-8"))
        if b"\\u" in payload:  # only an escape can bring a lone surrogate in, and only then this second pass is paid
            json.dumps(fields, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        _malformed("text that is not valid UTF-8 or has half a surrogate pair")
    except ValueError:  # json.JSONDecodeError is one
        _malformed("no strict JSON")
    if not isinstance(fields, dict):
        _malformed("JSON that is not an object")
    return fields


def _parse_usual(payload: bytes) -> dict[str, Any] | None:
    """Return the object in bytes that are spelled as `encode_payload` spells them, else None; in a tenth of the time.

    Bytes that come back as they were hold no key twice, nothing after the object and no number that was rounded.
    """
    try:
        fields = orjson.loads(payload)
        spelled = orjson.dumps(fields, option=orjson.OPT_STRICT_INTEGER)  # refuses what is beyond INTEGER_MAX
    except (ValueError, TypeError):
        return None
    return fields if spelled == payload and isinstance(fields, dict) else None


def is_hex64(value: object) -> bool:
    """Return whether a value is a SHA-256 in its one spelling: 64 lower-case hexadecimal digits."""
    return isinstance(value, str) and _HEX64.fullmatch(value) is not None


def _from_fields(raw: bytes, payload: bytes, fields: dict[str, Any]) -> Record:
    """Check the envelope, field by field, and build the record."""
    version = fields.get("v")
    if type(version) is not int or version != VERSION:
        _malformed(f"another version than {VERSION}")
    network, author, kind, body = (fields.get(name) for name in ("network", "author", "kind", "body"))
    if not is_hex64(network):
        _malformed("no network id")
    if not isinstance(author, str):
        _malformed("no author")
    if not isinstance(kind, str) or _KIND.fullmatch(kind) is None:
        _malformed("no kind of 1 to 40 small letters, digits, dots, dashes and underscores")
    if not isinstance(body, dict):
        _malformed("no body")
    seq, time_ms = fields.get("seq"), fields.get("time_ms")
    if type(seq) is not int or seq < 1:  # `type`, as True is an int too
        _malformed("no sequence number from 1 on")
    if type(time_ms) is not int or time_ms < 0:
        _malformed("no time in milliseconds from 0 on")
    if "prev" not in fields:
        _malformed("no previous id, which the first record gives as null")
    prev = fields["prev"]
    if (prev is None) != (seq == 1) or not (prev is None or is_hex64(prev)):
        _malformed("a previous id where there is none, or none where there must be one")
    record_id = hashlib.sha256(payload).hexdigest()
    return Record(raw, record_id, network, author, seq, prev, time_ms, kind, body)  # type: ignore[arg-type]


def _check_size(size: int) -> None:
    if size > RECORD_BYTES_MAX:
        raise RecordTooLarge(f"A record has at most {RECORD_BYTES_MAX} bytes, not {size}; shorten its body.")
    if size <= keys.SIGNATURE_BYTES:
        _malformed("no payload after the signature")


def _check_depth(payload: bytes) -> None:
    if payload.count(b"{") + payload.count(b"[") <= DEPTH_MAX:  # strings included: cannot nest deeper than that
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(payload):
        token = match[0]
        if token in (b"{", b"["):
            depth += 1
            if depth > DEPTH_MAX:
                _malformed(f"more than {DEPTH_MAX} objects and arrays inside each other")
        elif token in (b"}", b"]"):
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate key")
    return fields


def _integer(digits: str) -> int:
    if len(digits) > _INTEGER_CHARS_MAX or abs(number := int(digits)) > INTEGER_MAX:
        raise ValueError("integer too large")
    return number


def _float(digits: str) -> float:
    number = float(digits)
    if number - number != 0.0:
        raise ValueError("number too large")
    return number


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _malformed(what: str) -> NoReturn:
    raise MalformedRecord(f"These bytes are no record: they hold {what}; refuse them, or correct what made them.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_integer, parse_constant=_constant, strict=True
)
