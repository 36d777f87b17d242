"""What running and scoring one script came to, and what is told while it happens.

Plain values that go through JSON, so that a finished training outlives a crash of the node before it is scored.
Rejected: exceptions for a script's failures: a crash of a stranger's script is a normal outcome with a reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from ensue.errors import ExperimentError

REASON_CHARS_MAX = 400

Control = Callable[[], str]  # asked often: "run", "freeze" (hold, and go on later) or "stop"
Status = Literal["trained", "scored", "crashed", "timed_out", "refused", "abandoned"]


@dataclass(frozen=True, slots=True)
class Phase:
    """A new part of the run began: "set-up", "training" or "scoring"."""

    name: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a phase is. Fraction and time come from the supervisor; step, loss and tokens from the script."""

    fraction: float
    time_left_s: float
    step: int | None = None
    loss: float | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """One sentence for people."""

    text: str


Event = Phase | Progress | Note
OnEvent = Callable[[Event], None]


class Failed(Exception):
    """Inside a run: it ends here with this status and reason. Never leaves `runner`."""

    def __init__(self, status: Status, reason: str, checks: dict[str, float] | None = None) -> None:
        super().__init__(reason)
        self.status: Status = status
        self.reason = plain(reason)
        self.checks = checks or {}


@dataclass(frozen=True, slots=True)
class Trained:
    """What training left. `reason` is None iff `status` is "trained"; paths are of the host."""

    status: Status
    reason: str | None = None
    checkpoint: str | None = None
    log: str | None = None
    setup_s: float = 0.0
    train_wall_s: float = 0.0
    cpu_s: float = 0.0  # processor seconds of training
    cpu_share: float | None = None  # cpu_s over what the threads could have had
    tokens_reported: int | None = None

    def to_json(self) -> str:
        """Return the JSON text that `from_json` reads."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Trained:
        """Return what `to_json` wrote; ExperimentError when it is something else."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise ExperimentError(f"The note of a training cannot be read ({error}); run the script again.") from error


@dataclass(frozen=True, slots=True)
class Outcome:
    """What scoring came to. The figures are in the track's metric; `value` is None unless `status` is "scored"."""

    status: Status
    reason: str | None = None
    value: float | None = None
    holdout: float | None = None
    holdout_gap: float | None = None  # hold-out minus main slice, with what the text alone explains taken off
    holdout_gap_sd: float | None = None
    score_s: float = 0.0
    checks: dict[str, float] = field(default_factory=dict)

    def after(self, score_s: float) -> Outcome:
        """Return the same with the time that scoring took."""
        return replace(self, score_s=score_s)

    def to_json(self) -> str:
        """Return the JSON text that `from_json` reads."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """Return what `to_json` wrote; ExperimentError when it is something else."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise ExperimentError(f"The note of a scoring cannot be read ({error}); score the run again.") from error


def plain(text: str) -> str:
    """Return one bounded line of printable characters: a stranger's script had a hand in it."""
    line = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(line.split())
    return line if len(line) <= REASON_CHARS_MAX else line[: REASON_CHARS_MAX - 1] + "…"
