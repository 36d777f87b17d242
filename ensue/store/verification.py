"""Reads records on every processor: signature, rules of the kind and packing, in processes that only compute.

Left out: writing, which one process does while the others read on. The workers are programs of their own, fed through
pipes; they hold nothing, and end when the pipe does, whatever becomes of the node. Where one dies, its work is done
here. Rejected: threads, since most of the work holds the interpreter's lock; and `multiprocessing`, which runs the
program's main module once more in each worker.
"""

import gc
import marshal
import os
import signal
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from ensue.errors import RecordError, StoreDamaged
from ensue.facts import strict_body, understood
from ensue.packing import Dictionary
from ensue.record import RECORD_BYTES_MAX, decode, decode_known
from ensue.store.entry import Entry, entry

WORKERS_MAX = 4
"""More than so many wait for the one that writes."""
CHUNK_RECORDS = 500
CHUNK_BYTES = 1024 * 1024
"""What goes to a worker at once: so many records, or as many as have so many bytes."""
WAITING_CHUNKS_EACH = 6
"""Chunks that are read ahead, for each worker."""
WORTHWHILE_RECORDS = 2_000
"""Fewer records are read faster here than by workers that have to start first."""

_LENGTH = struct.Struct("<I")
_Chunk = TypeVar("_Chunk")
_Answer = TypeVar("_Answer")

Read = Entry | str
"""An entry, or why a record is refused, in a sentence."""
Kept = tuple[int, bytes, int, bytes]
"""A row of `records`: number, id, form, stored bytes."""
Derived = tuple[int, Entry | None]
"""The number of a row and its entry; None for bytes that are not what was signed."""


class Reader:
    """Reads records here; the state of a worker, and what takes a worker's place."""

    def __init__(self, network: str, dictionaries: dict[int, bytes]) -> None:
        self.network = network
        self.dictionaries = {form: Dictionary(data) for form, data in dictionaries.items()}
        self.newest = max(dictionaries, default=0)

    def read(self, raws: list[bytes]) -> list[Read]:
        """Returns the entry of each record that comes from others, every rule checked, or why it is refused."""
        return [self._read(raw) for raw in raws]

    def _read(self, raw: bytes) -> Read:
        try:
            record = decode(raw, self.network)
            body = strict_body(record)
        except RecordError as error:
            return str(error)
        dictionary = self.dictionaries.get(self.newest)
        packed = record.raw if dictionary is None else dictionary.pack(record.raw)
        return entry(record, body, self.newest, packed)

    def verify(self, rows: list[Kept]) -> list[Derived]:
        """Returns the entries of rows that are kept here, each verified again as if it came from others."""
        return [(no, self._verify(key, form, stored)) for no, key, form, stored in rows]

    def _verify(self, key: bytes, form: int, stored: bytes) -> Entry | None:
        try:
            record = decode(self._plain(form, stored), self.network)
        except (RecordError, StoreDamaged, KeyError, TypeError):
            return None
        return entry(record, understood(record), form, b"") if record.id == key.hex() else None

    def derive(self, rows: list[Kept]) -> list[Derived]:
        """Returns the entries of rows that are kept here, for the live tables; signatures are not verified again."""
        return [(no, self._derive(key, form, stored)) for no, key, form, stored in rows]

    def _derive(self, key: bytes, form: int, stored: bytes) -> Entry | None:
        try:
            record = decode_known(self._plain(form, stored), key.hex())
        except (StoreDamaged, KeyError, TypeError):
            return None
        return None if record is None else entry(record, understood(record), form, b"")

    def _plain(self, form: int, stored: bytes) -> bytes:
        return stored if form == 0 else self.dictionaries[form].unpack(stored, RECORD_BYTES_MAX)


class Readers:
    """Some processes that read records; start them once, and close them. With no `workers` this process reads."""

    def __init__(self, network: str, dictionaries: dict[int, bytes], workers: int | None = None) -> None:
        self._here = Reader(network, dictionaries)
        count = min(WORKERS_MAX, processors()) if workers is None else workers
        self._workers = [_start() for _ in range(count)]
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for worker in self._workers:
            _send(worker, ("begin", network, dictionaries))
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(max(1, count), "reader")

    @property
    def newest(self) -> int:
        """The form in which these readers pack."""
        return self._here.newest

    def read(self, chunks: Iterable[list[bytes]]) -> Iterator[list[Read]]:
        """Yields what Reader.read returns for each chunk, in order."""
        for answers in self._each(chunks, "read", self._here.read):
            yield [answer if isinstance(answer, str) else Entry._make(answer) for answer in answers]

    def verify(self, chunks: Iterable[list[Kept]]) -> Iterator[list[Derived]]:
        """Yields what Reader.verify returns for each chunk, in order."""
        return self._derived(chunks, "verify", self._here.verify)

    def derive(self, chunks: Iterable[list[Kept]]) -> Iterator[list[Derived]]:
        """Yields what Reader.derive returns for each chunk, in order."""
        return self._derived(chunks, "derive", self._here.derive)

    def _derived(
        self, chunks: Iterable[list[Kept]], task: str, here: Callable[[list[Kept]], list[Derived]]
    ) -> Iterator[list[Derived]]:
        for answers in self._each(chunks, task, here):
            yield [(no, None if item is None else Entry._make(item)) for no, item in answers]

    def _each(
        self, chunks: Iterable[_Chunk], task: str, here: Callable[[_Chunk], list[_Answer]]
    ) -> Iterator[list[_Answer]]:
        if not self._workers:
            yield from (here(chunk) for chunk in chunks)
            return
        waiting: deque[Future[list[_Answer]]] = deque()
        for chunk in chunks:
            waiting.append(self._threads.submit(self._ask, task, chunk, here))
            if len(waiting) >= WAITING_CHUNKS_EACH * len(self._workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _ask(self, task: str, chunk: _Chunk, here: Callable[[_Chunk], list[_Answer]]) -> list[_Answer]:
        worker = self._idle.get()
        try:
            _send(worker, (task, chunk))
            assert worker.stdout is not None
            answers: list[_Answer] = _receive(worker.stdout)
        except (OSError, EOFError, ValueError):  # it was killed
            return here(chunk)
        finally:
            self._idle.put(worker)
        return answers

    def close(self) -> None:
        """Ends the processes."""
        self._threads.shutdown()
        for worker in self._workers:
            worker.kill()  # they hold nothing
            worker.communicate()


def processors() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chunks(raws: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yields records in lists of CHUNK_RECORDS, or fewer where they have CHUNK_BYTES already."""
    chunk: list[bytes] = []
    size = 0
    for raw in raws:
        chunk.append(raw)
        size += len(raw)
        if len(chunk) >= CHUNK_RECORDS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _start() -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )


def _send(worker: subprocess.Popen[bytes], message: Any) -> None:
    assert worker.stdin is not None
    _write(worker.stdin, message)


def _write(pipe: Any, message: Any) -> None:
    data = marshal.dumps(message)
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def _receive(pipe: Any) -> Any:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (size,) = _LENGTH.unpack(head)
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return marshal.loads(data)


def main() -> None:
    """Answers what comes through standard input until it ends: the program of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(100_000)  # nothing that is made here refers back to itself
    reader = Reader("", {})
    while True:
        try:
            task, *values = _receive(sys.stdin.buffer)
        except EOFError:
            return
        if task == "begin":
            reader = Reader(*values)
        elif task == "read":
            _write(sys.stdout.buffer, [item if isinstance(item, str) else tuple(item) for item in reader.read(*values)])
        else:
            rows = reader.verify(*values) if task == "verify" else reader.derive(*values)
            _write(sys.stdout.buffer, [(no, None if item is None else tuple(item)) for no, item in rows])


if __name__ == "__main__":
    main()
