"""A node's disk, whose power can be cut: what was committed for good stays, of what came after it only a beginning.

Records of others are committed without waiting for the disk (`synchronous=NORMAL`), so a power cut takes a suffix of
them: SQLite's write-ahead log ends at some commit after the last durable one. The cut is made there, in a copy of the
real files, and SQLite recovers from it. Left out: torn pages and lying disks (tests/soak). Rejected: building a new
store from the surviving records, which would leave out notes, outbox and blobs, and SQLite's own recovery.
"""

import atexit
import functools
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from ensue.people import Trust
from ensue.store import Store

RAM = Path("/dev/shm")
_HEADER = struct.Struct(">IIII8s")  # of a write-ahead log: magic, version, page size, checkpoint number, salts
_HEADER_BYTES = 32
_FRAME = struct.Struct(">II8s")  # page, size of the database after a commit (else 0), salts
_FRAME_BYTES = 24


@contextmanager
def ram_folder() -> Iterator[Path]:
    """Yields a new folder, in memory where the machine has such a file system, and removes it."""
    with tempfile.TemporaryDirectory(prefix="swarm-", dir=RAM if RAM.is_dir() else None) as folder:
        yield Path(folder)


class Disk:
    """The files of one node, and the store that is open on them."""

    def __init__(self, folder: Path, network: str, trust: Trust | None = None) -> None:
        self._folder = folder
        self._network = network
        self._trust = trust
        self._generation = 0
        self._durable: tuple[bytes, int] = (b"", 0)  # the write-ahead log's salts, and how far it is on the disk
        self._place().mkdir(parents=True)
        shutil.copyfile(_empty(network), self._path())
        self.store = self._open()

    def cut_power(self, chance: Random) -> None:
        """Makes what a power cut leaves the files of the next `restore`; the store goes on in files of the past."""
        log = self._path().with_name("replica.db-wal").read_bytes()
        salts, durable = self._durable
        kept = durable if log[16:24] == salts else 0
        ends = [end for end in _commits(log) if end >= kept]
        end = chance.choice([kept, *ends])
        old, self._generation = self._place(), self._generation + 1
        self._place().mkdir()
        shutil.copyfile(old / "replica.db", self._path())
        self._path().with_name("replica.db-wal").write_bytes(log[: max(end, _HEADER_BYTES)])
        self._keep_marks(old)

    def lose(self) -> None:
        """Makes an empty disk the one of the next `restore`, marks included."""
        self._generation += 1
        self._place().mkdir()
        shutil.copyfile(_empty(self._network), self._path())

    def restore(self) -> Store:
        """Closes the store of the past and opens the one that the disk holds now."""
        self.store.close()
        self.store = self._open()
        return self.store

    def close(self) -> None:
        """Closes the store."""
        self.store.close()

    def _open(self) -> Store:
        store = Store(self._path(), self._network, self._trust)
        write = store._database.write

        @contextmanager
        def watched(*, durable: bool = True) -> Iterator[None]:
            with write(durable=durable):
                yield
            if durable:
                self._note_durable()

        store._database.write = watched
        self._durable = (b"", 0)
        self._note_durable()
        return store

    def _note_durable(self) -> None:
        path = self._path().with_name("replica.db-wal")
        if not path.exists():
            return
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
            if len(head) < _HEADER_BYTES:
                return
            size = path.stat().st_size
            _, _, _, checkpoints, salts = _HEADER.unpack_from(head)
            if checkpoints:  # it began anew in its old file, whose end may be from before
                file.seek(0)
                size = max(_commits(file.read()), default=0)
        self._durable = (salts, size)

    def _keep_marks(self, old: Path) -> None:
        for mark in sorted(old.glob("replica.db.mark-*")):
            mark.rename(self._place() / mark.name)

    def _place(self) -> Path:
        return self._folder / str(self._generation)

    def _path(self) -> Path:
        return self._place() / "replica.db"


def _commits(log: bytes) -> list[int]:
    """Returns where the transactions in a write-ahead log end."""
    if len(log) < _HEADER_BYTES:
        return []
    _, _, page_bytes, _, salts = _HEADER.unpack_from(log)
    ends, at = [], _HEADER_BYTES
    while at + _FRAME_BYTES + page_bytes <= len(log):
        _, commit, frame_salts = _FRAME.unpack_from(log, at)
        if frame_salts != salts:
            break
        at += _FRAME_BYTES + page_bytes
        if commit:
            ends.append(at)
    return ends


@functools.lru_cache(maxsize=8)
def _empty(network: str) -> Path:
    """Returns an empty replica, made once in each process, since making one takes five times as long as a copy."""
    folder = Path(tempfile.mkdtemp(prefix="swarm-empty-", dir=RAM if RAM.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Store(folder / "replica.db", network).close()
    return folder / "replica.db"
