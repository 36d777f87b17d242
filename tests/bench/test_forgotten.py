"""How long it takes to forget strangers in a large replica, how long others wait for it meanwhile, and what it weighs.

`AUTORESEARCH_BENCH_RESULTS=1000000` measures what the decision records; the default is smaller.
"""

import os
import resource
import time
from pathlib import Path
from statistics import median

import pytest
from world import NETWORK, World

from ensue.store import Store
from ensue.store.forgetting import RECORDS_AT_ONCE

RESULTS = int(os.environ.get("AUTORESEARCH_BENCH_RESULTS", "60000"))
AUTHORS = 2_000
STEP_S_MAX = 1.0
"""For so long another process usually waits at most until it may write; now and then SQLite tidies up besides."""
MEMORY_MIB_MAX = 400


@pytest.mark.bench
@pytest.mark.timeout(3_600)
def test_a_quarter_of_a_large_replica_is_forgotten_step_by_step(tmp_path: Path) -> None:
    world = World(seed=5, authors=AUTHORS)
    with Store(tmp_path / "replica.db", NETWORK) as store:
        begun_s = time.perf_counter()
        with store.catching_up(RESULTS):
            store.ingest(record.raw for record in world.records(RESULTS))
        store.rest()
        before, filled_s = store.count(), time.perf_counter() - begun_s
        sizes = {one.peer_id: world.heads[number][0] for number, one in enumerate(world.identities)}
        going: list[str] = []
        for author in sorted(sizes, key=lambda one: sizes[one]):
            if sum(sizes[one] for one in going) > before / 4:
                break
            going.append(author)
        memory_mib = _mib()
        waiting, steps = list(going), list[float]()
        begun_s = time.perf_counter()
        while waiting:
            step_s = time.perf_counter()
            store.forgetting.some(waiting, RECORDS_AT_ONCE)
            steps.append(time.perf_counter() - step_s)
        forgot_s, gone = time.perf_counter() - begun_s, before - store.count()
        begun_s = time.perf_counter()
        store.forgetting.unnamed.sweep()
        swept_s = time.perf_counter() - begun_s
        more_mib = _mib() - memory_mib
        begun_s = time.perf_counter()
        equal = store.rebuild(check=True).equal
        print(
            f"{before:,} records (filled in {filled_s:.0f} s): {gone:,} of {len(going):,} authors forgotten in"
            f" {forgot_s:.1f} s ({1e6 * forgot_s / gone:.0f} µs each),"
            f" a step {1000 * median(steps):.0f} ms (longest {1000 * max(steps):.0f}); swept in {swept_s:.1f} s;"
            f" {more_mib:.0f} MiB more; the fold took {time.perf_counter() - begun_s:.0f} s"
        )
        assert equal
        assert median(steps) < STEP_S_MAX
        assert more_mib < MEMORY_MIB_MAX


def _mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
