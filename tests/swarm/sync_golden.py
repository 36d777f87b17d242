"""Writes tests/vectors/sync.json, what two nodes say to each other: `python tests/swarm/sync_golden.py`."""

import json
from pathlib import Path
from typing import Any

import msgspec
from sync_replicas import bodies

from ensue.store.exchange import Numbered
from node.sync import wire
from node.sync.summary import BLOCK_SEQS, Summaries
from node.sync.tree import LEAF_ENTRIES, Tree

PATH = Path(__file__).resolve().parents[1] / "vectors/sync.json"


def hashed(text: str) -> bytes:
    return bytes.fromhex(bodies.sha(text))


KEY = bodies.AUTHORS[0].public_key
RECORD = bodies.record(0, 1, "x", {"n": 1})
TREE = [hashed(f"script {number}") for number in range(LEAF_ENTRIES + 4)]
LOGS = [
    Numbered(no, bodies.AUTHORS[author].peer_id, seq, hashed(f"record {no}"))
    for no, (author, seq) in enumerate([(0, 1), (0, 2), (1, 1), (0, BLOCK_SEQS), (0, BLOCK_SEQS + 1), (0, 2)], 1)
]

REQUESTS: list[wire.Request] = [
    wire.Hello(wire.VERSION, bytes.fromhex(bodies.NETWORK), "autoresearch 0.1.0"),
    wire.Walk("logs", ["", "a", "0f"]),
    wire.Tails([wire.Tail(KEY, 0), wire.Tail(bodies.AUTHORS[1].public_key, 7, b"\xff" * 32)]),
    wire.Blocks(KEY, 3),
    wire.Keys(KEY, 3, 3_080, hashed("place")),
    wire.Get(hashed("one") + hashed("two")),
    wire.Blobs([wire.Want(hashed("child"), hashed("parent")), wire.Want(hashed("other"))]),
    wire.Best(bytes.fromhex(bodies.TRACK), "cpu-2t"),
    wire.Top(bytes.fromhex(bodies.TRACK), "author", 10),
    wire.Give(wire.pack_records([RECORD.raw])),
]
ANSWERS: list[wire.Answer] = [
    wire.Welcome(wire.VERSION, "autoresearch 0.1.0", 6, hashed("logs"), 2, hashed("sources")),
    *(wire.Refused(code, 60 * (code == "busy"), bytes.fromhex(bodies.NETWORK) * (code == "network"))
      for code in wire.REASONS),
    wire.Nodes([wire.Leaf(wire.LOG.pack(KEY, 3, 4, hashed("log"))),
                wire.Branch(b"".join(wire.CHILD.pack(n, hashed(f"child {n}")) for n in range(16)))]),
    wire.Records(wire.pack_records([RECORD.raw]), 0, 1, bytes.fromhex(RECORD.id)),
    wire.Records(b"", 1),
    wire.BlockList(wire.BLOCK.pack(3, 5, hashed("block")), True),
    wire.KeyList(wire.KEY.pack(3_081, hashed("next")), False),
    wire.Pieces([wire.Piece(0, True, 0, b"whole"), wire.Piece(2, False, 900, b"part")], [1], 2, True),
    wire.Took(1, 0, 2),
]  # fmt: skip


def plain(value: Any) -> Any:
    """Returns a message as JSON has it: its name and fields, bytes as hexadecimal digits."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, msgspec.Struct):
        return value
    fields = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    tag = value.__struct_config__.tag
    return ({"message": tag} if tag else {}) | fields


def trees() -> dict[str, Any]:
    """Returns what the digests of some logs, and of some missing scripts, are."""
    summaries, sources = Summaries(), Tree()
    summaries.add(LOGS)
    for author, block in summaries.stale():
        keys = sorted((row.seq, row.id) for row in LOGS if row.author == author and row.seq <= BLOCK_SEQS)
        summaries.settle(author, block, keys)
    for key in TREE:
        sources.put(key, 1, key)
    logs = [summaries.log(identity.peer_id) for identity in bodies.AUTHORS[:2]]
    return {
        "records": [{"author": row.author, "seq": row.seq, "id": row.id.hex()} for row in LOGS],
        "blocks": {log.author: [[no, count, digest.hex()] for no, count, digest in log.described()] for log in logs},
        "entries": {log.author: summaries.head(log.author).hex() for log in logs},
        "logs": summaries.root()[1].hex(),
        "missing": [key.hex() for key in TREE],
        "children": [[weight, digest.hex()] for weight, digest in sources.children("")],
        "sources": sources.node()[1].hex(),
    }


def vectors() -> dict[str, Any]:
    """Returns all of it."""
    return {
        "requests": [{"fields": plain(one), "frame_hex": wire.frame(one).hex()} for one in REQUESTS],
        "answers": [{"fields": plain(one), "frame_hex": wire.frame(one).hex()} for one in ANSWERS],
        "packed_record": {"raw_hex": RECORD.raw.hex(), "packed_hex": wire.pack_records([RECORD.raw]).hex()},
        "trees": trees(),
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(vectors(), indent=1) + "\n")
