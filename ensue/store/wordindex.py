"""Writes the full-text indexes, some texts at a time, and tells which texts are not in them yet.

One text at a time costs a segment of the index each, a quarter of what makes an own result durable; so up to
DEFERRED_RECORDS of the newest records wait outside, and a search reads those itself (finding). Which record is the last
one inside is written in the transaction that puts it there. Left out: searching. Rejected: a thread that indexes later,
which a kill leaves behind; and indexing when somebody asks, which makes a reader wait for writers.
"""

import sys
from collections.abc import Iterable, Iterator

from ensue.errors import StoreDamaged
from ensue.record import Record
from ensue.search import folded, spelling, vocabulary
from ensue.store.database import Database, damaged
from ensue.store.rows import checked
from ensue.store.schema import SEARCH_TABLES

DEFERRED_RECORDS = 64
"""Records that may follow the last one whose text is in the indexes."""
WORDS_CACHED_MAX = 100_000


class WordIndex:
    """The indexes of one database; every method that writes belongs inside a write transaction."""

    def __init__(self, database: Database) -> None:
        self.deferred = DEFERRED_RECORDS
        self._database = database
        self._words: set[str] = set()
        self._waiting: dict[int, str] = {}

    def forget(self) -> None:
        """Drops what is cached, which a rolled back transaction may have made wrong."""
        self._words.clear()
        self._waiting.clear()

    def clear(self) -> None:
        """Empties the indexes."""
        self.forget()
        for table in SEARCH_TABLES:
            self._database.run(f"INSERT INTO {table}({table}) VALUES ('delete-all')")
        self._set_last(0)

    def add(self, texts: Iterable[tuple[int, str]], newest: int) -> None:
        """Takes the texts of records that were just written, `newest` the highest number of all records."""
        last = last_indexed(self._database)
        late = []
        for no, text in texts:
            if no > last:
                self._waiting[no] = text
            else:  # a record that was lost comes back under its old number
                late.append((no, text))
        if late:
            self._write(late)
        if newest - last >= self.deferred:
            self.index(newest)

    def index(self, through: int) -> None:
        """Puts the texts of all records up to a number into the indexes."""
        last = last_indexed(self._database)
        here = self._waiting
        self._write([(no, here[no] if no in here else text_of(self._database, no))
                     for no in waiting(self._database, last, through)])  # fmt: skip
        self._waiting = {no: kept for no, kept in here.items() if no > through}
        self._set_last(through)

    def _set_last(self, no: int) -> None:
        self._database.run("INSERT OR REPLACE INTO meta(key, value) VALUES ('indexed', ?)", (str(no),))

    def _write(self, texts: list[tuple[int, str]]) -> None:
        self._database.run_many("INSERT INTO words(rowid, text) VALUES (?, ?)", texts)
        seen = self._words
        new = vocabulary("\n".join(text for _, text in texts)) - seen
        for word in sorted(new):
            if self._database.row("SELECT 1 FROM vocabulary WHERE word = ?", (word,)) is None:
                number = self._database.run("INSERT INTO vocabulary(word) VALUES (?)", (word,))
                self._database.run("INSERT INTO spellings(rowid, word) VALUES (?, ?)", (number, spelling(word)))
        if len(seen) + len(new) > WORDS_CACHED_MAX:
            seen.clear()
        seen |= new


def last_indexed(database: Database) -> int:
    """Returns the number of the last record whose text is in the indexes; raises StoreDamaged when it is unreadable."""
    row = database.row("SELECT value FROM meta WHERE key = 'indexed'")
    if row is None or not str(row[0]).isdecimal():
        raise damaged(database.path, "how far the texts are indexed is unreadable")
    return int(row[0])


def waiting(database: Database, last: int, through: int = sys.maxsize) -> Iterator[int]:
    """Yields the numbers of records with a text, after `last` and up to `through`, in ascending order."""
    rows = database.rows(
        "SELECT no FROM results WHERE no > ?1 AND no <= ?2 UNION ALL SELECT no FROM texts WHERE no > ?1 AND no <= ?2"
        " ORDER BY no",
        (last, through),
    )
    return (int(no) for (no,) in rows)


def text_of(database: Database, no: int) -> str:
    """Returns the text of a record as it is indexed; nothing of a damaged one, which an inspection will find."""
    row = database.row("SELECT id, plain(raw, form) FROM records WHERE no = ?", (no,))
    try:
        record = None if row is None else checked(database.path, *row)
    except StoreDamaged:
        record = None
    return "" if record is None else folded(said(record))


def said(record: Record) -> str:
    """Returns what a record that has a text says, as its author wrote it."""
    return str(record.body.get("description" if record.kind == "result" else "text", ""))
