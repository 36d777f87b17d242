"""Laws of the record: decode∘encode is the identity, any flipped bit is refused, bounds hold before parsing."""

import hashlib
import json
import random
import re
import resource
import subprocess
import sys
import time
import tracemalloc
from typing import Any

import golden
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue import errors, record
from ensue.errors import BadSignature, MalformedRecord, RecordError, RecordTooLarge, WrongNetwork
from ensue.identity import Identity

VECTORS = json.loads((golden.FOLDER / "records.json").read_text())
AUTHOR = Identity(golden.SEED_A)
OTHER_NETWORK = "f" * 64

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-record.INTEGER_MAX, record.INTEGER_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
)
keys_of_objects = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys_of_objects, inner, max_size=4),
    max_leaves=12,
)
bodies = st.dictionaries(keys_of_objects, values, max_size=6)
kinds = st.from_regex(r"[a-z][a-z0-9_.-]{0,39}", fullmatch=True)


def make(body: dict[str, Any], **changed: Any) -> record.Record:
    fields: dict[str, Any] = {"network": golden.NETWORK, "seq": 1, "prev": None, "time_ms": 5, "kind": "note"}
    return record.sign(AUTHOR, body=body, **(fields | changed))


numbers_as_written = st.sampled_from(
    ["0", "-0", "-0.0", "1.0", "1e5", "1E5", "1e+16", "1e16", "1e-07", "1e-7", "5e-324", "1e400", "-1e400", "01",
     "0.1000000000000000055", "9007199254740991", "9007199254740992", "-9007199254740992", "18446744073709551616",
     "NaN", "Infinity", "true", "null"]
)  # fmt: skip
texts_as_written = st.sampled_from(
    [*(f'"{text}"' for text in ("a", "", "\x7f", "ü", "\U0001f600", r"\u0041", r"\/", r"\n", r"\u000a", r"\"", "\n")),
     r'"\ud83d"', r'"\ud83d\ude00"', r'"\ude00"']
)  # fmt: skip
json_as_written = st.recursive(
    numbers_as_written | texts_as_written,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda some: f"[{','.join(some)}]")
        | st.lists(st.tuples(texts_as_written, inner), max_size=3).map(
            lambda some: "{" + ",".join(f"{key}:{value}" for key, value in some) + "}"
        )
    ),
    max_leaves=8,
)


def read_as(payload: bytes) -> str:
    try:
        return repr(record.parse_payload(payload))
    except MalformedRecord:
        return "refused"


def forged(payload: bytes) -> bytes:
    return golden.wire(AUTHOR, payload)


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["name"])
def test_accepted_vectors(vector: dict[str, Any]):
    decoded = record.decode(bytes.fromhex(vector["raw_hex"]), golden.NETWORK)
    assert decoded == record.decode_stored(decoded.raw)
    assert decoded.payload.decode() == vector["payload"]
    for name in ("id", "network", "author", "seq", "prev", "time_ms", "kind", "body"):
        assert getattr(decoded, name) == vector[name]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: f"{vector['rule']}: {vector['name']}")
def test_refused_vectors(vector: dict[str, Any]):
    with pytest.raises(getattr(errors, vector["error"])) as caught:
        record.decode(bytes.fromhex(vector["raw_hex"]), golden.NETWORK)
    assert type(caught.value).__name__ == vector["error"]


def test_the_vectors_form_one_log():
    log = [vector for vector in VECTORS["accepted"] if vector["author"] == AUTHOR.peer_id]
    assert [entry["seq"] for entry in log] == list(range(1, len(log) + 1))
    assert [entry["prev"] for entry in log] == [None, *(entry["id"] for entry in log[:-1])]


@given(bodies, kinds, st.integers(1, record.INTEGER_MAX), st.integers(0, record.INTEGER_MAX))
def test_decode_undoes_encode(body: dict[str, Any], kind: str, seq: int, time_ms: int):
    try:
        made = make(body, kind=kind, seq=seq, prev=None if seq == 1 else OTHER_NETWORK, time_ms=time_ms)
    except RecordTooLarge:
        return
    decoded = record.decode(record.encode(made), golden.NETWORK)
    assert decoded == made
    assert (decoded.body, decoded.kind, decoded.seq, decoded.time_ms) == (body, kind, seq, time_ms)
    assert decoded.id == made.id


@given(bodies, st.data())
def test_a_flipped_bit_is_refused(body: dict[str, Any], data: st.DataObject):
    raw = bytearray(make(body).raw)
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RecordError):
        record.decode(bytes(raw))


def test_every_single_flipped_bit_of_one_record_is_refused():
    raw = make({"text": "é"}).raw
    for bit in range(8 * len(raw)):
        bad = bytearray(raw)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RecordError):
            record.decode(bytes(bad))


def test_every_truncation_and_extension_is_refused():
    raw = make({"text": "hello"}).raw
    for size in range(len(raw)):
        with pytest.raises(RecordError):
            record.decode(raw[:size])
    for tail in (b"\0", b" ", b"\n", b"}", raw):
        with pytest.raises(RecordError):
            record.decode(raw + tail)


@given(
    st.binary(max_size=400) | st.text(max_size=100).map(lambda text: bytes(64) + text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes_are_a_record_or_refused(raw: bytes):
    with pytest.raises(RecordError):
        record.decode(raw)


@given(st.dictionaries(texts_as_written, json_as_written, min_size=1, max_size=3), st.sampled_from(["", " "]))
def test_the_fast_way_of_reading_gives_what_the_strict_one_gives(fields: dict[str, str], space: str):
    """Whatever the spelling: no number is rounded, no key lost, nothing accepted that the rules refuse."""
    payload = ("{" + ",".join(f"{key}:{space}{value}" for key, value in fields.items()) + "}").encode()
    fast = read_as(payload)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "_parse_usual", lambda payload: None)
        assert read_as(payload) == fast
    if fast != "refused":  # what is stored is read without the rules
        assert repr(orjson.loads(payload)) == fast


def test_what_this_node_signs_is_read_the_fast_way():
    signed = make({"rate": 1e-7, "large": 1e16, "small": -0.0, "text": "a\n\x7fü", "none": None, "many": [1, 2.5]})
    assert record._parse_usual(signed.payload) is not None


@given(
    st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys_of_objects, inner)),
    st.data(),
)
def test_any_json_signed_as_a_record_is_one_or_refused(value: Any, data: st.DataObject):
    """Mutants of a good envelope, each with a signature that fits."""
    envelope = json.loads(make({"text": "hello"}).payload)
    envelope[data.draw(st.sampled_from([*envelope, "later"]))] = value
    raw = forged(json.dumps(envelope).encode())
    try:
        decoded = record.decode(raw)
    except RecordError:
        return
    assert record.encode(decoded) == raw


def test_size_is_judged_first():
    small = make({"text": ""})
    room = record.RECORD_BYTES_MAX - len(small.raw)
    largest = make({"text": "x" * room})
    assert len(largest.raw) == record.RECORD_BYTES_MAX
    assert record.decode(largest.raw) == largest
    with pytest.raises(RecordTooLarge):
        make({"text": "x" * (room + 1)})
    with pytest.raises(RecordTooLarge):
        record.decode(b"\xff" * (record.RECORD_BYTES_MAX + 1))


def nested(depth: int) -> bytes:
    """Return a payload whose deepest array is at `depth`; the envelope is 1 and the body 2."""
    inner = b"[" * (depth - 2) + b"]" * (depth - 2)
    return make({"text": "hello"}).payload.replace(b'"hello"', inner)


def test_depth_is_bounded():
    assert record.decode(forged(nested(record.DEPTH_MAX)))
    with pytest.raises(MalformedRecord, match="inside each other"):
        record.decode(forged(nested(record.DEPTH_MAX + 1)))
    with pytest.raises(MalformedRecord, match="inside each other"):
        record.decode(forged(b"[" * 60_000))
    with pytest.raises(MalformedRecord):
        make({"deep": json.loads("[" * 500 + "]" * 500)})


def test_brackets_in_strings_and_beside_each_other_are_no_depth():
    body = {"text": '[{"[{' * 1000, "quoted": '\\"[' * 100, "wide": [[i] for i in range(500)]}
    made = make(body)
    assert record.decode(made.raw).body == body


@pytest.mark.parametrize(
    "payload",
    [
        b'"' + b"\\" * 60_000,
        b'"' * 60_000,
        b'{"' * 30_000,
        b'"\\"[' * 15_000,
        b"[" * 16 + b"1," * 30_000,
        b"1" * 60_000,
        b"-" * 60_000,
        b"1e" + b"9" * 60_000,
        b"0." + b"9" * 60_000,
        b'{"a":' * 15 + b" " * 60_000,
        b'"\\ud800' * 8_000,
        b"{" + b",".join(b'"%d":[{}]' % i for i in range(4_000)) + b"}",
    ],
    ids=lambda payload: ascii(payload[:12]),
)
def test_bombs_cost_little_time_and_memory(payload: bytes):
    """A peer's worst 60 kB: refused in a fraction of a second and a few megabytes."""
    raw = bytes(64) + payload
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(RecordError):
        record.decode(raw)
    spent_s = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert spent_s < 2.0
    assert peak < 16 * 2**20


@pytest.mark.soak
def test_a_million_mutants_cost_little_memory():
    """Cut, doubled, flipped and spliced bytes of good records: all refused, with no more than 64 MiB on top."""
    chance = random.Random(1)
    good = [bytes.fromhex(vector["raw_hex"]) for vector in VECTORS["accepted"]]
    donors = [*good, *(bytes.fromhex(vector["raw_hex"]) for vector in VECTORS["refused"])]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(1_000_000):
        raw, other = bytearray(chance.choice(good)), chance.choice(donors)
        for _ in range(chance.randint(1, 4)):
            start, size = chance.randrange(len(raw) + 1), chance.randrange(1, 64)
            raw[start : start + chance.choice((0, 1, size))] = other[start : start + size] * chance.choice(
                (1, 1, 1, 50)
            )
        if bytes(raw) not in good:
            with pytest.raises(RecordError):
                record.decode(bytes(raw))
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 * 1024


def test_a_record_of_another_network_is_refused():
    made = make({"text": "hello"})
    assert record.decode(made.raw, golden.NETWORK) == made
    with pytest.raises(WrongNetwork):
        record.decode(made.raw, OTHER_NETWORK)


def test_a_record_cannot_be_moved_to_another_network():
    """The network id is inside the signed bytes, so exchanging it breaks the signature."""
    moved = make({"text": "hello"}).raw.replace(golden.NETWORK.encode(), OTHER_NETWORK.encode())
    with pytest.raises(BadSignature):
        record.decode(moved, OTHER_NETWORK)


def test_a_record_cannot_be_given_to_another_author():
    taken = make({"text": "hello"}).raw.replace(AUTHOR.peer_id.encode(), Identity(golden.SEED_B).peer_id.encode())
    with pytest.raises(BadSignature):
        record.decode(taken)


def test_two_signatures_of_one_payload_have_one_id():
    """Only the author could make the second; it must not become a second record."""
    first = make({"text": "hello"})
    assert record.decode_stored(bytes(64) + first.payload).id == first.id


def test_unknown_envelope_fields_are_kept_verbatim():
    fields = json.loads(make({"text": "hello"}).payload) | {"hops": [1, {"a": None}]}
    raw = forged(json.dumps(fields, indent=2).encode())
    assert record.encode(record.decode(raw)) == raw


def test_stored_rows_are_not_verified_but_parsed():
    made = make({"text": "hello"})
    assert record.decode_stored(bytes(64) + made.payload).body == made.body
    with pytest.raises(MalformedRecord):
        record.decode_stored(made.raw[:-1])


@pytest.mark.parametrize(
    "changed",
    [
        {"network": "short"},
        {"seq": 0},
        {"seq": True},
        {"seq": 2},
        {"prev": OTHER_NETWORK},
        {"time_ms": -1},
        {"time_ms": 1.5},
        {"kind": "Bad Kind"},
        {"seq": 2**53, "prev": OTHER_NETWORK},
        {"body": {"value": float("nan")}},
        {"body": {"value": float("inf")}},
        {"body": {"value": 2**53}},
        {"body": {"text": "\ud800"}},
        {"body": {"value": b"bytes"}},
        {"body": {"value": {1, 2}}},
    ],
    ids=ascii,
)
def test_nothing_is_signed_that_a_peer_would_refuse(changed: dict[str, Any]):
    with pytest.raises(MalformedRecord):
        make(**({"body": {}} | changed))


def test_records_are_values():
    one, two = make({"text": "hello"}), make({"text": "hello"})
    assert one == two
    assert len({one, two}) == 1
    with pytest.raises(AttributeError):
        one.seq = 2  # type: ignore[misc]


def test_a_memoryview_decodes():
    made = make({"text": "hello"})
    assert record.decode(memoryview(made.raw)) == made  # type: ignore[arg-type]


def test_the_example_in_the_protocol_document_runs():
    root = golden.FOLDER.parent.parent
    program, printed = re.findall(r"```(?:python)?\n(.*?)```", (root / "docs" / "PROTOCOL.md").read_text(), re.S)[-2:]
    shown = subprocess.check_output([sys.executable, "-W", "ignore", "-c", program], cwd=root, text=True)
    assert shown == printed


@given(bodies, kinds)
def test_what_was_accepted_reads_alike_by_its_hash_alone(body: dict[str, Any], kind: str) -> None:
    made = make(body, kind=kind)
    known = record.decode_known(made.raw, made.id)
    assert known is not None
    assert (known, known.id, known.body, known.kind) == (made, made.id, made.body, kind)
    assert (known.author, known.seq, known.prev, known.time_ms) == (made.author, made.seq, made.prev, made.time_ms)
    assert record.decode_known(made.raw + b" ", made.id) is None


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"nothing", b"[" * 100_000, b"\xff"])
def test_made_up_bytes_with_their_own_hash_are_none(payload: bytes) -> None:
    assert record.decode_known(bytes(64) + payload, hashlib.sha256(payload).hexdigest()) is None
