"""`python swarm_agent.py HOME NAME`: the real loop of a node whose training only waits, until it is asked to stop.

Thinking, claiming, giving way, signing and keeping are those of node.agent, over the real replica; a training takes
as long as a number drawn between the two seconds of AUTORESEARCH_BENCH_TRAINS, and its value follows from the script's
knobs. The proposer draws from the few settings that come next, so that nodes want the same ones all the time.
"""

import math
import os
import sys
import time
from itertools import product
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from ensue.genesis import Genesis
from ensue.identity import Identity
from ensue.store import Store
from experiments import knobs, runner
from experiments import track as tracks
from experiments.device import Hardware
from experiments.experiment import changes, describe, experiment_key
from experiments.outcome import Control as Wish
from experiments.outcome import Outcome, Trained
from experiments.proposers import Context, Proposal
from experiments.sandbox import Level
from experiments.workspace import Workspace
from node import fleet
from node.agent import Agent
from node.bench import Bench
from node.control import Control
from node.home import Home
from node.settings import load

TRAINS_S = tuple(float(word) for word in os.environ.get("AUTORESEARCH_BENCH_TRAINS", "0.5 2").split())
ASKED_EVERY_S = 0.05
"""How often a training asks what its owner wants, as the real one does."""
NEXT = 16
"""Settings that are free and come next, of which one is drawn."""
SMOOTHINGS, PASSES = [round(0.01 * 1.15**n, 4) for n in range(48)], range(1, 11)
BEST = (math.log(0.8), 6)
_dice = SystemRandom()


class Next:
    """Draws one of the next settings that nobody holds or has finished."""

    name = "next"

    def __init__(self) -> None:
        self._scripts: dict[str, list[tuple[str, str]]] = {}

    def propose(self, ctx: Context) -> Proposal:
        if ctx.parent_source not in self._scripts:
            self._scripts[ctx.parent_source] = [
                (experiment_key(ctx.track_id, ctx.parent_source, source), source)
                for setting in product(SMOOTHINGS, PASSES)
                if (source := _with(ctx.parent_source, *setting)) != ctx.parent_source
            ]
        scripts = self._scripts[ctx.parent_source]
        free = [source for key, source in scripts if not ctx.taken(key)][:NEXT]
        source = Random(ctx.seed).choice(free)
        change = changes(ctx.parent_source, source)
        return Proposal(source, describe(change), change, None, None, None, "one of the next")


def _with(source: str, smoothing: float, passes: int) -> str:
    return knobs.apply(source, {"SMOOTHING": smoothing, "PASSES": passes})


class Quiet:
    """A view that shows nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *values: None


def train(source: bytes, track: Any, data: Any, *, control: Wish, run_dir: Path, **_: Any) -> Trained:
    """Wait as long as a training takes, and ask as often as one does."""
    seconds = _dice.uniform(*TRAINS_S)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if control() == "stop":
            return Trained("abandoned", "it was stopped")
        time.sleep(min(ASKED_EVERY_S, left))
    return Trained("trained", checkpoint=str(run_dir), train_wall_s=seconds, cpu_s=seconds, cpu_share=1.0)


def score(trained: Trained, source: bytes, *_: Any, **__: Any) -> Outcome:
    """Return a value that follows from the knobs."""
    if trained.checkpoint is None:
        return Outcome(trained.status, trained.reason)
    found = knobs.read(source.decode())
    far = abs(math.log(float(found["SMOOTHING"].value)) - BEST[0]) + abs(int(found["PASSES"].value) - BEST[1])
    return Outcome("scored", value=2.0 + 0.05 * far)


def main(home: Home, name: str) -> None:
    runner.train, runner.score = train, score
    chosen = load(home.settings, flags={"keep_alpha": 0.5, "name": name, "replication_share": 0.0})
    track = tracks.load(str(Path(__file__).resolve().parents[1] / "tracks/tiny"))
    with Store(home.database, Genesis.load(home.genesis).network_id) as store:
        control = Control(store)
        control.install()
        hardware = Hardware("cpu", "cpu", "none", 2**33, 1, 1.0, "cpu-1t", "float32", "none")
        level = Level("none", 0, (), ())
        bench = Bench(
            settings=chosen, name=name, identity=Identity.load(home.key), store=store, track=track,
            data=None, hardware=hardware, level=level, runs=home.runs,  # type: ignore[arg-type]
            workspace=Workspace(home.workspace, "cpu"), proposer=Next(),
        )  # fmt: skip
        home.runs.mkdir(exist_ok=True)
        fleet.go([Agent(bench, control, Quiet())], control, print)


if __name__ == "__main__":
    main(Home(Path(sys.argv[1])), sys.argv[2])
