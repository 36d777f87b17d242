"""How far one's own log went, in a file beside the replica, so that a restored back-up gives out no number twice.

Two records of one number freeze their author for good. So each key has a mark: the last number that it signed here, and
the mark's own inode and birth. An older replica under a newer mark goes on after the mark. A mark that is missing, or a
copy of another file, puts the log in doubt: nothing is signed until a peer or the owner confirms its end.
Left out: asking peers (`confirm` takes their answer). A snapshot that brings back a whole disk cannot be noticed here.
Rejected: a mark inside the replica, which a back-up brings back with it; the machine's id, which containers change; the
inode alone, which a file system gives to its next file.
"""

import ctypes
import errno
import fcntl
import functools
import hashlib
import os
import secrets
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from ensue.errors import DiskFull, LogInDoubt, StoreError
from ensue.identity import sync_folder
from ensue.store import log
from ensue.store.database import Database
from ensue.store.notes import Notes

Doubt = Literal["missing", "copied", "foreign", "unreadable"]

SLOT_BYTES = 512
"""A sector. Two slots are written in turn, so a torn write leaves the other one."""
_VERSION = "own-log-1"
_STATX_BYTES, _STATX_BTIME, _AT_EMPTY_PATH = 256, 0x800, 0x1000
HEAD_NOTE = "own head "
_MARK_NOTE = "own mark "
_UNKNOWN = "?"

_WHY: dict[Doubt, str] = {
    "missing": "its mark is gone, as after restoring only some of the files of a home",
    "copied": "this home is a copy, such as a restored back-up",
    "foreign": "the replica and its mark come from two different homes",
    "unreadable": "its mark is damaged",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """The end of a log as the mark has it; `turn` counts how often it was written."""

    nonce: str
    origin: str
    turn: int
    seq: int
    id: str | None


@dataclass(frozen=True, slots=True)
class OwnEnd:
    """Where one's own log ends, and why that is in doubt; `missing` own records are lost to this replica."""

    seq: int
    id: str | None
    doubt: Doubt | None
    missing: int = 0


def own_keys(database: Database) -> set[str]:
    """Returns the keys that sign, or signed, with a replica: those with a mark, and those whose records wait."""
    found = {
        str(key).removeprefix(note)
        for note in (HEAD_NOTE, _MARK_NOTE)
        for (key,) in database.rows("SELECT key FROM local WHERE key > ? AND key < ?", (note, note + "\x7f"))
    }
    waiting = "SELECT DISTINCT n.name FROM outbox o JOIN records r ON r.no = o.no JOIN names n ON n.no = r.author"
    return found | {str(name) for (name,) in database.rows(waiting)}


class OwnLog:
    """The ends of the logs that are signed with one replica; for several processes at once."""

    def __init__(self, database: Database, network: str) -> None:
        self._database = database
        self._notes = Notes(database)
        self._network = network
        self._files: dict[str, MarkFile] = {}

    def close(self) -> None:
        """Closes the marks; a later call opens them again."""
        for file in self._files.values():
            file.close()

    def keys(self) -> set[str]:
        """Returns the keys that sign, or signed, with this replica."""
        return own_keys(self._database)

    def end(self, peer_id: str) -> OwnEnd:
        """Returns where a key's log ends by all that is known here."""
        last = log.end(self._database, peer_id)
        ends: list[tuple[int, str | None]] = [last] if last else []
        noted = (self._notes.get(HEAD_NOTE + peer_id) or "0 ").split(" ")
        ends.append((int(noted[0]), noted[1] or None))
        bound = self._notes.get(_MARK_NOTE + peer_id)
        mark, doubt = self._examined(peer_id, bound)
        if mark is not None:
            ends.append((mark.seq, mark.id))
        elif doubt is None and bound is not None:
            doubt = "missing"
        seq, record_id = max(ends, key=lambda end: end[0])  # of equals the first: what the replica itself holds
        return OwnEnd(seq, record_id, doubt, seq - (last[0] if last else 0))

    def next(self, peer_id: str) -> OwnEnd:
        """Returns the end that the next record follows; belongs inside the transaction that stores that record.

        Raises LogInDoubt where a number could be given out twice, DiskFull where the first mark finds no room.
        """
        end = self._undoubted(peer_id)
        if self._notes.get(_MARK_NOTE + peer_id) is None:
            self._bind(peer_id, begin(self._database.path, self._network, peer_id))
        return end

    def _undoubted(self, peer_id: str) -> OwnEnd:
        end = self.end(peer_id)
        if end.doubt is not None:
            raise LogInDoubt(
                f"Where this node's log ends is in doubt, because {_WHY[end.doubt]}: if its key never signed more than "
                f"the {end.seq} records known here run `autoresearch doctor --restored`, else move node.key away to "
                "begin a new log; a number that is signed twice would void what follows it."
            )
        return end

    def signed(self, peer_id: str, seq: int, record_id: str) -> None:
        """Notes a record as the end, inside its transaction; `advance` follows once that is committed."""
        self._notes.put(HEAD_NOTE + peer_id, f"{seq} {record_id}")

    def advance(self, peer_id: str, seq: int, record_id: str) -> None:
        """Moves the mark on. A mark that stays behind the replica harms nothing, so no error is raised."""
        with suppress(OSError), self._file(peer_id).opened() as file:
            file.advance(seq, record_id)

    def seal(self, peer_id: str) -> None:
        """Makes the mark durable up to the last own record: to be called before records leave this machine.

        Raises LogInDoubt as `next` does, and StoreError where the mark cannot be written.
        """
        with self._database.write():
            end = self.next(peer_id)
        try:
            with self._file(peer_id).opened() as file:
                file.advance(end.seq, end.id)
                file.sync()
        except OSError as error:
            raise _explained(self._path(peer_id), error) from error

    def require(self, peer_id: str) -> OwnEnd:
        """Returns the end of a log that was begun before, here or elsewhere; raises LogInDoubt where it may be another.

        For homes that were founded before: where nothing here knows of the log, its key was restored from a back-up.
        """
        known = self._notes.get(_MARK_NOTE + peer_id) or self._notes.get(HEAD_NOTE + peer_id)
        if known is None and not self._path(peer_id).exists():
            with self._database.write():
                self._notes.put(_MARK_NOTE + peer_id, _UNKNOWN)
        return self._undoubted(peer_id)

    def confirm(self, peer_id: str, seq: int = 0, record_id: str | None = None) -> OwnEnd:
        """Ends the doubt: nothing after `seq`, or after what is known here if that is more, was ever signed.

        For the network, which asks peers for this node's own head, and for an owner who knows. Returns the end.
        """
        end = self.end(peer_id)
        if seq > end.seq:
            end = OwnEnd(seq, record_id, None, end.missing + seq - end.seq)
        path = self._path(peer_id)
        with self._database.write():
            try:
                path.unlink(missing_ok=True)
                self._bind(peer_id, begin(self._database.path, self._network, peer_id, end.seq, end.id))
            except OSError as error:
                raise _explained(path, error) from error
            if end.id is not None:
                self.signed(peer_id, end.seq, end.id)
        return replace(end, doubt=None)

    def _examined(self, peer_id: str, bound: str | None) -> tuple[Mark | None, Doubt | None]:
        """Returns the mark, if it is there, and what is wrong with it."""
        try:
            with self._file(peer_id).opened() as file:
                mark, origin = file.read(), file.origin
        except FileNotFoundError:
            return None, None
        except OSError as error:
            raise _explained(self._path(peer_id), error) from error
        if mark is None:
            return None, "unreadable"
        if mark.origin != origin:
            return mark, "copied"
        return mark, "foreign" if bound not in (None, mark.nonce) else None

    def _bind(self, peer_id: str, mark: Mark) -> None:
        self._notes.put(_MARK_NOTE + peer_id, mark.nonce)

    def _path(self, peer_id: str) -> Path:
        return mark_path(self._database.path, self._network, peer_id)

    def _file(self, peer_id: str) -> "MarkFile":
        return self._files.setdefault(peer_id, MarkFile(self._path(peer_id)))


class MarkFile:
    """One mark, held open for the next record, and opened anew when another file lies under its name."""

    def __init__(self, path: Path) -> None:
        self.origin = ""
        self._path = path
        self._lock = threading.Lock()
        self._descriptor = -1
        self._file: tuple[int, int] | None = None
        self._content = b""
        self._mark: Mark | None = None

    @contextmanager
    def opened(self) -> Iterator["MarkFile"]:
        """Holds the mark with no other process or thread at it; raises OSError."""
        with self._lock:
            there = os.stat(self._path)
            if self._file != (there.st_dev, there.st_ino):
                self._open()
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                yield self
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _open(self) -> None:
        self.close()
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        status = os.fstat(self._descriptor)
        self._file = status.st_dev, status.st_ino
        self.origin, self._content = _origin(self._descriptor), b""

    def read(self) -> Mark | None:
        """Returns the newest whole slot, None where both are damaged."""
        content = os.pread(self._descriptor, 2 * SLOT_BYTES, 0)
        if content != self._content:
            found = [_parsed(content[at : at + SLOT_BYTES]) for at in (0, SLOT_BYTES)]
            self._mark = max((mark for mark in found if mark is not None), key=lambda mark: mark.turn, default=None)
            self._content = content
        return self._mark

    def advance(self, seq: int, record_id: str | None) -> None:
        """Moves the mark on to a number, unless it is there already or damaged."""
        mark = self.read()
        if mark is not None and mark.seq < seq:
            moved = replace(mark, turn=mark.turn + 1, seq=seq, id=record_id)
            at, slot = _write(self._descriptor, moved)
            self._content = self._content[:at] + slot + self._content[at + SLOT_BYTES :]
            self._mark = moved

    def sync(self) -> None:
        """Waits for the disk."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Closes the file; the next use opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._file = -1, None


@functools.lru_cache(maxsize=64)
def mark_path(database: Path, network: str, peer_id: str) -> Path:
    """Returns where the mark of a key in a network lies: beside the replica, one file for each."""
    name = hashlib.sha256(f"{network} {peer_id}".encode()).hexdigest()[:12]
    return database.with_name(f"{database.name}.mark-{name}")


def begin(database: Path, network: str, peer_id: str, seq: int = 0, record_id: str | None = None) -> Mark:
    """Returns the mark of a key; where there is none it is made first, complete and durable under its name.

    Raises DiskFull, or StoreError where it cannot be made.
    """
    path = mark_path(database, network, peer_id)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        try:
            descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                mark = Mark(secrets.token_hex(16), _origin(descriptor), 0, seq, record_id)
                _write(descriptor, mark)
                _write(descriptor, replace(mark, turn=1))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
        file = MarkFile(path)
        try:
            with file.opened():
                found = file.read()
        finally:
            file.close()
    except OSError as error:
        raise _explained(path, error) from error
    if found is None:
        raise StoreError(f"The mark {path} is damaged: run `autoresearch doctor --restored`.")
    return found


def _origin(descriptor: int) -> str:
    """Returns what tells a file from every copy of it: its inode, which is given out again, and when that was born."""
    status = os.fstat(descriptor)
    born_ns = int(getattr(status, "st_birthtime", 0) * 1e9) or _born_ns(descriptor)
    return f"{status.st_ino}.{born_ns}"


@functools.cache
def _statx() -> Callable[..., int] | None:
    try:
        return cast("Callable[..., int]", ctypes.CDLL(None).statx)
    except (AttributeError, OSError):
        return None


def _born_ns(descriptor: int) -> int:
    """Returns when a file was made by statx(2), which Python does not have yet; 0 where the system does not say."""
    statx = _statx()
    if statx is None:
        return 0
    answer = ctypes.create_string_buffer(_STATX_BYTES)
    if statx(descriptor, b"", _AT_EMPTY_PATH, _STATX_BTIME, answer) != 0:
        return 0
    mask, seconds, nanoseconds = struct.unpack_from("=I76xqI", answer)
    return int(seconds * 1_000_000_000 + nanoseconds) if mask & _STATX_BTIME else 0


def _parsed(slot: bytes) -> Mark | None:
    text, _, rest = slot.partition(b" #")
    if hashlib.sha256(text).hexdigest().encode() != rest.rstrip(b"\0\n"):
        return None
    try:
        _, nonce, origin, turn, seq, record_id = text.decode("ascii").split(" ")
        return Mark(nonce, origin, int(turn), int(seq), None if record_id == "-" else record_id)
    except ValueError:
        return None


def _write(descriptor: int, mark: Mark) -> tuple[int, bytes]:
    """Writes a mark into the slot whose turn it is; returns where, and what."""
    text = f"{_VERSION} {mark.nonce} {mark.origin} {mark.turn} {mark.seq} {mark.id or '-'}".encode()
    slot = text + b" #" + hashlib.sha256(text).hexdigest().encode() + b"\n"
    at, slot = mark.turn % 2 * SLOT_BYTES, slot.ljust(SLOT_BYTES, b"\0")
    os.pwrite(descriptor, slot, at)
    return at, slot


def _explained(path: Path, error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"The disk that holds {path} is full and nothing was changed: free some space.")
    return StoreError(f"The mark {path} cannot be used ({error.strerror}): give its owner the right to write there.")
