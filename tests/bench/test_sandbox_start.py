"""What a sandbox's start costs beside the interpreter's own, level by level: medians of starts made in turns.

`SANDBOX_STARTS` is how many of each (20 at least for figures to publish). A machine with more work than processors
gives a table and no verdict: each hand-over from one process to the next then waits its turn.
"""

import importlib
import os
import statistics
import subprocess
import time
from collections.abc import Callable

import pytest

from experiments.sandbox import Level, Limits, interpreter, start

detect = importlib.import_module("experiments.sandbox.detect")  # the package has a function of this name
STARTS = int(os.environ.get("SANDBOX_STARTS", "30"))
BESIDE_MAX_S = 0.050
BUSY_LOAD = 2.0  # a processor
WARM_UP = 2
COMMAND = ["-s", "-B", "-c", "pass"]  # as `job` starts a script

pytestmark = pytest.mark.bench


def bare() -> None:
    subprocess.run([interpreter(), *COMMAND], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def held(level: Level) -> Callable[[], None]:
    def once() -> None:
        with start([interpreter(), *COMMAND], level=level, limits=Limits()) as running:
            assert running.wait(60) == 0, running.output()
    return once


def seconds(action: Callable[[], None]) -> float:
    before = time.perf_counter()
    action()
    return time.perf_counter() - before


@pytest.mark.timeout(1200)
def test_a_sandbox_starts_within_50_ms_of_the_interpreter():
    best = detect.detect()
    levels = [best, detect.without_bubblewrap(best), detect.without_namespaces(best)]
    levels += [detect.without(level, "cgroup") for level in levels if "cgroup" in level.features]
    actions = {"bare interpreter": bare} | {level.label: held(level) for level in levels if detect.works(level)}
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(WARM_UP + STARTS):
        for name, action in actions.items():
            one = seconds(action)
            taken[name] += [one] if turn >= WARM_UP else []
    own = statistics.median(taken["bare interpreter"])
    load = os.getloadavg()[0]
    print(f"\nStart to end of `python -c pass` and clean-up, {STARTS} of each in turns, load {load:.1f}\n")
    print("| level | median ms | fastest ms | beside the interpreter, ms | ratio |\n|---|---|---|---|---|")
    for name, times in taken.items():
        median, fastest = statistics.median(times), min(times)
        beside_ms = (median - own) * 1e3
        print(f"| {name} | {median * 1e3:.1f} | {fastest * 1e3:.1f} | {beside_ms:.1f} | {median / own:.2f} |")
    if load > BUSY_LOAD * (os.cpu_count() or 1):
        pytest.skip(f"load {load:.1f}: too busy to judge milliseconds")
    assert statistics.median(taken[best.label]) - own <= BESIDE_MAX_S
