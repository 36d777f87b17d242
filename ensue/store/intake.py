"""Takes records into the tables: read and verified, each once, in one numbering, with all that follows from them.

Few records are read here, many on every processor (verification). Left out: what a transaction is (store). Rejected:
one statement for each record; at a million records the time goes into asking, not into writing.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain, islice

from ensue.store.database import Database
from ensue.store.entry import Entry
from ensue.store.generation import generation, last_number
from ensue.store.reports import IngestReport
from ensue.store.shelf import Shelf
from ensue.store.tables import Numbered, Tables
from ensue.store.verification import CHUNK_RECORDS, WORTHWHILE_RECORDS, Read, Reader, Readers, chunks

COMMITTED_CHUNKS = 8
"""Chunks of verified records (verification.CHUNK_RECORDS each) in one transaction, when many come."""

Changing = Callable[[], AbstractContextManager[None]]


class Intake:
    """Writes records and what follows from them; `take` and `put` belong inside a write transaction."""

    def __init__(self, database: Database, tables: Tables, shelf: Shelf, network: str) -> None:
        self._database = database
        self._tables = tables
        self._shelf = shelf
        self._network = network
        self._readers: Readers | None = None
        self._generation: int | None = None

    def ingest(self, raws: Iterable[bytes], changing: Changing) -> IngestReport:
        """Takes in records of others, in several transactions that `changing` opens; returns what became of them."""
        rest, here = chunks(raws), Reader(self._network, self._shelf.dictionaries())
        report, few = IngestReport((), 0, ()), 0
        while few < WORTHWHILE_RECORDS and (chunk := next(rest, None)):
            if self._readers is not None and len(chunk) == CHUNK_RECORDS:
                rest, few = chain([chunk], rest), WORTHWHILE_RECORDS
                break
            few += len(chunk)
            report += self._commit(here.read(chunk), changing)
            if here.newest != self._shelf.newest():
                here = Reader(self._network, self._shelf.dictionaries())
        if few >= WORTHWHILE_RECORDS:
            answers = self._many().read(rest)
            while some := list(islice(answers, COMMITTED_CHUNKS)):
                report += self._commit([answer for part in some for answer in part], changing)
        return report

    def _commit(self, answers: Sequence[Read], changing: Changing) -> IngestReport:
        entries = [answer for answer in answers if not isinstance(answer, str)]
        with changing():
            fresh = self.take(entries)
        accepted = tuple(item.id.hex() for _, item in fresh)
        refused = tuple(answer for answer in answers if isinstance(answer, str))
        return IngestReport(accepted, len(entries) - len(accepted), refused)

    def _many(self) -> Readers:
        """Returns processes that read, started when they are first wanted."""
        if self._readers is None or self._readers.newest != self._shelf.newest():
            self.close()
            self._readers = Readers(self._network, self._shelf.dictionaries())
        return self._readers

    def close(self) -> None:
        """Ends the processes that read."""
        if self._readers is not None:
            self._readers.close()
            self._readers = None

    def take(self, entries: Sequence[Entry]) -> list[Numbered]:
        """Stores those records that are not here yet, and returns them with their row numbers."""
        known = self._tables.numbers([item.id for item in entries])
        fresh = {item.id: item for item in entries if item.id not in known}
        numbered = list(enumerate(fresh.values(), 1 + last_number(self._database)))
        self.put(numbered, {})
        if numbered:
            self._shelf.learn(numbered[-1][0])
        return numbered

    def put(self, numbered: Sequence[Numbered], received_ms: Mapping[int, int]) -> None:
        """Stores records, none of them here yet, under the numbers given, received then or now."""
        if (now := generation(self._database)) != self._generation:
            self._tables.forget()  # another process may have taken names and words away
            self._generation = now
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
