"""The wire format: vectors that stay as they are, bounds, and bytes that are no message."""

import asyncio
import hashlib
import json
import typing
from random import Random

import pytest
import sync_golden
from hypothesis import given
from hypothesis import strategies as st
from sync_replicas import bodies, streams

from ensue import packing
from ensue.record import RECORD_BYTES_MAX
from node.sync import wire
from node.sync.summary import chain, log_digest
from node.sync.tree import EMPTY, LEAF_ENTRIES, Tree, branch_digest, leaf_digest

VECTORS = json.loads(sync_golden.PATH.read_text())


def decoded(frame: bytes, receive=wire.receive_answer):
    async def through():
        one, two = streams()
        await one.send(frame)
        await one.close()
        return (await receive(two))[0]

    return asyncio.run(through())


def without_packed(fields):
    """Leaves out what another version of zstd may pack otherwise."""
    return {key: value for key, value in fields.items() if key != "records"}


@pytest.mark.parametrize("way", ["requests", "answers"])
def test_the_vectors_hold(way):
    messages = sync_golden.REQUESTS if way == "requests" else sync_golden.ANSWERS
    receive = wire.receive_request if way == "requests" else wire.receive_answer
    assert len(messages) == len(VECTORS[way])
    for message, vector in zip(messages, VECTORS[way], strict=True):
        frame = bytes.fromhex(vector["frame_hex"])
        assert frame[:4] == (len(frame) - 4).to_bytes(4, "big")
        assert without_packed(sync_golden.plain(decoded(frame, receive))) == without_packed(vector["fields"])
        if not hasattr(message, "records"):
            assert wire.frame(message) == frame


def test_there_is_a_vector_for_every_message():
    made = {type(one) for one in [*sync_golden.REQUESTS, *sync_golden.ANSWERS]}
    assert made == {*typing.get_args(wire.Request), *typing.get_args(wire.Answer)}
    assert VECTORS["trees"] == sync_golden.trees()


def test_the_vector_of_packed_records_holds():
    vector = VECTORS["packed_record"]
    assert [raw.hex() for raw in wire.unpack_records(bytes.fromhex(vector["packed_hex"]))] == [vector["raw_hex"]]


def test_the_digests_follow_the_rules_by_hand():
    """Computed as PROTOCOL.md says it, without the code that keeps the summaries."""
    trees = VECTORS["trees"]
    for author, blocks in trees["blocks"].items():
        log = sorted((row["seq"], bytes.fromhex(row["id"])) for row in trees["records"] if row["author"] == author)
        by_hand = []
        for number in sorted({(seq - 1) // 1024 for seq, _ in log}):
            digest = bytes(32)
            inside = [key for key in log if (key[0] - 1) // 1024 == number]
            for seq, key in inside:
                digest = hashlib.sha256(digest + seq.to_bytes(8, "big") + key).digest()
            by_hand.append([number, len(inside), digest.hex()])
        assert by_hand == blocks
        entry = bytes.fromhex(trees["entries"][author])
        assert entry[32:48] == len(log).to_bytes(8, "big") + log[-1][0].to_bytes(8, "big")
        packed = b"".join(n.to_bytes(8, "big") + c.to_bytes(8, "big") + bytes.fromhex(d) for n, c, d in by_hand)
        assert entry[48:] == hashlib.sha256(packed).digest()
    entries = sorted(
        (bytes.fromhex(one) for one in trees["entries"].values()), key=lambda e: hashlib.sha256(e[:32]).digest()
    )
    assert trees["logs"] == hashlib.sha256(b"leaf" + b"".join(entries)).hexdigest()
    children = b"".join(weight.to_bytes(8, "big") + bytes.fromhex(digest) for weight, digest in trees["children"])
    assert trees["sources"] == hashlib.sha256(b"branch" + children).hexdigest()
    assert sum(weight for weight, _ in trees["children"]) == len(trees["missing"]) == LEAF_ENTRIES + 4


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=40))
def test_packed_records_come_back(raws):
    assert wire.unpack_records(wire.pack_records(raws)) == raws


def test_a_record_of_any_size_can_be_given():
    wire.frame(wire.Give(wire.pack_records([Random(1).randbytes(RECORD_BYTES_MAX)])))
    assert RECORD_BYTES_MAX + 200 < wire.REQUEST_BYTES_MAX


@pytest.mark.parametrize(
    "plain",
    [
        b"\x00",
        (5).to_bytes(4, "big") + b"four",
        bytes(4),
        (RECORD_BYTES_MAX + 1).to_bytes(4, "big") + bytes(RECORD_BYTES_MAX + 1),
    ],
)
def test_records_of_wrong_lengths_are_refused(plain):
    with pytest.raises(wire.PeerFault):
        wire.unpack_records(packing.pack(plain, None))


@given(st.integers(0, len(sync_golden.ANSWERS) - 1), st.integers(0, 2**32), st.integers(1, 6))
def test_mutants_are_messages_or_faults(which, seed, flips):
    frame, dice = bytearray(wire.frame(sync_golden.ANSWERS[which])), Random(seed)
    for _ in range(flips):
        frame[dice.randrange(4, len(frame))] = dice.randrange(256)
    try:
        message = decoded(bytes(frame))
    except wire.PeerFault:
        return
    assert len(wire.frame(message)) <= wire.FRAME_BYTES_MAX + 4


@pytest.mark.parametrize(
    "message",
    [
        wire.Hello(1, b"short"), wire.Walk("logs", ["0g"]), wire.Walk("blobs", [""]), wire.Walk("logs", ["0" * 64]),
        wire.Walk("logs", [""] * (wire.PREFIXES_MAX + 1)), wire.Blocks(b"", 0), wire.Blocks(bytes(32), -1),
        wire.Get(bytes(32 * (wire.IDS_MAX + 1))), wire.Top(bytes(32), "random"), wire.Top(bytes(32), "result", 0),
        wire.Blobs([wire.Want(bytes(32))] * (wire.WANTS_MAX + 1)), wire.Best(bytes(32), "x" * 401),
    ],
)  # fmt: skip
def test_fields_out_of_bounds_are_no_message(message):
    with pytest.raises(wire.PeerFault):
        decoded(wire.frame(message), wire.receive_request)


def test_elements_that_a_later_version_adds_are_passed_over():
    body = wire.frame(wire.Took(1, 2, 3))[4:]
    longer = bytes([body[0] + 1]) + body[1:] + b"\xa5later"
    assert decoded(len(longer).to_bytes(4, "big") + longer) == wire.Took(1, 2, 3)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=120))
def test_a_tree_depends_on_what_is_in_it_only(steps):
    tree, there = Tree(), dict[bytes, int]()
    for number, (puts, name) in enumerate(steps):
        key = hashlib.sha256(b"%d" % name).digest()
        if puts:
            tree.put(key, number, b"%d" % number)
            there[key] = number
        else:
            tree.drop(key)
            there.pop(key, None)
        if number % 3 == 0:
            tree.node()
    fresh = Tree()
    for key in sorted(there):
        fresh.put(key, there[key], b"%d" % there[key])
    assert tree.node() == fresh.node()
    assert tree.node()[0] == sum(there.values())
    assert tree.keys() == sorted(there)


def test_digests_of_different_things_differ():
    assert chain([]) == EMPTY == leaf_digest([])
    assert branch_digest(bytes(640)) != leaf_digest([bytes(640)])
    assert log_digest([]) != EMPTY
    assert bodies.AUTHORS
