"""A record before it is signed, and what is stored with it.

Left out: storing (store). Apart from the store so that whoever only reads does without the bodies' models.
Rejected: giving a number already here; it is taken in the transaction that stores the record.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ensue.blobs import Blob
from ensue.errors import InvalidBody
from ensue.identity import Identity
from ensue.record import Record, sign

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ensue.body import Body


@dataclass(frozen=True, slots=True)
class Draft:
    """A record that is not signed yet; blobs and this node's notes are stored in one transaction with it.

    A note of None is removed; notes that name the record itself are given as a function of it.
    """

    kind: str
    body: "Mapping[str, Any] | BaseModel"
    blobs: Sequence[Blob] = ()
    local: Mapping[str, str | None] | Callable[[Record], Mapping[str, str | None]] | None = None

    def notes(self, record: Record) -> Mapping[str, str | None]:
        """Returns the notes, now that the record is known."""
        return self.local(record) if callable(self.local) else self.local or {}


def checked_body(draft: Draft) -> "tuple[dict[str, Any], Body]":
    """Returns a draft's body as it is signed, and as a model; raises InvalidBody."""
    from ensue.kinds import KINDS, parse_body

    fields = dict(draft.body) if isinstance(draft.body, Mapping) else draft.body.model_dump(mode="json")
    parsed = parse_body(draft.kind, fields)
    if parsed is None:
        raise InvalidBody(f"There is no kind of record named {draft.kind!r}: use one of {', '.join(KINDS)}.")
    return fields, parsed


def signed(
    identity: Identity, network: str, seq: int, prev: str | None, kind: str, fields: dict[str, Any], parsed: "Body"
) -> Record:
    """Returns a record of now; raises BadSignature where its body bears a false statement, and RecordTooLarge."""
    from ensue.facts import checked

    time_ms = time.time_ns() // 1_000_000
    record = sign(identity, network=network, seq=seq, prev=prev, time_ms=time_ms, kind=kind, body=fields)
    checked(record, parsed)
    return record
