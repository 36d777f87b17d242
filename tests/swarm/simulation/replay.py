"""Runs schedules by their seeds, and prints for one that fails what it was and how to run it again.

Left out: how many, and where (the tests say). The environment's SIMULATION_SEED replays one, step by step.
"""

import os
import traceback
from collections.abc import Iterable

from simulation.disk import ram_folder
from simulation.plan import plan
from simulation.world import Outcome, carry_out

SEED_VARIABLE = "SIMULATION_SEED"
COMMAND = f"{SEED_VARIABLE}={{seed}} .venv/bin/python -m pytest tests/swarm/test_simulation_schedules.py -k replay -s"


def run(seed: int, *, verbose: bool = False) -> Outcome:
    """Returns what the schedule of a seed comes to."""
    with ram_folder() as folder:
        return carry_out(plan(seed), folder, verbose=verbose)


def complaint(seed: int) -> str | None:
    """Returns what is wrong with the outcome of a seed, and the command that replays it; None where nothing is."""
    try:
        wrong = run(seed).wrong
    except Exception:  # noqa: BLE001  a failure of any kind names its seed
        wrong = [traceback.format_exc()]
    if not wrong:
        return None
    return f"{plan(seed)}\n" + "\n".join(wrong) + f"\nreplay it with: {COMMAND.format(seed=seed)}"


def complaints(seeds: Iterable[int]) -> list[str]:
    """Returns what is wrong with the outcomes of seeds."""
    return [text for seed in seeds if (text := complaint(seed)) is not None]


def wanted_seed() -> int | None:
    """Returns the seed that the environment asks for."""
    text = os.environ.get(SEED_VARIABLE)
    return int(text) if text else None
