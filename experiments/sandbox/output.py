"""What a script prints, drained by a thread and bounded: the head and the tail.

Never parsed: it is shown to people. Leaves out progress, which has a channel of its own. Rejected: a file, which a
script fills until the disk is full.
"""

import os
import threading
from collections import deque

CHUNK_BYTES = 65536
DRAIN_S = 5.0


class Output:
    """Reads a pipe to its end and keeps at most `bytes_max`, half from the beginning and half from the end."""

    def __init__(self, fd: int, bytes_max: int) -> None:
        self._fd = fd
        self._half = max(1, bytes_max // 2)
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._omitted = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._drain, name="sandbox-output", daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        try:
            while chunk := os.read(self._fd, CHUNK_BYTES):
                with self._lock:
                    self._add(chunk)
        finally:
            os.close(self._fd)

    def _add(self, chunk: bytes) -> None:
        room = self._half - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        if chunk:
            self._tail.append(chunk)
            self._tail_bytes += len(chunk)
        while self._tail_bytes > self._half + CHUNK_BYTES:
            gone = self._tail.popleft()
            self._tail_bytes -= len(gone)
            self._omitted += len(gone)

    def read(self) -> bytes:
        """Returns what was printed so far; a line in the middle says how much is left out."""
        with self._lock:
            tail, omitted = b"".join(self._tail), self._omitted
            head = bytes(self._head)
        if len(tail) > self._half:
            omitted += len(tail) - self._half
            tail = tail[-self._half :]
        return head + (f"\n[... {omitted} bytes left out ...]\n".encode() if omitted else b"") + tail

    def finish(self) -> None:
        """Waits until the pipe is at its end, which it is once every process that held it is gone."""
        self._thread.join(DRAIN_S)
