"""What the loop tells: to the view at once, and now and then to the replica, where `autoresearch status` reads it."""

import contextlib
import json
import time

from ensue.errors import DiskFull
from ensue.store import Store
from experiments import runner
from node.view import Moment, Trying, View

STATUS_KEY = "node"
STATUS_EVERY_S = 2.0
SPEED_AFTER_S = 1.0


def status_key(device: str) -> str:
    """Return the note in which one of several devices tells what it does; STATUS_KEY names them under "devices"."""
    return f"{STATUS_KEY}/{device}"


class Report:
    """Passes on what happens on one device."""

    def __init__(self, store: Store, view: View, device: str, *, alone: bool = True) -> None:
        self._store = store
        self._view = view
        self._key = STATUS_KEY if alone else status_key(device)
        self._status: dict[str, object] = {"device": device}
        self._written = 0.0
        self._first_tokens: tuple[float, int] | None = None

    def trying(self, trying: Trying) -> None:
        """Say what is tried next."""
        self._first_tokens = None
        self._view.trying(trying)
        self.tell(description=trying.description, number=trying.number, progress=None)

    def reran(self, words: str) -> None:
        """Say what came of a rerun or of a run of a calibration."""
        self._view.reran(words)
        self.phase("between experiments")

    def waiting(self, reason: str | None) -> None:
        """Say why nothing runs; None ends the wait."""
        self._view.waiting(reason)
        if reason is not None:
            self.tell(phase=reason)

    def phase(self, name: str) -> None:
        """Say which phase began."""
        self._view.phase(name)
        self.tell(phase=name)

    def event(self, event: runner.Event) -> None:
        """Pass on an event of a run."""
        match event:
            case runner.Phase(name):
                self.phase(name)
            case runner.Note(text):
                self._view.note(text)
            case runner.Progress():
                self._view.progress(self._moment(event))
                if time.monotonic() - self._written >= STATUS_EVERY_S:
                    self.tell(progress=round(event.fraction, 3))

    def _moment(self, event: runner.Progress) -> Moment:
        """Return the event with a speed: tokens over the wall time since the first event that named tokens."""
        speed = None
        now = time.monotonic()
        if event.tokens:
            if self._first_tokens is None:
                self._first_tokens = (now, event.tokens)
            since, first = self._first_tokens
            if now - since >= SPEED_AFTER_S:
                speed = (event.tokens - first) / (now - since)
        return Moment(event.fraction, event.time_left_s, event.loss, event.step, speed)

    def tell(self, **facts: object) -> None:
        """Write what `autoresearch status` shows; a full disk only makes it old."""
        self._status.update(facts, updated_ms=time.time_ns() // 1_000_000)
        self._written = time.monotonic()
        with contextlib.suppress(DiskFull):
            known = json.loads(self._store.local_get(self._key) or "{}")
            self._store.local_set(self._key, json.dumps({**known, **self._status}), durable=False)
