"""Starts the swarm process of a node, starts it again when it ends, and lets it go at the end.

What it has to say it writes on its standard error, which is kept in `swarm.log` of the home. Left out: what it does
(main). Rejected: a service of its own, which an owner would have to start, stop and upgrade.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import IO

from ensue.store import Store
from node.home import Home

SYNCED_NOTE = "swarm synced"
"""Number of the swarm process that has asked a neighbour for everything."""
PAUSE_S = 1.0
PAUSE_S_MAX = 60.0
STEADY_S = 30.0
"""A process that ran so long is started again at once."""
STOP_TIMEOUT_S = 6.0
LOG_BYTES_MAX = 1024 * 1024
"""Size from which the log begins anew."""
LAST_BYTES_MAX = 2_000
"""What is read of the log's end."""
GAVE_UP = "autoresearch: the network: "
"""Begins the line in which the process says why it ends by itself."""


class SwarmProcess:
    """The running child; use as a context."""

    def __init__(self, home: Home, note: Callable[[str], None] = lambda words: None) -> None:
        self._home, self._note = home, note
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="swarm", daemon=True)

    def __enter__(self) -> "SwarmProcess":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._let_go()
        self._thread.join(STOP_TIMEOUT_S + 2)

    def wait_for_memory(self, store: Store, within_s: float, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Wait until a neighbour was asked for everything; return whether one was."""
        end = time.monotonic() + within_s
        while time.monotonic() < end and not stopping():
            process, noted = self._process, store.local_get(SYNCED_NOTE)
            if process is not None and noted == str(process.pid):
                return True
            time.sleep(0.1)
        return False

    def _keep(self) -> None:
        pause_s = PAUSE_S
        while not self._over.is_set():
            began = time.monotonic()
            with self._log() as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "node.swarm.main", str(self._home.path)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # a Ctrl-C in the terminal is the loop's
                )
            code = self._process.wait()
            if self._over.is_set():
                return
            pause_s = PAUSE_S if time.monotonic() - began > STEADY_S else min(PAUSE_S_MAX, 2 * pause_s)
            self._note(
                f"the network process ended ({self._last_words() or code}) and starts again in {pause_s:.0f} s; "
                f"research goes on ({self._home.path / 'swarm.log'} says more)"
            )
            self._over.wait(pause_s)

    def _last_words(self) -> str:
        """Return why the process ended by itself, empty where it was ended, or where it does not say."""
        with contextlib.suppress(OSError), (self._home.path / "swarm.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES_MAX))
            last = log.read().decode("utf-8", "replace").splitlines()[-1:]
            return "".join(line.removeprefix(GAVE_UP) for line in last if line.startswith(GAVE_UP)).rstrip(".")
        return ""

    def _log(self) -> IO[bytes]:
        path = self._home.path / "swarm.log"
        with contextlib.suppress(OSError):
            if path.stat().st_size > LOG_BYTES_MAX:
                path.unlink()
        return path.open("ab")

    def _let_go(self) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
