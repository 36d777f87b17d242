"""The light client's own reading of the protocol against the node's, over streams in memory: no library is needed."""

import asyncio
import hashlib
import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sync_replicas import bodies, budgets, ids, raws, stores, streams

from ensue.errors import NetworkError
from ensue.identity import Identity, public_key_from_peer_id
from ensue.store import Store
from node.light import digests, wire
from node.light.catchup import Catchup, handed
from node.light.digests import BLOCK_NUMBERS, Digests
from node.sync import wire as nodes_wire
from node.sync.answer import answer
from node.sync.replica import Replica
from node.transport.ports import TransportError

EQUAL_BYTES_MAX = 2_000


async def off(call, *values):
    return call(*values)


async def caught_up(catchup: Catchup, there: Replica, network: str = bodies.NETWORK, cut_at: int | None = None) -> int:
    """Runs one round against the node's own answerer, and returns the bytes it took."""
    mine, theirs = streams()
    theirs.cut_at = cut_at
    known = budgets().of("light")
    serving = asyncio.create_task(answer(theirs, there, known))
    try:
        await catchup.round(mine, network, "test")
    finally:
        await mine.close()
        await serving
    assert known.standing == 100
    return mine.sent + theirs.sent


async def given_to(there: Replica, records: list[bytes]) -> list[tuple[int, int, int]]:
    mine, theirs = streams()
    serving = asyncio.create_task(answer(theirs, there, budgets().of("light")))
    await wire.hello(mine, bodies.NETWORK, "test")
    told = [await wire.give(mine, batch) for batch in handed(records)]
    await mine.close()
    await serving
    return told


@st.composite
def divided(draw: st.DrawFn) -> list[list[bytes]]:
    """Two sets of records with gaps, forks, unknown kinds, several blocks, and enough authors for branches."""
    world = draw(bodies.worlds(24))
    far = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(2, 5 * BLOCK_NUMBERS)), max_size=6))
    world += [bodies.record(author, seq, "of-a-later-version", {"n": seq}) for author, seq in far]
    crowd = draw(st.integers(0, 40))
    world += [first_of(number) for number in range(crowd)]
    sides = draw(st.lists(st.sampled_from(["a", "b", "ab"]), min_size=len(world), max_size=len(world)))
    return [[one.raw for one, side in zip(world, sides, strict=True) if name in side] for name in "ab"]


def first_of(number: int):
    """Returns the first record of one of many authors."""
    author = Identity(number.to_bytes(32, "big"))
    return bodies.sign(
        author, network=bodies.NETWORK, seq=1, prev=None, time_ms=number, kind="x", body={"text": "é" * 50}
    )


@settings(max_examples=20)
@given(divided())
def test_the_light_client_takes_in_all_that_a_node_has(halves):
    with tempfile.TemporaryDirectory() as folder, stores(Path(folder), "light", "node") as (light, node):
        light.store.ingest(halves[0])
        node.store.ingest(halves[1])
        had = ids(light)
        catchup = Catchup(light.store, off)
        asyncio.run(caught_up(catchup, node))
        assert ids(light) == had | ids(node)
        asyncio.run(given_to(node, raws(light.store.records())))
        assert ids(light) == ids(node)
        assert asyncio.run(caught_up(catchup, node)) <= EQUAL_BYTES_MAX
        assert light.store.digest() == node.store.digest()


@settings(max_examples=20)
@given(divided(), st.integers(0, 30))
def test_both_programs_say_the_same_of_the_same_records(halves, early):
    """Whatever the order of arrival: late records fall into blocks that have a digest already."""
    with tempfile.TemporaryDirectory() as folder, stores(Path(folder), "one") as (replica,):
        digests = Digests(replica.store)
        replica.store.ingest(halves[1][early:])
        digests.refresh()
        replica.store.ingest(halves[0] + halves[1])
        digests.refresh()
        assert digests.node() == asyncio.run(replica.current()).root()
        for author in {record.author for record in replica.store.records()}:
            head = replica.logs.log(author).head
            assert wire.log_head(digests.log(nodes_wire.LOG.unpack(head)[0])) == replica.logs.head(author)


def test_several_answers_and_a_line_that_is_cut_at_each(tmp_path):
    wide = [bodies.record(1, seq, "x", {"n": seq, "text": "é" * 20_000}) for seq in range(1, 41)]
    gaps = [bodies.record(2, seq, "x", {"n": seq}) for seq in (1, 2, 5_000)]
    fork = [bodies.record(0, 7, "x", {"n": n}) for n in range(3)]
    with stores(tmp_path, "node") as (node,):
        node.store.ingest(raws(wide + gaps + fork))
        cut_at = 0
        while True:
            with stores(tmp_path, f"light-{cut_at}") as (light,):
                light.store.ingest(raws(gaps[1:]))
                catchup = Catchup(light.store, off)
                try:
                    asyncio.run(caught_up(catchup, node, cut_at=cut_at))
                    break
                except TransportError:
                    had = light.store.count()
                asyncio.run(caught_up(catchup, node))
                assert light.store.count() == node.store.count() >= had
                assert light.store.digest() == node.store.digest()
            cut_at += 1
        assert cut_at >= 6


def test_what_a_node_lacks_costs_little(tmp_path):
    """A node that is behind in a long log has nothing to give; that is seen without a list of what it has."""
    log = [bodies.record(0, seq, "x", {"n": seq}) for seq in range(1, 2_500)]
    with stores(tmp_path, "light", "node") as (light, node):
        light.store.ingest(raws(log))
        node.store.ingest(raws(log[:1_700]))
        assert asyncio.run(caught_up(Catchup(light.store, off), node)) < EQUAL_BYTES_MAX
        node.store.ingest(raws([bodies.record(0, 1_600, "x", {"n": "another"})]))
        asyncio.run(caught_up(Catchup(light.store, off), node))
        assert light.store.frozen_from(bodies.AUTHORS[0].peer_id) == 1_600


def test_a_node_that_asks_is_told_to_come_back(tmp_path):
    async def meet() -> None:
        mine, theirs = streams()
        answering = asyncio.create_task(wire.turn_away(theirs))
        await mine.send(nodes_wire.frame(nodes_wire.Hello(1, bytes(32), "a node")))
        told, _ = await nodes_wire.receive_answer(mine)
        await answering
        assert told == nodes_wire.Refused("busy", wire.BUSY_S)

    asyncio.run(meet())


def test_what_is_refused_is_said_in_a_sentence(tmp_path):
    with (
        stores(tmp_path, "light", "node") as (light, node),
        pytest.raises(wire.Refusal, match="another network") as told,
    ):
        asyncio.run(caught_up(Catchup(light.store, off), node, network="ab" * 32))
    assert told.value.code == "network"


def test_a_forged_record_is_not_taken_in(tmp_path):
    good = bodies.record(0, 1, "x", {"n": 1}).raw
    forged = good[:70] + bytes([good[70] ^ 1]) + good[71:]
    head = wire.LogHead(Identity(bytes([1]) * 32).public_key, 1, 1, bytes([9]) * 32)
    batch = nodes_wire.Records(nodes_wire.pack_records([forged]), 1)
    with stores(tmp_path, "light") as (light,):
        catchup = Catchup(light.store, off)
        leaf, none = nodes_wire.Leaf(wire.log_head(head)), nodes_wire.BlockList(b"", False)
        told(catchup, welcome(1), nodes_wire.Nodes([leaf]), batch, none)
        assert light.store.count() == 0
        assert len(catchup.refused) == 1


def welcome(records: int) -> nodes_wire.Welcome:
    return nodes_wire.Welcome(1, "a liar", records, bytes([7]) * 32, 0, bytes(32))


def told(catchup: Catchup, *answers: nodes_wire.Answer | bytes) -> None:
    """Runs one round against answers that stand already, frames or bytes."""

    async def meet() -> None:
        mine, theirs = streams()
        for one in answers:
            await theirs.send(one if isinstance(one, bytes) else nodes_wire.frame(one))
        closing = asyncio.create_task(silent(theirs, len(answers)))
        try:
            await catchup.round(mine, bodies.NETWORK, "test")
        finally:
            closing.cancel()

    async def silent(theirs, count: int) -> None:
        for _ in range(count + 1):
            await theirs.receive(struct.unpack(">I", await theirs.receive(4))[0])
        await theirs.close()

    asyncio.run(asyncio.wait_for(meet(), 20))


def branch(digest: int) -> nodes_wire.Nodes:
    """Returns a branch all of whose children differ from everything."""
    return nodes_wire.Nodes([nodes_wire.Branch(nodes_wire.joined(nodes_wire.CHILD, [(1, bytes([digest]) * 32)] * 16))])


def frame(*fields: object) -> bytes:
    body = msgspec.msgpack.encode(fields)
    return struct.pack(">I", len(body)) + body


KEY = Identity(bytes([1]) * 32).public_key
GROWN = nodes_wire.Nodes([nodes_wire.Leaf(wire.log_head(wire.LogHead(KEY, 9, 9, bytes([9]) * 32)))])
GAPPED = nodes_wire.Nodes([nodes_wire.Leaf(wire.log_head(wire.LogHead(KEY, 1, 0, bytes([9]) * 32)))])
BLOCK = nodes_wire.BlockList(nodes_wire.joined(nodes_wire.BLOCK, [(0, 1, bytes([9]) * 32)]), False)

PACKED = wire.packing.pack
LIES = {
    "nothing": (b"\0\0\0\0",),
    "a frame of two gigabytes": (b"\x7f\xff\xff\xff",),
    "noise": (struct.pack(">I", 8) + b"\xc1" * 8,),
    "a map": (struct.pack(">I", 1) + b"\x80",),
    "another answer": (nodes_wire.Took(0, 0, 0),),
    "a welcome without fields": (frame("welcome", 1, "x"),),
    "a welcome of another version": (frame("welcome", 2, "x", 1, bytes(32), 0, bytes(32)),),
    "a truth value for a number": (frame("welcome", True, "x", 1, bytes(32), 0, bytes(32)),),
    "a digest cut short": (frame("welcome", 1, "x", 1, bytes(31), 0, bytes(32)),),
    "too few nodes": (welcome(1), nodes_wire.Nodes([])),
    "a node of no kind": (welcome(1), frame("nodes", [["twig", b""]])),
    "a leaf of a hundred logs": (welcome(1), frame("nodes", [["leaf", bytes(80) * 100]])),
    "a branch of two": (welcome(1), frame("nodes", [["branch", bytes(80)]])),
    "rows cut short": (welcome(1), frame("nodes", [["leaf", bytes(79)]])),
    "records that do not unpack": (welcome(9), GROWN, frame("records", b"no zstd", 1, 0, b"")),
    "records of wrong lengths": (
        welcome(9),
        GROWN,
        frame("records", PACKED(b"\0\0\0\5ab", None), 1, 0, b""),
    ),
    "a bomb": (welcome(9), GROWN, frame("records", PACKED(bytes(10**7), None), 1, 0, b"")),
    "no way on in a log": (welcome(9), GROWN, frame("records", b"", 0, 0, b"")),
    "blocks without end": (welcome(1), GAPPED, nodes_wire.BlockList(b"", True)),
    "places without end": (welcome(1), GAPPED, BLOCK, nodes_wire.KeyList(b"", True)),
    "places twice": (
        *(welcome(1), GAPPED, BLOCK),
        nodes_wire.KeyList(nodes_wire.joined(nodes_wire.KEY, [(1, bytes(32))] * 2), False),
    ),
    "no way on by ids": (
        *(welcome(1), GAPPED, BLOCK),
        nodes_wire.KeyList(nodes_wire.joined(nodes_wire.KEY, [(1, bytes(32))]), False),
        nodes_wire.Records(b"", 0),
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_node_that_breaks_the_protocol_is_left_at_once(tmp_path, lie):
    with Store(tmp_path / "light.sqlite3", bodies.NETWORK) as store:
        with pytest.raises(wire.BadAnswer) as broken:
            told(Catchup(store, off), *LIES[lie])
        assert isinstance(broken.value, NetworkError)
        assert str(broken.value).endswith("try another node of the network.")
        assert store.count() == 0


def test_a_tree_that_never_ends_costs_a_bounded_number_of_questions(tmp_path):
    """Each branch differs everywhere, but a node that has one record has no thousands of logs."""

    class Liar:
        asked = 0

        async def send(self, data: bytes) -> None:
            name, *fields = msgspec.msgpack.decode(data[4:])
            self.asked += 1
            one = branch(self.asked % 251).nodes[0]
            reply = welcome(1) if name == "hello" else nodes_wire.Nodes([one] * len(fields[1]))
            self.buffer = nodes_wire.frame(reply)

        async def receive(self, size: int) -> bytes:
            data, self.buffer = self.buffer[:size], self.buffer[size:]
            return data

    liar = Liar()
    with Store(tmp_path / "light.sqlite3", bodies.NETWORK) as store, pytest.raises(wire.BadAnswer):
        asyncio.run(Catchup(store, off).round(liar, bodies.NETWORK, "test"))
    assert liar.asked < 100


VECTORS = json.loads((Path(__file__).parents[1] / "vectors/sync.json").read_text())
FIELDS_OF_BYTES = {
    "network",
    "author",
    "id",
    "ids",
    "records",
    "logs",
    "sources",
    "entries",
    "children",
    "blocks",
    "keys",
}


def fields(message: dict[str, Any]) -> list[Any]:
    """Returns the fields of a message in the vectors as they are sent."""
    found = []
    for name, value in message.items():
        if isinstance(value, str) and name in FIELDS_OF_BYTES:
            value = bytes.fromhex(value)
        elif isinstance(value, list):
            value = [fields(one) if isinstance(one, dict) else one for one in value]
        found.append(value)
    return found


@pytest.mark.parametrize("vector", VECTORS["requests"], ids=lambda one: one["fields"]["message"])
def test_questions_are_the_frames_of_the_vectors(vector):
    if vector["fields"]["message"] in ("blobs", "best", "top"):
        return  # nothing that this client asks
    assert wire.encoded(*fields(vector["fields"])).hex() == vector["frame_hex"]


@pytest.mark.parametrize("vector", VECTORS["answers"], ids=lambda one: one["fields"]["message"])
def test_answers_of_the_vectors_are_understood(vector):
    name, *said = fields(vector["fields"])

    class Replay:
        frame = bytes.fromhex(vector["frame_hex"])

        async def send(self, data: bytes) -> None:
            pass

        async def receive(self, size: int) -> bytes:
            data, self.frame = self.frame[:size], self.frame[size:]
            return data

    read = {
        "welcome": lambda: wire.hello(Replay(), "00" * 32, ""),
        "nodes": lambda: wire.walk(Replay(), [""] * len(said[0])),
        "records": lambda: wire.tails(Replay(), []),
        "block list": lambda: wire.blocks(Replay(), bytes(32), 0),
        "key list": lambda: wire.places(Replay(), bytes(32), 0, wire.Place(0, b"")),
        "took": lambda: wire.give(Replay(), [b"x"]),
    }
    if name == "refused":
        with pytest.raises(wire.Refusal) as told:
            asyncio.run(wire.hello(Replay(), "00" * 32, ""))
        assert (told.value.code, told.value.retry_s) == tuple(said[:2])  # the network that follows it knows already
    elif name in read:
        found = asyncio.run(read[name]())
        again = {
            "welcome": lambda: tuple(found) == (said[2], said[3]),
            "nodes": lambda: [joined(node) for node in found] == [node[1] for node in said[0]],
            "records": lambda: [found.at, *found.after] == said[1:] and found.raws == wire.unpacked(said[0]),
            "block list": lambda: (wire.block_list(found[0]), found[1]) == tuple(said),
            "key list": lambda: (b"".join(nodes_wire.KEY.pack(*one) for one in found[0]), found[1]) == tuple(said),
            "took": lambda: list(found) == said,
        }
        assert again[name]()


def joined(node: wire.Node) -> bytes:
    return b"".join(wire.log_head(one) if isinstance(one, wire.LogHead) else wire.children([one]) for one in node)


def test_digests_and_packed_records_of_the_vectors():
    packed, trees = VECTORS["packed_record"], VECTORS["trees"]
    assert [raw.hex() for raw in wire.unpacked(bytes.fromhex(packed["packed_hex"]))] == [packed["raw_hex"]]
    heads = []
    for author, rows in trees["blocks"].items():
        chains: dict[int, bytes] = {}
        places = sorted((one["seq"], bytes.fromhex(one["id"])) for one in trees["records"] if one["author"] == author)
        for seq, key in places:
            number = digests.block_of(seq)
            chains[number] = digests.chained(chains.get(number, digests.EMPTY), wire.Place(seq, key))
        blocks = [wire.Block(number, count, bytes.fromhex(digest)) for number, count, digest in rows]
        assert {block.number: block.digest for block in blocks} == chains
        heads.append(
            wire.LogHead(public_key_from_peer_id(author), len(places), places[-1][0], digests.digest_of(blocks))
        )
        assert wire.log_head(heads[-1]).hex() == trees["entries"][author]
    heads.sort(key=lambda head: digests.place(head.key))
    assert hashlib.sha256(b"leaf" + b"".join(map(wire.log_head, heads))).hexdigest() == trees["logs"]
