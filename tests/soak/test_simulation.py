"""Ten thousand random schedules of a simulated swarm: no divergence, and no acknowledged record is lost."""

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "swarm"))

from simulation import replay

SCHEDULES = int(os.environ.get("SOAK_SCHEDULES", "10000"))
FIRST_SEED = 1_000
PROCESSES = 2
PART = 50


@pytest.mark.soak
def test_ten_thousand_schedules_agree():
    begun = time.monotonic()
    seeds = range(FIRST_SEED, FIRST_SEED + SCHEDULES)
    parts = [seeds[at : at + PART] for at in range(0, len(seeds), PART)]
    failed: list[str] = []
    with ProcessPoolExecutor(PROCESSES) as pool:
        for found in pool.map(replay.complaints, parts):
            failed += found
    print(f"{len(seeds):,} schedules in {time.monotonic() - begun:.0f} s, {len(failed)} failed")
    assert not failed, "\n\n".join(failed[:5])
