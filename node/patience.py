"""Waits out what keeps a device from working: the owner's pause, closed hours, a disk that is short or full.

Left out: what is done afterwards. A disk that is full ends nothing: the step is tried again until there is room.
"""

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ensue.errors import DiskFull
from node.control import Control

DISK_RETRY_S = 1.0
LOOK_S = 1.0

Kept = TypeVar("Kept")


class Patience:
    """Waits for one device; `tell` is told why, and None when it is over. Of the disk it leaves `free_bytes` alone."""

    def __init__(self, runs: Path, free_bytes: int, control: Control, tell: Callable[[str | None], None]) -> None:
        self._runs, self._free_bytes = runs, free_bytes
        self._control, self._tell = control, tell
        self.over_at = time.monotonic()
        """When the last wait ended, by the monotonic clock."""

    def until_allowed(self) -> bool:
        """Wait out a pause, closed hours or a short disk; return False if the loop should end instead."""
        waited = False
        while not self._control.stopping and (reason := self._control.waiting() or self._disk_short()):
            self._tell(reason)
            self._control.sleep(LOOK_S)
            waited = True
        self._tell(None)
        if waited:
            self.over_at = time.monotonic()
        return not self._control.stopping

    def a_moment(self, reason: str) -> None:
        """Wait a moment for others, who find out what is needed first."""
        self._tell(reason)
        self._control.sleep(LOOK_S)
        self._tell(None)
        self.over_at = time.monotonic()

    def _disk_short(self) -> str | None:
        """Return why no run should begin if the disk has less room than its owner wants left free."""
        free = shutil.disk_usage(self._runs.parent).free
        if free >= self._free_bytes:
            return None
        wanted = self._free_bytes >> 20
        return f"{free >> 20} MiB free on the disk and {wanted} are to stay free: make room, the node goes on by itself"

    def persist(self, step: Callable[[], Kept]) -> Kept | None:
        """Do a step that writes to the disk, again and again while the disk is full; None if a stop came first."""
        said: str | None = None
        while True:
            try:
                done = step()
            except DiskFull as error:
                reason = str(error)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                where = error.filename or self._runs
                reason = f"the disk is full ({where}): make room, the node goes on by itself"
            else:
                if said is not None:
                    self._tell(None)
                return done
            if reason != said:
                self._tell(reason)
                said = reason
            self._control.sleep(DISK_RETRY_S)
            if self._control.stopping:
                return None
