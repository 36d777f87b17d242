"""What people and reruns cost the memory at full size: taking in, verdicts, one credential, the fold; prints a table.

`make bench ARGS=tests/bench/test_trust_fold.py`. AUTORESEARCH_BENCH_RECORDS is the number of results (1,000,000).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import platformdirs
import pytest

HERE = Path(__file__).resolve().parent
RESULTS = int(os.environ.get("AUTORESEARCH_BENCH_RECORDS", "1000000"))
CACHE = Path(os.environ.get("AUTORESEARCH_BENCH_CACHE") or platformdirs.user_cache_path("autoresearch") / "bench")
CREDENTIAL_MS_MAX = 200

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3_600)]


def step(name: str, folder: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(HERE / "trust_steps.py"), name, folder, str(RESULTS)],
        capture_output=True, text=True, timeout=3_000, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{name}: {done.stderr[-2000:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"  {name}: {found}", file=sys.stderr, flush=True)
    return found


def test_people_and_reruns_at_full_size() -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        made, taken, judged, one, folded = (step(name, folder) for name in ("make", "ingest", "judge", "one", "fold"))
    rows = (
        ("records, of which about reruns", f"{made['records']:,}, {made['reruns']:,}", "1,000,000"),
        ("verify and take in", f"{taken['per_s']:,.0f} /s, {taken['mib']:.0f} MiB", ""),
        (
            "verdicts found, from nothing",
            f"{judged['rulings']:,}, {judged['per_s']:,.0f} /s, {judged['mib']:.0f} MiB",
            "",
        ),
        ("what they are", ", ".join(f"{number} {name}" for name, number in judged["answers"].items()), ""),
        ("nothing to judge; the confirmed best", f"{judged['idle_ms']:.2f} ms; {judged['best_ms']:.1f} ms", ""),
        ("a credential for an author of 10,000 results", f"{one['credential_ms']:.0f} ms", "200 ms"),
        ("the same, with all verdicts", f"{one['settled_ms']:.0f} ms", "200 ms"),
        ("fold, each record verified again", f"{folded['per_s']:,.0f} /s, {folded['mib']:.0f} MiB", ""),
    )
    print("\n".join(["", "| what | measured | goal |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]))
    assert taken["refused"] == 0
    assert judged["rulings"] == made["tested"]
    assert judged["again"] == 0
    assert one["official"]
    assert folded["equal"]
    assert one["settled_ms"] <= CREDENTIAL_MS_MAX
