"""One run in a node's place, and one more run of a known script, by what signs reruns, exactly as an experiment is.

A training that is over is told to the caller before it is scored, so that a kill in between costs the scoring. Left
out: which script, which seed, and what is signed (replicating, calibrating).
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments import runner
from experiments.sandbox import remove_tree
from node.bench import Place
from node.control import Control
from node.patience import Patience


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run came to; without a value where the script had none."""

    trained: runner.Trained
    outcome: runner.Outcome

    @property
    def seconds(self) -> float:
        """Wall seconds that it took, without those for which its owner held it."""
        return self.trained.setup_s + self.trained.train_wall_s + self.outcome.score_s


@dataclass(frozen=True, slots=True)
class Measuring:
    """Runs scripts in one place; `on_event` hears what happens meanwhile."""

    place: Place
    control: Control
    patience: Patience
    on_event: runner.OnEvent

    def measure(
        self,
        source: bytes,
        seed: int,
        run_dir: Path,
        *,
        trained: str | None,
        keep: Callable[[str], None],
    ) -> Measured | None:
        """Return what a script came to with a seed; None if its owner stopped it.

        `trained` is what `keep` was told by a process that was killed before the scoring. Raises what runner raises.
        """
        before = _still_there(trained)
        if before is None:
            before = self._train(source, seed, run_dir)
            if before is None:
                return None
            kept = before.to_json()
            if before.status == "trained" and self.patience.persist(lambda: _done(keep, kept)) is None:
                return None
        ready = before
        outcome = self.patience.persist(lambda: score(self.place, ready, source, run_dir, self.on_event))
        return None if outcome is None else Measured(ready, outcome)

    def _train(self, source: bytes, seed: int, run_dir: Path) -> runner.Trained | None:
        while True:
            trained = self.patience.persist(
                lambda: train(self.place, source, seed, run_dir, self.on_event, self.control)
            )
            # A stop that reaches the whole process group, as a service manager's does, ends the sandbox first.
            if trained is None or (trained.status == "crashed" and self.control.stopping):
                return None
            if trained.status != "abandoned":
                return trained
            if not self.patience.until_allowed():  # a pause ends a run whose budget is wall time; it begins anew
                return None


def train(
    place: Place,
    source: bytes,
    seed: int,
    run_dir: Path,
    on_event: runner.OnEvent,
    control: Callable[[], str],
) -> runner.Trained:
    """Return what came of training a script in a place, in a folder made anew; raise what runner raises."""
    clear(run_dir)
    run_dir.mkdir(parents=True)
    return runner.train(
        source,
        place.track,
        place.data,
        seed=seed,
        device=place.hardware.device,
        run_dir=run_dir,
        level=place.level,
        on_event=on_event,
        control=control,
    )


def score(
    place: Place, trained: runner.Trained, source: bytes, run_dir: Path, on_event: runner.OnEvent
) -> runner.Outcome:
    """Return what a training is worth; a stop waits for it, since it takes seconds and the training is paid for."""
    return runner.score(
        trained,
        source,
        place.track,
        place.data,
        device=place.hardware.device,
        run_dir=run_dir,
        level=place.level,
        on_event=on_event,
        control=lambda: "run",
    )


def _done(keep: Callable[[str], None], text: str) -> bool:
    keep(text)
    return True


def _still_there(text: str | None) -> runner.Trained | None:
    """Return a training of before, None where its checkpoint is gone."""
    if text is None:
        return None
    trained = runner.Trained.from_json(text)
    return trained if trained.checkpoint is not None and Path(trained.checkpoint).is_file() else None


def clear(folder: Path) -> None:
    """Delete a run's folder; what cannot be deleted now is tried again at the next start."""
    with contextlib.suppress(OSError):
        remove_tree(folder)
