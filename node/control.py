"""What the owner wants right now: go on, hold still, or stop. Ctrl-C, `autoresearch pause`, and the hours agreed.

The run in progress asks several times a second, so a pause takes hold at once. Signals only set a flag: everything that
must be written is written by the loop itself, in its own time.
"""

import os
import signal
import time
from collections.abc import Callable
from datetime import datetime
from types import FrameType

from ensue.store import Store
from node.settings import may_run

CONTROL_KEY = "control"
ASK_REPLICA_S = 0.5  # how long an answer about `pause` may be old


class Control:
    """Answers `run`, `freeze` or `stop` for the loops of a start; takes over SIGINT, SIGTERM and SIGHUP."""

    def __init__(self, store: Store, *, hours: str = "", stop_after_s: float | None = None) -> None:
        self._store = store
        self._hours = hours
        self._deadline = None if stop_after_s is None else time.monotonic() + stop_after_s
        self._asked_at = float("-inf")
        self._paused = False
        self._ended = False
        self.signal: int | None = None
        self.on_second_interrupt: Callable[[], None] = lambda: None

    def install(self) -> None:
        """Take over SIGINT, SIGTERM and SIGHUP: the first asks for a clean end, a second ends the process at once."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._received)

    def _received(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            self.on_second_interrupt()
            os._exit(128 + number)  # the sandbox dies with us; the journal tells the next start what was going on
        self.signal = number

    def end(self) -> None:
        """Let the loops end as a signal would."""
        self._ended = True

    @property
    def stopping(self) -> bool:
        """Whether the loop should end: a signal came, or the time that was given is over."""
        over = self._deadline is not None and time.monotonic() >= self._deadline
        return self._ended or over or self.signal is not None

    def waiting(self) -> str | None:
        """Return why nothing may run right now, in a few words, or None."""
        now = time.monotonic()
        if now - self._asked_at >= ASK_REPLICA_S:
            self._paused = self._store.local_get(CONTROL_KEY) == "pause"
            self._asked_at = now
        if self._paused:
            return "paused; `autoresearch resume` goes on"
        now_local = datetime.now()
        if not may_run(self._hours, now_local.hour * 60 + now_local.minute):
            return f"outside the hours {self._hours}"
        return None

    def __call__(self) -> str:
        """Return "stop", "freeze" or "run"."""
        if self.stopping:
            return "stop"
        return "freeze" if self.waiting() else "run"

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until a stop is asked for."""
        end = time.monotonic() + seconds
        while not self.stopping and (left := end - time.monotonic()) > 0:
            time.sleep(min(0.1, left))
