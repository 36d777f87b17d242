"""Real swarm processes for the benchmarks: homes of one network, each with its process and p2pd, on loopback.

Every home knows every address from the start, so that they meet at once, as nodes that met before do. Left out: what is
measured.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ensue.genesis import Genesis
from ensue.identity import Identity
from node.founding import enter
from node.home import Home
from node.swarm import status
from node.swarm.peerbook import PeerBook

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120.0
STOP_S = 15.0
MESH_SETTLES_S = 5.0
"""GossipSub forms its mesh at its heartbeats, one a second."""
NEIGHBOURS = 12
"""Connections that a node looks for by itself."""
ENVIRONMENT = {
    "AUTORESEARCH_SWARM": "on",
    "AUTORESEARCH_SWARM_RELAY": "off",
    "AUTORESEARCH_SWARM_NAT": "off",
    "AUTORESEARCH_SWARM_LAN": "off",
    "AUTORESEARCH_DISK_FREE_BYTES": "0",
}

Found = TypeVar("Found")


def wait_for(what: Callable[[], Found], why: str, within_s: float = DEADLINE_S, every_s: float = 0.1) -> Found:
    """Return what a question answers once that is true."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(every_s)
    raise AssertionError(f"{why}: not within {within_s:.0f} s")


class Peer:
    """One home with its swarm process; `before` are words that go before its command, as `ip netns exec NAME`."""

    def __init__(self, folder: Path, genesis: Genesis | None, *, host: str = "127.0.0.1", before: Sequence[str] = ()):
        self.home = Home(folder)
        member = enter(self.home, genesis)
        self.identity: Identity = member.identity
        self.genesis, self.store = member.genesis, member.store
        self.address = f"/ip4/{host}/tcp/{free_port()}"
        self.before = list(before)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What its processes are started with."""
        own = {"AUTORESEARCH_HOME": str(self.home.path), "AUTORESEARCH_SWARM_LISTEN": self.address}
        return {**os.environ, **ENVIRONMENT, **own}

    def knows(self, others: Sequence["Peer"]) -> None:
        """Put the addresses of others into the book."""
        book = PeerBook.load(self.store, self.identity.peer_id)
        book.add([f"{one.address}/p2p/{one.identity.peer_id}" for one in others if one is not self], "invite")
        book.save(self.store)

    def start(self, program: Sequence[str] = ("-m", "node.swarm.main")) -> None:
        """Start the swarm process; what it writes goes to swarm.log in the home."""
        with (self.home.path / "swarm.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.before, sys.executable, *program, str(self.home.path)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=self.environment, cwd=ROOT,
            )  # fmt: skip

    def status(self) -> status.SwarmStatus | None:
        """Return what the process says of itself, None before it has said anything."""
        found = status.read(self.store)
        return found if found is not None and found.updated_ms else None

    def connected(self) -> int:
        """Return the number of connected peers."""
        found = self.status()
        return found.connected if found is not None else 0

    def log(self) -> str:
        """Return what the swarm process wrote."""
        return (self.home.path / "swarm.log").read_text()

    def stop(self) -> None:
        """Let go of the leash, and wait."""
        process, self.process = self.process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def founded(folder: Path, count: int, host: str = "127.0.0.1") -> list[Peer]:
    """Return homes of one network that know each other; nothing runs yet."""
    peers: list[Peer] = []
    for number in range(count):
        peers.append(Peer(folder / f"node{number}", peers[0].genesis if peers else None, host=host))
    for peer in peers:
        peer.knows(peers)
    return peers


@contextlib.contextmanager
def running(
    peers: Sequence[Peer], program: Sequence[str] = ("-m", "node.swarm.main"), wanted: int | None = None
) -> Iterator[Sequence[Peer]]:
    """Run the swarm processes; in the end they are gone and their stores closed.

    When this begins, each has `wanted` neighbours: all others, or as many as a node looks for.
    """
    try:
        for peer in peers:
            peer.start(program)
        wanted = min(len(peers) - 1, NEIGHBOURS) if wanted is None else wanted
        for peer in peers:
            wait_for(lambda peer=peer: peer.connected() >= wanted, f"{wanted} neighbours")  # type: ignore[misc]
        time.sleep(MESH_SETTLES_S)
        yield peers
    finally:
        for peer in peers:
            if peer.process is not None and peer.process.stdin is not None:
                peer.process.stdin.close()  # all at once, so that they end side by side
        for peer in peers:
            peer.stop()
            peer.store.close()


def processes(root: int) -> dict[int, str]:
    """Return a process and all that descend from it, with the first words of their commands."""
    found, waiting = {}, [root]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            found[pid] = " ".join(words[:4])
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
    return found


def memory_mib(pid: int) -> dict[str, float]:
    """Return what a process holds in memory: Rss, and Pss, in which shared pages are divided; MiB, 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except (ProcessLookupError, FileNotFoundError):
        return {"rss": 0.0, "pss": 0.0}
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return {"rss": sizes["Rss"], "pss": sizes["Pss"]}


def quantiles(times_s: Sequence[float]) -> dict[str, float]:
    """Return the median, the 99th percentile and the largest, in milliseconds."""
    ordered = sorted(times_s)
    at = min(len(ordered) - 1, int(0.99 * len(ordered)))
    return {"p50": 1e3 * ordered[len(ordered) // 2], "p99": 1e3 * ordered[at], "max": 1e3 * ordered[-1]}


def lines(stream: Any) -> Iterator[Any]:
    """Yield the JSON documents that a program prints, one a line."""
    for line in stream:
        yield json.loads(line)
