"""The founding file of a network: its name, tracks, verifiers and policy, signed once by the founder.

Its SHA-256 is the network id inside every record, so no two networks can take each other's records. Leaves out joining
and invites. A record of sequence 0 was rejected as its form: a record names its network, and this file makes the name.
"""

import hashlib
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ensue import identity as keys
from ensue import record
from ensue.errors import MalformedRecord, RecordError, RecordTooLarge, StoreDamaged, StoreError

GENESIS_BYTES_MAX = 65_536
NAME_CHARS_MAX = 64
TRACKS_MAX = 64
VERIFIERS_MAX = 64
VERSION = 1

_DOMAIN = b"ensue-genesis-v1\0"


class TrackRef(NamedTuple):
    """A track of the network: the name people use, and the hash of all that is frozen about it."""

    name: str
    id: str


@dataclass(frozen=True, slots=True)
class Genesis:
    """A verified founding file; equal to another when the bytes are. Unknown fields are in `raw` only."""

    raw: bytes
    network_id: str = field(compare=False)
    name: str = field(compare=False)
    created_ms: int = field(compare=False)
    founder: str = field(compare=False)
    tracks: tuple[TrackRef, ...] = field(compare=False)
    verifiers: tuple[str, ...] = field(compare=False)
    policy: dict[str, Any] = field(compare=False)

    @classmethod
    def decode(cls, raw: bytes) -> "Genesis":
        """Return the genesis in bytes after every check: size, depth, JSON, fields, the founder's signature.

        Raises RecordTooLarge, MalformedRecord or BadSignature.
        """
        raw = bytes(raw)
        if len(raw) > GENESIS_BYTES_MAX:
            raise RecordTooLarge(f"A genesis has at most {GENESIS_BYTES_MAX} bytes, not {len(raw)}; refuse it.")
        payload = raw[keys.SIGNATURE_BYTES :]
        genesis = _from_fields(raw, hashlib.sha256(payload).hexdigest(), record.parse_payload(payload))
        keys.verify(genesis.founder, raw[: keys.SIGNATURE_BYTES], _DOMAIN + payload)
        return genesis

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Genesis":
        """Return the genesis in a file; raises StoreDamaged if it is missing or is not what was saved."""
        try:
            with Path(path).open("rb") as file:
                raw = file.read(GENESIS_BYTES_MAX + 1)
            return cls.decode(raw)
        except OSError as error:
            raise StoreDamaged(
                f"The genesis file {path} cannot be read ({error.strerror}); restore it from a back-up or another node."
            ) from None
        except RecordError:
            raise StoreDamaged(
                f"The genesis file {path} is damaged; restore it from a back-up or another node of the network."
            ) from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file atomically and durably; raises StoreError, and then the old file is untouched."""
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb") as file:
                    file.write(self.raw)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
            keys.sync_folder(target.parent)
        except OSError as error:
            raise StoreError(f"The genesis cannot be saved at {target} ({error.strerror}); make room there.") from None


def found(
    identity: keys.Identity,
    name: str,
    tracks: Iterable[TrackRef],
    *,
    created_ms: int,
    verifiers: Iterable[str] = (),
    policy: Mapping[str, Any] | None = None,
) -> Genesis:
    """Return the signed genesis of a new network: `verifiers` are peer ids, `policy` any JSON object.

    Raises RecordTooLarge, MalformedRecord or BadSignature on anything that `Genesis.decode` would refuse.
    """
    fields = {
        "v": VERSION,
        "name": name,
        "created_ms": created_ms,
        "founder": identity.peer_id,
        "tracks": [{"name": track.name, "id": track.id} for track in tracks],
        "verifiers": list(verifiers),
        "policy": dict(policy or {}),
    }
    payload = record.encode_payload(fields)
    return Genesis.decode(identity.sign(_DOMAIN + payload) + payload)


def _from_fields(raw: bytes, network_id: str, fields: dict[str, Any]) -> Genesis:
    """Check the fields one by one and build the genesis."""
    if type(fields.get("v")) is not int or fields["v"] != VERSION:
        _malformed(f"another version than {VERSION}")
    name, founder, policy = fields.get("name"), fields.get("founder"), fields.get("policy")
    if not _is_name(name):
        _malformed(f"no name of 1 to {NAME_CHARS_MAX} printable characters")
    created_ms = fields.get("created_ms")
    if type(created_ms) is not int or created_ms < 0:
        _malformed("no time of founding in milliseconds from 0 on")
    if not isinstance(founder, str):
        _malformed("no founder")
    if not isinstance(policy, dict):
        _malformed("no policy")
    return Genesis(
        raw,
        network_id,
        str(name),
        created_ms,
        founder,
        _tracks(fields.get("tracks")),
        _verifiers(fields.get("verifiers")),
        policy,
    )


def _tracks(value: object) -> tuple[TrackRef, ...]:
    if not isinstance(value, list) or len(value) > TRACKS_MAX:
        _malformed(f"no list of at most {TRACKS_MAX} tracks")
    tracks = []
    for item in value:
        if not (isinstance(item, dict) and _is_name(item.get("name")) and record.is_hex64(item.get("id"))):
            _malformed("a track without a printable name and an id of 64 hexadecimal digits")
        tracks.append(TrackRef(item["name"], item["id"]))
    if len({track.name for track in tracks}) != len(tracks):
        _malformed("two tracks of one name")
    return tuple(tracks)


def _verifiers(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > VERIFIERS_MAX or not all(isinstance(item, str) for item in value):
        _malformed(f"no list of at most {VERIFIERS_MAX} verifiers")
    for peer_id in value:
        keys.public_key_from_peer_id(peer_id)  # a verifier whose key others can sign for is worse than none
    return tuple(value)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= NAME_CHARS_MAX and value.isprintable()


def _malformed(what: str) -> NoReturn:
    raise MalformedRecord(f"These bytes are no genesis: they hold {what}; ask for the invite again.")
