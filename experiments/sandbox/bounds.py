"""The nouns that a sandbox is described with: limits, mounts, and how strong the isolation is.

Leaves out everything that acts. Plain frozen values, so that a level can be shown, compared and written into a result.
Rejected: one options object for all of it; a caller then can't tell what it chose from what the machine offers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sandboxed process tree may use. Every figure holds for the whole tree, not for one process."""

    memory_bytes: int = 4096 * MIB
    processes: int = 256  # threads count
    open_files: int = 1024  # in one process
    scratch_bytes: int = 512 * MIB  # /scratch, and again /tmp; both live in memory
    out_bytes: int = 1024 * MIB  # everything beneath /out together
    out_files: int = 64
    shm_bytes: int = 256 * MIB  # /dev/shm
    gpu_memory_bytes: int | None = None  # on the card; None: all that it has
    stdout_bytes: int = 256 * 1024  # kept of stdout and stderr together: the head and the tail


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the host, shown read-only at `inside`. Others must have the right to read it."""

    host: Path
    inside: str


@dataclass(frozen=True, slots=True)
class Level:
    """How well a script is held on this machine: `stops` and `gaps` in plain words, more `strength` is better."""

    name: str  # "bubblewrap" | "namespaces" | "landlock" | "none"
    strength: int  # 3, 2, 1, 0
    stops: tuple[str, ...]
    gaps: tuple[str, ...]
    features: frozenset[str] = frozenset()  # "root", "cgroup", "seccomp", "userns", "nested", "scoped", "search"
    program: str = ""  # bubblewrap's path

    @property
    def label(self) -> str:
        """Name and features in one word, for a result: `bubblewrap+cgroup+seccomp`."""
        return "+".join([self.name, *sorted(self.features)])


def lines(words: Sequence[str]) -> str:
    """Joins words to one sentence part: `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
