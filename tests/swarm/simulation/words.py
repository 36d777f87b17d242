"""What simulated nodes write: records of every kind that refer to each other, mostly as they should.

Left out: meaning. A reference may point at nothing, at another author's record, or at one that has not arrived yet, as
it may in a swarm that is cut in two.
"""

import hashlib
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import bodies

from ensue.blobs import Blob
from ensue.identity import Identity
from ensue.record import Record, sign
from ensue.store import Draft

NETWORK = bodies.NETWORK
KINDS = ["result"] * 5 + ["claim"] * 3 + ["retraction"] * 3 + ["hypothesis", "insight", "x-later"]


def sha(text: str) -> str:
    """Returns the hash of a text."""
    return bodies.sha(text)


def identity(*name: object) -> Identity:
    """Returns the key of somebody who has a name."""
    return Identity(hashlib.sha256(repr(name).encode()).digest())


def draft(chance: Random, made: Sequence[Record], author: str, number: int) -> Draft:
    """Returns what an author writes next, given what was written by anybody so far."""
    kind = chance.choice(KINDS)
    blobs = []
    body = _body(chance, made, author, kind, number)
    if kind == "result" and chance.random() < 0.3:
        blob = Blob(source(chance, number))
        blobs.append(blob)
        body["source"] = blob.sha256
    return Draft(kind, body, blobs)


def later(near: str, last: Record | None, kind: str, body: Mapping[str, Any]) -> Record:
    """Returns the next record of a node whose program is newer than this one."""
    seq, prev = (1, None) if last is None else (last.seq + 1, last.id)
    return sign(identity("newer", near), network=NETWORK, seq=seq, prev=prev, time_ms=seq, kind=kind, body=body)


def fork(author: Identity, seq: int, number: int) -> Record:
    """Returns a record that takes a sequence number, whoever else has it."""
    prev = None if seq == 1 else bodies.sha(f"before {seq}")
    body = bodies.insight(f"fork {number}")
    return sign(author, network=NETWORK, seq=seq, prev=prev, time_ms=number, kind="insight", body=body)


def source(chance: Random, number: int) -> bytes:
    """Returns a script that shares most of its lines with others."""
    lines = [f"KNOB_{line} = {line * line}" for line in range(40)]
    lines[chance.randrange(40)] = f"KNOB = {number}"
    return "\n".join(lines).encode()


def _body(chance: Random, made: Sequence[Record], author: str, kind: str, number: int) -> dict[str, Any]:
    wild = chance.random() < 0.15  # refers to anything of anybody
    mine = None if wild else author

    def earlier(of_kind: str | None, of_author: str | None) -> str:
        fits = [one.id for one in made if of_kind in (None, one.kind) and of_author in (None, one.author)]
        return chance.choice(fits or [bodies.sha("nowhere")])

    track = bodies.sha(chance.choice("aab"))
    makers: Mapping[str, Any] = {
        "result": lambda: bodies.result(
            track=track,
            claim=earlier(None if wild else "claim", mine),
            parent=earlier(None if wild else "result", None),
            status=chance.choice(["kept", "kept", "kept", "discarded", "crashed"]),
            direction=chance.choice(["min", "min", "max"]),
            value=chance.choice([1, 1.5, -0.0, 0.0]),
            hardware_class=chance.choice(["cpu", "gpu"]),
            seed=number,
        ),
        "claim": lambda: bodies.claim(
            track=track, hypothesis=earlier("hypothesis", None), experiment=bodies.sha(f"{number // 2}")
        ),
        "retraction": lambda: {
            "target": earlier(None if wild else chance.choice(["result", "result", "claim", None]), mine),
            "reason": f"wrong {number}",
        },
        "hypothesis": lambda: bodies.hypothesis(f"text {number}", track=track),
        "insight": lambda: bodies.insight(f"text {number}", track=track),
    }
    return makers[kind]() if kind in makers else {"of a later version": number}
