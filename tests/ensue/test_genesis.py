"""The founding file: its bytes make the network id, and nothing about it can be changed afterwards."""

import json
import stat
from pathlib import Path
from typing import Any

import golden
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue import genesis, record
from ensue.errors import BadSignature, MalformedRecord, RecordError, RecordTooLarge, StoreDamaged, StoreError
from ensue.genesis import Genesis, TrackRef, found
from ensue.identity import Identity

VECTORS = json.loads((golden.FOLDER / "genesis.json").read_text())["accepted"]
FOUNDER = Identity(golden.SEED_A)
TRACKS = [TrackRef("sotu", golden.TRACK)]


def forged(**changed: Any) -> bytes:
    """Return a genesis of any fields with a signature that fits."""
    fields = json.loads(found(FOUNDER, "home", TRACKS, created_ms=5).raw[64:]) | changed
    payload = json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()
    return FOUNDER.sign(b"ensue-genesis-v1\0" + payload) + payload


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_genesis_vectors(vector: dict[str, Any]):
    decoded = Genesis.decode(bytes.fromhex(vector["raw_hex"]))
    fields = json.loads(vector["payload"])
    assert decoded.network_id == vector["network_id"]
    assert decoded.name == fields["name"]
    assert decoded.founder == FOUNDER.peer_id
    assert [{"name": track.name, "id": track.id} for track in decoded.tracks] == fields["tracks"]
    assert list(decoded.verifiers) == fields["verifiers"]
    assert decoded.policy == fields["policy"]


def test_what_is_saved_is_loaded(tmp_path: Path):
    made = found(FOUNDER, "home", TRACKS, created_ms=5, policy={"a": 1})
    path = tmp_path / "new" / "genesis"
    made.save(path)
    made.save(path)
    assert Genesis.load(path) == made
    assert [entry.name for entry in path.parent.iterdir()] == ["genesis"]
    assert stat.S_ISREG(path.stat().st_mode)


def test_any_difference_makes_another_network():
    ids = {
        found(founder, name, tracks, created_ms=created_ms).network_id
        for founder in (FOUNDER, Identity(golden.SEED_B))
        for name in ("a", "b")
        for tracks in ([], TRACKS)
        for created_ms in (1, 2)
    }
    assert len(ids) == 16


def test_records_of_one_network_are_refused_by_the_other():
    here, there = (found(FOUNDER, "home", TRACKS, created_ms=time_ms).network_id for time_ms in (1, 2))
    made = record.sign(FOUNDER, network=here, seq=1, prev=None, time_ms=5, kind="note", body={})
    assert record.decode(made.raw, here) == made
    with pytest.raises(RecordError):
        record.decode(made.raw, there)


def test_a_record_is_no_genesis_and_a_genesis_no_record():
    """Even one payload that has the fields of both cannot pass as the other: their domain separators differ."""
    note = record.sign(FOUNDER, network="0" * 64, seq=1, prev=None, time_ms=5, kind="note", body={})
    both = json.dumps(json.loads(note.payload) | json.loads(forged()[64:])).encode()
    as_genesis = FOUNDER.sign(b"ensue-genesis-v1\0" + both) + both
    as_record = FOUNDER.sign(b"ensue-record-v1\0" + both) + both
    assert Genesis.decode(as_genesis).name == "home"
    assert record.decode(as_record).kind == "note"
    with pytest.raises(BadSignature):
        Genesis.decode(as_record)
    with pytest.raises(BadSignature):
        record.decode(as_genesis)


def test_every_single_flipped_bit_is_refused():
    raw = found(FOUNDER, "home", TRACKS, created_ms=5).raw
    for bit in range(8 * len(raw)):
        bad = bytearray(raw)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RecordError):
            Genesis.decode(bytes(bad))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(raw: bytes):
    with pytest.raises(RecordError):
        Genesis.decode(raw)


@pytest.mark.parametrize(
    "changed",
    [
        {"v": 2},
        {"v": True},
        {"name": ""},
        {"name": "x" * 65},
        {"name": "a\x1b[2J"},
        {"name": "a\u202eb"},
        {"name": 5},
        {"created_ms": -1},
        {"created_ms": 1.5},
        {"created_ms": True},
        {"founder": "ada"},
        {"founder": None},
        {"tracks": {}},
        {"tracks": ["sotu"]},
        {"tracks": [{"name": "sotu"}]},
        {"tracks": [{"name": "sotu", "id": "sotu"}]},
        {"tracks": [{"name": "\x07", "id": golden.TRACK}]},
        {"tracks": [{"name": "sotu", "id": golden.TRACK}, {"name": "sotu", "id": golden.NETWORK}]},
        {"tracks": [{"name": str(i), "id": golden.TRACK} for i in range(genesis.TRACKS_MAX + 1)]},
        {"verifiers": None},
        {"verifiers": ["ada"]},
        {"verifiers": [5]},
        {"verifiers": [FOUNDER.peer_id] * (genesis.VERIFIERS_MAX + 1)},
        {"policy": []},
        *({name: ...} for name in ("v", "name", "created_ms", "founder", "tracks", "verifiers", "policy")),
    ],
    ids=lambda changed: ascii(changed)[:60],
)
def test_a_signed_genesis_with_a_wrong_field_is_refused(changed: dict[str, Any]):
    with pytest.raises(MalformedRecord):
        Genesis.decode(forged(**changed))


def test_unknown_fields_are_kept_and_change_the_id():
    more = Genesis.decode(forged(motto="plus ultra"))
    assert b"plus ultra" in more.raw
    assert more.network_id != Genesis.decode(forged()).network_id


def test_a_genesis_is_bounded():
    with pytest.raises(RecordTooLarge):
        Genesis.decode(bytes(genesis.GENESIS_BYTES_MAX + 1))
    with pytest.raises(RecordTooLarge):
        found(FOUNDER, "home", TRACKS, created_ms=5, policy={"text": "x" * genesis.GENESIS_BYTES_MAX})


def test_a_missing_or_damaged_file_is_one_sentence(tmp_path: Path):
    path = tmp_path / "genesis"
    with pytest.raises(StoreDamaged, match="restore it"):
        Genesis.load(path)
    good = found(FOUNDER, "home", TRACKS, created_ms=5).raw
    for bad in (b"", good[:-1], good + b" ", b"\0" * 70_000, good[:70] + b"x" + good[71:]):
        path.write_bytes(bad)
        with pytest.raises(StoreDamaged, match="damaged; restore it"):
            Genesis.load(path)
    with pytest.raises(StoreDamaged):
        Genesis.load(tmp_path)


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be saved"):
        found(FOUNDER, "home", TRACKS, created_ms=5).save(tmp_path / "file" / "genesis")
