"""The rules of a sandbox that has no namespaces: which paths of the host a script may use, and how (Landlock).

Nothing moves here: a script sees the host's own paths, and the kernel refuses what no rule allows. Rules only add, so
a folder with something hidden in it is allowed child by child. Pure but for looking at those folders. Rejected: one
rule for the whole, with the hidden folders left to file permissions, which the owner's own scripts would pass.
"""

import ctypes
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.sandbox.bounds import Mount
from experiments.sandbox.visible import View

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in range(13, 16))
READ = EXECUTE | READ_FILE | READ_DIR
DEVICE = READ_FILE | WRITE_FILE
GPU = DEVICE | IOCTL_DEV
WRITE = (READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM | REFER
         | TRUNCATE)
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # a rule on a file may name no others

ABI_MIN = 3  # Linux 6.2: before it, a file that may be read may be emptied
ABI_IOCTL, ABI_NETWORK, ABI_SCOPES = 5, 4, 6
CREATE_RULESET = 444  # on every architecture
CREATE_VERSION = 1
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
KERNEL_FILES = ("/proc/cpuinfo", "/proc/meminfo", "/proc/sys/vm/overcommit_memory")

Rule = tuple[str, int]


def abi() -> int:
    """Returns the version of Landlock that this kernel has switched on, 0 if none."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = int(libc.syscall(ctypes.c_long(CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint(CREATE_VERSION)))
    return max(0, version)


def handled(version: int) -> tuple[int, int, int]:
    """Returns what is forbidden unless a rule allows it: rights to files, to TCP ports, and reaching other domains."""
    files = (IOCTL_DEV << 1) - 1 if version >= ABI_IOCTL else IOCTL_DEV - 1
    return files, 0b11 if version >= ABI_NETWORK else 0, 0b11 if version >= ABI_SCOPES else 0


def rules(view: View, mounts: Sequence[Mount], writable: Sequence[Path], devices: Sequence[str]) -> list[Rule]:
    """Returns path and rights of everything that a script may open; what does not exist is left out."""
    found: list[Rule] = []
    for path in (*view.folders, *view.files):
        found += _around(path, view.hidden)
    found += [(str(mount.host), READ) for mount in mounts]
    found += [(str(path), WRITE) for path in writable]
    found += [(path, DEVICE) for path in DEVICES]
    found += [(path, GPU) for path in devices]
    found += [(path, READ_FILE) for path in KERNEL_FILES]
    return [(path, rights if os.path.isdir(path) else rights & OF_FILES) for path, rights in found
            if os.path.exists(path)]


def plan(version: int, found: Sequence[Rule]) -> dict[str, Any]:
    """Returns what `confine` needs to know of Landlock, in values that `marshal` can carry."""
    files, network, scopes = handled(version)
    return {"files": files, "network": network, "scopes": scopes,
            "rules": [(path, rights & files) for path, rights in found]}


def _around(folder: Path, hidden: Sequence[Path]) -> Iterator[Rule]:
    """Allows a folder but for what is hidden beneath it. The names in there stay visible, their contents do not."""
    within = [path for path in hidden if path.is_relative_to(folder)]
    if folder in within:
        return
    if not within:
        yield str(folder), READ
        return
    yield str(folder), READ_DIR
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            yield from _around(folder / entry.name, within)
