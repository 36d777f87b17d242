"""How many experiments a start may finish, over all of its workers.

A worker takes one in hand before it plans and counts it when its result is signed; one that was abandoned is free for
any worker again. Left out: when to stop for other reasons (control).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Quota:
    """Counts finished experiments up to a limit; 0 is none. Safe for several threads."""

    def __init__(self, limit: int = 0) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._in_hand = 0
        self.finished = 0

    @property
    def over(self) -> bool:
        """Whether as many were finished as may be."""
        return 0 < self._limit <= self.finished

    @contextmanager
    def one(self) -> Iterator[bool]:
        """Hold one experiment in hand; yields False, holding none, where the others have all that is left in hand."""
        with self._lock:
            free = self._limit == 0 or self.finished + self._in_hand < self._limit
            self._in_hand += free
        try:
            yield free
        finally:
            with self._lock:
                self._in_hand -= free

    def count(self) -> None:
        """Count one that was finished."""
        with self._lock:
            self.finished += 1
