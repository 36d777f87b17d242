"""Whole nodes for tests: the command line on homes of their own, on loopback, on a track of short experiments."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

sys.path.append(str(Path(__file__).resolve().parents[1]))

import measured

from ensue.genesis import Genesis
from ensue.store import Store

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/tracks/tiny"
DEADLINE_S = 90.0

Found = TypeVar("Found")


def wait_for(what: Callable[[], Found], why: str, within_s: float = DEADLINE_S) -> Found:
    """Return what a question answers once that is true."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{why}: not within {within_s:.0f} s")


class Node:
    """One home; `before` are words that go before each command, as `ip netns exec NAME`."""

    def __init__(
        self,
        home: Path,
        *,
        listen: str = "/ip4/127.0.0.1/tcp/0",
        track: Path = TINY,
        before: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home
        measured.put(home)
        self._before = list(before)
        self._environment = {
            **os.environ,
            "AUTORESEARCH_HOME": str(home),
            "AUTORESEARCH_TRACK": str(track),
            "AUTORESEARCH_SWARM": "on",
            "AUTORESEARCH_SWARM_LISTEN": listen,
            "AUTORESEARCH_SWARM_RELAY": "off",
            "AUTORESEARCH_DISK_FREE_BYTES": "0",
            "AUTORESEARCH_LOG": "INFO",
            **(environment or {}),
        }
        self._beside: list[subprocess.Popen[str]] = []
        self.process: subprocess.Popen[str] | None = None

    def join(self, *arguments: str) -> "Node":
        """Start to research."""
        self.process = self._start("join", "--plain", *arguments)
        return self

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [*self._before, sys.executable, "-m", "node.cli.main", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self._environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)

    def serve(self, *arguments: str) -> None:
        """Start another command that goes on beside the node."""
        self._beside.append(self._start(*arguments))

    def kill(self) -> None:
        """End all that runs here, at once."""
        for process in [*self._beside, *([self.process] if self.process else [])]:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def run(self, *arguments: str) -> str:
        """Return what a command prints."""
        process = self._start(*arguments)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, f"{arguments}: {out}{err}"
        return out

    def ask(self, *arguments: str) -> Any:
        """Return the JSON that a query answers."""
        return json.loads(self.run(*arguments, "--json"))

    @property
    def store(self) -> Store:
        """The replica, opened beside the node; close it."""
        return Store(self.home / "replica.sqlite3", Genesis.load(self.home / "genesis.json").network_id)

    def read(self, question: Callable[[Store], Found]) -> Found:
        """Return what a question to the replica answers."""
        with self.store as store:
            return question(store)

    def digest(self) -> str:
        """Return the digest of the live state."""
        return self.read(lambda store: store.digest())

    def invite(self) -> str:
        """Return an invite with an address in it."""

        def line() -> str | None:
            return self.run("invite", "--no-qr").strip() if self.addresses() else None

        return wait_for(line, "an address to invite to")

    def addresses(self) -> list[str]:
        """Return where this node listens; none while it starts."""
        if not (self.home / "genesis.json").exists() or not (self.home / "replica.sqlite3").exists():
            return []
        found = self.read(lambda store: json.loads(store.local_get("swarm") or "{}"))
        return list(found.get("addresses", [])) if found.get("updated_ms") else []

    def connected(self) -> int:
        """Return the number of connected peers."""
        found = self.read(lambda store: json.loads(store.local_get("swarm") or "{}"))
        return sum(peer["connected"] for peer in found.get("peers", []))

    def stop(self, number: int = signal.SIGINT) -> tuple[str, str]:
        """End the node; return what it printed."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.communicate(timeout=DEADLINE_S)

    def log(self) -> str:
        """Return what the swarm process wrote."""
        path = self.home / "swarm.log"
        return path.read_text() if path.exists() else ""
