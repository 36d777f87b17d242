"""References to records that are not here: which record waits for which, until it comes.

A record's columns hold row numbers of what it names; where that is missing the id stands in a table of its own, and the
number is filled in when the record comes. Left out: what follows for the record that waited (tables). Rejected: asking
for ids whenever a reference is followed, which every ranking would pay for.
"""

from collections.abc import Sequence

from ensue.facts import understood
from ensue.store.database import Database
from ensue.store.entry import entry
from ensue.store.rows import checked

IDS_ASKED_AT_ONCE = 500


class Waits:
    """The waiting references of one database; every method belongs inside a write transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, waiting: Sequence[tuple[bytes, int]]) -> None:
        """Lets the records in some rows wait for ids."""
        if waiting:
            self._database.run_many("INSERT OR IGNORE INTO missing(target, no) VALUES (?, ?)", waiting)

    def drop(self, waiting: Sequence[tuple[bytes, int]]) -> None:
        """Lets records in some rows wait no more, since they go."""
        self._database.run_many("DELETE FROM missing WHERE target = ? AND no = ?", waiting)

    def end(self, ids: Sequence[bytes]) -> None:
        """Puts row numbers where records wait for some of these ids, which are here now."""
        if self._database.row("SELECT 1 FROM missing LIMIT 1") is None:
            return
        for start in range(0, len(ids), IDS_ASKED_AT_ONCE):
            some = ids[start : start + IDS_ASKED_AT_ONCE]
            marks = ", ".join("?" * len(some))
            found = self._database.rows(f"SELECT target, no FROM missing WHERE target IN ({marks})", some)
            for target, no in found:
                self._name(target, no)
            self.drop(found)

    def _name(self, target: bytes, no: int) -> None:
        # Which of its fields names the target only the record says; a wait is rare enough to read it again.
        row = self._database.row("SELECT id, plain(raw, form) FROM records WHERE no = ?", (no,))
        here = self._database.row("SELECT no FROM records WHERE id = ?", (target,))
        if row is None or here is None:
            return
        record = checked(self._database.path, *row)
        item = entry(record, understood(record), 0, b"")
        for table, column, key in (
            ("results", "parent", item.parent),
            ("results", "claim", item.claim),
            ("claims", "hypothesis", item.hypothesis),
        ):
            if key == target:
                self._database.run(f"UPDATE {table} SET {column} = ? WHERE no = ?", (here[0], no))
