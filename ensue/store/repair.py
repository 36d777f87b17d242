"""Saves what a damaged file still holds: every record and blob that verifies goes into a new file in its place.

The damaged file stays beside it under another name. Left out: fetching what was lost from peers, and rebuilding a file
whose pages are sound (rebuild). Rejected: patching pages where they are, since only a signature tells what was there.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from ensue.errors import BlobMissing, RecordError, StoreDamaged, StoreError
from ensue.record import Record, decode
from ensue.store.database import Database, Row
from ensue.store.entry import Entry, entry, lenient_body
from ensue.store.intake import Intake
from ensue.store.reports import RepairReport
from ensue.store.schema import DERIVATION, migrate
from ensue.store.shelf import VERBATIM, Shelf
from ensue.store.tables import Tables
from ensue.store.vault import Vault

PROBED_ROWS_MAX = 500_000
"""Row numbers looked up one by one behind a damaged page before the rest is given up."""
PROBED_BLINDLY_MAX = 5_000
"""The same, where no index tells how many rows there are."""
_SCAN_ROWS = 50
BATCH_RECORDS = 500


def repair(path: Path, network: str) -> RepairReport:
    """Puts a new file with all that verifies in the place of a damaged one; no other process may have it open.

    Raises StoreError when the file is another network's, DiskFull when there is no room for a copy; the damaged file is
    then untouched.
    """
    fresh = path.with_name(f"{path.name}.repairing")
    _remove(fresh)
    target = Database(fresh)
    try:
        migrate(target, network, DERIVATION)
        records, blobs = _copy(path, target, network)
    finally:
        target.close()
    kept = path.with_name(f"{path.name}.damaged-{time.time_ns() // 1_000_000}")
    os.link(path, kept)
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists():  # it must never be replayed into the new file
        wal.rename(kept.with_name(f"{kept.name}-wal"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    os.replace(fresh, path)
    _sync(path.parent)
    return RepairReport(records, blobs, kept)


def _copy(path: Path, target: Database, network: str) -> tuple[int, int]:
    try:
        source = Database(path)
    except StoreError:
        return 0, 0  # not even its first page can be read
    try:
        _check_network(source, network)
        with target.write():
            records = _copy_records(source, target, network)
            _copy_rows(source, target, "local", ("key", "value"))
            _copy_rows(source, target, "outbox", ("no",))
            target.run("DELETE FROM outbox WHERE no NOT IN (SELECT no FROM records)")
            blobs = _copy_blobs(source, target)
    finally:
        with suppress(StoreError):
            source.close()
    return records, blobs


def _check_network(source: Database, network: str) -> None:
    try:
        row = source.row("SELECT value FROM meta WHERE key = 'network'")
    except StoreDamaged:
        return  # each record names its network anyway
    if row is not None and row[0] != network:
        raise StoreError(f"{source.path} holds another network than {network[:12]}: choose another home.")


def _copy_records(source: Database, target: Database, network: str) -> int:
    tables, shelf = Tables(target), Shelf(target)
    intake = Intake(target, tables, shelf, network)
    Shelf(source)  # so that queries can unpack
    packed = source.pragma("user_version") > 1
    readable = _readable(source, "records", f"no, received_ms, {'plain(raw, form)' if packed else 'raw'}")
    copied = 0
    while some := list(islice(readable, BATCH_RECORDS)):
        verified = [(no, ms, _verified(raw, network)) for no, ms, raw in some]
        fresh: dict[bytes, tuple[int, Entry]] = {}
        times: dict[int, int] = {}
        for no, received_ms, record in verified:
            if record is not None:
                item = entry(record, lenient_body(record), VERBATIM, record.raw)
                fresh.setdefault(item.id, (no, item))
                times[no] = received_ms if isinstance(received_ms, int) else 0
        for key in tables.numbers(fresh):
            del fresh[key]
        intake.put(list(fresh.values()), times)
        copied += len(fresh)
    shelf.learn(copied)
    return copied


def _verified(raw: object, network: str) -> Record | None:
    if not isinstance(raw, bytes):
        return None
    try:
        return decode(raw, network)
    except RecordError:
        return None


def _copy_blobs(source: Database, target: Database) -> int:
    for row in _readable(source, "blobs", "no, sha, base, depth, data"):
        target.run("INSERT OR IGNORE INTO blobs(no, sha, base, depth, data) VALUES (?, ?, ?, ?, ?)", row)
    lost, vault = [], Vault(target)
    for number, sha in target.rows("SELECT no, sha FROM blobs"):
        try:
            vault.get(sha.hex())
        except (StoreDamaged, BlobMissing):
            lost.append(number)
    for number in lost:
        target.run("DELETE FROM blobs WHERE no = ?", (number,))
    return int(target.rows("SELECT count(*) FROM blobs")[0][0])


def _copy_rows(source: Database, target: Database, table: str, columns: tuple[str, ...]) -> None:
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    try:
        rows = source.rows(f"SELECT {names} FROM {table}")
    except StoreError:
        return
    for row in rows:
        target.run(f"INSERT OR IGNORE INTO {table}({names}) VALUES ({marks})", row)


def _readable(source: Database, table: str, columns: str) -> Iterator[Row]:
    """Yields the rows that can be read: up to the damage, then whatever answers behind it."""
    number, misses = 0, 0
    last = _last_number(source, table)
    probed_max = PROBED_ROWS_MAX if last else PROBED_BLINDLY_MAX
    while misses < probed_max and (number < last or not last):
        try:
            rows = source.rows(
                f"SELECT {columns} FROM {table} WHERE no > ? ORDER BY no LIMIT ?",
                (number, 1 if misses else _SCAN_ROWS),
            )
        except StoreError:
            if misses == 0:
                yield from _one_by_one(source, table, columns, number)
            number += 1 if misses else _SCAN_ROWS
            misses += 1
            continue
        if not rows:
            return
        yield from rows
        number, misses = rows[-1][0], 0


def _last_number(source: Database, table: str) -> int:
    """Returns the highest row number as the table or the index on its ids has it, 0 if neither can be read."""
    last = 0
    for hint in ("", f" INDEXED BY sqlite_autoindex_{table}_1"):
        with suppress(StoreDamaged):
            last = max(last, *(int(row[0] or 0) for row in source.rows(f"SELECT max(no) FROM {table}{hint}")))
    return last


def _one_by_one(source: Database, table: str, columns: str, after: int) -> Iterator[Row]:
    for number in range(after + 1, after + _SCAN_ROWS + 1):
        try:
            yield from source.rows(f"SELECT {columns} FROM {table} WHERE no = ?", (number,))
        except StoreError:
            continue


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
