"""What the tests of running and scoring share: the tiny track, its data, the isolation of this machine."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from experiments import runner, sandbox, track
from experiments.sandbox import Level
from experiments.track import Track, TrackData

ROOT = Path(__file__).resolve().parents[2]
ZOO = ROOT / "tests" / "zoo"


@dataclass
class Bench:
    """Runs scripts on the tiny track as a node would, and keeps what was told meanwhile."""

    track: Track
    data: TrackData
    level: Level
    folder: Path
    runs: int = 0

    def train(self, source: bytes | str, *, control: Any = None, **changes: Any) -> tuple[runner.Trained, "Run"]:
        self.runs += 1
        run = Run(source.encode() if isinstance(source, str) else source, replace(self.track, **changes), self)
        run.folder = self.folder / f"run-{self.runs}"
        return run.train(control or (lambda: "run")), run

    def measure(self, source: bytes | str, **changes: Any) -> tuple[runner.Trained, runner.Outcome]:
        trained, run = self.train(source, **changes)
        return trained, run.score(trained)


class Run:
    def __init__(self, source: bytes, track: Track, bench: Bench) -> None:
        self.source, self.track, self.bench = source, track, bench
        self.events: list[runner.Event] = []
        self.folder = bench.folder

    def train(self, control: runner.Control) -> runner.Trained:
        return runner.train(
            self.source, self.track, self.bench.data, seed=7, device="cpu", run_dir=self.folder,
            level=self.bench.level, on_event=self.events.append, control=control,
        )  # fmt: skip

    def score(self, trained: runner.Trained, control: runner.Control = lambda: "run") -> runner.Outcome:
        return runner.score(
            trained, self.source, self.track, self.bench.data, device="cpu", run_dir=self.folder,
            level=self.bench.level, on_event=self.events.append, control=control,
        )  # fmt: skip


@pytest.fixture(scope="session")
def tiny() -> Track:
    return track.load(ROOT / "tests" / "tracks" / "tiny")


@pytest.fixture(scope="session")
def tiny_data(tiny: Track, tmp_path_factory: pytest.TempPathFactory) -> TrackData:
    return track.prepare(tiny, tmp_path_factory.mktemp("tiny-data"))


@pytest.fixture
def bench(tiny: Track, tiny_data: TrackData, tmp_path: Path) -> Bench:
    return Bench(tiny, tiny_data, sandbox.detect(), tmp_path)


@pytest.fixture(scope="session")
def bigram() -> str:
    return (ZOO / "honest_bigram.py").read_text()
