"""One measurement of trust in a process of its own: `python trust_steps.py STEP FOLDER RESULTS`; prints JSON.

A process each, so that peak memory is that of the step alone. Left out: the world (trust_world) and the table
(test_trust_fold).
"""

import json
import resource
import struct
import sys
import time
from pathlib import Path
from typing import Any

import world
from trust_world import TrustWorld

from ensue.people import Trust
from ensue.store import Store
from verify.trust import Judge

_LENGTH = struct.Struct("<I")


def make(folder: Path, results: int) -> dict[str, Any]:
    """Signs the world into a file, and the credential that comes last into another."""
    made, count, reruns = TrustWorld(), 0, 0
    with (folder / "raws").open("wb") as file:
        for one in made.whole(results):
            file.write(_LENGTH.pack(len(one.raw)) + one.raw)
            count += 1
            reruns += one.kind in ("listing", "drawing", "duty", "replication", "calibration")
    (folder / "credential").write_bytes(made.credential(made.late).raw)
    (folder / "trust").write_text(json.dumps([made.trust.founder, made.accounts[made.late].peer_id]))
    return {"records": count, "reruns": reruns, "tested": made.tested}


def opened(folder: Path) -> Store:
    """Opens the replica."""
    founder, _ = json.loads((folder / "trust").read_text())
    return Store(folder / "replica.sqlite3", world.NETWORK, trust=Trust(world.NETWORK, founder, (founder,), 1))


def ingest(folder: Path, _: int) -> dict[str, Any]:
    """Takes the records in."""
    with opened(folder) as store:
        began = time.perf_counter()
        with store.catching_up(10**6):
            report = store.ingest(world.read(folder / "raws"))
        took = time.perf_counter() - began
        return {"per_s": store.count() / took, "refused": len(report.refused)}


def judge(folder: Path, _: int) -> dict[str, Any]:
    """Finds every verdict, and then that nothing is left to find."""
    with opened(folder) as store:
        began = time.perf_counter()
        found = Judge(store).settle()
        took = time.perf_counter() - began
        began = time.perf_counter()
        again = Judge(store).settle()
        idle_s = time.perf_counter() - began
        levels = [one.answer for one in Judge(store).rulings()]
        began = time.perf_counter()
        best = store.best(world.TRACK, level="confirmed")
        return {
            "rulings": len(levels), "per_s": found / took, "again": again, "idle_ms": 1000 * idle_s,
            "answers": {name: levels.count(name) for name in sorted(set(levels))},
            "best_ms": 1000 * (time.perf_counter() - began), "best": best is not None and best.level,
        }  # fmt: skip


def one(folder: Path, _: int) -> dict[str, Any]:
    """Takes in one credential, for an author of 10,000 results, and one more replication's worth of judging."""
    _, late = json.loads((folder / "trust").read_text())
    with opened(folder) as store:
        judge = Judge(store)
        before = judge.settle()
        store.ingest([next(iter(world.read(folder / "raws")))])  # known already: loads what a node has loaded
        began = time.perf_counter()
        store.ingest([(folder / "credential").read_bytes()])
        credential_s = time.perf_counter() - began
        judge.settle()
        both_s = time.perf_counter() - began
        node = store.people.nodes(late)[0].node
        rows = store.results(world.TRACK, limit=20, author=node)
        return {
            "before": before, "credential_ms": 1000 * credential_s, "settled_ms": 1000 * both_s,
            "official": {row.level for row in rows} == {"official"},
        }  # fmt: skip


def fold(folder: Path, _: int) -> dict[str, Any]:
    """Folds all records, each verified again, and compares with the tables."""
    with opened(folder) as store:
        began = time.perf_counter()
        report = store.rebuild(check=True)
        return {
            "per_s": store.count() / (time.perf_counter() - began),
            "equal": report.equal,
            "records": report.records,
        }


if __name__ == "__main__":
    name, place, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    answer = {"make": make, "ingest": ingest, "judge": judge, "one": one, "fold": fold}[name](place, number)
    answer["mib"] = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF,)) / 1024
    print(json.dumps(answer))
