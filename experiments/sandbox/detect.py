"""Finds the strongest isolation that this machine really gives, by trying it.

Leaves out the decision whether it is enough. Rejected: reading kernel settings; too many of them lie in containers.
"""

import functools
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ensue.errors import AutoresearchError
from experiments.sandbox import cgroup, landlock, seccomp
from experiments.sandbox.bounds import Level, Limits
from experiments.sandbox.starting import start
from experiments.sandbox.visible import interpreter

TRIAL_S = 20.0
# Reads a package as well: an installation by root under a strict umask can't be read by anyone else.
TRIAL = "from importlib.util import find_spec as f; f('numpy').loader.get_code('numpy'); print('fine')"
STOPS = (
    "reading your files, keys and environment", "the network", "other processes", "writing outside its scratch space",
    "outliving its run",
)
KERNEL_GAP = "a bug in the kernel or a GPU driver"
NOTHING = Level("none", 0, (), ("everything: a script can do what you can do",))
YOUNG_GAP = "mistakes in our own set-up of namespaces, which fewer eyes have seen than bubblewrap's"
SHARED_GAP = ("it runs among your own processes and files: it can read the machine's name, and of a file whose name it "
              "knows it can ask whether it exists and how large it is")
DISK_GAP = "its scratch space lies on your disk, watched several times a second instead of bounded"
SEARCH_GAP = ("the interpreter lies where only root may go, so only Landlock holds back what is root's: in /usr and in "
              "the interpreter's folders it can read what only root may")
SAME_USER_GAP = "it runs as you: nothing but Landlock and the filter stands between it and your files"
NO_FILTER_GAP = "system calls are not filtered"
NO_GROUP_GAP = "memory and processor time are polled, not enforced by the kernel"


@functools.cache
def detect() -> Level:
    """Returns the strongest level that works here; tried once in a process, it takes some 50 ms."""
    return next(filter(works, candidates()), NOTHING)


def candidates() -> Iterator[Level]:
    """Yields what this machine might give, strongest first."""
    extras = frozenset(name for name, here in (("cgroup", _groups_work()), ("seccomp", _filters_work())) if here)
    # Root must not take the user namespace: there it stays root to the kernel, and /proc/sys would obey it.
    kinds = [frozenset({"root"})] if os.geteuid() == 0 else [frozenset({"userns", "nested"}), frozenset({"userns"})]
    program = shutil.which("bwrap")
    # A group that can be made is no group yet: some machines then refuse to let a process in.
    for more in dict.fromkeys((extras, extras - {"cgroup"})):
        for kind in kinds if program else []:
            yield Level("bubblewrap", 3, STOPS, _gaps(more), kind | more, os.path.realpath(program or ""))
    for more in dict.fromkeys((extras, extras - {"cgroup"})):
        yield Level("namespaces", 2, STOPS, (*_gaps(more), YOUNG_GAP), kinds[-1] | more)
    yield from _landlock(extras)


def _landlock(extras: frozenset[str]) -> Iterator[Level]:
    """Levels for a script among the host's own processes. Without the filter there are none: sockets would be open."""
    version = landlock.abi()
    if version < landlock.ABI_MIN or "seccomp" not in extras:
        return
    own = frozenset({"scoped"} if version >= landlock.ABI_SCOPES else ())
    kinds = [frozenset({"root"}), frozenset({"root", "search"})] if os.geteuid() == 0 else [frozenset[str]()]
    for more in dict.fromkeys((extras, extras - {"cgroup"})):
        for kind in kinds:
            features = own | kind | more
            yield Level("landlock", 1, STOPS, _shared_gaps(features), features)


def limits(level: Level) -> str:
    """Returns in plain words who holds a script to its limits at this level, for an owner to read."""
    versions = sorted({hierarchy.version for hierarchy in cgroup.hierarchies()}) if "cgroup" in level.features else []
    if versions:
        told = " and ".join(f"version {version}" for version in versions)
        memory = f"memory and processor time by the kernel (control groups, {told})"
    else:
        memory = "memory and processor time by looking several times a second (the kernel bounds each process alone)"
    disk = "disk by looking several times a second" if level.name == "landlock" else "scratch space by its size"
    return f"{memory}; the number of processes by the kernel; {disk}"


def works(level: Level) -> bool:
    """Returns whether a Python in a sandbox of this level runs and says so."""
    try:
        with start([interpreter(), "-c", TRIAL], level=level, limits=Limits()) as trial:
            return trial.wait(TRIAL_S) == 0 and trial.output().strip() == b"fine"
    except (AutoresearchError, OSError):
        return False


def without(level: Level, *features: str) -> Level:
    """Returns the level as it would be on a machine that lacks `features`."""
    left = level.features - frozenset(features)
    own = [gap for gap in level.gaps if gap == YOUNG_GAP]
    gaps = _shared_gaps(left) if level.name == "landlock" else (*_gaps(left), *own)
    return replace(level, features=left, gaps=gaps)


def without_bubblewrap(level: Level) -> Level:
    """Returns the level as it would be on a machine where bubblewrap is not installed."""
    features = level.features - {"nested"}
    return Level("namespaces", 2, STOPS, (*_gaps(features), YOUNG_GAP), features)


def without_namespaces(level: Level) -> Level:
    """Returns the level as it would be on a machine where nothing may make namespaces."""
    return next((one for one in _landlock(level.features) if works(one)), NOTHING)


def _shared_gaps(features: frozenset[str]) -> tuple[str, ...]:
    search = (SEARCH_GAP,) if "search" in features else ()
    same = () if "root" in features else (SAME_USER_GAP,)
    return (*_gaps(features), SHARED_GAP, *same, *search, DISK_GAP)


def _gaps(features: frozenset[str]) -> tuple[str, ...]:
    missing = {"cgroup": NO_GROUP_GAP, "seccomp": NO_FILTER_GAP}
    return (KERNEL_GAP, *(gap for name, gap in missing.items() if name not in features))


def _filters_work() -> bool:
    return seccomp.program() is not None and Path("/proc/sys/kernel/seccomp").is_dir()


def _groups_work() -> bool:
    return any("memory" in hierarchy.controllers for hierarchy in cgroup.hierarchies())
