"""Bodies and worlds of records for the tests of the memory."""

import hashlib
from random import Random
from typing import Any

from hypothesis import strategies as st

from ensue import kinds, statements
from ensue.identity import Identity
from ensue.record import Record, sign

TIME_MS = 1_700_000_000_000
PEOPLE = ["delegation", "delegation", "credential", "credential", "revocation", "quorum", "verifier"]
ACCOUNTS = [Identity(bytes([number]) * 32) for number in (11, 12)]
AUTHORS = [Identity(bytes([number]) * 32) for number in (1, 2, 3)]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


NETWORK = sha("network")
TRACK = sha("track")


def result(**changed: Any) -> dict[str, Any]:
    body = {
        "track": TRACK,
        "experiment": sha("experiment"),
        "claim": None,
        "parent": None,
        "status": "kept",
        "metric": "val_bpb",
        "direction": "min",
        "value": 1.6,
        "holdout": 1.61,
        "holdout_gap": 0.01,
        "holdout_gap_sd": 0.02,
        "seed": 1,
        "clock": "cpu",
        "budget_s": 60,
        "setup_s": 1.5,
        "train_wall_s": 31.0,
        "cpu_s": 60.0,
        "score_s": 2.5,
        "overhead_s": 0.25,
        "wall_s": 35.0,
        "cpu_share": 0.97,
        "contended": False,
        "tokens_reported": 1_000_000,
        "hardware_class": "cpu-2t",
        "device": "cpu",
        "sandbox": "bubblewrap",
        "software": "torch 2.13",
        "source": sha("source"),
        "source_bytes": 25_000,
        "log": None,
        "description": "matrix lr 0.02 → 0.04",
        "change": [{"knob": "MATRIX_LR", "old": 0.02, "new": 0.04}],
        "agent": "agent",
        "proposer": "optuna",
    }
    body.update(changed)
    if body["status"] not in ("kept", "discarded"):
        body.update(value=None, reason=body.get("reason") or "it fell over")
    return body


def claim(**changed: Any) -> dict[str, Any]:
    body = {
        "track": TRACK,
        "experiment": sha("experiment"),
        "parent": None,
        "source": sha("source"),
        "description": "matrix lr 0.02 → 0.04",
        "change": [{"knob": "MATRIX_LR", "old": 0.02, "new": 0.04}],
        "expectation": {"mean": 1.59, "sd": 0.01},
        "hypothesis": None,
        "ttl_s": 600,
        "agent": "agent",
        "proposer": "optuna",
    }
    return body | changed


def hypothesis(text: str = "Warm up longer.", **changed: Any) -> dict[str, Any]:
    return {"track": TRACK, "text": text, "change": [], "source": None, "parent": None, "agent": "agent"} | changed


def insight(text: str = "Depth beats width here.", **changed: Any) -> dict[str, Any]:
    return {"track": TRACK, "text": text, "evidence": [], "scope": "", "valid_days": None, "agent": "agent"} | changed


def record(author: int, seq: int, kind: str, body: dict[str, Any], time_ms: int = TIME_MS) -> Record:
    prev = None if seq == 1 else sha(f"before {seq}")
    return sign(AUTHORS[author], network=NETWORK, seq=seq, prev=prev, time_ms=time_ms, kind=kind, body=body)


@st.composite
def worlds(draw: st.DrawFn, records_max: int = 16, people: bool = False) -> list[Record]:
    """Sets of records that refer to each other, mostly as they should, some with a sequence number twice."""
    made: list[Record] = []
    size = draw(st.integers(1, records_max))
    chance = draw(st.randoms(use_true_random=True))  # dense worlds; a failure prints the seed
    heads = [0] * len(AUTHORS)
    for number in range(size):
        author = chance.choice([0, 0, 0, 1, 1, 2])
        forks = heads[author] > 1 and chance.random() < 0.12
        seq = chance.randint(2, heads[author]) if forks else heads[author] + 1
        heads[author] = max(heads[author], seq)
        plain = ["result"] * 5 + ["claim"] * 3 + ["retraction"] * 3 + ["hypothesis", "insight", "x"]
        kind = chance.choice(PEOPLE if people and chance.random() < 0.5 else plain)
        body = person(chance, made, author, kind) if kind in PEOPLE else _body(chance, made, author, kind, number)
        made.append(record(author, seq, kind, body, time_ms=TIME_MS + chance.randint(0, 9)))
    return made


def person(chance: Random, made: list[Record], author: int, kind: str) -> dict[str, Any]:
    """A body about people: few accounts, nodes and addresses, authors as verifiers; mostly signed as it should be."""
    account, node = chance.choice(ACCOUNTS), AUTHORS[chance.choice([author, author, 0, 1])]
    seq = chance.randint(0, 6)
    if kind == "delegation":
        network = NETWORK if chance.random() < 0.9 else sha("another network")
        return statements.delegation(account, network, AUTHORS[author].peer_id).model_dump()
    if kind == "revocation":
        return statements.revocation(account, NETWORK, node.peer_id, seq).model_dump()
    if kind == "verifier":
        return {"url": f"http://127.0.0.1:{seq + 1}", "name": "v", "contact": ""}
    if kind == "credential":
        left = {"account": chance.choice(ACCOUNTS).peer_id, "heads": [{"node": node.peer_id, "last_seq": seq}]}
        return {
            "account": account.peer_id,
            "address": sha(chance.choice("ab")),
            "expires_ms": TIME_MS + chance.randint(3, 12),
            "nodes": [one.peer_id for one in chance.sample(AUTHORS, chance.choice([0, 0, 1, 2]))],
            "request": sha(str(len(made))),
            "supersedes": chance.choice([None, left]),
        }
    here = [one for one in made if one.kind == "quorum"]
    last = kinds.Quorum(**chance.choice(here).body) if here and chance.random() < 0.6 else None
    previous = NETWORK if last is None else statements.statement_hash(statements.statement_of(NETWORK, last))
    trusted = chance.sample([one.peer_id for one in AUTHORS], chance.randint(1, 3))
    ended = [(one.peer_id, seq) for one in AUTHORS if one.peer_id not in trusted and chance.random() < 0.6]
    fields = {"epoch": 1 + (last.epoch if last else 0), "previous": previous}
    needed = chance.randint(1, min(2, len(trusted)))
    said = statements.quorum_statement(NETWORK, **fields, verifiers=trusted, needed=needed, ended=ended)
    signers = chance.sample(AUTHORS, chance.randint(1, 3))
    return {
        **fields,
        "verifiers": trusted,
        "needed": needed,
        "ended": [{"verifier": one, "last_seq": number} for one, number in ended],
        "signatures": [statements.sign_quorum(one, said).model_dump() for one in signers],
    }


def _body(chance: Random, made: list[Record], author: int, kind: str, number: int) -> dict[str, Any]:
    wild = chance.random() < 0.15  # refers to anything of anybody
    mine = None if wild else AUTHORS[author].peer_id

    def earlier(of_kind: str | None, of_author: str | None) -> str:
        fits = [one.id for one in made if of_kind in (None, one.kind) and of_author in (None, one.author)]
        return chance.choice(fits or [sha("nowhere")])

    track = sha(chance.choice("aab"))
    if kind == "result":
        return result(
            track=track,
            claim=earlier(None if wild else "claim", mine),
            parent=earlier(None if wild else "result", None),
            status=chance.choice(["kept", "kept", "kept", "discarded", "crashed"]),
            direction=chance.choice(["min", "min", "max"]),
            value=chance.choice([1, 1.5, -0.0, 0.0]),
            hardware_class=chance.choice(["cpu", "gpu"]),
            seed=number,
        )
    if kind == "claim":
        return claim(track=track, hypothesis=earlier("hypothesis", None), experiment=sha(str(number)))
    if kind == "retraction":
        target = earlier(None if wild else chance.choice(["result", "result", "claim", None]), mine)
        return {"target": target, "reason": f"wrong {number}"}
    if kind in ("hypothesis", "insight"):
        return (hypothesis if kind == "hypothesis" else insight)(f"text {number}", track=track)
    return {"of a later version": number}
