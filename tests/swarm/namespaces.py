"""Hosts of their own for tests: network namespaces on one switch, whose cables can be pulled, and nodes on them.

All of it lives below one holder process, in a mount namespace with a /run of its own and, for those who are not root,
in a user namespace: `ip netns` here names nothing of the machine, and all of it is gone with the holder, however the
test ends. Left out: what a node is (nodes). Rejected: names in the machine's own /run/netns, which a killed
test would leave there; tc and nft, whose kernel modules many machines lack.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from nodes import ROOT, Node, wait_for

NETWORK = "10.77.0"
SWITCH = "switch"
PORT = 4001
_NEEDED = ("ip", "nsenter", "unshare", "setpriv", "mount")
_HOLD = """
mount -t tmpfs none /run && mkdir /run/netns && echo ready && cat
for host in $(ls /run/netns); do kill -9 $(ip netns pids "$host") 2>&-; done
"""
_COMMAND_TIMEOUT_S = 20.0


class NoNamespaces(Exception):
    """This machine makes no network namespaces; the words say why."""


class Network:
    """A switch with hosts 10.77.0.1, .2 and so on, named `a`, `b` and so on; use as a context."""

    def __init__(self, hosts: int) -> None:
        self.hosts = [chr(ord("a") + number) for number in range(hosts)]
        self._holder: subprocess.Popen[str] | None = None
        self._enter: list[str] = []

    def __enter__(self) -> "Network":
        try:
            self._hold()
            self._ip("netns", "add", SWITCH)
            self._at(SWITCH, "link", "add", "bridge", "type", "bridge")
            self._at(SWITCH, "link", "set", "bridge", "up")
            for host in self.hosts:
                self._plug_in(host)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hold(self) -> None:
        missing = [name for name in _NEEDED if shutil.which(name) is None]
        if missing:
            raise NoNamespaces(f"{', '.join(missing)} is missing: install iproute2 and util-linux")
        own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        pipe = subprocess.PIPE
        self._holder = holder = subprocess.Popen(
            ["unshare", *own, "--mount", "--net", "sh", "-c", _HOLD],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=ROOT,
            text=True,
        )
        assert holder.stdout is not None
        if holder.stdout.readline() != "ready\n":
            raise NoNamespaces(f"this user may make none here ({holder.communicate()[1].strip()})")
        into = ["--user", "--preserve-credentials"] if own else []
        self._enter = ["nsenter", "--target", str(holder.pid), *into, "--mount", "--net", "--wd"]

    def _plug_in(self, host: str) -> None:
        self._ip("netns", "add", host)
        self._at(SWITCH, "link", "add", f"port-{host}", "type", "veth", "peer", "name", "eth0", "netns", host)
        self._at(SWITCH, "link", "set", f"port-{host}", "master", "bridge", "up")
        self._at(host, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
        self._at(host, "link", "set", "lo", "up")
        self._at(host, "link", "set", "eth0", "up")

    def address(self, host: str) -> str:
        """Return a host's address on the switch."""
        return f"{NETWORK}.{self.hosts.index(host) + 1}"

    def on(self, host: str) -> list[str]:
        """Return the words that go before a command to run it on a host, where it dies with whoever started it."""
        return [*self._enter, "ip", "netns", "exec", host, "setpriv", "--pdeathsig", "KILL"]

    def cut(self, host: str) -> None:
        """Pull a host's cable: it sees that the carrier is gone."""
        self._at(SWITCH, "link", "set", f"port-{host}", "down")

    def mend(self, host: str) -> None:
        """Plug a host's cable in again."""
        self._at(SWITCH, "link", "set", f"port-{host}", "up")

    def hush(self, host: str) -> None:
        """Lose every packet from and to a host, and let it notice nothing else."""
        self._at(SWITCH, "link", "set", f"port-{host}", "nomaster")

    def unhush(self, host: str) -> None:
        """Carry a host's packets again."""
        self._at(SWITCH, "link", "set", f"port-{host}", "master", "bridge")

    def traffic(self, host: str) -> tuple[int, int]:
        """Return the bytes that a host has received and sent on its cable."""
        files = [f"/sys/class/net/eth0/statistics/{name}_bytes" for name in ("rx", "tx")]
        received, sent = _run([*self.on(host), "cat", *files]).split()
        return int(received), int(sent)

    def processes(self, host: str) -> list[int]:
        """Return the processes that run on a host."""
        return [int(word) for word in self._ip("netns", "pids", host).split()]

    def clear(self, host: str) -> None:
        """Kill every process on a host."""
        for pid in self.processes(host):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.processes(host), "an empty host")

    def close(self) -> None:
        """End every process on the hosts, and the hosts with them."""
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.communicate(timeout=_COMMAND_TIMEOUT_S)

    def node(self, host: str, home: Path, *, research: bool = False, port: int = PORT, **environment: str) -> Node:
        """Return a node on a host, which listens on all its interfaces; `environment` is that of its commands."""
        settings = environment | {"AUTORESEARCH_RESEARCH": "on" if research else "off"}
        words = [f"{name}={value}" for name, value in settings.items()]
        return Node(home, listen=f"/ip4/0.0.0.0/tcp/{port}", before=[*self.on(host), "env", *words])

    def _at(self, host: str, *words: str) -> str:
        return self._ip("-n", host, *words)

    def _ip(self, *words: str) -> str:
        return _run([*self._enter, "ip", *words])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S)
    assert done.returncode == 0, f"{command}: {done.stderr.strip()}"
    return done.stdout


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


def joined(nodes: Sequence[Node]) -> str:
    """Let the first node found a network and the others join it; return the invite once all are connected."""
    first, *others = nodes
    first.join("--name", first.home.name)
    line = first.invite()
    for node in others:
        node.join(line, "--name", node.home.name)
    wait_for(lambda: all(node.addresses() and node.connected() == len(others) for node in nodes), "neighbours of all")
    return line


def equal(nodes: Sequence[Node]) -> bool:
    """Return whether all nodes have the same live state."""
    return len({node.digest() for node in nodes}) == 1


def healed_s(nodes: Sequence[Node], within_s: float) -> float:
    """Return after how many seconds the nodes have the same live state."""
    begun = time.monotonic()
    wait_for(lambda: equal(nodes), "equal digests", within_s)
    return time.monotonic() - begun


def said(node: Node, words: str) -> str:
    """Return the id of a record that a node published, and thereby acknowledged."""
    return str(node.ask("insight", words)["id"])


def swarm_process(node: Node) -> int:
    """Return the number of a node's network process."""
    return int(node.read(lambda store: json.loads(store.local_get("swarm") or "{}"))["pid"])


def killed(node: Node) -> None:
    """Kill a node's process, and wait until all that belongs to it has ended."""
    pid = swarm_process(node) if node.addresses() else 0
    node.stop(signal.SIGKILL)
    wait_for(lambda: not pid or not Path(f"/proc/{pid}").exists(), "the end of the network process", 20)
