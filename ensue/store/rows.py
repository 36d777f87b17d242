"""What queries answer with: frozen rows, made from a record's own bytes and what the live tables say about it.

Left out: SQL. A row is built from the bytes that the author signed and their hash is compared on the way, so a damaged
page cannot show as a result. Rejected: handing out pydantic bodies, which cost queries an import they can do without.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from ensue.record import Record, decode_known
from ensue.store.database import damaged

_Row = TypeVar("_Row")

RETRACTED = "retracted"
FROZEN = "frozen"
REVOKED = "revoked"
DESCENDS = "descends from retracted"
REFUTED, WORSE = "refuted", "worse in reruns"
OF_REFUTED = "descends from refuted"
EXPERIMENT_BYTES = 8
ANSWERS = {"not yet": 0, "tie": 1, "better": 2, "worse": 3, "refuted": 4}
"""What reruns may say about a result, with the number under which it is kept; from 3 on it stands in no ranking."""


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One result. Times end in their unit; `value` is None unless status is kept or discarded.

    `measured` is what reruns by others say that the value is, None without any.
    """

    id: str
    author: str
    seq: int
    created_ms: int
    received_ms: int
    flags: tuple[str, ...]
    level: str
    measured: float | None
    track: str
    experiment: str
    claim: str | None
    parent: str | None
    status: str
    metric: str
    direction: str
    value: float | None
    holdout: float | None
    holdout_gap: float | None
    holdout_gap_sd: float | None
    seed: int
    clock: str
    budget_s: float
    setup_s: float
    train_wall_s: float
    cpu_s: float
    score_s: float
    overhead_s: float
    wall_s: float
    cpu_share: float | None
    contended: bool
    tokens_reported: int | None
    hardware_class: str
    device: str
    sandbox: str
    software: str
    source: str
    source_bytes: int
    log: str | None
    description: str
    change: tuple[dict[str, Any], ...]
    reason: str | None
    checks: dict[str, float]
    agent: str
    proposer: str


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """One open claim; it holds its experiment until `received_ms + 1000 * ttl_s`, which the caller judges."""

    id: str
    author: str
    seq: int
    created_ms: int
    received_ms: int
    flags: tuple[str, ...]
    track: str
    experiment: str
    parent: str | None
    source: str
    description: str
    change: tuple[dict[str, Any], ...]
    expectation: dict[str, float] | None
    hypothesis: str | None
    ttl_s: int
    agent: str
    proposer: str


@dataclass(frozen=True, slots=True)
class HypothesisRow:
    """One idea; `tried` counts the results that came of it, `claimed` the open claims that name it."""

    id: str
    author: str
    seq: int
    created_ms: int
    received_ms: int
    flags: tuple[str, ...]
    track: str
    text: str
    change: tuple[dict[str, Any], ...]
    source: str | None
    parent: str | None
    agent: str
    tried: int
    claimed: int


@dataclass(frozen=True, slots=True)
class InsightRow:
    """One lesson; whether `valid_days` have passed since `received_ms` is the caller's to judge."""

    id: str
    author: str
    seq: int
    created_ms: int
    received_ms: int
    flags: tuple[str, ...]
    track: str
    text: str
    evidence: tuple[str, ...]
    scope: str
    valid_days: int | None
    agent: str


@dataclass(frozen=True, slots=True)
class Stats:
    """What a track amounts to; results that do not count are left out."""

    results: int
    by_status: dict[str, int]
    by_author: dict[str, dict[str, int]]
    open_claims: int
    hypotheses: int
    insights: int


_WHERE_ABSENT: dict[str, Any] = {"agent": "", "proposer": "", "scope": "", "checks": {}, "change": (), "evidence": ()}
_NAMES: dict[type, tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind)) for kind in (ResultRow, ClaimRow, HypothesisRow, InsightRow)
}
_FLOATS = frozenset(field.name for field in fields(ResultRow) if str(field.type).startswith("float"))


def checked(path: Path, key: bytes, raw: bytes) -> Record:
    """Returns the record in a row's bytes; raises StoreDamaged when they do not hash to the row's id."""
    record = decode_known(raw, key.hex()) if isinstance(raw, bytes) else None
    if record is None:
        raise damaged(path, f"record {key.hex()[:12]} does not match its hash")
    return record


def build(kind: type[_Row], record: Record, received_ms: int, **derived: Any) -> _Row:
    """Returns a row of a kind from a record's envelope and body, and the derived fields given by name."""
    values: dict[str, Any] = {"id": record.id, "author": record.author, "seq": record.seq}
    values |= {"created_ms": record.time_ms, "received_ms": received_ms, **derived}
    for name in _NAMES[kind]:
        if name not in values:
            value = record.body.get(name, _WHERE_ABSENT.get(name))
            if isinstance(value, list):
                value = tuple(value)
            elif value is not None and name in _FLOATS:
                value = float(value)  # JSON writes 2.0 as 2 if it likes
            values[name] = value
    return kind(**values)


def experiment_number(key: str) -> int:
    """Returns the first 8 bytes of an experiment's key as a signed number: short enough for an index."""
    return int.from_bytes(bytes.fromhex(key[: 2 * EXPERIMENT_BYTES]), "big", signed=True)


def tie(key: bytes) -> int:
    """Returns the first 7 bytes of an id as a number, which orders as the id does."""
    return int.from_bytes(key[:7], "big")


def flags(retracted: int, frozen: int, tainted: int = 0, answer: int = 0, doubted: int = 0) -> tuple[str, ...]:
    """Returns what may be said against a record, in words."""
    said = (
        *((retracted, RETRACTED), (frozen == 1, FROZEN), (frozen == 2, REVOKED), (tainted, DESCENDS)),
        *((answer == ANSWERS["refuted"], REFUTED), (answer == ANSWERS["worse"], WORSE), (doubted, OF_REFUTED)),
    )
    return tuple(word for holds, word in said if holds)
