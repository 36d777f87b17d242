"""Looks at everything in a replica, as a node does at its start: pages, hashes, signatures, and what is derived.

Pages are compared with each other, records with their ids and signatures, blobs with their hashes, and every live table
and search index with one that is derived anew beside it. A replica of more than INSPECTED_MAX records is looked at in
parts: the next part at each start. Left out: mending (repair, rebuild). Rejected: a sum for each page, which every
process that writes would have to keep, and which says nothing that the records do not say themselves.
"""

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ensue.errors import BlobMissing, RecordError, StoreDamaged
from ensue.facts import understood
from ensue.record import decode
from ensue.store.database import Database, Row
from ensue.store.entry import Entry, entry
from ensue.store.intake import Intake
from ensue.store.notes import Notes
from ensue.store.reports import InspectionReport
from ensue.store.schema import DERIVATION, LIVE_TABLES, migrate
from ensue.store.shelf import VERBATIM, Shelf
from ensue.store.tables import Tables
from ensue.store.trusted import TRUST_KEY
from ensue.store.vault import Vault
from ensue.store.wordindex import last_indexed

INSPECTED_MAX = 20_000
"""Records, and blobs, looked at by one inspection: some seconds."""
CURSOR_NOTE = "inspected up to"
_BATCH = 500

_IN_FULL = {
    "records": "SELECT no, id, author, seq, kind FROM records ORDER BY no",
    **{table: f"SELECT * FROM {table} ORDER BY 1, 2" for table in LIVE_TABLES if table != "vocabulary"},
    "words": "SELECT term, doc, offset FROM temp.words_seen ORDER BY term, doc, offset",
}
_IN_PART = {
    "vocabulary": "SELECT word FROM vocabulary ORDER BY word",
    "spellings": "SELECT word, term, offset FROM temp.spellings_seen JOIN vocabulary ON vocabulary.no = doc"
    " ORDER BY word, term, offset",
}
"""Tables that may know more than the records call for: words of texts that were forgotten."""


def inspect(database: Database, network: str, notes: Notes) -> InspectionReport:
    """Returns what is damaged; nothing is changed but the note on how far a large replica was looked at.

    Time is linear in what is looked at; memory in a part of INSPECTED_MAX records.
    """
    pages = _of_pages(database)
    count = _number(database, "SELECT count(*) FROM records")
    if count <= INSPECTED_MAX:
        records = _damaged_records(database, network, 0)
        blobs = _damaged_blobs(database, 0)
        derived = () if pages or records else _wrong_tables(database, network)
    else:
        cursor = int(notes.get(CURSOR_NOTE) or 0)
        cursor = cursor if cursor < _number(database, "SELECT max(no) FROM records") else 0
        records, blobs, derived = _damaged_records(database, network, cursor), _damaged_blobs(database, cursor), ()
        with database.write(durable=False):
            notes.put(CURSOR_NOTE, str(cursor + INSPECTED_MAX))
    return InspectionReport(count, pages, records, blobs, derived, notes.damaged() + _wrong_outbox(database))


def _of_pages(database: Database) -> str | None:
    try:
        database.check(thorough=True)
    except StoreDamaged as error:
        return str(error)
    return None


def _number(database: Database, sql: str) -> int:
    row = database.row(sql)
    return int(row[0] or 0) if row else 0


def _damaged_records(database: Database, network: str, after: int) -> tuple[str, ...]:
    found = []
    for _, key, raw in _parts(database, "SELECT no, id, plain(raw, form) FROM records", after):
        try:
            sound = decode(raw, network).id == key.hex()
        except RecordError:
            sound = False
        if not sound:
            found.append(key.hex())
    return tuple(found)


def _damaged_blobs(database: Database, after: int) -> tuple[str, ...]:
    found, vault = [], Vault(database)
    for _, sha in _parts(database, "SELECT no, sha FROM blobs", after):
        try:
            vault.get(sha.hex())
        except (StoreDamaged, BlobMissing):
            found.append(sha.hex())
    return tuple(found)


def _parts(database: Database, select: str, after: int) -> Iterator[Row]:
    """Yields rows in order of number, at most INSPECTED_MAX; what a damaged page cuts off shows in the pages."""
    last, seen = after, 0
    try:
        while seen < INSPECTED_MAX and (
            rows := database.rows(f"{select} WHERE no > ? ORDER BY no LIMIT ?", (last, _BATCH))
        ):
            yield from rows
            last, seen = rows[-1][0], seen + len(rows)
    except StoreDamaged:
        return


def _wrong_tables(database: Database, network: str) -> tuple[str, ...]:
    """Returns the names of tables that are not what the records amount to; every record was found sound."""
    with closing(Database(Path(":memory:"))) as fresh, database.snapshot():
        try:
            indexed = last_indexed(database)
        except StoreDamaged:
            return ("words",)
        migrate(fresh, network, DERIVATION)
        names = database.rows("SELECT no, name FROM names")
        with fresh.write():
            fresh.run_many("INSERT INTO names(no, name) VALUES (?, ?)", names)
            founded = database.rows("SELECT key, value FROM meta WHERE key = ?", (TRUST_KEY,))
            fresh.run_many("INSERT INTO meta(key, value) VALUES (?, ?)", founded)
            tables = Tables(fresh, network)
            tables.word_index.deferred = sys.maxsize
            intake = Intake(fresh, tables, Shelf(fresh), network)
            for batch in _entries(database, network):
                intake.put(batch, {})
            tables.word_index.index(indexed)
        wrong = [] if fresh.row("SELECT count(*) FROM names") == (len(names),) else ["names"]
        for one in (database, fresh):
            for table in ("words", "spellings"):
                one.run(f"CREATE VIRTUAL TABLE temp.{table}_seen USING fts5vocab('main', '{table}', 'instance')")
        try:
            wrong += [table for table, sql in _IN_FULL.items() if database.rows(sql) != fresh.rows(sql)]
            needed = {word for (word,) in fresh.rows("SELECT word FROM vocabulary")}
            wrong += [
                table
                for table, sql in _IN_PART.items()
                if [row for row in database.rows(sql) if row[0] in needed] != fresh.rows(sql)
            ]
        finally:
            for table in ("words", "spellings"):
                database.run(f"DROP TABLE temp.{table}_seen")
        return tuple(wrong)


def _entries(database: Database, network: str) -> Iterator[list[tuple[int, Entry]]]:
    batch: list[tuple[int, Entry]] = []
    for no, raw in _parts(database, "SELECT no, plain(raw, form) FROM records", 0):
        record = decode(raw, network)
        batch.append((no, entry(record, understood(record), VERBATIM, b"")))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch


def _wrong_outbox(database: Database) -> tuple[str, ...]:
    wrong = database.row("SELECT 1 FROM outbox WHERE no NOT IN (SELECT no FROM records) LIMIT 1")
    return ("outbox",) if wrong else ()
