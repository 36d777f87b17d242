"""The processes of a sandbox as the host's /proc shows them: who is alive, what they use.

Used to check that nothing survived, and to measure where no control group can be had. Leaves out signals.
Rejected: psutil, one more dependency for three files of /proc.
"""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")
STAT_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/PID/stat. `started` and `pid` together name a process for good."""

    pid: int
    parent: int
    state: str
    started: int  # clock ticks after boot
    threads: int
    cpu_s: float  # its own
    waited_cpu_s: float  # of children that it waited for
    memory_bytes: int  # resident

    @property
    def alive(self) -> bool:
        """Whether it can still do anything."""
        return self.state not in "ZX"


def process(pid: int) -> Process | None:
    """Returns the process with this id, None if there is none."""
    try:  # read for every process several times a second, hence without a file object
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            text = os.read(fd, STAT_BYTES_MAX)
        finally:
            os.close(fd)
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].decode().split()
    ticks = [int(field) for field in fields[11:15]]
    return Process(
        pid, int(fields[1]), fields[0], started=int(fields[19]), threads=int(fields[17]),
        cpu_s=(ticks[0] + ticks[1]) / TICKS_PER_S, waited_cpu_s=(ticks[2] + ticks[3]) / TICKS_PER_S,
        memory_bytes=int(fields[21]) * PAGE_BYTES)


def everyone() -> list[Process]:
    """Returns every process of the machine."""
    found = (process(int(name)) for name in os.listdir(PROC) if name.isdigit())
    return [one for one in found if one is not None]


def children(pid: int) -> list[int]:
    """Returns the processes that a process of one thread has started and that still are its own."""
    try:
        return [int(word) for word in (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()]
    except FileNotFoundError:  # gone, or a kernel without that file
        return [one.pid for one in everyone() if one.parent == pid]


def descendants(root: int) -> list[Process]:
    """Returns `root` and all processes beneath it. One that was orphaned outside a PID namespace is missed."""
    children: dict[int, list[Process]] = {}
    top = []
    for one in everyone():
        children.setdefault(one.parent, []).append(one)
        if one.pid == root:
            top.append(one)
    found: list[Process] = []
    while top:
        one = top.pop()
        found.append(one)
        top += children.get(one.pid, [])
    return found


def of_user(uid: int) -> list[Process]:
    """Returns every process of the user `uid`."""
    wanted = f"\nUid:\t{uid}\t"
    found = []
    for name in filter(str.isdigit, os.listdir(PROC)):
        try:
            here = wanted in (PROC / name / "status").read_text(errors="replace")
        except OSError:
            continue
        one = process(int(name)) if here else None
        found += [one] if one else []
    return found


def private_bytes(pid: int) -> int:
    """Returns resident memory that is the process's own or shared without a file; 0 once it is gone."""
    try:
        text = (PROC / str(pid) / "status").read_text(errors="replace")
    except OSError:
        return 0
    wanted = (line.split() for line in text.splitlines() if line.startswith(("RssAnon:", "RssShmem:")))
    return sum(int(words[1]) for words in wanted) * 1024
