"""Whether a record of any kind still counts, and if not, why: withdrawn, or of a key that counts for nothing by then.

For texts and other records that have no row with flags. Left out: who speaks for whom, and levels (levels). Rejected:
asking the list of all texts of a track, of which strangers may have written any number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ensue.record import Record
    from ensue.store import Store

WITHDRAWN = "its author withdrew it"
ENDED = "nothing of its author's key counts from there on"


class Void:
    """Remembers, for one output, what it has looked up of each author."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._withdrawn: dict[str, frozenset[str]] = {}
        self._ends: dict[str, int | None] = {}

    def why(self, record: Record) -> str | None:
        """Return why a record does not count, None where it does."""
        end = self._end(record.author)
        if end is not None and record.seq >= end:
            return ENDED
        return WITHDRAWN if record.id in self.withdrawn(record.author) else None

    def withdrawn(self, author: str) -> frozenset[str]:
        """Return the ids that an author has withdrawn."""
        found = self._withdrawn.get(author)
        if found is None:
            end = self._end(author)
            found = self._withdrawn[author] = frozenset(
                str(record.body["target"])
                for record in self._store.records(author=author, kind="retraction")
                if end is None or record.seq < end
            )
        return found

    def _end(self, author: str) -> int | None:
        if author not in self._ends:
            self._ends[author] = self._store.frozen_from(author)
        return self._ends[author]
