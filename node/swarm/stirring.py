"""Tells by a look at its files whether anybody may have written to the replica, at a hundredth of a question's cost.

Left out: what was written. What is written to a file can be asked for only when it is on the disk, which may be much
later, so the answer is yes for a while after each change; and now and then whatever the files say. Rejected: inotify,
which is Linux's alone, tells of each page, and just as early.
"""

import os
import time
from pathlib import Path

SETTLED_NS = 1_000_000_000
"""How long a wait for the disk may take."""
ANYWAY_NS = 2_000_000_000
"""How long "no" may be said at a stretch."""


class Stirring:
    """Answers, when called, whether the replica at a path may have changed since the last time the answer was yes."""

    def __init__(self, path: Path) -> None:
        self._files = (path, path.with_name(f"{path.name}-wal"))
        self._seen: list[tuple[int, int]] = []
        self._said_ns = 0

    def __call__(self) -> bool:
        """Return True where a question to the replica may be worth its cost."""
        now_ns = time.time_ns()
        marks = [_mark(file) for file in self._files]
        recent = any(abs(now_ns - changed) < SETTLED_NS for changed, _ in marks)
        if marks == self._seen and not recent and 0 <= now_ns - self._said_ns < ANYWAY_NS:
            return False
        self._seen, self._said_ns = marks, now_ns
        return True


def _mark(file: Path) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
