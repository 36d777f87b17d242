"""How fast and how small the memory is, beside its limits and its peers, all in one run; prints a Markdown table.

`make bench ARGS=tests/bench/test_memory.py`. AUTORESEARCH_BENCH_RECORDS is the size (default 1,000,000 results),
AUTORESEARCH_BENCH_PEER_RESULTS how many results each peer logs (default 500, 0 for none), AUTORESEARCH_BENCH_OUT a file
for the table, AUTORESEARCH_BENCH_CACHE where the peers are installed and worlds are kept.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import platformdirs
import pytest

HERE = Path(__file__).resolve().parent
RECORDS = int(os.environ.get("AUTORESEARCH_BENCH_RECORDS", "1000000"))
PEER_RESULTS = int(os.environ.get("AUTORESEARCH_BENCH_PEER_RESULTS", "500"))
CACHE = Path(os.environ.get("AUTORESEARCH_BENCH_CACHE") or platformdirs.user_cache_path("autoresearch") / "bench")
PEERS = ("mlflow", "trackio", "optuna")
STEP_S = 3_000
INSTALL_S = 1_200

pytestmark = [pytest.mark.bench, pytest.mark.timeout(7_200)]

Figures = dict[str, Any]


def step(name: str, folder: Path) -> Figures:
    """Return what a step measured; it runs in a process of its own."""
    began = time.monotonic()
    environment = dict(os.environ, AUTORESEARCH_BENCH_RECORDS=str(RECORDS))
    done = subprocess.run(
        [sys.executable, str(HERE / "memory_steps.py"), name, str(folder)],
        capture_output=True, text=True, env=environment, timeout=STEP_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{name}: {done.stderr[-2000:]}"
    found: Figures = json.loads(done.stdout)
    print(f"  {name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def peer_python() -> Path | None:
    """Return an interpreter that has the peers, which are installed on first use; None where they cannot be."""
    folder = CACHE / "peers"
    python = folder / "bin" / "python"
    imports = [str(python), "-c", f"import {', '.join(PEERS)}"]
    if python.exists() and subprocess.run(imports, capture_output=True, check=False).returncode == 0:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS],
            check=True, capture_output=True, timeout=INSTALL_S,
        )  # fmt: skip
    except (subprocess.SubprocessError, OSError):
        return None
    return python if subprocess.run(imports, capture_output=True, check=False).returncode == 0 else None


def peers(folder: Path) -> dict[str, Figures]:
    """Return what each peer needs for the same; those that do not run here are left out."""
    python = peer_python() if PEER_RESULTS else None
    found: dict[str, Figures] = {}
    for name in PEERS if python else ():
        place = folder / name
        place.mkdir()
        try:
            done = subprocess.run(
                [str(python), str(HERE / "peers.py"), name, str(place), str(PEER_RESULTS)],
                capture_output=True, text=True, timeout=STEP_S, cwd=place, check=True,
            )  # fmt: skip
            found[name] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"rate')))
        except (subprocess.SubprocessError, OSError, ValueError, StopIteration) as error:
            print(f"  {name} did not run: {str(getattr(error, 'stderr', error))[-300:]}", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
    return found


def beside(others: dict[str, Figures], what: str, unit: str, scale: float = 1.0) -> str:
    """Return the peers' figures in a cell."""
    if not others:
        return "peers not installed here: omitted"
    return ", ".join(f"{name} {found[what] * scale:,.3g} {unit}" for name, found in others.items())


def table(figures: dict[str, Figures], others: dict[str, Figures]) -> str:
    """Return the Markdown table."""
    made, limits, taken = figures["make"], figures["limits"], figures["ingest"]
    opened, found, own, disk = figures["opening"], figures["search"], figures["own"], figures["disk"]
    floor = 1 / limits["sync_s"]
    slowest = max((one["rate"] for one in others.values()), default=0)
    logged = f"; {own['rate'] / slowest:.0f} times the fastest peer" if slowest else ""
    top = f"at {PEER_RESULTS:,} results: " + beside(others, "top_s", "ms", 1e3) if others else beside(others, "", "")
    rows = [
        (
            f"records of {made['bytes']:,.0f} bytes verified and stored, two cores",
            f"{taken['rate']:,.0f} /s ({taken['processor_s'] * 1e6:.0f} µs of processor each)",
            "≥ 12,000 /s",
            f"bare verification by two processes: OpenSSL {limits['verify OpenSSL']:,.0f} /s, libsodium"
            f" {limits['verify libsodium']:,.0f} /s; bare insertion {limits['insert']:,.0f} /s: ratios"
            f" {taken['rate'] / limits['verify OpenSSL']:.2f}, {taken['rate'] / limits['verify libsodium']:.2f},"
            f" {taken['rate'] / limits['insert']:.2f}",
        ),
        ("the same, claims and results in turn", f"{disk['mixed_rate']:,.0f} /s", "–", "–"),
        (
            f"one own result with its {own['script_bytes'] / 1000:.0f} kB script made durable",
            f"{own['rate']:,.0f} /s ({own['processor_s'] * 1e6:.0f} µs of processor each)",
            "≥ 1,000 /s",
            f"fdatasync {limits['sync_s'] * 1e3:.2f} ms (mean {limits['sync_mean_s'] * 1e3:.2f}): at most {floor:,.0f}"
            f" /s, ratio {own['rate'] / floor:.2f}; " + beside(others, "rate", "/s") + logged,
        ),
        ("the same, 20 with one wait for the disk", f"{own['group_rate']:,.0f} /s", "≥ 1,000 /s", "–"),
        (f"top 20 of {made['results']:,} results, in process", f"{opened['top_s'] * 1e3:.2f} ms", "≤ 1 ms", top),
        (
            f"search over {made['results']:,} descriptions, median of 200 queries",
            f"{found['p50_s'] * 1e3:.1f} ms (slowest {found['max_s'] * 1e3:.1f} ms)",
            "≤ 20 ms",
            f"plain bm25 {found['bm25_p50_s'] * 1e3:,.0f} ms: ratio {found['p50_s'] / found['bm25_p50_s']:.3f}",
        ),
        (
            "search for the commonest word",
            f"{found['common_s'] * 1e3:.1f} ms",
            "≤ 100 ms",
            f"plain bm25 {found['bm25_common_s'] * 1e3:,.0f} ms",
        ),
        ("search for a typo", f"{found['typo_s'] * 1e3:.1f} ms", "–", "–"),
        (
            f"disk for each experiment: claim, result, 25 kB script in a chain of {disk['experiments']:,} edits",
            f"{disk['bytes']:,.0f} bytes, of them {disk['blob_bytes']:,.0f} for the script",
            "≤ 2,000 bytes",
            f"the two records alone have {disk['raw_bytes']:,.0f} bytes; " + beside(others, "bytes", "kB", 1e-3),
        ),
        ("disk for each record of the whole world", f"{taken['bytes']:,.0f} bytes", "–", f"raw {made['bytes']:,.0f}"),
        (
            f"peak memory of a node at {made['records']:,} records",
            f"{figures['node']['peak_mib']:.0f} MiB; each verifying process {figures['node']['worker_mib']:.0f} MiB",
            "≤ 200 MiB",
            f"while taking all in: {taken['peak_mib']:.0f} MiB",
        ),
        (
            "opening it",
            f"{opened['open_s'] * 1e3:.1f} ms, with the first leaderboard"
            f" {(opened['open_s'] + opened['first_s']) * 1e3:.1f} ms",
            "≤ 1,000 ms",
            "–",
        ),
        (
            "rebuild of all live tables",
            f"{figures['rebuild']['rate']:,.0f} records/s",
            "≥ 20,000 /s",
            f"peak {figures['rebuild']['peak_mib']:.0f} MiB",
        ),
        (
            "rebuild --check, every signature again",
            f"{figures['check']['rate']:,.0f} records/s, {'equal' if figures['check']['equal'] else 'DIFFERENT'}",
            "equal",
            f"peak {figures['check']['peak_mib']:.0f} MiB",
        ),
    ]
    lines = ["| what | measured | goal | beside it, in the same run |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def test_the_memory_at_full_size() -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        folder = Path(name)
        order = ("make", "limits", "ingest", "opening", "search", "own", "disk", "node", "rebuild", "check")
        figures = {name: step(name, folder) for name in order}
        text = table(figures, peers(folder))
    print("\n" + text)
    if out := os.environ.get("AUTORESEARCH_BENCH_OUT"):
        Path(out).write_text(text + "\n")
    assert figures["check"]["equal"]
    assert figures["check"]["damaged"] == 0
    assert figures["ingest"]["bytes"] < figures["make"]["bytes"]
