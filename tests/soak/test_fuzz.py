"""Mutants through every parser: nothing but errors of ours, no memory kept, no mutant that costs 50 ms.

AUTORESEARCH_SOAK_MUTANTS says how many (default 1,000,000) and AUTORESEARCH_SOAK_SEED from which seed. Left out: the
shards of a track's data, which are compared with a pinned hash before anything opens them.
"""

import json
import os
import resource
import shutil
import sqlite3
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import bodies
import mutants
import pytest
import zstandard

from ensue import archive, identity, record
from ensue.archive import Archive
from ensue.errors import AutoresearchError, UserError
from ensue.genesis import Genesis, TrackRef, found
from ensue.identity import Identity
from ensue.kinds import KINDS, parse_body
from ensue.store import Blob, Store
from experiments import experiment, harness, job, knobs, supervisor, track
from experiments.outcome import Failed
from experiments.proposers import base, command
from node import journal, settings, text

ROOT = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("AUTORESEARCH_SOAK_SEED", "20261121"))
FEW, MANY = 3_000, 1_000_000
MUTANT_S_MAX = 0.05
GROWN_BYTES_MAX = 64 * 1024 * 1024
WARM = 40
RECORDS_A_STORE = 4_000
ME = bodies.AUTHORS[0]
GENESIS = found(ME, "plain", [TrackRef("sotu", bodies.TRACK)], created_ms=1_700_000_000_000)
SCRIPT = (ROOT / "train.py").read_bytes()
LOAD_MODEL = b"LR = 0.02  # [0.002 .. 0.2] log; rate\nACT = 'relu'  # {relu, gelu}; kind\nN = -3\nB: bool = True\n"


@dataclass
class Tally:
    """What became of one target's mutants."""

    mutants: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    total_s: float = 0.0
    slow: list[str] = field(default_factory=list)
    crashes: dict[str, str] = field(default_factory=dict)
    """Where it broke, to the first mutant that broke it there."""


class World:
    """What the parsers need around them: a store, folders, a channel."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = GENESIS.network_id
        self.store: Store | None = None
        self.taken = 0
        self.channel = job.Channel()
        (folder / "track").mkdir()
        (folder / "out").mkdir()
        shutil.copyfile(ROOT / "tests/tracks/tiny/baseline.py", folder / "track/baseline.py")
        self.searched = Store(folder / "searched.sqlite3", self.network)
        blob = Blob(SCRIPT)
        child = Blob(SCRIPT.replace(b"0.", b"1.", 3), blob.sha256)
        more = [("result", bodies.result(source=one.sha256, seed=5)) for one in (blob, child)]
        raws = [self.signed(number, kind, body).raw for number, (kind, body) in enumerate([*BODIES, *more], 1)]
        self.searched.ingest(raws, [blob, child])
        self.blobs = (blob.sha256, child.sha256)
        self.raw = sqlite3.connect(folder / "searched.sqlite3", isolation_level=None, timeout=30)
        self.raw.execute("PRAGMA synchronous=OFF")
        self.packed = {
            sha: self.raw.execute("SELECT data FROM blobs WHERE sha = ?", (bytes.fromhex(sha),)).fetchone()[0]
            for sha in self.blobs
        }

    def signed(self, seq: int, kind: str, body: dict[str, Any], author: int = 1) -> record.Record:
        prev = None if seq == 1 else bodies.sha(f"before {seq}")
        identity = bodies.AUTHORS[author]
        return record.sign(
            identity, network=self.network, seq=seq, prev=prev, time_ms=1_700_000_000_000, kind=kind, body=body
        )

    def fresh(self) -> Store:
        """The store that takes mutants in; a new one now and then, so that it stays small."""
        if self.store is None or self.taken >= RECORDS_A_STORE:
            if self.store is not None:
                self.store.close()
            for path in self.folder.glob("mutants.sqlite3*"):
                path.unlink()
            self.store, self.taken = Store(self.folder / "mutants.sqlite3", self.network), 0
        return self.store

    def file(self, name: str, data: bytes, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        path.chmod(mode)
        return path

    def close(self) -> None:
        self.raw.close()
        self.searched.close()
        self.channel.close()
        if self.store is not None:
            self.store.close()


BODIES: list[tuple[str, dict[str, Any]]] = [
    ("result", bodies.result(value=1.6, checks={"probe": 0.1})),
    ("result", bodies.result(status="crashed", description="diff\u202eerent", parent=bodies.sha("parent"))),
    ("claim", bodies.claim()),
    ("hypothesis", bodies.hypothesis("Warm up longer, decay the matrix learning rate.", source=bodies.sha("s"))),
    ("insight", bodies.insight("Depth beats width here.", evidence=[bodies.sha("a"), bodies.sha("b")], valid_days=9)),
    ("retraction", {"target": bodies.sha("target"), "reason": "wrong data"}),
    ("x.later", {"of": {"a": ["later", {"version": 1.5}]}}),
]

Job = Callable[[], object]
Target = Callable[[World, Random], Job]


def decoded(world: World, dice: Random) -> Job:
    raw = mutants.mutant(dice, _corpus(world, "records", lambda: [world.signed(1, *one).raw for one in BODIES]))
    return lambda: record.decode(raw, world.network)


def signed_again(world: World, dice: Random) -> Job:
    """A stranger signs anything: what is behind the signature is reached."""
    author = dice.choice(bodies.AUTHORS)
    kind, body = dice.choice(BODIES)
    seq = dice.randint(1, 50)
    fields: Any = {
        "v": 1, "network": world.network, "author": author.peer_id, "seq": seq,
        "prev": None if seq == 1 else bodies.sha(str(seq - 1)), "time_ms": 1, "kind": kind, "body": body,
    }  # fmt: skip
    if dice.random() < 0.7:
        fields["body"] = mutants.tree(dice, body)
        payload = mutants.payload(fields)
    elif dice.random() < 0.5:
        payload = mutants.payload(mutants.tree(dice, fields))
    else:
        payload = mutants.mutant(dice, [mutants.payload(fields)])
    raw = author.sign(record._DOMAIN + payload) + payload
    store = world.fresh()
    world.taken += 1

    def take() -> None:
        report = store.ingest([raw])
        if report.refused:
            raise UserError(report.refused[0])
        for key in report.accepted:
            made = store.get(key)
            if made.kind == "result":
                store.result(key)
            list(archive.names(made.body))

    return take


def body(world: World, dice: Random) -> Job:
    kind, honest = dice.choice(BODIES)
    changed = mutants.tree(dice, honest)
    kind = dice.choice([kind, kind, *KINDS])
    return lambda: parse_body(kind, changed if isinstance(changed, dict) else {"a": changed})


def founding(world: World, dice: Random) -> Job:
    if dice.random() < 0.5:
        raw = mutants.mutant(dice, [GENESIS.raw])
    else:
        payload = mutants.payload(mutants.tree(dice, json.loads(GENESIS.raw[64:])))
        raw = ME.sign(b"ensue-genesis-v1\0" + payload) + payload
    return lambda: Genesis.decode(raw)


def key_file(world: World, dice: Random) -> Job:
    path = world.file("key", mutants.mutant(dice, [ME.file_bytes()]))
    return lambda: Identity.load(path)


def peer_id(world: World, dice: Random) -> Job:
    spelled = mutants.mutant(dice, [ME.peer_id.encode()]).decode("utf-8", "surrogateescape")
    return lambda: identity.public_key_from_peer_id(spelled)


def settings_file(world: World, dice: Random) -> Job:
    whole = 'name = "attic"\nhours = "22-07"\nexperiments = 3\nkeep_alpha = 0.05\nmemory_bytes = 2_000_000_000\n'
    path = world.file("settings.toml", mutants.mutant(dice, [whole.encode(), b"[a]\nb = [1, {c = 2}]\n"]))
    return lambda: settings.load(path, environ={})


def typed_setting(world: World, dice: Random) -> Job:
    names = [*settings.Settings.__dataclass_fields__, "nonsense"]
    name, typed = dice.choice(names), dice.choice((*mutants.STRANGE, *mutants.NUMBERS, "22-07", "cuda:9"))
    return lambda: settings.from_text(name, typed, "config set")


def track_folder(world: World, dice: Random) -> Job:
    tracks = [
        (ROOT / "tests/tracks/tiny/track.toml").read_bytes(),
        (track.TRACKS_FOLDER / "sotu/track.toml").read_bytes(),
    ]
    world.file("track/track.toml", mutants.mutant(dice, tracks))
    lock = json.dumps({"files": {"a.xz": {"sha256": "ab" * 32, "bytes": 5}}, "prepared": "cd" * 32}).encode()
    world.file("track/shards.lock", mutants.mutant(dice, [lock]) if dice.random() < 0.3 else lock)
    return lambda: track.load(world.folder / "track")


def checkpoint(world: World, dice: Random) -> Job:
    head = json.dumps({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    world.file("out/model.safetensors", mutants.mutant(dice, [len(head).to_bytes(8, "little") + head + bytes(16)]))
    return lambda: job.take_checkpoint(world.folder / "out", 65_536, world.folder / "taken")


def message(world: World, dice: Random) -> Job:
    said = [b'{"op":"progress","time_left_s":1.5,"step":3,"loss":2.5,"tokens":1000}', b'{"op":"done","slot":1}']
    world.channel.theirs.send(mutants.mutant(dice, said)[:8000] or b"{")

    def hear() -> None:
        for heard in world.channel.messages():
            supervisor._whole(heard.get("tokens"))
            supervisor._finite(heard.get("loss"))
            assert isinstance(heard.get("op") == "done" and heard.get("slot") == 1, bool)

    return hear


def script(world: World, dice: Random) -> Job:
    corpus = [SCRIPT, LOAD_MODEL, LOAD_MODEL * 3, SCRIPT[:3000]]
    source = mutants.mutant(dice, corpus).decode("utf-8", dice.choice(("replace", "surrogateescape")))

    def look() -> None:
        knobs.read(source)
        experiment.describe(experiment.changes(LOAD_MODEL.decode(), source))

    return look


def contract(world: World, dice: Random) -> Job:
    source = mutants.mutant(dice, [SCRIPT, LOAD_MODEL]).decode("utf-8", "replace")
    try:
        tree = knobs.parse(source)
    except AutoresearchError:
        tree = knobs.parse("")
    return lambda: harness.names_load_model(tree)


def same_experiment(world: World, dice: Random) -> Job:
    source = mutants.mutant(dice, [LOAD_MODEL, SCRIPT[:4000]]).decode("utf-8", "replace")
    return lambda: experiment.experiment_key(bodies.TRACK, None, source)


def answer(world: World, dice: Random) -> Job:
    context = base.Context(bodies.TRACK, "min", LOAD_MODEL.decode(), 1.6, (), lambda key: False)
    honest = [{"change": {"LR": 0.03, "ACT": "gelu"}, "mean": 1.5, "sd": 0.1, "description": "lr"}, {"source": "X = 1"}]
    told = mutants.payload(mutants.tree(dice, dice.choice(honest)))
    if dice.random() < 0.3:
        told = mutants.mutant(dice, [told])
    return lambda: command._read(context, command._object("command", told))


def imported(world: World, dice: Random) -> Job:
    def made() -> list[bytes]:
        archive.write(world.searched, GENESIS, world.folder / "memory", force=True)
        return [(world.folder / "memory").read_bytes()]

    whole = _corpus(world, "archive", made)
    if dice.random() < 0.4:
        data = mutants.mutant(dice, whole)
    else:
        plain = _corpus(world, "expanded", lambda: [zstandard.ZstdDecompressor().decompressobj().decompress(whole[0])])
        changed = bytearray(mutants.mutant(dice, plain))
        for at in range(0, len(changed) - 511, 512):  # checksums of headers set right, so that more is looked at
            if changed[at + 257 : at + 262] == b"ustar":
                changed[at + 148 : at + 156] = b" " * 8
                changed[at + 148 : at + 156] = b"%06o\0 " % sum(changed[at : at + 512])
        data = zstandard.compress(bytes(changed), 1)
    path = world.file("memory.tar.zst", data)

    def take() -> None:
        with Archive(path) as opened:
            opened.into(world.searched)

    return take


def query(world: World, dice: Random) -> Job:
    words = mutants.mutant(dice, [b"matrix lr 0.02", b'warm* "up" NEAR(longer) OR -x', b"dcay mtrix larning"])
    asked = words.decode("utf-8", "surrogateescape")
    return lambda: world.searched.search(asked)


def prefix(world: World, dice: Random) -> Job:
    typed = mutants.mutant(dice, [world.blobs[0].encode()[:12], b"abcd"]).decode("utf-8", "surrogateescape")
    return lambda: world.searched.resolve(typed)


def unpacked(world: World, dice: Random) -> Job:
    sha = dice.choice(world.blobs)
    packed = mutants.mutant(dice, list(world.packed.values()))
    world.raw.execute("UPDATE blobs SET data = ? WHERE sha = ?", (packed, bytes.fromhex(sha)))

    def read() -> None:
        try:
            world.searched.blob(sha)
        finally:
            world.raw.execute("UPDATE blobs SET data = ? WHERE sha = ?", (world.packed[sha], bytes.fromhex(sha)))

    return read


def note(world: World, dice: Random) -> Job:
    entry = {
        "claim": "ab" * 32, "track": "t", "experiment": "e", "parent": None, "commit": None, "source": "s",
        "description": "d", "change": [], "mean": 1.0, "sd": 0.1, "hypothesis": None, "agent": "a", "proposer": "p",
        "seed": 1, "device": "cpu", "run_dir": "r",
    }  # fmt: skip
    told = mutants.mutant(dice, [json.dumps(entry).encode()]).decode("utf-8", "replace")
    world.searched.local_set(journal.key("cpu"), told, durable=False)
    return lambda: journal.read(world.searched, "cpu")


def shown(world: World, dice: Random) -> Job:
    words = mutants.mutant(dice, [b"matrix lr 0.02 to 0.04", "\u202edepth 4 \u2192 5".encode()]).decode(
        "utf-8", "replace"
    )

    def show() -> None:
        harmless = text.printable(words)
        assert text.printable(harmless) == harmless
        assert "\x1b" not in text.block(words) + harmless + text.cell(words)
        text.table(["what"], [[text.printable(words, 60)]], "<", 80)

    return show


SHARES: dict[Target, int] = {
    decoded: 26, signed_again: 16, body: 12, founding: 5, key_file: 4, peer_id: 2, settings_file: 4, typed_setting: 2,
    track_folder: 3, checkpoint: 3, message: 5, script: 3, contract: 1, same_experiment: 1, answer: 3, imported: 2,
    query: 3, prefix: 1, unpacked: 2, note: 1, shown: 1,
}  # fmt: skip
_CORPORA: dict[str, list[bytes]] = {}


def _corpus(world: World, name: str, make: Callable[[], list[bytes]]) -> list[bytes]:
    if name not in _CORPORA:
        _CORPORA[name] = make()
    return _CORPORA[name]


def tried(world: World, target: Target, number: int, tally: Tally) -> None:
    """Run one mutant; what is no error of ours is noted with the number that brings it back."""
    mutated = target(world, Random(f"{SEED} {target.__name__} {number}"))
    began = time.process_time()
    try:
        mutated()
    except (AutoresearchError, Failed):
        tally.refused += 1
    except Exception as error:  # noqa: BLE001  whatever it is, it is what is looked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} in {place.filename}:{place.lineno}"
        tally.crashes.setdefault(where, f"{target.__name__} {number}: {ascii(str(error))[:200]}")
    spent = time.process_time() - began
    tally.mutants += 1
    tally.total_s += spent
    if spent > MUTANT_S_MAX:  # a collection of garbage may have fallen into it: a mutant that is slow stays slow
        spent = min(spent, *(_again(world, target, number) for _ in range(3)))
        if spent > MUTANT_S_MAX:
            tally.slow.append(f"{target.__name__} {number}: {spent * 1000:.0f} ms")
    tally.slowest_s = max(tally.slowest_s, spent)


def _again(world: World, target: Target, number: int) -> float:
    mutated = target(world, Random(f"{SEED} {target.__name__} {number}"))
    began = time.process_time()
    with suppress(AutoresearchError, Failed):
        mutated()
    return time.process_time() - began


def _order(count: int) -> Iterator[tuple[Target, int]]:
    whole = sum(SHARES.values())
    for number in range(count // whole + 1):
        for target, share in SHARES.items():
            yield from ((target, number * share + one) for one in range(share))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one, because a million files are written here."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as name:
        yield Path(name)


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(FEW, id="few"),
        pytest.param(
            int(os.environ.get("AUTORESEARCH_SOAK_MUTANTS", MANY)),
            id="many",
            marks=[pytest.mark.soak, pytest.mark.timeout(0)],
        ),
    ],
)
def test_mutants(folder: Path, count: int) -> None:
    world = World(folder)
    tallies = {target: Tally() for target in SHARES}
    for target in SHARES:  # memory that a first use takes is not growth
        for number in range(WARM):
            tried(world, target, -1 - number, tallies[target])
    before = _peak_bytes()
    for target, number in _order(count):
        tried(world, target, number, tallies[target])
    grown = _peak_bytes() - before
    world.close()
    report(tallies, grown)
    assert {where: one for tally in tallies.values() for where, one in tally.crashes.items()} == {}
    assert [one for tally in tallies.values() for one in tally.slow] == []
    assert grown <= GROWN_BYTES_MAX


def report(tallies: dict[Target, Tally], grown: int) -> None:
    """Print the table of this run; AUTORESEARCH_SOAK_TABLES names a file to add it to."""
    lines = ["| mutants through | number | refused | mean, ms | slowest, ms |", "|:--|--:|--:|--:|--:|"]
    for target, tally in tallies.items():
        mean = tally.total_s / max(tally.mutants, 1) * 1000
        name = target.__name__.replace("_", " ")
        lines.append(
            f"| {name} | {tally.mutants:,} | {tally.refused / max(tally.mutants, 1):.0%} | {mean:.2f} |"
            f" {tally.slowest_s * 1000:.1f} |"
        )
    number = sum(tally.mutants for tally in tallies.values())
    slowest = max(tally.slowest_s for tally in tallies.values()) * 1000
    lines.append(f"| all | {number:,} | | | {slowest:.1f} |")
    lines.append(f"\nMemory grew by {grown / 2**20:.1f} MiB. Seed {SEED}.\n")
    words = "\n".join(lines)
    print(f"\n{words}")
    if file := os.environ.get("AUTORESEARCH_SOAK_TABLES"):
        with Path(file).open("a", encoding="utf-8") as out:
            out.write(f"{words}\n")
