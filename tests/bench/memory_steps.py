"""One measurement of the memory in a process of its own: `python memory_steps.py STEP FOLDER`; prints one JSON object.

A process each, so that peak memory and caches are those of the step alone. Left out: the world (world) and the table
(test_memory).
"""

import json
import os
import random
import resource
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import world

from ensue.record import decode
from ensue.search import match_any
from ensue.store import Blob, Draft, Store

PART = 50_000
VERIFIED = 8_000
PLAIN_ROWS = 100_000
OWN_RESULTS = 1_000
GROUP = 20
EXPERIMENTS_MIN = 1_000
QUERIES = 200
SCRIPT_LINES = 640


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def rate(count: int, work: Callable[[], object]) -> float:
    return count / seconds(work)


def peak_mib(who: int = resource.RUSAGE_SELF) -> float:
    return resource.getrusage(who).ru_maxrss / 1024


def replica(folder: Path) -> Path:
    return folder / "replica.sqlite3"


def file_bytes(path: Path) -> int:
    return sum(found.stat().st_size for found in path.parent.glob(f"{path.name}*") if ".mark-" not in found.name)


def make(folder: Path) -> dict[str, Any]:
    """The world, unless it is there."""
    path = folder / "world"
    results = int(os.environ["AUTORESEARCH_BENCH_RECORDS"])
    if not path.exists():
        world.write(folder / "world.draft", results)
        (folder / "world.draft").rename(path)
    sizes = [len(raw) for raw in world.read(path)]
    return {"records": len(sizes), "results": results, "bytes": sum(sizes) / len(sizes)}


def _verify(library: str, raws: list[bytes]) -> float:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from nacl.bindings import crypto_sign_open

    from ensue.identity import public_key_from_peer_id

    # the signed bytes begin with the domain separator, which is not sent
    signed = [(raw[:64], b"ensue-record-v1\0" + raw[64:], json.loads(raw[64:])["author"]) for raw in raws]
    keys = {author: public_key_from_peer_id(author) for _, _, author in signed}
    began = time.perf_counter()
    if library == "OpenSSL":
        checkers = {author: Ed25519PublicKey.from_public_bytes(key) for author, key in keys.items()}
        for signature, message, author in signed:
            checkers[author].verify(signature, message)
    else:
        for signature, message, author in signed:
            crypto_sign_open(signature + message, keys[author])
    return time.perf_counter() - began


def limits(folder: Path) -> dict[str, Any]:
    """What the parts take alone: signatures by two processes, plain rows, one wait for the disk."""
    found: dict[str, Any] = {}
    raws = list(islice(world.read(folder / "world"), VERIFIED))
    half = len(raws) // 2
    with ProcessPoolExecutor(2) as pool:
        for library in ("OpenSSL", "libsodium"):
            list(pool.map(partial(_verify, library), [raws[:50]] * 2))
            times = list(pool.map(partial(_verify, library), [raws[:half], raws[half:]]))
            found[f"verify {library}"] = len(raws) / max(times)
    path = folder / "plain.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE t(no INTEGER PRIMARY KEY, id BLOB, author INTEGER, seq INTEGER, raw BLOB)")
    for name, columns in (("a", "id"), ("b", "author, seq"), ("c", "seq")):
        connection.execute(f"CREATE INDEX {name} ON t({columns})")
    rows = [(os.urandom(32), number % 200, number, os.urandom(1500)) for number in range(2_000)]

    def insert() -> None:
        for start in range(0, PLAIN_ROWS, 1_000):
            with connection:
                connection.executemany(
                    "INSERT INTO t(id, author, seq, raw) VALUES (?, ?, ?, ?)",
                    [(os.urandom(32), a, start + s, raw) for _, a, s, raw in rows[:1_000]],
                )

    found["insert"] = rate(PLAIN_ROWS, insert)
    connection.close()
    descriptor = os.open(folder / "probe", os.O_CREAT | os.O_WRONLY)
    times = []
    for number in range(300):
        os.pwrite(descriptor, os.urandom(4096), 4096 * number)
        times.append(seconds(lambda: os.fdatasync(descriptor)))
    os.close(descriptor)
    for name in ("probe", "plain.sqlite3", "plain.sqlite3-wal", "plain.sqlite3-shm"):
        (folder / name).unlink(missing_ok=True)
    return found | {"sync_s": statistics.median(times), "sync_mean_s": statistics.mean(times)}


def ingest(folder: Path) -> dict[str, Any]:
    """The whole world into an empty replica."""
    for path in folder.glob("replica.sqlite3*"):
        path.unlink()
    raws = world.read(folder / "world")
    count, last = 0, -1
    with Store(replica(folder), world.NETWORK) as store:
        began = time.perf_counter()
        with store.catching_up(int(os.environ["AUTORESEARCH_BENCH_RECORDS"])):
            while last != count:
                last = count
                count += len(store.ingest(islice(raws, PART)).accepted)
        times = time.perf_counter() - began
        assert store.count() == count
    used = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "rate": count / times, "bytes": file_bytes(replica(folder)) / count,
        "processor_s": sum(one.ru_utime + one.ru_stime for one in used) / count,
        "peak_mib": peak_mib(), "worker_mib": peak_mib(resource.RUSAGE_CHILDREN),
    }  # fmt: skip


def opening(folder: Path) -> dict[str, Any]:
    """Opening the replica and asking for the leaderboard, from nothing."""
    began = time.perf_counter()
    store = Store(replica(folder), world.NETWORK)
    opened = time.perf_counter() - began
    first = seconds(lambda: store.leaderboard(world.TRACK))
    times = [seconds(lambda: store.leaderboard(world.TRACK)) for _ in range(100)]
    assert len(store.leaderboard(world.TRACK)) == 20
    return {"open_s": opened, "first_s": first, "top_s": statistics.median(times), "peak_mib": peak_mib()}


def search(folder: Path) -> dict[str, Any]:
    """Words as they are written, common and rare; the commonest; a typo. Beside them bm25() over the same texts."""
    words = world.words(world.WORDS)
    dice = random.Random(5)
    queries = [" ".join(dice.choices(words, cum_weights=world.odds(), k=dice.randint(1, 3))) for _ in range(QUERIES)]
    with Store(replica(folder), world.NETWORK) as store:
        assert store.search(words[0])
        times = [seconds(lambda query=query: store.search(query)) for query in queries]
        common = statistics.median(seconds(lambda: store.search(words[0])) for _ in range(5))
        typo = statistics.median(seconds(lambda: store.search(words[40][:-1] + "q")) for _ in range(5))
        found = {"p50_s": statistics.median(times), "max_s": max(times), "common_s": common, "typo_s": typo}
        connection = sqlite3.connect(folder / "plain-search.sqlite3")
        connection.execute("CREATE VIRTUAL TABLE t USING fts5(text, content='', tokenize='porter unicode61')")
        connection.execute("PRAGMA synchronous=OFF")
        with connection:
            texts = ((one.body.get("description") or one.body.get("text"),) for one in store.records())
            connection.executemany("INSERT INTO t(text) VALUES (?)", (row for row in texts if row[0]))
    plain = "SELECT rowid FROM t WHERE t MATCH ? ORDER BY rank LIMIT 20"

    def ask(query: str) -> float:
        return seconds(lambda: connection.execute(plain, (match_any(query.split()),)).fetchall())

    found |= {"bm25_p50_s": statistics.median(ask(query) for query in queries[:40]), "bm25_common_s": ask(words[0])}
    connection.close()
    (folder / "plain-search.sqlite3").unlink()
    return found


def scripts(count: int) -> list[Blob]:
    """Scripts of 25 kB, each the one before with one line changed."""
    dice = random.Random(1)
    lines = [
        f"    line_{n} = {dice.randrange(10**6)} * width + offset_{dice.randrange(99)}" for n in range(SCRIPT_LINES)
    ]
    made: list[Blob] = []
    for number in range(count):
        lines[dice.randrange(len(lines))] = f"    edited_{number} = {dice.randrange(10**6)} * depth + 1"
        made.append(Blob("\n".join(lines).encode(), made[-1].sha256 if made else None))
    return made


def own(folder: Path) -> dict[str, Any]:
    """Own results with their scripts, each on the disk before the next; and some at a time."""
    path = folder / "own.sqlite3"
    maker = world.World()
    blobs = scripts(2 * OWN_RESULTS)
    drafts = [Draft("result", maker.result(0, None, blob.sha256).body | {"claim": None}, [blob], {"journal": None})
              for blob in blobs]  # fmt: skip
    with Store(path, world.NETWORK) as store:
        me = maker.identities[0]

        def one_by_one() -> None:
            for draft in drafts[:OWN_RESULTS]:
                store.append(me, draft.kind, draft.body, draft.blobs, draft.local)

        def together() -> None:
            for start in range(OWN_RESULTS, 2 * OWN_RESULTS, GROUP):
                store.append_all(me, drafts[start : start + GROUP])

        store.append(me, "result", maker.result(0).body | {"claim": None})  # loads what signing needs
        began = time.process_time()
        alone = rate(OWN_RESULTS, one_by_one)
        processor_s = (time.process_time() - began) / OWN_RESULTS
        found = {"rate": alone, "processor_s": processor_s, "group_rate": rate(OWN_RESULTS, together)}
        assert store.blob(blobs[-1].sha256) == blobs[-1].data
    for left in folder.glob("own.sqlite3*"):
        left.unlink()
    return found | {"script_bytes": len(blobs[-1].data)}


def disk(folder: Path) -> dict[str, Any]:
    """Claim, result and script of each experiment of a long chain of edits."""
    count = max(EXPERIMENTS_MIN, int(os.environ["AUTORESEARCH_BENCH_RECORDS"]) // 50)
    path, maker, raws = folder / "disk.sqlite3", world.World(), []
    blobs = scripts(count)
    for blob in blobs:
        author = maker.author()
        claim = maker.claim(author, blob.sha256)
        raws += [claim.raw, maker.result(author, claim, blob.sha256, log=None).raw]
    with Store(path, world.NETWORK) as store:
        mixed = rate(len(raws), lambda: store.ingest(raws))
        blob_rate = rate(count, lambda: store.ingest([], blobs))
        assert store.blob(blobs[-1].sha256) == blobs[-1].data
        assert [one.raw for one in store.records(limit=50)] == raws[:50]
    size = file_bytes(path)
    with sqlite3.connect(path) as connection:
        parts = dict(connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall())
    connection.close()
    for left in folder.glob("disk.sqlite3*"):
        left.unlink()
    blobs_only = sum(part for name, part in parts.items() if "blobs" in name)
    return {"bytes": size / count, "raw_bytes": sum(map(len, raws)) / count, "blob_bytes": blobs_only / count,
            "experiments": count, "mixed_rate": mixed, "blob_rate": blob_rate}  # fmt: skip


def node(folder: Path) -> dict[str, Any]:
    """What a node does at this size: opens, asks, searches, signs, takes in; its peak memory."""
    maker = world.World(seed=2)
    with Store(replica(folder), world.NETWORK) as store:
        store.leaderboard(world.TRACK)
        for by in ("class", "author", "agent"):
            store.leaderboard(world.TRACK, by=by)
        store.stats(world.TRACK)
        best = store.best(world.TRACK)
        assert best is not None
        store.lineage(best.id)
        for word in world.words(world.WORDS)[:20]:
            store.search(word)
        for number in range(20):
            body = maker.result(0).body | {"claim": None, "seed": number}
            store.append(maker.identities[0], "result", body, scripts(1))
        report = store.ingest(islice(world.read(folder / "world"), 2 * 10_000))
        assert report.known == 2 * 10_000
    return {"peak_mib": peak_mib(), "worker_mib": peak_mib(resource.RUSAGE_CHILDREN)}


def rebuild(folder: Path) -> dict[str, Any]:
    """The live tables anew."""
    with Store(replica(folder), world.NETWORK) as store:
        before, count = store.digest(), store.count()
        speed = rate(count, store._derive)
        assert store.digest() == before
    return {"rate": speed, "peak_mib": peak_mib()}


def check(folder: Path) -> dict[str, Any]:
    """Every signature again, and the fold beside the live tables."""
    with Store(replica(folder), world.NETWORK) as store:
        count = store.count()
        began = time.perf_counter()
        report = store.rebuild(check=True)
        spent = time.perf_counter() - began
        decode(next(iter(store.records(limit=1))).raw, world.NETWORK)
    return {"rate": count / spent, "equal": report.equal, "damaged": len(report.damaged), "peak_mib": peak_mib()}


STEPS = {step.__name__: step for step in (make, limits, ingest, opening, search, own, disk, node, rebuild, check)}

if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]](Path(sys.argv[2]))))
