"""Memory shared with a sandbox: anonymous, of fixed size, writable by the side that should write.

Seals are kept by the kernel, so they hold against the other side too: no resizing under our feet (a fault that kills),
no writing to what is ours. Rejected: files of the host, which an owner's own user could open again for writing.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path

FIXED_SIZE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
FUTURE_WRITE = 0x0010  # F_SEAL_FUTURE_WRITE, Linux 5.1; the fcntl module names it from 3.14 on
COPY_BYTES = 1 << 26


class Region:
    """`size` bytes that a sandbox sees through `fd`; `map` is our own writable view of them."""

    def __init__(self, name: str, size: int, *, child_writes: bool) -> None:
        self.size = size
        self.fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, size)
        self.map = mmap.mmap(self.fd, size)
        ours = 0 if child_writes else FUTURE_WRITE
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, FIXED_SIZE | ours | fcntl.F_SEAL_SEAL)

    def close(self) -> None:
        """Close our descriptor and let go of the mapping, which is freed with its last view."""
        os.close(self.fd)
        del self.map


def sealed_copy(path: Path) -> int:
    """Return a descriptor of a copy of the file in memory that nobody can change. The caller closes it."""
    copy = os.memfd_create("tokens", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with path.open("rb") as file:
        while os.sendfile(copy, file.fileno(), None, COPY_BYTES):
            pass
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, FIXED_SIZE | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL)
    return copy
