"""How fast and how small an export is, and how fast it comes back; prints a Markdown table.

`make bench ARGS=tests/bench/test_export.py`. AUTORESEARCH_BENCH_EXPERIMENTS is the size (default 20,000: a claim, a
result and a 25 kB script each, in chains of small edits), AUTORESEARCH_BENCH_OUT a file for the table.
"""

import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = int(os.environ.get("AUTORESEARCH_BENCH_EXPERIMENTS", "20000"))
CHAIN = 200
SCRIPT_BYTES = 25_000
STEPS = ("fill", "archive", "import", "import again", "parquet", "csv")

pytestmark = [pytest.mark.bench, pytest.mark.timeout(7_200)]


def experiments(count: int) -> Iterator[tuple[list[bytes], Any]]:
    """Yield the two records of each experiment, signed by ten authors in turn, and its script."""
    from world import World

    from ensue.store import Blob

    world = World(seed=3, authors=10)
    dice = random.Random(1)
    lines: list[str] = []
    before: str | None = None
    for number in range(count):
        if number % CHAIN == 0:
            lines = [f"x{line} = {dice.random()}" for line in range(SCRIPT_BYTES // 26)]
            before = world.last = None
        lines[dice.randrange(len(lines))] = f"y{number} = {dice.random()}"
        blob = Blob("\n".join(lines).encode(), before)
        claim = world.claim(number % 10, blob.sha256)
        result = world.result(number % 10, claim)
        before, world.last = blob.sha256, result.id
        yield [claim.raw, result.raw], blob


def step(name: str, folder: Path) -> dict[str, Any]:
    """Do one step and return its figures; each runs in a process of its own."""
    import ensue.kinds  # noqa: F401  imported before memory is measured
    from ensue import archive
    from ensue.genesis import found
    from ensue.identity import Identity
    from ensue.store import Store
    from node import tabular

    genesis = found(Identity(bytes(32)), "bench", [], created_ms=1)
    import world

    world.NETWORK = genesis.network_id  # records of this network
    with Store(folder / ("again" if name.startswith("import") else "replica"), genesis.network_id) as store:
        file = folder / "memory.tar.zst"
        done: dict[str, Callable[[], Any]] = {
            "fill": lambda: fill(store),
            "archive": lambda: archive.write(store, genesis, file, force=True).file_bytes,
            "import": lambda: archive.Archive(file).into(store).accepted,
            "import again": lambda: archive.Archive(file).into(store).known,
            "parquet": lambda: table(store, folder / "a.parquet"),
            "csv": lambda: table(store, folder / "a.csv"),
        }
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        value = done[name]()
        spent = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert name != "import" or value == 2 * EXPERIMENTS
        size = value if name in ("archive", "parquet", "csv") else (folder / "replica").stat().st_size
        assert name != "import" or digest(folder, genesis.network_id) == store.digest()
        assert tabular.COLUMNS
    return {"spent_s": spent, "peak_mib": peak / 1024, "grown_mib": (peak - before) / 1024, "bytes": size}


def digest(folder: Path, network: str) -> str:
    from ensue.store import Store

    with Store(folder / "replica", network) as store:
        return store.digest()


def fill(store: Any) -> None:
    batch: list[bytes] = []
    blobs: list[Any] = []
    for raws, blob in experiments(EXPERIMENTS):
        batch += raws
        blobs.append(blob)
        if len(batch) >= 400:
            store.ingest(batch, blobs)
            batch, blobs = [], []
    store.ingest(batch, blobs)


def table(store: Any, path: Path) -> int:
    from world import TRACK

    from node import tabular

    count = tabular.write(store, TRACK, path, path.suffix[1:], force=True, on_rows=lambda _: None)
    assert count == EXPERIMENTS
    return path.stat().st_size


def test_export_and_import(tmp_path: Path) -> None:
    found = {}
    for name in STEPS:
        command = [sys.executable, str(Path(__file__)), name, str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        found[name] = json.loads(done.stdout)
    lines = [
        f"| {EXPERIMENTS:,} experiments | seconds | records/s | bytes an experiment | peak memory, MiB |",
        "|:--|--:|--:|--:|--:|",
    ]
    for name, one in found.items():
        records = (1 if name in ("parquet", "csv") else 2) * EXPERIMENTS
        size = "" if name.startswith("import") else f"{one['bytes'] / EXPERIMENTS:,.0f}"
        rate = f"{records / one['spent_s']:,.0f}"
        lines.append(f"| {name} | {one['spent_s']:.1f} | {rate} | {size} | {one['peak_mib']:.0f} |")
    words = "\n".join(lines) + "\n"
    print(f"\n{words}")
    if file := os.environ.get("AUTORESEARCH_BENCH_OUT"):
        with Path(file).open("a", encoding="utf-8") as out:
            out.write(f"{words}\n")
    assert all(one["grown_mib"] < 200 for name, one in found.items() if name != "fill")


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
    print(json.dumps(step(sys.argv[1], Path(sys.argv[2]))))
