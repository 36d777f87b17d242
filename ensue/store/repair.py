"""Saves what a damaged file still holds: every record and blob that verifies goes into a new file in its place.

Rows are read through the tables' trees as far as these lead, then off the pages themselves (salvage), so what is lost
is what was itself overwritten. The damaged file stays beside the new one under another name: it is the quarantine, and
the report names what was lost. Left out: fetching that from peers, and rebuilding a file whose pages are sound
(rebuild). Rejected: patching pages where they are, since only a signature tells what was there.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from ensue.errors import BlobMissing, RecordError, StoreDamaged, StoreError
from ensue.facts import understood
from ensue.identity import sync_folder
from ensue.packing import Dictionary
from ensue.record import RECORD_BYTES_MAX, Record, decode
from ensue.store import salvage
from ensue.store.database import Database, Row
from ensue.store.entry import Entry, entry
from ensue.store.intake import Intake
from ensue.store.ownlog import HEAD_NOTE
from ensue.store.reports import RepairReport
from ensue.store.schema import DERIVATION, migrate
from ensue.store.shelf import VERBATIM, Shelf
from ensue.store.tables import Tables
from ensue.store.vault import Vault

BATCH_RECORDS = 500
SORTED_ROWS_MAX = 20_000
"""Salvaged rows put in order of arrival at a time; bounds memory to some 40 MB."""
LOST_NAMED_MAX = 1_000
"""Lost records and blobs that a report names."""
NUMBERS_MAX = 2**53
"""A row with a higher number has a damaged one."""
_ID_BYTES = 32
_BY_INDEX = "INDEXED BY sqlite_autoindex_{}_1"  # knows of rows whose own page is damaged


class _Salvage:
    """One repair: from a damaged file into a new database, inside one transaction."""

    def __init__(self, path: Path, target: Database, network: str) -> None:
        self._path = path
        self._target = target
        self._network = network
        self._tables = Tables(target, network)
        self._shelf = Shelf(target)
        self._intake = Intake(target, self._tables, self._shelf, network)
        self._dictionaries = _dictionaries(path)
        self._lost: dict[bytes, None] = {}  # in order of arrival

    def records(self, source: Database | None) -> tuple[int, list[str]]:
        """Saves records; returns how many, and the ids of those that are lost."""
        if source is not None:
            self._put(_readable(source, "records", "no, id, received_ms, form, raw"))
        found = (row for row in salvage.rows(self._path) if _is_record(row))
        while some := list(islice(found, SORTED_ROWS_MAX)):
            some.sort(key=lambda row: row.number)
            values = ((row.number, *(row.values[at] for at in (1, 5)), _form(row), row.values[6]) for row in some)
            self._put(values)
        count = int(self._target.rows("SELECT count(*) FROM records")[0][0])
        self._shelf.learn(count)
        numbers = {no for (no,) in self._target.rows("SELECT no FROM records")}
        indexed = _rows_if_any(source, f"SELECT no, id FROM records {_BY_INDEX.format('records')}")
        known = [key for no, key in indexed if no not in numbers]
        candidates = dict.fromkeys([*self._lost, *filter(_is_id, known)])
        here = self._tables.numbers(candidates)
        return count, [key.hex() for key in candidates if key not in here][:LOST_NAMED_MAX]

    def _put(self, rows: Iterable[Row]) -> None:
        """Stores rows (no, id, received_ms, form, raw) that verify, under a number of their own if theirs is taken."""
        rest = iter(rows)
        while some := list(islice(rest, BATCH_RECORDS)):
            fresh: dict[bytes, tuple[int, Entry]] = {}
            times: dict[int, int] = {}
            known = self._tables.numbers(row[1] for row in some if _is_id(row[1]))
            taken = self._taken([row[0] for row in some])
            last = max([self._last(), *(row[0] for row in some if row[0] < NUMBERS_MAX)])
            for no, key, received_ms, form, raw in some:
                if key in known:
                    continue
                record = self._verified(raw, form)
                if record is None:
                    if _is_id(key) and len(self._lost) < LOST_NAMED_MAX:
                        self._lost[key] = None
                    continue
                usable = 0 < no < NUMBERS_MAX and no not in taken
                number = no if usable else (last := last + 1)
                item = entry(record, understood(record), VERBATIM, record.raw)
                fresh.setdefault(item.id, (number, item))
                taken.add(number)
                times[number] = received_ms if isinstance(received_ms, int) else 0
            for key in self._tables.numbers(fresh):
                del fresh[key]
            self._intake.put(sorted(fresh.values(), key=lambda pair: pair[0]), times)

    def _taken(self, numbers: list[int]) -> set[int]:
        marks = ", ".join("?" * len(numbers))
        return {no for (no,) in self._target.rows(f"SELECT no FROM records WHERE no IN ({marks})", numbers)}

    def _last(self) -> int:
        row = self._target.row("SELECT max(no) FROM records")
        return int(row[0] or 0) if row else 0

    def _verified(self, raw: object, form: object) -> Record | None:
        if not isinstance(raw, bytes):
            return None
        with suppress(RecordError, StoreDamaged):
            if form == VERBATIM:
                return decode(raw, self._network)
            if form in self._dictionaries:
                return decode(self._dictionaries[form].unpack(raw, RECORD_BYTES_MAX), self._network)
        return None

    def blobs(self, source: Database | None) -> tuple[int, list[str]]:
        """Saves blobs; returns how many, and the hashes of those that are lost."""
        insert = "INSERT OR IGNORE INTO blobs(no, sha, base, depth, data) VALUES (?, ?, ?, ?, ?)"
        if source is not None:
            for row in _readable(source, "blobs", "no, sha, base, depth, data"):
                self._target.run(insert, row)
        for found in salvage.rows(self._path):
            if _is_blob(found):
                self._target.run(insert, (found.number, *found.values[1:5]))
        lost = {sha: no for no, sha in self._target.rows("SELECT no, sha FROM blobs") if not self._reads(sha)}
        if lost:
            self._try_other_versions(lost)
        indexed = _rows_if_any(source, f"SELECT no, sha FROM blobs {_BY_INDEX.format('blobs')}")
        names = {sha for _, sha in indexed}
        for sha, no in list(lost.items()):
            renamed = False
            if self._reads(sha) or ((renamed := self._renamed(no)) and names and sha not in names):
                del lost[sha]  # or nobody ever called it so
            elif not renamed:
                self._target.run("DELETE FROM blobs WHERE no = ?", (no,))
        while orphans := self._target.rows(
            "SELECT no, sha FROM blobs WHERE base IS NOT NULL AND base NOT IN (SELECT no FROM blobs)"
        ):
            for no, sha in orphans:
                lost[sha] = no
                self._target.run("DELETE FROM blobs WHERE no = ?", (no,))
        here = {sha for (sha,) in self._target.rows("SELECT sha FROM blobs")}
        numbers = {no for (no,) in self._target.rows("SELECT no FROM blobs")}
        known = [sha for no, sha in indexed if no not in numbers]
        named = [sha.hex() for sha in dict.fromkeys([*lost, *known]) if _is_id(sha) and sha not in here]
        return len(here), named[:LOST_NAMED_MAX]

    def _try_other_versions(self, lost: dict[bytes, int]) -> None:
        """Looks for versions of blobs in pages that were freed."""
        change = "UPDATE blobs SET base = ?, depth = ?, data = ? WHERE no = ?"
        for found in salvage.rows(self._path):
            if _is_blob(found) and (no := lost.get(found.values[1])) is not None:  # type: ignore[arg-type]
                before = self._target.rows("SELECT base, depth, data, no FROM blobs WHERE no = ?", (no,))
                self._target.run(change, (*found.values[2:5], no))
                if not self._reads(found.values[1]):  # type: ignore[arg-type]
                    self._target.run(change, before[0])

    def _renamed(self, no: int) -> bool:
        """Returns whether a row holds a text after all and now has its hash: others may be packed against it."""
        vault = Vault(self._target)
        with suppress(StoreDamaged, BlobMissing):
            true = hashlib.sha256(vault.text(no)).digest()
            if not vault.has(true.hex()):
                self._target.run("UPDATE blobs SET sha = ? WHERE no = ?", (true, no))
                return True
        return False

    def _reads(self, sha: bytes) -> bool:
        with suppress(StoreDamaged, BlobMissing):
            Vault(self._target).get(sha.hex())  # a new one each time: it remembers texts
            return True
        return False

    def notes(self, source: Database | None) -> None:
        """Saves this node's own notes; every record that it signed waits to be sent again, which harms nothing."""
        for row in _rows_if_any(source, "SELECT key, value FROM local"):
            self._target.run("INSERT OR IGNORE INTO local(key, value) VALUES (?, ?)", row)
        own = {str(key)[len(HEAD_NOTE) :] for key, _ in _rows_if_any(source, "SELECT key, value FROM local")
               if str(key).startswith(HEAD_NOTE)}  # fmt: skip
        for author in sorted(own):
            self._target.run(
                "INSERT OR IGNORE INTO outbox(no) SELECT no FROM records"
                " WHERE author = (SELECT no FROM names WHERE name = ?)",
                (author,),
            )


def repair(path: Path, network: str) -> RepairReport:
    """Puts a new file with all that verifies in the place of a damaged one; no other process may have it open.

    Raises StoreError when the file is another network's, DiskFull when there is no room for a copy; the damaged file is
    then untouched.
    """
    fresh = path.with_name(f"{path.name}.repairing")
    _remove(fresh)
    source = _opened(path)
    target = Database(fresh)
    try:
        _check_network(source, path, network)
        migrate(target, network, DERIVATION)
        with target.write():
            saved = _Salvage(path, target, network)
            records, lost_records = saved.records(source)
            saved.notes(source)
            blobs, lost_blobs = saved.blobs(source)
    finally:
        target.close()
        if source is not None:
            with suppress(StoreError):
                source.close()
    kept = path.with_name(f"{path.name}.damaged-{time.time_ns() // 1_000_000}")
    os.link(path, kept)
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists():  # it must never be replayed into the new file
        wal.rename(kept.with_name(f"{kept.name}-wal"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    os.replace(fresh, path)
    sync_folder(path.parent)
    return RepairReport(records, blobs, kept, tuple(lost_records), tuple(lost_blobs))


def holds_records_of(path: Path, network: str) -> bool:
    """Returns whether a file, however damaged, holds a record that was signed for a network."""
    dictionaries = _dictionaries(path)
    for row in salvage.rows(path):
        if _is_record(row):
            raw = row.values[6]
            with suppress(RecordError, StoreDamaged):
                form = _form(row)
                decode(raw if form == VERBATIM else dictionaries[form].unpack(raw, RECORD_BYTES_MAX), network)  # type: ignore[arg-type]
                return True
    return False


def _opened(path: Path) -> Database | None:
    try:
        return Database(path)
    except StoreError:
        return None  # not even its first page can be read


def _check_network(source: Database | None, path: Path, network: str) -> None:
    row = next(iter(_rows_if_any(source, "SELECT value FROM meta WHERE key = 'network'")), None)
    if row is not None and row[0] != network and not holds_records_of(path, network):
        raise StoreError(f"{path} holds another network than {network[:12]}: choose another home.")


def _dictionaries(path: Path) -> dict[object, Dictionary]:
    """Returns what records are packed with, by form; each carries its own sum."""
    found: dict[object, Dictionary] = {}
    for row in salvage.rows(path):
        data = row.values[-1] if len(row.values) == 2 else None
        if isinstance(data, bytes) and hashlib.sha256(data[_ID_BYTES:]).digest() == data[:_ID_BYTES]:
            found[row.number] = Dictionary(data[_ID_BYTES:])
    return found


def _is_record(row: salvage.Found) -> bool:
    return len(row.values) in (7, 8) and row.values[0] is None and _is_id(row.values[1])


def _form(row: salvage.Found) -> salvage.Value:
    return row.values[7] if len(row.values) == 8 else VERBATIM


def _is_blob(row: salvage.Found) -> bool:
    values = row.values
    return len(values) in (5, 6) and values[0] is None and _is_id(values[1]) and isinstance(values[4], bytes)


def _is_id(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == _ID_BYTES


def _rows_if_any(source: Database | None, sql: str) -> list[Row]:
    with suppress(StoreError):
        return [] if source is None else source.rows(sql)
    return []


def _readable(source: Database, table: str, columns: str) -> Iterator[Row]:
    """Yields rows in order of number as far as the table's tree leads; what lies behind damage is salvaged."""
    number = 0
    with suppress(StoreError):
        while rows := source.rows(f"SELECT {columns} FROM {table} WHERE no > ? ORDER BY no LIMIT 50", (number,)):
            yield from rows
            number = rows[-1][0]


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
