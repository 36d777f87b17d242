"""Finds records themselves: by id, by the beginning of an id, by author, in order of arrival.

Left out: what the records amount to (queries). Rejected: cursors that stay open while a caller works, which keep the
write-ahead log from being folded into the file; each batch is a question of its own.
"""

from collections.abc import Iterable, Iterator

from ensue.errors import AmbiguousId, UnknownId
from ensue.record import Record, is_hex64
from ensue.store.database import Database, Row, Value
from ensue.store.rows import checked

BATCH_RECORDS = 500
"""Records read at a time."""
PREFIX_CHARS_MIN = 4
ID_CHARS = 64


def get(database: Database, record_id: str) -> Record:
    """Returns the record with a full id; raises UnknownId, or StoreDamaged when its bytes do not hash to it."""
    key, raw = _row(database, "id, plain(raw, form)", record_id)
    return checked(database.path, key, raw)


def received_ms(database: Database, record_id: str) -> int:
    """Returns when a record arrived, by this node's clock; raises UnknownId."""
    return int(_row(database, "received_ms", record_id)[0])


def count(database: Database) -> int:
    """Returns the number of records."""
    row = database.row("SELECT sum(number) FROM totals")
    return int(row[0] or 0) if row else 0


def has(database: Database, record_id: str) -> bool:
    """Returns whether a record is here."""
    return database.row("SELECT 1 FROM records WHERE id = ?", (bytes.fromhex(record_id),)) is not None


def resolve(database: Database, prefix: str, kinds: Iterable[str] | None) -> str:
    """Returns the one id among `kinds` that begins with `prefix`; raises UnknownId or AmbiguousId."""
    text = prefix.strip().lower()
    if not PREFIX_CHARS_MIN <= len(text) <= ID_CHARS or not set(text) <= set("0123456789abcdef"):
        wanted = f"{PREFIX_CHARS_MIN} to {ID_CHARS} of its digits 0-9 and a-f"
        raise UnknownId(f"{prefix[:80]!r} is no id: give {wanted}, as `autoresearch log` shows them.")
    sql = "SELECT id FROM records WHERE id BETWEEN ? AND ?"
    values: list[Value] = [bytes.fromhex(text.ljust(ID_CHARS, "0")), bytes.fromhex(text.ljust(ID_CHARS, "f"))]
    if kinds is not None:
        names = list(kinds)
        sql += f" AND kind IN (SELECT no FROM names WHERE name IN ({', '.join('?' * len(names))}))"
        values += names
    found = database.rows(f"{sql} ORDER BY id LIMIT 2", values)
    if not found:
        raise _unknown(text)
    if len(found) > 1:
        raise AmbiguousId(f"Several records have ids that begin with {text}: give more of its digits.")
    return str(found[0][0].hex())


def numbered(
    database: Database, author: str | None, kind: str | None, after: int, limit: int | None
) -> Iterator[tuple[int, Record]]:
    """Yields records with their row numbers, in order of arrival, those after row `after`."""
    where, names = "no > ?", []
    for column, name in (("author", author), ("kind", kind)):
        if name is not None:
            where += f" AND {column} = (SELECT no FROM names WHERE name = ?)"
            names.append(name)
    sql = f"SELECT no, id, plain(raw, form) FROM records WHERE {where} ORDER BY no LIMIT ?"
    left = limit
    while left is None or left > 0:
        size = BATCH_RECORDS if left is None else min(left, BATCH_RECORDS)
        rows = database.rows(sql, (after, *names, size))
        for number, key, raw in rows:
            yield number, checked(database.path, key, raw)
        if len(rows) < size:
            return
        after = rows[-1][0]
        left = None if left is None else left - size


def logs(database: Database) -> Iterator[Record]:
    """Yields every record, author by author, each author's in order of number and id: one order wherever they are."""
    authors = "SELECT no FROM names WHERE no IN (SELECT DISTINCT author FROM records) ORDER BY name"
    for (author,) in database.rows(authors):
        last: tuple[int, bytes] | None = (0, b"")
        while last is not None:
            rows = database.rows(
                "SELECT seq, id, plain(raw, form) FROM records WHERE author = ? AND (seq, id) > (?, ?)"
                " ORDER BY seq, id LIMIT ?",
                (author, *last, BATCH_RECORDS),
            )
            for _, key, raw in rows:
                yield checked(database.path, key, raw)
            last = rows[-1][:2] if len(rows) == BATCH_RECORDS else None


def head(database: Database, author: str) -> Record | None:
    """Returns an author's record with the highest sequence number (of two, that with the lower id), or None."""
    row = database.row(
        "SELECT id, plain(raw, form) FROM records WHERE author = (SELECT no FROM names WHERE name = ?)"
        " ORDER BY seq DESC, id LIMIT 1",
        (author,),
    )
    return checked(database.path, *row) if row else None


def end(database: Database, author: str) -> tuple[int, str] | None:
    """Returns number and id of an author's head, or None, without reading the record."""
    row = database.row(
        "SELECT seq, id FROM records WHERE author = (SELECT no FROM names WHERE name = ?)"
        " ORDER BY seq DESC, id LIMIT 1",
        (author,),
    )
    return (row[0], row[1].hex()) if row else None


def _row(database: Database, columns: str, record_id: str) -> Row:
    row = None
    if is_hex64(record_id):
        row = database.row(f"SELECT {columns} FROM records WHERE id = ?", (bytes.fromhex(record_id),))
    if row is None:
        raise _unknown(record_id)
    return row


def _unknown(text: str) -> UnknownId:
    return UnknownId(f"No record here has the id {text[:ID_CHARS]!r}: `autoresearch log` lists those there are.")
