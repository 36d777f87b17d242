"""Random schedules of work, loss, partitions, crashes and lies: once it has healed, all nodes agree."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from simulation import replay
from simulation.disk import Disk
from simulation.plan import plan

from node.sync.pull import _Pull

SCHEDULES = 180
PARTS = 10


@pytest.mark.parametrize("part", range(PARTS))
def test_nodes_agree_whatever_happened(part: int):
    seeds = range(part, SCHEDULES, PARTS)
    failed = replay.complaints(seeds)
    assert not failed, f"{len(failed)} of {len(seeds)} schedules failed:\n\n" + "\n\n".join(failed[:3])


def test_a_seed_decides_a_whole_schedule_in_every_process():
    seeds = (3, 4, 5, 6)
    assert len({plan(seed).lively for seed in seeds}) == 2
    here = [replay.run(seed).trace for seed in seeds]
    assert here == [replay.run(seed).trace for seed in seeds]
    assert len(set(here)) == len(seeds)
    root = Path(__file__).resolve().parents[2]
    program = f"from simulation import replay; print(*(replay.run(seed).trace for seed in {seeds}))"
    paths = os.pathsep.join(map(str, (root / "tests/swarm", root)))
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": paths}
        command = [sys.executable, "-c", program]
        printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert printed.stdout.split() == here


@pytest.mark.parametrize("broken", ["gaps and forks are not compared", "a power cut takes own records"])
def test_what_is_broken_shows(broken: str):
    """Schedules find what they are for: where the code or the disk is broken on purpose, some of them fail."""

    async def nothing(*_: object) -> None:
        return None

    if broken.startswith("gaps"):
        breaking = mock.patch.object(_Pull, "_blocks", nothing)
    else:
        breaking = mock.patch.object(Disk, "_note_durable", return_value=None)
    with breaking:
        failed = next((text for seed in range(SCHEDULES) if (text := replay.complaint(seed)) is not None), None)
    assert failed is not None
    assert "replay it with: SIMULATION_SEED=" in failed


def test_replay_of_one_seed():
    seed = replay.wanted_seed()
    if seed is None:
        pytest.skip(f"replays the schedule that {replay.SEED_VARIABLE} names, step by step")
    outcome = replay.run(seed, verbose=True)
    print(plan(seed))
    print("\n".join(outcome.log or []))
    assert not outcome.wrong, "\n".join(outcome.wrong)
