"""Damaged pages: each is noticed at the next start, and everything that still has its record is back."""

import random
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults import few_or_many, table, wanted

from ensue.errors import StoreError
from ensue.record import Record
from ensue.store import Blob, Store
from ensue.store.repair import repair

SEED = 20261121
PAGE_BYTES = 8192
WAYS = ("noise", "byte")


@dataclass
class World:
    """An undamaged file, and what it holds."""

    content: bytes
    records: list[Record]
    stored: dict[str, bytes]  # record to its bytes in the file
    blobs: dict[str, tuple[bytes, str | None]]  # blob to its bytes in the file, and what it is packed against
    answers: list[object]


def fill(path: Path, count: int) -> World:
    """Fill a replica with records of every kind, blobs, notes and an outbox."""
    from bodies import AUTHORS, NETWORK, TRACK, claim, hypothesis, insight, record, result, sha

    me, other, _ = AUTHORS
    parent_blob: str | None = None
    with Store(path, NETWORK) as store:
        parent = None
        for number in range(count):
            who = (me, me, other)[number % 3]
            blob = Blob(b"x = 1\n" * 2000 + f"{number:06} {sha(str(number))}".encode(), parent_blob)
            claimed = store.append(who, "claim", claim(experiment=sha(str(number)), source=blob.sha256), [blob])
            body = result(claim=claimed.id, source=blob.sha256, experiment=sha(str(number)), seed=number, parent=parent)
            body |= {"description": f"change {number}", "value": 1.5 + number % 7 / 100}
            made = store.append(who, "result", body, [], {"done": str(number)})
            parent, parent_blob = (made.id, blob.sha256) if number % 5 else (parent, parent_blob)
            if number % 4 == 0:
                store.append(me, "hypothesis", hypothesis(f"try {number} again"))
                store.append(me, "insight", insight(f"number {number} says little", evidence=[made.id]))
            if number % 9 == 8:
                store.append(who, "retraction", {"target": made.id, "reason": "wrong data"})
        store.ingest(record(2, seq, "result", result(seed=seq, value=1.7)).raw for seq in range(1, count))
        store.local_set("journal", "in the middle " * 20)
        database = store._database
        records = list(store.records())
        stored = {key.hex(): raw for key, raw in database.rows("SELECT id, raw FROM records")}
        numbers = {no: sha_.hex() for no, sha_ in database.rows("SELECT no, sha FROM blobs")}
        rows = database.rows("SELECT sha, data, base FROM blobs")
        blobs = {one.hex(): (data, numbers.get(base)) for one, data, base in rows}
        return_answers = answers(store, TRACK)
    return World(path.read_bytes(), records, stored, blobs, return_answers)


def answers(store: Store, track: str) -> list[object]:
    """Return what a user can ask, to see whether anything is different."""
    return [
        list(store.records()),
        [(row.id, row.flags) for row in store.leaderboard(track, limit=10_000)],
        [row.id for row in store.leaderboard(track, by="author")],
        [row.id for row in store.claims.open(track)],
        [(row.id, row.tried) for row in store.hypotheses(track)],
        [row.id for row in store.insights(track)],
        store.stats(track),
        sorted(hit.id for hit in store.search("change 12", limit=50)),
        sorted(hit.id for hit in store.search("agian", limit=50)),
        [one.id for one in store.outbox(10_000)],
        store.local_get("journal"),
        store.digest(),
    ]


def on_page(stored: bytes, page: bytes) -> bool:
    """Return whether some of a row's bytes lie on a page."""
    pieces = [stored[at : at + 24] for at in range(0, len(stored), 400)]
    return any(piece in page for piece in [*pieces, stored[-24:]] if piece)


def damaged(world: World, page: int, way: str, dice: random.Random) -> bytes:
    content = bytearray(world.content)
    start = page * PAGE_BYTES
    if way == "noise":
        content[start : start + PAGE_BYTES] = dice.randbytes(PAGE_BYTES)
    else:
        content[start + dice.randrange(PAGE_BYTES)] ^= dice.randrange(1, 256)
    return bytes(content)


def check(path: Path, world: World, page: int) -> str:
    """Open a damaged file as a node does, mend it, and assert that it is whole; return what was met."""
    from bodies import AUTHORS, NETWORK, TRACK, insight

    try:
        with Store(path, NETWORK) as store:
            report = store.inspect()
            if report.sound:
                assert answers(store, TRACK) == world.answers, "damage that nobody noticed"
                for sha in world.blobs:
                    store.blob(sha)
                return "harmless"
            if not report.needs_repair:
                store.rebuild()
                assert store.inspect().sound
                assert answers(store, TRACK) == world.answers
                return "derived"
    except StoreError:
        pass
    before = world.content[page * PAGE_BYTES : (page + 1) * PAGE_BYTES]
    saved = repair(path, NETWORK)
    with Store(path, NETWORK) as store:
        assert store.inspect().sound
        assert store.rebuild(check=True).equal
        here = {one.id for one in store.records()}
        gone = [one.id for one in world.records if one.id not in here]
        assert all(on_page(world.stored[one], before) for one in gone), "lost, though its bytes are there"
        assert set(gone) <= set(saved.lost_records), "lost, and not named"
        for sha in world.blobs:
            if not store.has_blob(sha):
                chain: list[str] = [sha]
                while (base := world.blobs[chain[-1]][1]) is not None:
                    chain.append(base)
                assert any(on_page(world.blobs[one][0], before) for one in chain), "lost, though its bytes are there"
        made = store.append(AUTHORS[0], "insight", insight())
        assert made.seq > max(one.seq for one in world.records if one.author == made.author)
    return "some records lost" if gone else "all records back"


@pytest.mark.timeout(7200)
@few_or_many
@pytest.mark.parametrize("count", [60, 460], ids=["verbatim", "packed"])
def test_every_page(tmp_path: Path, soak: bool, count: int) -> None:
    if count > 100 and not soak:
        pytest.skip("a replica that has learnt a dictionary takes longer: make soak")
    path, began = tmp_path / "replica.sqlite3", time.monotonic()
    world = fill(path, count)
    pages = len(world.content) // PAGE_BYTES
    chosen = sorted(random.Random(SEED).sample(range(pages), min(wanted("PAGES", soak=soak), pages)))
    met: dict[str, int] = {}
    for page in chosen:
        for way in WAYS:
            for old in tmp_path.glob("replica.sqlite3.damaged*"):
                old.unlink()
            path.write_bytes(damaged(world, page, way, random.Random(f"{SEED} {page} {way}")))
            try:
                outcome = check(path, world, page)
            except AssertionError as error:
                raise AssertionError(f"page {page} by {way}: {error}") from error
            met[f"{way}_{outcome}"] = met.get(f"{way}_{outcome}", 0) + 1
    assert sum(met.values()) == len(chosen) * len(WAYS)
    if soak:
        figures = {"records": len(world.records), "pages": len(chosen), **dict(sorted(met.items()))}
        table("damaged pages", **figures, unnoticed=0, seconds=round(time.monotonic() - began))
