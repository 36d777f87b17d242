"""The p2pd child process: started with its arguments, its output drained, and gone when this process is gone.

A short Python program stands between: it asks the kernel to kill what it becomes when its parent dies (prctl,
PR_SET_PDEATHSIG), then becomes p2pd. The event loop must therefore run in a thread that lives as long as the process;
where the kernel is not Linux, p2pd stays behind after a kill -9. Rejected: `preexec_fn`, which runs Python between
fork and exec and may deadlock with threads; and p2pd's own bootstrapping, which ends the daemon when no bootstrap
peer answers.
"""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from node.transport.addresses import busy_port
from node.transport.faults import DaemonFailed, PortInUse, reason

OUTPUT_LINES_MAX = 100
"""Lines of p2pd's output that are kept to explain its end."""
OUTPUT_LINE_BYTES_MAX = 4096
"""Bytes kept of one line of p2pd's output."""
STOP_TIMEOUT_S = 3.0
"""How long p2pd may take to end when asked to, before it is killed."""

_LEASH = """
import ctypes, os, sys
parent, program = int(sys.argv[1]), sys.argv[2]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() == parent:
    os.execv(program, sys.argv[2:])
"""
_FOLDER = "autoresearch-p2p-"
_SCRATCH_CHARS_MAX = 50
"""Characters of the folder for sockets: a socket's whole path has at most 107 bytes."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How p2pd meets the world; addresses are multiaddresses.

    listen: where to accept (none: nowhere); announce: what to tell others instead of the own addresses; relays: peers
    that may relay to a node that cannot be dialed; relay: use and serve relays; auto_relay: become reachable through
    one; client_mode: never answer for the daemon's DHT (for nodes that cannot be dialed); nat_port_map: ask the router
    for a port; auto_nat: let others test whether this node can be dialed, which `reachability` reports.
    """

    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    announce: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()
    relay: bool = True
    auto_relay: bool = False
    client_mode: bool = False
    nat_port_map: bool = True
    auto_nat: bool = True

    def arguments(self, identity: Path, socket: Path, metrics_port: int | None) -> list[str]:
        """Returns p2pd's command line after its name."""
        flags: dict[str, object] = {
            "listen": f"/unix{socket}",
            "id": identity,
            "pubsub": 1,
            "connManager": 1,
            "relay": int(self.relay),
            "natPortMap": int(self.nat_port_map),
            "autonat": int(self.auto_nat),
            "dhtClient" if self.client_mode else "dhtServer": 1,
        }
        if self.listen:
            flags["hostAddrs"] = ",".join(self.listen)
        else:
            flags["noListenAddrs"] = 1
        if self.announce:
            flags["announceAddrs"] = ",".join(self.announce)
        if self.auto_relay and self.relays:  # without relays of ours p2pd would ask strangers' public ones
            flags |= {"autoRelay": 1, "trustedRelays": ",".join(self.relays)}
            if self.client_mode:
                flags["forceReachabilityPrivate"] = 1
        if metrics_port is not None:
            flags["metricsAddr"] = f"127.0.0.1:{metrics_port}"
        return [f"-{name}={value}" for name, value in flags.items()]


class Daemon:
    """One running p2pd; `folder` holds its sockets and is this user's alone."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self._lines: deque[str] = deque(maxlen=OUTPUT_LINES_MAX)
        self._ready = asyncio.Event()
        self._drain = asyncio.create_task(self._read_output(), name="p2pd output")

    @property
    def socket(self) -> Path:
        """Where p2pd listens for requests."""
        return self.folder / "control"

    @classmethod
    async def start(
        cls, program: Path, identity: Path, options: Options, metrics_port: int | None, timeout_s: float
    ) -> "Daemon":
        """Returns a p2pd that listens; raises PortInUse, DaemonFailed."""
        port = busy_port(options.listen)
        if port is not None:
            raise PortInUse(f"Port {port} is taken by another program; stop that, or listen on another port.")
        if not os.access(program, os.X_OK):
            raise DaemonFailed(f"The network daemon p2pd is not at {program}; run `make setup` to install it again.")
        folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-", dir=_scratch()))
        arguments = options.arguments(identity, folder / "control", metrics_port)
        environment = {"GOLOG_LOG_LEVEL": "error", "GOLOG_LOG_FMT": "json", "HOME": str(folder), "PATH": os.defpath}
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), str(program), *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=environment,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        daemon = cls(process, folder)
        try:
            await daemon._until_ready(timeout_s)
        except BaseException:
            await daemon.stop()
            raise
        return daemon

    async def ended(self) -> str:
        """Waits until p2pd is gone and its output read; returns how it ended."""
        await self.process.wait()
        await asyncio.wait([self._drain], timeout=STOP_TIMEOUT_S)
        code = self.process.returncode
        lines = [] if self._ready.is_set() else list(self._lines)
        last = next((line for line in lines if line.startswith("panic:")), lines[-1] if lines else "")
        return reason(last) or (f"signal {-code}" if code is not None and code < 0 else f"exit code {code}")

    async def stop(self) -> None:
        """Ends p2pd and removes its sockets; calling it again does nothing."""
        try:
            if self.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self.process.terminate()
                try:
                    async with asyncio.timeout(STOP_TIMEOUT_S):
                        await self.process.wait()
                except TimeoutError:
                    pass
        finally:
            if self.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self.process.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
        await self.process.wait()
        self._drain.cancel()
        await asyncio.wait([self._drain])
        self.process._transport.close()  # type: ignore[attr-defined]  # its pipe may outlive it in a grandchild

    async def _until_ready(self, timeout_s: float) -> None:
        ready, gone = asyncio.create_task(self._ready.wait()), asyncio.create_task(self.ended())
        try:
            done, _ = await asyncio.wait({ready, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (ready, gone):
                task.cancel()
            await asyncio.wait({ready, gone})
        if gone in done:
            words = gone.result()
            if "address already in use" in words:
                raise PortInUse(f"A port is taken by another program ({words}); stop that, or listen on another port.")
            raise DaemonFailed(
                f"The network daemon p2pd did not start ({words}); check the addresses to listen on and to announce."
            )
        if not done:
            raise DaemonFailed(f"The network daemon p2pd did not start within {timeout_s:.0f} s; try again.")

    async def _read_output(self) -> None:
        assert self.process.stdout is not None
        rest = b""
        while chunk := await self.process.stdout.read(OUTPUT_LINE_BYTES_MAX):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[:OUTPUT_LINE_BYTES_MAX]
            for line in lines:
                self._note(line.decode("utf-8", "replace").strip())
        self._note(rest.decode("utf-8", "replace").strip())

    def _note(self, line: str) -> None:
        if not line:
            return
        if line.startswith("Peer ID:"):
            self._ready.set()
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                line = " ".join(str(entry[key]) for key in ("msg", "error") if key in entry) or line
        self._lines.append(line)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("p2pd: %s", reason(line))


def _scratch() -> Path:
    """Returns the folder for temporary things, or another usual one where its name is too long for sockets in it."""
    named = tempfile.gettempdir()
    usual = [folder for folder in ("/tmp", "/var/tmp") if os.access(folder, os.W_OK | os.X_OK)]
    return Path(named if len(os.fsencode(named)) <= _SCRATCH_CHARS_MAX else (usual or [named])[0])


def sweep(folder: Path | None = None) -> int:
    """Removes the socket folders of this user's processes that are gone, and returns how many there were."""
    removed = 0
    for left in (folder or _scratch()).glob(f"{_FOLDER}*-*"):
        number = left.name.removeprefix(_FOLDER).partition("-")[0]
        with contextlib.suppress(OSError):
            status = left.lstat()
            if status.st_uid == os.getuid() and number.isdigit() and not _alive(int(number)):
                shutil.rmtree(left)
                removed += 1
    return removed


def _alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
