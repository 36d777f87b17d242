"""The only module that speaks sqlite3: connections, transactions, and its errors in words.

Left out: what the tables mean. WAL lets commands read while the node writes; `synchronous=FULL` makes a commit wait for
the disk. Rejected: memory-mapped reads, which turn a truncated file into a signal that kills the process; and an ORM,
which a dozen statements do not need.
"""

import errno
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ensue.errors import DiskFull, ForeignFile, StoreDamaged, StoreError

BUSY_S = 30.0
"""How long a process waits for another one's write."""
CHECKED_BYTES_MAX = 4 * 1024 * 1024
"""Files up to this size are checked page by page when they are opened; that takes a few milliseconds."""
PAGE_BYTES = 8192
"""The list of tables fits into one page of this size, so that no other page takes all tables with it."""
APPLICATION_ID = 0x656E7375  # "ensu", in the file's header

Row = tuple[Any, ...]
Value = None | int | float | str | bytes

CHECKPOINT_PAGES = 2_000
"""Pages in the write-ahead log before they are folded into the file; results change about 16, mostly the same ones."""
CATCHING_UP_PAGES = 16_000
CACHE_KIB, CATCHING_UP_CACHE_KIB = 16 * 1024, 48 * 1024
"""The page cache, and the same while very many records come, each of which changes a page at random."""

_PROBE_BYTES = 4096
_PRIMARY_CODE = 0xFF
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_PERHAPS_NO_ROOM = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}
_NO_ROOM = {sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP}


class Database:
    """One connection to one file, usable from several threads, one at a time.

    `application_id` stands in the file's header and says whose file it is; every program but this one leaves it at 0.
    Every method raises DiskFull, StoreDamaged or StoreError instead of an error of sqlite3.
    """

    def __init__(self, path: Path, application_id: int = APPLICATION_ID) -> None:
        self.path = path
        self._application_id = application_id
        self._lock = threading.RLock()
        self._held_kib, self._until_written = CACHE_KIB, False
        with _explained(path):
            self._connection = sqlite3.connect(
                path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        try:
            self._configure()
        except BaseException:
            self._connection.close()
            raise

    def _configure(self) -> None:
        with _explained(self.path):
            self._connection.execute(f"PRAGMA page_size={PAGE_BYTES}")  # of a file that is still empty
            self._use_wal()
            settings = ("synchronous=FULL", f"cache_size=-{CACHE_KIB}", "temp_store=MEMORY", "trusted_schema=OFF")
            for pragma in (*settings, f"wal_autocheckpoint={CHECKPOINT_PAGES}"):
                self._connection.execute(f"PRAGMA {pragma}")
        with self.snapshot():  # both answers from one state: another process may be creating the tables
            empty = not self.rows("SELECT 1 FROM sqlite_schema LIMIT 1")
            mark = self.pragma("application_id")
        if mark != self._application_id and not (empty and mark == 0):
            raise ForeignFile(f"{self.path} is no replica of ours: move it away or choose another home.")

    def _use_wal(self) -> None:
        # Changing the journal mode does not wait for other connections by itself.
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & _PRIMARY_CODE not in _BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[Row]:
        """Returns all rows of a query."""
        with self._lock:
            try:
                return self._query(sql, values).fetchall()
            except sqlite3.Error as error:  # not `_explained`, which takes as long as a small query
                raise _explain(self.path, error) from error

    def stream(self, sql: str, values: Sequence[Value] = ()) -> Iterator[Row]:
        """Yields the rows of a query as they are read; consume it inside a snapshot."""
        with self._lock, _explained(self.path):
            yield from self._connection.execute(sql, values)

    def row(self, sql: str, values: Sequence[Value] = ()) -> Row | None:
        """Returns the first row of a query, or None."""
        with self._lock:
            try:
                found: Row | None = self._query(sql, values).fetchone()
            except sqlite3.Error as error:
                raise _explain(self.path, error) from error
            return found

    def _query(self, sql: str, values: Sequence[Value]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, values)
        except UnicodeEncodeError:  # half a surrogate pair, as from a terminal: no text that is stored has one
            plain = [text.encode(errors="replace").decode() if isinstance(text, str) else text for text in values]
            return self._connection.execute(sql, plain)

    def run(self, sql: str, values: Sequence[Value] = ()) -> int:
        """Runs a statement and returns the number of the row that it inserted last."""
        with self._lock:
            try:
                return self._connection.execute(sql, values).lastrowid or 0
            except sqlite3.Error as error:
                raise _explain(self.path, error) from error

    def run_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> int:
        """Runs a statement once for each row of values, and returns how many rows of the table it changed."""
        with self._lock, _explained(self.path):
            return self._connection.executemany(sql, rows).rowcount

    def function(self, name: str, answer: Callable[..., Value]) -> None:
        """Makes a pure function of two values known to the queries of this connection."""
        with self._lock, _explained(self.path):
            self._connection.create_function(name, 2, answer, deterministic=True)

    def pragma(self, name: str) -> int:
        """Returns the value of a pragma that is a number."""
        row = self.row(f"PRAGMA {name}")
        return int(row[0]) if row else 0

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[None]:
        """Holds one write transaction: all of it, or nothing; on the disk at the end if `durable`.

        A transaction that is not durable survives the end of a process, but the newest may be lost with the power.
        """
        with self._lock:
            if not durable:
                self.run("PRAGMA synchronous=NORMAL")
            try:
                self.run("BEGIN IMMEDIATE")
                yield
                self.run("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            finally:
                if not durable:
                    self.run("PRAGMA synchronous=FULL")
                if self._until_written:
                    self._hold(CACHE_KIB, CHECKPOINT_PAGES)
                    self._until_written = False

    @contextmanager
    def catching_up(self) -> Iterator[None]:
        """Holds more pages in memory and folds the write-ahead log into the file less often."""
        self._hold(CATCHING_UP_CACHE_KIB, CATCHING_UP_PAGES)
        try:
            yield
        finally:
            self._hold(CACHE_KIB, CHECKPOINT_PAGES)

    def expect_many(self) -> None:
        """Does the same until this transaction ends, so that its pages are folded into the file by a later one."""
        if self._held_kib == CACHE_KIB:
            self._hold(CATCHING_UP_CACHE_KIB, CATCHING_UP_PAGES)
            self._until_written = True

    def _hold(self, kib: int, pages: int) -> None:
        self.run(f"PRAGMA cache_size=-{kib}")
        self.pragma(f"wal_autocheckpoint={pages}")
        self._held_kib = kib

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Holds one read transaction: every query inside sees the same state."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self.run("BEGIN")
            try:
                yield
            finally:
                self._roll_back()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # a full disk ends a transaction by itself
            self.run("ROLLBACK")

    def check(self, *, thorough: bool) -> None:
        """Raises StoreDamaged where the file's pages contradict each other.

        Without `thorough` only files of up to CHECKED_BYTES_MAX are walked through, so that opening stays fast.
        """
        if thorough or self.path.stat().st_size <= CHECKED_BYTES_MAX:
            found = self.rows("PRAGMA integrity_check(1)" if thorough else "PRAGMA quick_check(1)")
            if found != [("ok",)]:
                raise damaged(self.path, str(found[0][0]) if found else "no answer")

    def close(self) -> None:
        """Closes the connection; the last one folds the write-ahead log into the file."""
        with self._lock, _explained(self.path):
            self._connection.close()


def damaged(path: Path, what: str) -> StoreDamaged:
    """Returns the error that says what is wrong with a file, and what to do."""
    what = " ".join(what.split())[:200]
    return StoreDamaged(f"The replica {path} is damaged ({what}): run `autoresearch rebuild` to save what it holds.")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _explain(path, error) from error


def _explain(path: Path, error: sqlite3.Error) -> StoreError:
    extended = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    code = extended & _PRIMARY_CODE
    if code == sqlite3.SQLITE_FULL or extended in _NO_ROOM:
        return DiskFull(f"The disk that holds {path} is full and nothing was changed: free some space.")
    if code in _DAMAGED:
        return damaged(path, str(error))
    if code in _BUSY:
        return StoreError(f"Another process has been writing to {path} for {BUSY_S:.0f} s: stop it or try again.")
    if code in _PERHAPS_NO_ROOM and (refused := _refused_by(path.parent)):
        if refused in (errno.ENOSPC, errno.EDQUOT):  # SQLite does not say why a file cannot be made
            return DiskFull(f"The disk that holds {path} is full and nothing was changed: free some space.")
        if refused == errno.EROFS:
            return StoreError(f"The disk that holds {path} is read-only: mount it for writing, or choose another home.")
    if code == sqlite3.SQLITE_READONLY:
        return StoreError(f"The replica {path} cannot be written: give its owner the right to write, folder included.")
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreError(f"The replica {path} cannot be opened: check that its folder exists and is yours.")
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(f"The disk that holds {path} fails ({error}): check the disk.")
    return StoreError(f"The replica {path} refused a statement ({error}): please report this.")


def _refused_by(folder: Path) -> int | None:
    """Returns with which error a folder refuses a new file of a page, None if it takes one."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(_PROBE_BYTES))
    except OSError as error:
        return error.errno
    return None
