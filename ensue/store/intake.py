"""Takes entries of records into the tables: each record once, in one numbering, with all that follows from it.

Left out: reading and verifying records (verification), and transactions (store). Rejected: one statement for each
record; at a million records the time goes into asking, not into writing.
"""

import time
from collections.abc import Iterable, Mapping, Sequence

from ensue.store.database import Database
from ensue.store.entry import Entry
from ensue.store.shelf import Shelf
from ensue.store.tables import Numbered, Tables


class Intake:
    """Writes records and what follows from them; every method belongs inside a write transaction."""

    def __init__(self, database: Database, tables: Tables, shelf: Shelf) -> None:
        self._database = database
        self._tables = tables
        self._shelf = shelf

    def take(self, entries: Sequence[Entry]) -> list[Numbered]:
        """Stores those records that are not here yet, and returns them with their row numbers."""
        known = self._tables.numbers([item.id for item in entries])
        fresh = {item.id: item for item in entries if item.id not in known}
        row = self._database.row("SELECT max(no) FROM records")
        numbered = list(enumerate(fresh.values(), 1 + (row[0] or 0 if row else 0)))
        self.put(numbered, {})
        if numbered:
            self._shelf.learn(numbered[-1][0])
        return numbered

    def put(self, numbered: Sequence[Numbered], received_ms: Mapping[int, int]) -> None:
        """Stores records, none of them here yet, under the numbers given, received then or now."""
        name, now_ms = self._tables.name, time.time_ns() // 1_000_000
        suspects = self._suspects(item for _, item in numbered)
        self._database.run_many(
            "INSERT INTO records(no, id, author, seq, kind, received_ms, raw, form) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *(no, item.id, name(item.author), item.seq, name(item.kind)),
                    *(received_ms.get(no, now_ms), item.raw, item.form),
                )
                for no, item in numbered
            ],
        )
        self._tables.add(numbered, suspects)

    def _suspects(self, entries: Iterable[Entry]) -> set[tuple[int, int]]:
        """Returns authors and numbers that may be there twice: all that do not lie beyond what is here of an author."""
        heads: dict[int, int] = {}
        suspects: set[tuple[int, int]] = set()
        for item in entries:
            author = self._tables.name(item.author)
            if author not in heads:
                row = self._database.row("SELECT max(seq) FROM records WHERE author = ?", (author,))
                heads[author] = row[0] or 0 if row else 0
            if item.seq > heads[author]:
                heads[author] = item.seq
            else:
                suspects.add((author, item.seq))
        return suspects
