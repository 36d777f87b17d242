"""Builds the vectors that docs/PROTOCOL.md publishes; `python tests/ensue/golden.py` writes them to tests/vectors/."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ed25519_reference as curve

from ensue import genesis, record, statements
from ensue.identity import Identity

FOLDER = Path(__file__).resolve().parent.parent / "vectors"
SEED_A = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")  # RFC 8032, test 1
SEED_B = bytes(range(32))
NETWORK = hashlib.sha256(b"a network").hexdigest()
TRACK = hashlib.sha256(b"a track").hexdigest()
SOURCE = hashlib.sha256(b"a train.py").hexdigest()
EXPERIMENT = hashlib.sha256(b"an experiment").hexdigest()
TIME_MS = 1_763_722_000_000

Json = dict[str, Any]


def bodies(claim_id: str, result_id: str) -> Json:
    change = [{"knob": "MATRIX_LR", "old": 0.02, "new": 0.04}]
    claim = {
        "track": TRACK, "experiment": EXPERIMENT, "parent": None, "source": SOURCE,
        "description": "matrix lr 0.02 → 0.04", "change": change, "expectation": {"mean": 1.588, "sd": 0.004},
        "hypothesis": None, "ttl_s": 900, "agent": "ada", "proposer": "optuna",
    }  # fmt: skip
    kept = {
        "track": TRACK, "experiment": EXPERIMENT, "claim": claim_id, "parent": None, "status": "kept",
        "metric": "val_bpb", "direction": "min", "value": 1.5875, "holdout": 1.5921, "holdout_gap": 0.0046,
        "holdout_gap_sd": 0.0031, "seed": 7, "clock": "cpu", "budget_s": 120.0, "setup_s": 2.5, "train_wall_s": 61.2,
        "cpu_s": 118.9, "score_s": 3.1, "overhead_s": 0.4, "wall_s": 67.2, "cpu_share": 0.97, "contended": False,
        "tokens_reported": 860160, "hardware_class": "cpu-2t-avx512-100", "device": "cpu", "sandbox": "bubblewrap",
        "software": "python 3.11, torch 2.11", "source": SOURCE, "source_bytes": 18230, "log": None,
        "description": "matrix lr 0.02 → 0.04", "change": change, "reason": None,
        "checks": {"prefix_mean_nats": 1.2e-07, "probes": 32.0}, "agent": "ada", "proposer": "optuna",
    }  # fmt: skip
    crashed = kept | {
        "claim": None, "status": "crashed", "value": None, "holdout": None, "holdout_gap": None, "holdout_gap_sd": None,
        "reason": "it never called start()",
    }  # fmt: skip
    return {
        "claim": claim,
        "kept": kept,
        "crashed": crashed,
        "hypothesis": {"track": TRACK, "text": "Warm up longer.", "change": change, "source": None, "agent": "ada"},
        "insight": {
            "track": TRACK,
            "text": "Batch 8 beats 16.",
            "evidence": [result_id],
            "scope": "cpu",
            "valid_days": 90,
        },
        "retraction": {"target": result_id, "reason": "the machine was busy"},
    }


def people() -> Json:
    """Return bodies about people: B is an account, a verifier and the founder; A is the node that carries them."""
    node, account = Identity(SEED_A), Identity(SEED_B)
    statement = statements.quorum_statement(
        NETWORK, epoch=1, previous=NETWORK, verifiers=[node.peer_id], needed=1, ended=[(account.peer_id, 7)]
    )
    return {
        "delegation": statements.delegation(account, NETWORK, node.peer_id).model_dump(),
        "revocation": statements.revocation(account, NETWORK, node.peer_id, 12, "the laptop was lost").model_dump(),
        "credential": {
            "account": account.peer_id, "address": hashlib.sha256(b"a keyed digest").hexdigest(),
            "expires_ms": TIME_MS + 180 * 86_400_000, "nodes": [node.peer_id],
            "request": hashlib.sha256(b"a request").hexdigest(),
            "supersedes": {"account": node.peer_id, "heads": [{"node": node.peer_id, "last_seq": 3}]},
        },
        "verifier": {"url": "https://verify.example.org", "name": "Example", "contact": "post@example.org"},
        "quorum": {
            "epoch": 1, "previous": NETWORK, "verifiers": [node.peer_id], "needed": 1,
            "ended": [{"verifier": account.peer_id, "last_seq": 7}],
            "signatures": [statements.sign_quorum(account, statement).model_dump()],
        },
    }  # fmt: skip


def trials() -> Json:
    """Return bodies about reruns; A is a node, B an account, and every id is a made-up one."""
    result, parent, insight = (hashlib.sha256(name).hexdigest() for name in (b"a result", b"its parent", b"a lesson"))
    secret = hashlib.sha256(b"a secret").hexdigest()
    about: Json = {"track": TRACK, "result": result, "parent": parent, "block": 0}
    machine: Json = {
        "hardware_class": "cpu-2t-avx512-100", "device": "cpu", "software": "python 3.11, torch 2.11", "agent": "ada",
    }  # fmt: skip
    run: Json = {
        "status": "measured", "value": 1.5875, "holdout": 1.5921, "train_wall_s": 61.2, "cpu_s": 118.9,
        "cpu_share": 0.97, "contended": False, "reason": None,
    }  # fmt: skip
    lost = run | {"status": "crashed", "value": None, "holdout": None, "reason": "it never called start()"}
    return {
        "calibration": {
            **machine, "track": TRACK, "source": SOURCE, "seeds": [7, 8], "values": [1.5875, 1.5921],
            "tokens_per_s": 14000.0, "available": True,
        },
        "duty": {**about, "hardware_class": machine["hardware_class"]},
        "replication": {
            **about, **machine, "duty": hashlib.sha256(b"a duty").hexdigest(), "metric": "val_bpb", "direction": "min",
            "clock": "cpu", "budget_s": 120.0, "sandbox": "bubblewrap",
            "pairs": [
                {"seed": 11, "child_first": False, "parent": run | {"value": 1.5931}, "child": run},
                {"seed": 12, "child_first": True, "parent": run, "child": lost},
            ],
        },
        "listing": {
            "quorum": NETWORK, "draw": 0, "entrants": [hashlib.sha256(b"a calibration").hexdigest()],
            "results": [
                {"result": result, "noise_sd": 0.005, "commitment": hashlib.sha256(bytes.fromhex(secret)).hexdigest()}
            ],
        },
        "drawing": {"quorum": NETWORK, "draw": 0, "results": [{"result": result, "secret": secret}]},
        "assessment": {
            "track": TRACK, "insight": insight, "says": "contradicts", "evidence": [result],
            "text": "With batch 8 it is the other way round.", "agent": "ada",
        },
    }  # fmt: skip


def wire(identity: Identity, payload: bytes) -> bytes:
    """Sign any payload as a record, however wrong."""
    return identity.sign(b"ensue-record-v1\0" + payload) + payload


def records() -> list[Json]:
    """Return records of every kind, one author's log in order, then records of the other author."""
    author, other = Identity(SEED_A), Identity(SEED_B)
    made: list[Json] = []
    log: list[record.Record] = []

    def append(name: str, kind: str, body: Json) -> record.Record:
        prev = log[-1].id if log else None
        seq = len(log) + 1
        new = record.sign(author, network=NETWORK, seq=seq, prev=prev, time_ms=TIME_MS + seq, kind=kind, body=body)
        log.append(new)
        made.append(_shown(name, new))
        return new

    empty = bodies("", "")
    claim = append("claim: the first record of an author", "claim", empty["claim"])
    kept = append("result, kept", "result", bodies(claim.id, "")["kept"])
    with_ids = bodies(claim.id, kept.id)
    append("result, crashed", "result", with_ids["crashed"])
    append("hypothesis", "hypothesis", with_ids["hypothesis"])
    append("insight", "insight", with_ids["insight"])
    append("retraction", "retraction", with_ids["retraction"])
    append("a kind of a later version", "x.later-2", {"any": ["thing", {"at": "all"}]})
    append("a field of a later version in a known body", "hypothesis", with_ids["hypothesis"] | {"licence": "CC0"})

    for kind, body in (people() | trials()).items():
        append(kind, kind, body)

    fields: Json = {"v": 1, "network": NETWORK, "author": other.peer_id, "seq": 1, "prev": None, "time_ms": TIME_MS}
    tail: Json = {"kind": "note", "body": {"text": "a\u0000b \u202e 🜁 \\u0041", "number": -1.5e-7}}
    loose = json.dumps(fields | {"hops": 3} | tail, indent=1).encode()
    made.append(_shown("an unknown envelope field, white space and escapes", record.decode(wire(other, loose))))
    turned = json.dumps(dict(reversed((fields | {"seq": record.INTEGER_MAX, "prev": NETWORK} | tail).items()))).encode()
    made.append(_shown("another order of fields, the largest number", record.decode(wire(other, turned))))
    return made


def _shown(name: str, made: record.Record) -> Json:
    fields = {key: getattr(made, key) for key in ("network", "author", "seq", "prev", "time_ms", "kind", "body")}
    return {"name": name, **fields, "payload": made.payload.decode(), "raw_hex": made.raw.hex(), "id": made.id}


def refused_records() -> Iterator[Json]:
    """Yield wire bytes that break one rule of docs/PROTOCOL.md each, the signature fitting unless that is the point."""
    author = Identity(SEED_A)
    good: Json = {
        "v": 1, "network": NETWORK, "author": author.peer_id, "seq": 1, "prev": None, "time_ms": 5, "kind": "note",
        "body": {"text": "hello"},
    }  # fmt: skip
    base = json.dumps(good, separators=(",", ":")).encode()
    raw = wire(author, base)

    def case(rule: str, name: str, raw: bytes, error: str = "MalformedRecord") -> Json:
        return {"rule": rule, "name": name, "raw_hex": raw.hex(), "error": error}

    def text(rule: str, name: str, old: bytes, new: bytes) -> Json:
        if base.count(old) != 1:
            raise ValueError(f"{old!r} is not in the base once")
        return case(rule, name, wire(author, base.replace(old, new)))

    def fields(rule: str, name: str, **changed: Any) -> Json:
        return case(rule, name, wire(author, json.dumps(good | changed).encode()))

    def without(key: str) -> Json:
        kept = {name: value for name, value in good.items() if name != key}
        return case("R8", f"no {key}", wire(author, json.dumps(kept).encode()))

    yield case("R2", "no bytes", b"")
    yield case("R2", "a signature alone", raw[:64])
    yield case("R3", "17 arrays deep", wire(author, base.replace(b'"hello"', b"[" * 15 + b"]" * 15)))
    yield case(
        "R3",
        "brackets closed in a string only",
        wire(author, base.replace(b'"hello"', b'["}]\\"",' * 15 + b"1" + b"]" * 15)),
    )
    yield text("R4", "a byte that is no UTF-8", b"hello", b"hell\xff")
    yield text("R4", "an overlong encoding", b"hello", b"hell\xc0\xaf")
    yield text("R4", "a surrogate in UTF-8", b"hello", b"\xed\xa0\x80")
    yield case("R4", "a byte order mark", wire(author, b"\xef\xbb\xbf" + base))
    yield case("R4", "UTF-16", wire(author, base.decode().encode("utf-16")))
    yield text("R5", "half a surrogate pair, escaped", b"hello", b"\\ud83d")
    yield text("R5", "half a surrogate pair in a key", b'"text"', b'"\\uDE00"')
    yield text("R5", "a surrogate pair the wrong way round", b"hello", b"\\ude00\\ud83d")
    yield text("R6", "a duplicate key", b'"kind":"note"', b'"kind":"note","kind":"note"')
    yield text("R6", "a duplicate key in the body", b'"text":"hello"', b'"text":"hello","text":"bye"')
    yield text("R6", "a duplicate key, once escaped", b'"text":"hello"', b'"text":"hello","te\\u0078t":"bye"')
    yield text("R7", "NaN", b'"hello"', b"NaN")
    yield text("R7", "Infinity", b'"hello"', b"Infinity")
    yield text("R7", "minus Infinity", b'"hello"', b"-Infinity")
    yield text("R7", "a number that overflows", b'"hello"', b"1e999")
    yield text("R7", "an integer of 2^53", b'"hello"', b"9007199254740992")
    yield text("R7", "an integer of -2^53", b'"hello"', b"-9007199254740992")
    yield text("R7", "an integer of 1,000 digits", b'"hello"', b"1" * 1000)
    yield text("R6", "a leading zero", b'"time_ms":5', b'"time_ms":05')
    yield text("R6", "a trailing comma", b'"hello"}', b'"hello",}')
    yield text("R6", "a comment", b'"hello"}', b'"hello"/**/}')
    yield text("R6", "a raw line feed in a string", b"hello", b"hel\nlo")
    yield case("R6", "bytes after the object", wire(author, base + b"{}"))
    yield case("R6", "an array", wire(author, b"[" + base + b"]"))
    yield case("R6", "null", wire(author, b"null"))
    for key in good:
        yield without(key)
    yield fields("R8", "version 2", v=2)
    yield fields("R8", "version true", v=True)
    yield fields("R8", "version 1.0", v=1.0)
    yield fields("R8", "a network id in capitals", network=NETWORK.upper())
    yield fields("R8", "a short network id", network=NETWORK[:-1])
    yield fields("R8", "an author that is no peer id", author="ada")
    yield fields("R8", "a peer id with a space after it", author=author.peer_id + " ")
    yield fields("R8", "a peer id with a leading 1 more", author="1" + author.peer_id)
    yield fields("R8", "an RSA peer id", author="QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N")
    yield fields("R8", "sequence number 0", seq=0)
    yield fields("R8", "sequence number true", seq=True)
    yield fields("R8", "sequence number 1.0", seq=1.0)
    yield fields("R8", "sequence number as text", seq="1")
    yield fields("R8", "a negative time", time_ms=-1)
    yield fields("R8", "a time with a fraction", time_ms=5.5)
    yield fields("R8", "an empty kind", kind="")
    yield fields("R8", "a kind in capitals", kind="Note")
    yield fields("R8", "a kind with a line feed", kind="note\n")
    yield fields("R8", "a kind of 41 characters", kind="n" * 41)
    yield fields("R8", "a body that is a list", body=[])
    yield fields("R9", "a first record with a previous id", prev=NETWORK)
    yield fields("R9", "a second record without a previous id", seq=2)
    yield fields("R9", "a previous id in capitals", seq=2, prev=NETWORK.upper())
    other = Identity(SEED_B)
    yield case("R11", "another author's signature", other.sign(b"ensue-record-v1\0" + base) + base, "BadSignature")
    yield case("R11", "signed without the domain separator", author.sign(base) + base, "BadSignature")
    yield case("R11", "signed as a genesis", author.sign(b"ensue-genesis-v1\0" + base) + base, "BadSignature")
    yield case("R11", "a signature of zeros", bytes(64) + base, "BadSignature")
    yield case("R11", "a space added after signing", raw + b" ", "BadSignature")


def geneses() -> list[Json]:
    founder = Identity(SEED_A)
    plain = genesis.found(founder, "autoresearch", [genesis.TrackRef("sotu", TRACK)], created_ms=TIME_MS)
    full = genesis.found(
        founder,
        "Labor für Sprachmodelle",
        [genesis.TrackRef("sotu", TRACK), genesis.TrackRef("climbmix", NETWORK)],
        created_ms=TIME_MS,
        verifiers=[Identity(SEED_B).peer_id],
        policy={"credentials_min": 1},
    )
    return [
        {"name": made.name, "raw_hex": made.raw.hex(), "payload": made.raw[64:].decode(), "network_id": made.network_id}
        for made in (plain, full)
    ]


def identities() -> list[Json]:
    return [
        {"seed_hex": seed.hex(), "public_hex": made.public_key.hex(), "peer_id": made.peer_id,
         "key_file_hex": "08011240" + seed.hex() + made.public_key.hex()}
        for seed in (SEED_A, SEED_B) for made in (Identity(seed),)
    ]  # fmt: skip


def signatures() -> Iterator[Json]:
    """Yield edge cases of Ed25519; all but the first four are refused."""
    message, seed = b"edge", SEED_A
    identity = Identity(seed)
    public, a = identity.public_key, curve.secret_scalar(seed)
    honest = identity.sign(message)

    def case(name: str, public: bytes, message: bytes, signature: bytes, *, accept: bool = False) -> Json:
        return {
            "name": name, "public_hex": public.hex(), "message_hex": message.hex(), "signature_hex": signature.hex(),
            "accept": accept,
        }  # fmt: skip

    def scalar(number: int) -> bytes:
        return number.to_bytes(32, "little")

    def answer(r: int, r_bytes: bytes, key: bytes, text: bytes) -> bytes:
        """Sign as the holder of `a` does, with any nonce and any claimed R."""
        return r_bytes + scalar((r + curve.challenge(r_bytes, key, text) * a) % curve.L)

    rfc = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b"
    )
    yield case("RFC 8032, test 1", public, b"", rfc, accept=True)
    yield case("an honest signature", public, message, honest, accept=True)
    torsion = curve.torsion()
    mixed = curve.encode(curve.add(curve.multiply(a, curve.BASE), torsion[1]))
    r_point = curve.encode(curve.multiply(99, curve.BASE))
    texts = [b"edge %d" % i for i in range(64)]
    fits = next(text for text in texts if curve.challenge(r_point, mixed, text) % 8 == 0)
    fails = next(text for text in texts if curve.challenge(r_point, mixed, text) % 8 != 0)
    yield case(
        "a key with torsion, equation holds without cofactor",
        mixed,
        fits,
        answer(99, r_point, mixed, fits),
        accept=True,
    )
    yield case("a key with torsion, equation needs the cofactor", mixed, fails, answer(99, r_point, mixed, fails))
    yield case("S + L", public, message, honest[:32] + scalar(int.from_bytes(honest[32:], "little") + curve.L))
    yield case("S = L", public, message, honest[:32] + scalar(curve.L))
    yield case("a flipped bit in R", public, message, bytes([honest[0] ^ 1]) + honest[1:])
    yield case("63 bytes", public, message, honest[:63])
    yield case("65 bytes", public, message, honest + b"\0")
    yield case("R is the identity", public, message, answer(0, curve.encode(curve.IDENTITY), public, message))
    yield case("R is the identity, y = p + 1", public, message, answer(0, scalar(curve.P + 1), public, message))
    order8 = curve.encode(torsion[1])
    yield case("R is of order 8", public, message, answer(0, order8, public, message))
    with_torsion = curve.encode(curve.add(curve.multiply(99, curve.BASE), torsion[1]))
    yield case(
        "R with torsion, equation needs the cofactor", public, message, answer(99, with_torsion, public, message)
    )
    anyones = curve.encode(curve.multiply(5, curve.BASE)) + scalar(5)
    for index, point in enumerate(torsion):
        yield case(
            f"a key of small order, {index} times the generator of the torsion", curve.encode(point), message, anyones
        )
    for name, key in (
        ("y = 1 with the sign bit", scalar(1 | 1 << 255)),
        ("y = p - 1 with the sign bit", scalar(curve.P - 1 | 1 << 255)),
        ("y = p", scalar(curve.P)),
        ("y = p + 1", scalar(curve.P + 1)),
        ("y = p + 1 with the sign bit", scalar(curve.P + 1 | 1 << 255)),
        ("y = 2^255 - 1", scalar(2**255 - 1)),
        ("all bits", b"\xff" * 32),
        ("no point of the curve", scalar(2)),
    ):
        yield case(f"a key: {name}", key, message, anyones)


def files() -> dict[str, Json]:
    """Return the content of every vector file by name."""
    return {
        "identities.json": {"identities": identities()},
        "ed25519.json": {"signatures": list(signatures())},
        "records.json": {"accepted": records(), "refused": list(refused_records())},
        "genesis.json": {"accepted": geneses()},
    }


def rendered(content: Json) -> str:
    return json.dumps(content, ensure_ascii=True, indent=1) + "\n"


if __name__ == "__main__":
    for file_name, content in files().items():
        (FOLDER / file_name).write_text(rendered(content))
