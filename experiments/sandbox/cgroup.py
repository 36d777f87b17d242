"""A control group for one sandbox, from whatever hierarchies the machine lets us write to.

Version 2, version 1 and the hybrid of both are the same here: a list of folders, each with what it can do. Leaves out
the choice of limits. Rejected: asking systemd for a scope, which needs a session bus that containers lack.
"""

import functools
import itertools
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from experiments.sandbox import tree
from experiments.sandbox.bounds import Limits

PREFIX = "autoresearch-"
V1_WANTED = ("memory", "cpuacct", "freezer")
V2_BRINGS = frozenset({"cpuacct", "freezer"})  # to every group, whatever its controllers
EMPTY_S = 5.0
LAUNCHERS = 1  # is in the group as well
_counter = itertools.count()


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A folder beneath which we may create groups, and the controllers that such a group has."""

    folder: Path
    version: int
    controllers: frozenset[str]


def _mounts() -> list[tuple[Path, str, set[str]]]:
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            found.append((Path(where), kind, set(options.split(","))))
    return found


def _own_paths() -> dict[str, str]:
    """Controller (or "" for version 2) -> our own path in its hierarchy."""
    found = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path.lstrip("/")
    return found


@functools.cache
def hierarchies() -> list[Hierarchy]:
    """Returns the places where groups can be created, tried by creating one; empty where there is none.

    As few as will do: the kernel takes milliseconds to move a process into each. Processes are counted by user instead.
    """
    try:
        mounts, own = _mounts(), _own_paths()
    except OSError:
        return []
    found: list[Hierarchy] = []
    brought: set[str] = set()
    for where, kind, options in sorted(mounts, key=lambda mount: mount[1], reverse=True):  # version 2 first
        if kind == "cgroup2" and "" in own:
            here = where / own[""]
            # A group with processes can't hand controllers to its children, but its parent may have done so.
            usable = [h for base in (here, here.parent) if (h := _try(base, 2, where)) is not None]
            found += sorted(usable, key=lambda h: -len(h.controllers))[:1]
            brought |= V2_BRINGS | usable[0].controllers if usable else set()
        elif kind == "cgroup":
            for controller in V1_WANTED:
                if controller in options and controller in own and controller not in brought:
                    hierarchy = _try(where / own[controller], 1, where, controller)
                    found += [hierarchy] if hierarchy else []
    return found


def _try(base: Path, version: int, top: Path, controller: str = "") -> Hierarchy | None:
    if not base.is_relative_to(top) or not os.access(base / "cgroup.procs", os.W_OK):
        return None
    trial = base / _fresh_name()
    try:
        trial.mkdir()
        controllers = {controller} if version == 1 else set((trial / "cgroup.controllers").read_text().split())
        controllers |= {"kill"} if (trial / "cgroup.kill").exists() else set()
        trial.rmdir()
    except OSError:
        return None
    return Hierarchy(base, version, frozenset(controllers))


def _fresh_name() -> str:
    me = tree.process(os.getpid())
    return f"{PREFIX}{os.getpid()}-{me.started if me else 0}-{next(_counter)}"


class Group:
    """One sandbox's group in each hierarchy. A file that can't be read or written counts as a thing it cannot do."""

    def __init__(self, where: list[Hierarchy], limits: Limits) -> None:
        name = _fresh_name()
        self._parts = [(hierarchy, hierarchy.folder / name) for hierarchy in where]
        for _, folder in self._parts:
            folder.mkdir()
        self.limits_memory = self._set("memory", limits.memory_bytes, "memory.max", "memory.limit_in_bytes")
        self._set("memory", 0, "memory.swap.max", "memory.swappiness")
        self._set("memory", 1, "memory.oom.group", "")
        self.limits_processes = self._set("pids", limits.processes + LAUNCHERS, "pids.max", "pids.max")
        self.measures_cpu = self.cpu_s() is not None

    def _set(self, controller: str, value: int, v2: str, v1: str) -> bool:
        for hierarchy, folder in self._parts:
            file = v2 if hierarchy.version == 2 else v1
            if file and controller in hierarchy.controllers and _write(folder / file, str(value)):
                return True
        return False

    def add(self, pid: int) -> None:
        """Moves a process, and all that it will start, into the group. OSError if the machine refuses."""
        for _, folder in self._parts:
            (folder / "cgroup.procs").write_text(str(pid))

    def pids(self) -> set[int]:
        """Returns the processes of the group."""
        texts = [_read(folder / "cgroup.procs") for _, folder in self._parts]
        return {int(pid) for text in texts for pid in text.split()} - {0}

    def cpu_s(self) -> float | None:
        """Returns the processor seconds of all that ever ran in the group, None where nobody counts them."""
        for hierarchy, folder in self._parts:
            if hierarchy.version == 2:
                found = re.search(r"^usage_usec (\d+)", _read(folder / "cpu.stat"), re.M)
                if found:
                    return int(found[1]) / 1e6
            elif "cpuacct" in hierarchy.controllers and (text := _read(folder / "cpuacct.usage")):
                return int(text) / 1e9
        return None

    def memory_bytes(self) -> int | None:
        """Returns the memory in use, file cache that can be dropped left out; None where nobody counts it."""
        for hierarchy, folder in self._parts:
            if "memory" not in hierarchy.controllers:
                continue
            used = _read(folder / ("memory.current" if hierarchy.version == 2 else "memory.usage_in_bytes"))
            cache = re.search(r"^(?:total_)?inactive_file (\d+)", _read(folder / "memory.stat"), re.M)
            if used:
                return max(0, int(used) - (int(cache[1]) if cache else 0))
        return None

    def out_of_memory(self) -> bool:
        """Returns whether the kernel had to kill something because memory ran out."""
        texts = [_read(folder / file) for _, folder in self._parts for file in ("memory.events", "memory.oom_control")]
        return any(int(count) > 0 for text in texts for count in re.findall(r"^oom_kill (\d+)", text, re.M))

    def freeze(self, frozen: bool) -> bool:
        """Stops or continues everything in the group; False where no hierarchy can."""
        for hierarchy, folder in self._parts:
            if hierarchy.version == 2 and _write(folder / "cgroup.freeze", "1" if frozen else "0"):
                return True
            state = "FROZEN" if frozen else "THAWED"
            if "freezer" in hierarchy.controllers and _write(folder / "freezer.state", state):
                return True
        return False

    def kill(self) -> None:
        """Kills everything in the group, at once where the kernel offers it, else until nobody is left."""
        for _, folder in self._parts:
            _write(folder / "cgroup.kill", "1")
        deadline = time.monotonic() + EMPTY_S
        while (left := self.pids()) and time.monotonic() < deadline:
            for pid in left:
                _kill(pid)
            self.freeze(False)
            time.sleep(0.002)

    def remove(self) -> None:
        """Deletes the group's folders; one that still holds a process stays for `reap`."""
        for _, folder in self._parts:
            _remove(folder)


def reap() -> int:
    """Kills what dead nodes left behind in groups of ours and deletes those groups; returns how many were killed."""
    killed = 0
    for hierarchy in hierarchies():
        for folder in hierarchy.folder.glob(f"{PREFIX}*"):
            named = re.fullmatch(rf"{PREFIX}(\d+)-(\d+)-\d+", folder.name)
            owner = tree.process(int(named[1])) if named else None
            if named is None or (owner is not None and owner.alive and owner.started == int(named[2])):
                continue
            left = {int(pid) for pid in _read(folder / "cgroup.procs").split()} - {0}
            for pid in left:
                killed += _kill(pid)
            _write(folder / "cgroup.freeze", "0")
            _write(folder / "freezer.state", "THAWED")
            _remove(folder)
    return killed


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _write(path: Path, value: str) -> bool:
    if not path.exists():
        return False
    try:
        path.write_text(value)
    except OSError:
        return False
    return True


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + EMPTY_S
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.002)
