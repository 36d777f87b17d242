"""One script run exactly as the agent would run it, judged against the best that is known, and published nowhere.

Leaves out all printing. It shares the runner, the sandbox, the track and the judgement with the agent, so that what a
person sees here is what a node would find.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import runner
from experiments.experiment import experiment_key
from experiments.sandbox import remove_tree
from experiments.track import Track, TrackData
from node import machine
from node.home import Home, open_replica
from node.settings import Settings
from node.think import Memory
from verify.evidence import Verdict, judge

if TYPE_CHECKING:
    from ensue.store import ResultRow
    from experiments.device import Hardware
    from experiments.sandbox import Level

FOLDER = "tryouts"
LOG_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Tryout:
    """What a script came to. `verdict` is None without a value; `parent` is what it was judged against."""

    trained: runner.Trained
    outcome: runner.Outcome
    verdict: Verdict | None
    parent: ResultRow | None
    experiment: str
    hardware: Hardware
    level: Level
    seed: int
    wall_s: float
    output: str

    @property
    def status(self) -> str:
        """One of kept, discarded, crashed, timed_out, refused, or abandoned where the person stopped it."""
        if self.verdict is not None:
            return "kept" if self.verdict.kept else "discarded"
        return self.outcome.status

    @property
    def overhead_s(self) -> float:
        """Seconds that were neither set-up, training nor scoring."""
        used = self.trained.setup_s + self.trained.train_wall_s + self.outcome.score_s
        return max(0.0, self.wall_s - used)


@dataclass(frozen=True, slots=True)
class Bench:
    """What a run needs: where, on which track, with which machine and wall."""

    home: Home
    chosen: Settings
    track: Track
    data: TrackData
    hardware: Hardware
    level: Level


def set_up(home: Home, chosen: Settings, track: Track, data: TrackData) -> Bench:
    """Return the bench of this machine.

    Raises ExperimentError where no kernel runs, SandboxUnavailable where the wall is weaker than the owner accepts.
    """
    level = machine.wall(chosen)
    hardware = machine.hardware(home, machine.devices(chosen)[0], threads=track.threads)
    return Bench(home, chosen, machine.bounded(track, chosen), data, hardware, level)


def run(
    bench: Bench, source: bytes, *, seed: int, on_event: Callable[[runner.Event], None], control: Callable[[], str]
) -> Tryout:
    """Return what `source` came to; hostile scripts end as crashed, timed_out or refused, never as an exception."""
    began = time.monotonic()
    track, hardware, level = bench.track, bench.hardware, bench.level
    with _folder(bench.home) as folder:
        trained = runner.train(
            source, track, bench.data,
            seed=seed, device=hardware.device, run_dir=folder, level=level, on_event=on_event, control=control,
        )  # fmt: skip
        outcome = runner.score(
            trained, source, track, bench.data,
            device=hardware.device, run_dir=folder, level=level, on_event=on_event, control=control,
        )  # fmt: skip
        wall_s = time.monotonic() - began
        output = _tail(trained.log)
    parent, parent_source, noise_sd = _known(bench)
    verdict = None
    if outcome.value is not None:
        verdict = judge(
            outcome.value,
            None if parent is None else parent.value,
            direction=track.direction,
            noise_sd=noise_sd,
            alpha=bench.chosen.keep_alpha,
        )
    key = experiment_key(track.id, parent_source, source.decode("utf-8", "replace"))
    return Tryout(trained, outcome, verdict, parent, key, hardware, level, seed, wall_s, output)


def _known(bench: Bench) -> tuple[ResultRow | None, str | None, float]:
    """Return the best to compare with, its script, and the noise of one run; without a replica the track's own."""
    if not bench.home.founded:
        return None, None, bench.track.noise_sd
    from ensue.errors import BlobMissing

    with open_replica(bench.home) as store:
        memory = Memory(store, bench.track, bench.hardware.hardware_class, ideas_share=bench.chosen.ideas_share)
        best = memory.best()
        source: str | None = None
        if best is not None:
            with contextlib.suppress(BlobMissing):  # then the experiment counts as one without a parent
                source = store.blob(best.source).decode("utf-8", "replace")
        return best, source, memory.noise_sd()


class _folder:
    """A fresh folder for one run, taken away afterwards, with those that killed processes left."""

    def __init__(self, home: Home) -> None:
        self._above = home.path / FOLDER
        self._path = self._above / str(os.getpid())

    def __enter__(self) -> Path:
        if self._above.is_dir():
            for left in self._above.iterdir():
                if left == self._path or not (left.name.isdigit() and _alive(int(left.name))):
                    _clear(left)
        self._path.mkdir(mode=0o700, parents=True)
        return self._path

    def __exit__(self, *_: object) -> None:
        _clear(self._path)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _clear(folder: Path) -> None:
    with contextlib.suppress(OSError):
        remove_tree(folder)


def _tail(log: str | None) -> str:
    if log is None:
        return ""
    try:
        with Path(log).open("rb") as file:
            file.seek(max(0, Path(log).stat().st_size - LOG_BYTES_MAX))
            return file.read(LOG_BYTES_MAX).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
