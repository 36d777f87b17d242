"""The host as the zoo's creatures could touch it: secrets, doors that somebody listens at, its answers, its processes.

Leaves out what a creature is. Nothing here asks the creature whether it succeeded: the kernel tells who opened a file
(inotify), who connected, who is still alive. Rejected: looking for the secret in what a creature prints, alone.
"""

import ast
import contextlib
import ctypes
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from creature import ZOO

from experiments.sandbox import tree

PING_S = 0.02
IN_ACCESS, IN_OPEN, IN_NONBLOCK = 0x1, 0x20, 0o4000
PR_SET_CHILD_SUBREAPER = 36
SUFFIX = f".canary-{secrets.token_hex(4)}"  # of this run alone: others may run beside it
PINGER = Path(__file__).with_name("pinger.py")


class Pinger:
    """Another process of the host that does small work fifty times a second; how long did it have to wait?"""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-I", str(PINGER), str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._rounds: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            began, took = map(float, line.split())
            self._rounds.append((began, took))

    def slowest_s(self, began: float) -> float:
        """Returns the longest round since `began` (time.monotonic), the one in progress included."""
        now, deadline = time.monotonic(), time.monotonic() + 30.0
        while not (self._rounds and self._rounds[-1][0] >= now) and time.monotonic() < deadline:
            time.sleep(PING_S)
        return max((took for at, took in self._rounds if at + took >= began), default=float("inf"))

    def close(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()
        self._thread.join()


class Canaries:
    """Secrets in the places where people keep them, always under names that nobody uses, taken away at the end."""

    def __init__(self) -> None:
        self.token = f"canary-{secrets.token_hex(12)}"
        self._held = contextlib.ExitStack()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._watch = self._libc.inotify_init1(IN_NONBLOCK)
        self._held.callback(os.close, self._watch)
        self.files = [path for path in map(self._plant, self.places()) if path]
        self.listeners = list(filter(None, map(self._listen, self._addresses())))
        os.environ["AUTORESEARCH_SECRET"] = self.token
        self._held.callback(os.environ.pop, "AUTORESEARCH_SECRET")
        self._held.callback(os.close, self._inherited())
        decoy = subprocess.Popen(["/bin/sh", "-c", "read -r _", self.token], stdin=subprocess.PIPE)
        self.decoy = decoy.pid
        self._held.callback(decoy.communicate)

    @staticmethod
    def places() -> list[str]:
        """The list that a creature carries itself."""
        source = ast.parse((ZOO / "attack_read_canaries.py").read_text())
        values = {node.targets[0].id: node.value for node in source.body if isinstance(node, ast.Assign)}
        return list(ast.literal_eval(values["PLACES"]))

    @staticmethod
    def _addresses() -> list[str]:
        source = (ZOO / "attack_sockets.py").read_text()
        places = [word for word in source.split('"') if word.startswith(("/run/", "/tmp/.X11"))]
        return ["\0autoresearch" + SUFFIX, *(place + SUFFIX for place in places if "*" not in place)]

    def _plant(self, place: str) -> Path | None:
        path = Path(os.path.expanduser(place) + SUFFIX)
        try:
            for folder in reversed([one for one in path.parents if not one.exists()]):
                folder.mkdir(mode=0o755)
                self._held.callback(_rmdir, folder)
            path.write_text(self.token)
            # The interpreter's folders are shown, secrets in them are guarded by their rights alone.
            path.chmod(0o600 if path.is_relative_to("/usr") else 0o644)
        except OSError:
            return None
        self._held.callback(path.unlink, missing_ok=True)
        if self._libc.inotify_add_watch(self._watch, os.fsencode(path), IN_ACCESS | IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify", str(path))
        return path

    def _listen(self, address: str) -> socket.socket | None:
        one = self._held.enter_context(socket.socket(socket.AF_UNIX))
        try:
            one.bind(address)
        except OSError:
            return None
        if address.startswith("/"):
            self._held.callback(lambda: Path(address).unlink(missing_ok=True))
            os.chmod(address, 0o777)
        one.listen()
        one.setblocking(False)
        return one

    def _inherited(self) -> int:
        fd = os.memfd_create("secret", 0)
        os.write(fd, self.token.encode())
        os.set_inheritable(fd, True)
        return fd

    def touched(self) -> int:
        """Returns how often a planted file was opened or read and a listener was reached since the last call."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while os.read(self._watch, 4096):
                count += 1
        for listener in self.listeners:
            with contextlib.suppress(BlockingIOError):
                listener.accept()[0].close()
                count += 1
        return count

    def close(self) -> None:
        """Takes everything away again."""
        self._held.close()


class Host:
    """All of it together. Becomes the parent of every orphan, so that no survivor can hide from it."""

    def __init__(self) -> None:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._folder = tempfile.TemporaryDirectory(prefix="zoo-pinger-")
        self.pinger = Pinger(Path(self._folder.name))
        self.canaries = Canaries()
        self._known = {os.getpid(), self.pinger.process.pid, self.canaries.decoy}

    def survivors(self) -> list[int]:
        """Returns the processes beneath us that nobody here started, however they were orphaned."""
        return [
            one.pid for one in tree.descendants(os.getpid())
            if one.alive and one.pid not in self._known and one.parent != self.pinger.process.pid
        ]  # fmt: skip

    def close(self) -> None:
        """Puts the machine back as it was."""
        self.canaries.close()
        self.pinger.close()
        self._folder.cleanup()
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _rmdir(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
