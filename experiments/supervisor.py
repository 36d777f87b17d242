"""The supervisor of a training run: holds the data until the script is ready, owns the clock, kills at the deadline.

On the processor clock it counts the processor seconds of the whole tree, so a busy machine takes nothing from a run
and more threads give nothing. Leaves out scoring. Rejected: trusting the script to stop itself.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments import job
from experiments.outcome import Control, Failed, OnEvent, Phase, Progress
from experiments.sandbox import Sandboxed
from experiments.shared import Region
from experiments.track import Track

LOOK_S = 0.05
CHECK_S = 0.2  # between two looks at the limits, each of which reads all of /proc; the kernel holds the hard ones
CLOCK_PAGE_BYTES = 4096
PROGRESS_INTERVAL_S = 0.2
WALL_PER_PROCESSOR_S = 8.0  # real seconds allowed for one of budget, on a machine that others use too
WALL_EXTRA_S = 60.0
STALL_S = 60.0
STALL_PROCESSOR_S = 0.5


class Watch:
    """Looks after running sandboxes: what the owner wants, and which limit is broken. Knows how long it held them.

    `boxes` may change while it watches.
    """

    def __init__(self, boxes: Sequence[Sandboxed], control: Control, *, may_freeze: bool) -> None:
        self.boxes = boxes
        self._control = control
        self._may_freeze = may_freeze
        self._checked = -math.inf
        self.held_s = 0.0

    def look(self) -> None:
        """Return when all may go on; holds the sandboxes while the owner wants that. Raises Failed."""
        wish = self._control()
        if wish == "freeze" and self._may_freeze:
            wish = self._hold()
        if wish != "run":
            raise Failed("abandoned", "the owner stopped the run")
        if time.monotonic() - self._checked < CHECK_S:
            return
        self._checked = time.monotonic()
        broken = next(filter(None, (box.check() for box in self.boxes)), None)
        if broken:
            raise Failed("crashed", broken)

    def _hold(self) -> str:
        began = time.monotonic()
        for box in self.boxes:
            box.freeze()
        while (wish := self._control()) == "freeze":
            time.sleep(LOOK_S)
        for box in self.boxes:
            box.thaw()
        self.held_s += time.monotonic() - began
        return wish

    def now(self) -> float:
        """Return real seconds of a clock that stands still while the sandboxes are held."""
        return time.monotonic() - self.held_s


@dataclass(slots=True)
class Figures:
    """What a training took so far; filled in as it goes, so that a failed run has them too."""

    setup_s: float = 0.0
    train_wall_s: float = 0.0
    cpu_s: float = 0.0
    tokens_reported: int | None = None


class Training:
    """One training run in a started sandbox, from set-up to its end."""

    def __init__(self, track: Track, box: Sandboxed, channel: job.Channel, watch: Watch, on_event: OnEvent) -> None:
        self.figures = Figures()
        self._track = track
        self._box = box
        self._channel = channel
        self._watch = watch
        self._on_event = on_event
        self._told_at = -math.inf
        self._said: dict[str, Any] = {}
        self._done = False

    def until_start(self) -> None:
        """Return when the script calls start(). Raises Failed when it never will, or takes too long."""
        self._on_event(Phase("set-up"))
        began, bound_s = self._watch.now(), self._track.setup_s
        while True:
            self._wait()
            messages = self._channel.messages()
            self.figures.setup_s = self._watch.now() - began
            if any(message.get("op") == "start" for message in messages):
                return
            self._watch.look()
            if self._box.poll() is not None:
                raise self._ended_early("without calling start(), so it never had training data")
            if self.figures.setup_s > bound_s or self._box.cpu_s() > bound_s * self._track.threads:
                raise Failed("timed_out", f"train.py did not call start() within its {bound_s:g} s of set-up")
            self._tell(self.figures.setup_s / bound_s, bound_s - self.figures.setup_s)

    def until_end(self, tokens_fd: int, page: Region) -> None:
        """Hand over the data, run the clock, return when the script ended by itself in time. Raises Failed.

        `page` is where the script can read how much of its budget is used.
        """
        self._on_event(Phase("training"))
        track, figures = self._track, self.figures
        cpu_clock = track.clock == "cpu"
        began, cpu_began = self._watch.now(), self._box.cpu_s()
        self._channel.send({"op": "data"}, [tokens_fd, page.fd])
        stall_at, stall_cpu = began + STALL_S, cpu_began
        while True:
            ended = 0 if self._done else self._box.poll()
            figures.train_wall_s = self._watch.now() - began
            figures.cpu_s = self._box.cpu_s() - cpu_began
            used = figures.cpu_s if cpu_clock else figures.train_wall_s
            if used > track.budget_s:
                raise Failed("timed_out", f"train.py was still running when its {track.budget_s:g} s were over")
            if ended is not None:
                break
            if cpu_clock and figures.train_wall_s > WALL_PER_PROCESSOR_S * track.budget_s + WALL_EXTRA_S:
                raise Failed("timed_out", f"train.py used only {figures.cpu_s:.0f} s in {figures.train_wall_s:.0f} s")
            if cpu_clock and began + figures.train_wall_s > stall_at:
                if self._box.cpu_s() - stall_cpu < STALL_PROCESSOR_S:
                    raise Failed("timed_out", f"train.py has not computed anything for {STALL_S:g} s")
                stall_at, stall_cpu = stall_at + STALL_S, self._box.cpu_s()
            struct.pack_into("=d", page.map, 0, used)
            self._tell(used / track.budget_s, track.budget_s - used)
            self._wait()
            self._read_messages()
            self._watch.look()
        self._read_messages()
        if ended != 0:
            raise self._ended_early(f"with exit status {ended}")

    def _wait(self) -> None:
        """Sleep until a message comes or it is time to look again; a flood of messages does not make it spin."""
        self._channel.wait(LOOK_S)
        if self._box.poll() is None:
            self._box.wait(LOOK_S / 10)

    def _ended_early(self, how: str) -> Failed:
        broken = self._box.check()
        words = job.last_words(self._box.output())
        return Failed("crashed", broken or f"train.py ended {how}{': ' + words if words else ''}")

    def _read_messages(self) -> None:
        for message in self._channel.messages():
            if message.get("op") == "progress":
                self._said = message
            self._done = self._done or message.get("op") == "done"
        tokens = _whole(self._said.get("tokens"))
        if tokens is not None:
            self.figures.tokens_reported = tokens

    def _tell(self, fraction: float, time_left_s: float) -> None:
        now = time.monotonic()
        if now - self._told_at < PROGRESS_INTERVAL_S:
            return
        self._told_at = now
        self._on_event(
            Progress(
                fraction=min(1.0, fraction),
                time_left_s=max(0.0, time_left_s),
                step=_whole(self._said.get("step")),
                loss=_finite(self._said.get("loss")),
                tokens=_whole(self._said.get("tokens")),
            )
        )


def _whole(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 53 else None


def _finite(value: object) -> float | None:
    return value if isinstance(value, float) and math.isfinite(value) else None
