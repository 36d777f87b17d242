"""What the live tables need of one record, as plain values that cross to another process and back.

Left out: the tables themselves. Everything here depends on the record alone, so it may be computed anywhere; whatever
depends on other records is the tables' business. Rejected: sending bodies across, whose models cost more to pass on
than to make.
"""

from typing import NamedTuple

from ensue import trials
from ensue.body import Body
from ensue.facts import said, score
from ensue.fold import PLACE_UNMEASURED, PLACES
from ensue.kinds import Claim, Hypothesis, Insight, Result, Retraction, Verifier
from ensue.people import Plain, plain
from ensue.record import Record
from ensue.search import folded
from ensue.store.rows import experiment_number

RESULT, CLAIM, TEXT, RETRACTION, PERSON, TRIAL, UNKNOWN = range(7)
"""Roles: which live table a record goes to. UNKNOWN has none: its kind is unknown or its body breaks the rules."""


class Entry(NamedTuple):
    """One record for the tables; ids are 32 bytes, None where absent."""

    id: bytes
    author: str
    seq: int
    kind: str
    role: int
    form: int
    """How `raw` is packed, a number of store.shelf."""
    raw: bytes
    track: str = ""
    experiment: int = 0
    """The first 8 bytes of the experiment's key, as a signed number."""
    parent: bytes | None = None
    claim: bytes | None = None
    hypothesis: bytes | None = None
    target: bytes | None = None
    hardware_class: str = ""
    agent: str = ""
    status: str = ""
    place: int = PLACE_UNMEASURED
    score: float | None = None
    ttl_s: int = 0
    text: str = ""
    """What a search may find, folded."""
    time_ms: int = 0
    """When by its author's clock; of results and of what is said about people."""
    says: Plain = None
    about: tuple[bytes, ...] = ()
    """The results that a record on reruns is about."""


def entry(record: Record, body: Body | None, form: int, packed: bytes) -> Entry:
    """Returns the entry of a record whose body was parsed, None for one that was not."""
    head = (bytes.fromhex(record.id), record.author, record.seq, record.kind)
    if isinstance(body, Result):
        return Entry(
            *(*head, RESULT, form, packed, body.track, experiment_number(body.experiment)),
            *(_unhex(body.parent), _unhex(body.claim)),
            hardware_class=body.hardware_class,
            agent=body.agent,
            status=body.status,
            place=PLACES.get(body.status, PLACE_UNMEASURED),
            score=score(body),
            text=folded(body.description),
            time_ms=record.time_ms,
        )
    if isinstance(body, Claim):
        return Entry(
            *(*head, CLAIM, form, packed, body.track, experiment_number(body.experiment)),
            hypothesis=_unhex(body.hypothesis),
            ttl_s=body.ttl_s,
        )
    if isinstance(body, Hypothesis | Insight):
        return Entry(*head, TEXT, form, packed, body.track, text=folded(body.text))
    if isinstance(body, Retraction):
        return Entry(*head, RETRACTION, form, packed, target=_unhex(body.target))
    says = said(record, body)
    if says is not None or isinstance(body, Verifier):
        return Entry(*head, PERSON, form, packed, time_ms=record.time_ms, says=plain(says))
    targets = trials.about(body) if body is not None else ()
    if targets:
        return Entry(*head, TRIAL, form, packed, about=tuple(map(bytes.fromhex, targets)))
    return Entry(*head, UNKNOWN, form, packed)


def _unhex(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
