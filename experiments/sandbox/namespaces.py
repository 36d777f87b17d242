"""The plan of a sandbox for machines without bubblewrap: what `enter` is to mount, and where.

Pure: values in, a plan out, in the order of mounting. Leaves out the calls themselves. Rejected: Landlock alone, which
can't give a script a root, a network and a process table of its own, and leaves the paths of the host in place.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.sandbox.bounds import Level, Limits, Mount
from experiments.sandbox.launch import LAUNCHER
from experiments.sandbox.visible import View

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
                "stderr": "/proc/self/fd/2"}
SCRATCH_FOLDERS = ("/scratch", "/tmp")
FILES_PER_MIB = 256  # a folder in memory holds at most so many files for each MiB of its size


def plan(level: Level, limits: Limits, view: View, mounts: Sequence[Mount], out: Path | None, devices: Sequence[str],
         seccomp: bytes | None, fds: Sequence[int]) -> dict[str, Any]:
    """Returns what `enter` needs to know, in values that `marshal` can carry."""
    # Links of the host lead nowhere once its root has moved, so they are followed here.
    shown = [(str(path.resolve()), str(path), "read") for path in (*view.folders, *view.files)]
    shown += [(str(Path(__file__).resolve().with_name("launch.py")), LAUNCHER, "read")]
    shown += [(str(mount.host.resolve()), mount.inside, "read") for mount in mounts]
    shown += [(str(Path(path).resolve()), path, "device") for path in (*DEVICES, *devices) if Path(path).exists()]
    shown += [] if out is None else [(str(out.resolve()), "/out", "write")]
    return {
        "user": "root" not in level.features,
        "shown": shown,
        "links": [*view.links, *((f"/dev/{name}", target) for name, target in DEVICE_LINKS.items())],
        "hidden": [str(path) for path in view.hidden],
        "memory": [_memory("/dev/shm", limits.shm_bytes), *(_memory(f, limits.scratch_bytes) for f in SCRATCH_FOLDERS)],
        "seccomp": seccomp or b"",
        "fds": sorted(fds),
    }


def program() -> list[str]:
    """Returns the command that carries out a plan; its descriptor and the command inside follow as arguments."""
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("enter.py"))]


def _memory(folder: str, size_bytes: int) -> tuple[str, str]:
    files = max(64, size_bytes * FILES_PER_MIB >> 20)
    return folder, f"size={size_bytes},nr_inodes={files},mode=1777"
