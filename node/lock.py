"""One node a home: an advisory lock on a file, held as long as the process lives.

A lock by the kernel was chosen over a file with a process number: it frees itself on a crash, so nothing stale is
ever left behind. Commands that only read or publish need no lock; the replica serves several processes.
"""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ensue.errors import AlreadyRunning

LOOK_S = 0.5  # how long a refusal must last


class NodeLock:
    """Holds a home for one running node; raises AlreadyRunning when another process holds it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not self._taken():
            owner = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            self.close()
            raise AlreadyRunning(
                f"a node already runs on {path.parent} (process {owner}): stop it first, "
                "or give this one another AUTORESEARCH_HOME"
            )
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def _taken(self) -> bool:
        """Take the lock; a `holder` that only looks has it for an instant, so a refusal counts when it lasts."""
        deadline = time.monotonic() + LOOK_S
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(LOOK_S / 20)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the home; calling it again does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def holder(path: Path) -> int | None:
    """Return the process number of the node that holds this home, or None when no node runs."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(fd)
