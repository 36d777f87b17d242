"""The whole memory as one file: the genesis, every record as it was signed, and the sources and logs they name.

Parts in their order: `archive.json` (format, version, network), `genesis.bin`, then `records/00000000.bin` and so on,
each followed by the `blobs/<sha256>` that its records are the first to name, at last `end.json` with the counts. In a
records part each record stands behind its length, four bytes, big-endian. They are in order of author, number and id,
so that one set of records gives one file.
Left out: compression and bounds (tarball), tables for people (node). Rejected: copying the replica's file, which holds
this node's own notes and speaks one schema version.
"""

import hashlib
import json
import os
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from ensue import tarball
from ensue.blobs import BLOB_BYTES_MAX, Blob
from ensue.errors import BadArchive, RecordError, UserError
from ensue.genesis import GENESIS_BYTES_MAX, Genesis
from ensue.record import RECORD_BYTES_MAX, Record, decode_stored, is_hex64
from ensue.store import Store
from ensue.tarball import Part
from ensue.wholefile import Replacing

FORMAT = "autoresearch archive"
VERSION = 1
SEGMENT_RECORDS_MAX = 1_000
"""Records in one part."""
SEGMENT_BYTES_MAX = 4 * 1024 * 1024
BLOBS_AT_ONCE_BYTES = 8 * 1024 * 1024
"""Sources and logs that are held in memory before they are stored."""
PACKED_RECORD_BYTES = 500
"""About what a record takes in an archive, to guess from its size how many there are."""
NAMES_REMEMBERED_MAX = 100_000
"""Names of blobs that an export remembers to have written; one that it forgot is written once more."""
REASONS_MAX = 20
"""Different reasons for refusals that a report lists."""
JSON_BYTES_MAX = 4_096

_LENGTH = struct.Struct(">I")
_NEVER_BLOBS = frozenset(("track", "experiment", "claim", "parent", "hypothesis", "evidence", "target"))
"""Fields that hold hashes of something else; any other 64 hexadecimal digits may name a blob, in unknown kinds too."""

Progress = Callable[[int], None]  # records done so far


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export holds; `missing` counts sources and logs that are named and not here."""

    records: int
    blobs: int
    missing: int
    file_bytes: int


@dataclass(slots=True)
class ImportReport:
    """What became of an archive's records and blobs; a refused one keeps no other out."""

    accepted: int = 0
    known: int = 0
    refused: int = 0
    blobs_accepted: int = 0
    blobs_known: int = 0
    blobs_refused: int = 0
    """Blobs that do not match their hash, or that no record here names."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why records were refused, and how many for it; at most REASONS_MAX reasons."""


def write(
    store: Store, genesis: Genesis, path: Path, *, force: bool = False, on_progress: Progress | None = None
) -> ExportReport:
    """Writes the memory to a file that appears whole and synced, or not at all; the node may run meanwhile.

    Memory stays flat. Raises UserError where a file is in the way and `force` is not given, StoreDamaged where a
    source or log does not match its hash, DiskFull.
    """
    with Replacing(path, force=force) as stream:
        writer = tarball.Writer(stream)
        writer.add("archive.json", _json({"format": FORMAT, "version": VERSION, "network": genesis.network_id}))
        writer.add("genesis.bin", genesis.raw)
        exporter = _Exporter(store, writer)
        for segment in _segments(store.logs()):
            exporter.add(segment)
            if on_progress is not None:
                on_progress(exporter.records)
        writer.add("end.json", _json({"records": exporter.records, "blobs": exporter.blobs}))
        writer.close()
        size = stream.tell()
    return ExportReport(exporter.records, exporter.blobs, exporter.missing, size)


class Archive:
    """An archive that is being read: its genesis is verified, its records are still to come. Use as a context."""

    def __init__(self, path: Path) -> None:
        self._called = str(path)
        try:
            self._stream: BinaryIO = path.open("rb")
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): name a file that you may read.") from None
        try:
            self._parts = self._begin()
            self.genesis = self._founding()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def _begin(self) -> Iterator[Part]:
        self._stream.seek(0)
        return tarball.parts(self._stream, self._called)

    def _founding(self) -> Genesis:
        head = _object(self._expect("archive.json", JSON_BYTES_MAX))
        if head.get("format") != FORMAT or type(head.get("version")) is not int:
            raise self._bad("is no export of ours")
        if head["version"] != VERSION:
            raise BadArchive(f"{self._called} was written by a newer version: upgrade autoresearch to read it.")
        try:
            genesis = Genesis.decode(self._expect("genesis.bin", GENESIS_BYTES_MAX))
        except RecordError:
            raise self._bad("has no valid genesis") from None
        if head.get("network") != genesis.network_id:
            raise self._bad("names another network than its genesis")
        return genesis

    def _expect(self, name: str, bytes_max: int) -> bytes:
        part = next(self._parts, None)
        if part is None or part.name != name or len(part.data) > bytes_max:
            raise self._bad("is no export of ours")
        return part.data

    def into(self, store: Store, on_progress: Progress | None = None) -> ImportReport:
        """Takes everything into a replica, verified as if strangers had sent it; doing it again changes nothing.

        Raises BadArchive for a store of another network, and where the file is damaged or cut short; what came before
        the damage was taken in. Raises DiskFull likewise.
        """
        if store.network != self.genesis.network_id:
            raise BadArchive(
                f"{self._called} holds network {self.genesis.network_id[:12]}, and this replica {store.network[:12]}:"
                " import it into another home."
            )
        importer = _Importer(store, self._bad("holds records twice or out of order"))
        problem: BadArchive | None = None
        with store.catching_up(os.fstat(self._stream.fileno()).st_size // PACKED_RECORD_BYTES):
            for take in (importer.add_records, importer.name):  # all records, then all blobs: each finds its parent
                try:
                    self._read(importer, take, on_progress)
                except BadArchive as error:
                    problem = problem or error
            importer.flush()
        if problem is not None:
            raise problem
        return importer.report

    def _read(self, importer: "_Importer", take: Callable[[list[bytes]], None], on_progress: Progress | None) -> None:
        self._parts = self._begin()
        self._founding()
        records, blobs = 0, 0
        for part in self._parts:
            if part.name.startswith("records/"):
                raws = self._records(part)
                take(raws)
                records += len(raws)
                if on_progress is not None:
                    on_progress(records)
            elif part.name.startswith("blobs/"):
                blobs += 1
                if take == importer.name:
                    importer.add_blob(part)
            elif part.name == "end.json":
                self._end(_object(part.data[:JSON_BYTES_MAX]), records, blobs)
                return
            else:
                raise self._bad(f"holds the unknown part {part.name[:40]}")
        raise BadArchive(
            f"{self._called} ends without its last part; the {records} records before it were looked at: get a whole"
            " copy."
        )

    def _records(self, part: Part) -> list[bytes]:
        found: list[bytes] = []
        place = 0
        while place < len(part.data):
            size = int.from_bytes(part.data[place : place + _LENGTH.size], "big")
            place += _LENGTH.size
            if not 0 < size <= RECORD_BYTES_MAX or place + size > len(part.data) or len(found) == SEGMENT_RECORDS_MAX:
                raise self._bad(f"has a part {part.name[:40]} that does not hold together")
            found.append(part.data[place : place + size])
            place += size
        return found

    def _end(self, end: dict[str, Any], records: int, blobs: int) -> None:
        for part in self._parts:  # the end of the frame is read, where its checksum is compared
            raise self._bad(f"goes on behind its end with {part.name[:40]}")
        if (end.get("records"), end.get("blobs")) != (records, blobs):
            raise self._bad("lacks some of the records or blobs that it had")

    def _bad(self, what: str) -> BadArchive:
        return BadArchive(f"{self._called} {what}: get a whole copy of a file that `autoresearch export` wrote.")


class _Exporter:
    def __init__(self, store: Store, writer: tarball.Writer) -> None:
        self._store = store
        self._writer = writer
        self._written: OrderedDict[str, None] = OrderedDict()
        self._segments = 0
        self.records = 0
        self.blobs = 0
        self.missing = 0

    def add(self, segment: list[Record]) -> None:
        joined = b"".join(_LENGTH.pack(len(record.raw)) + record.raw for record in segment)
        self._writer.add(f"records/{self._segments:08d}.bin", joined)
        self._segments += 1
        self.records += len(segment)
        for record in segment:
            for name in names(record.body):
                if name not in self._written:
                    self._add_blob(name, expected=name in (record.body.get("source"), record.body.get("log")))

    def _add_blob(self, name: str, expected: bool) -> None:
        here = self._store.has_blob(name)
        self.missing += expected and not here
        if here:
            self._writer.add(f"blobs/{name}", self._store.blob(name))
            self.blobs += 1
        self._written[name] = None
        if len(self._written) > NAMES_REMEMBERED_MAX:
            self._written.popitem(last=False)


class _Importer:
    def __init__(self, store: Store, out_of_order: BadArchive) -> None:
        self._store = store
        self._out_of_order = out_of_order
        self._last: tuple[str, int, str] = ("", 0, "")
        self._named: dict[str, object] = {}
        self._waiting: list[Blob] = []
        self._waiting_bytes = 0
        self.report = ImportReport()

    def add_records(self, raws: list[bytes]) -> None:
        for record in _decoded(raws):  # in their order, so that no file makes work from repetition
            place = (record.author, record.seq, record.id)
            if place <= self._last:
                raise self._out_of_order
            self._last = place
        taken = self._store.ingest(raws)
        self.report.accepted += len(taken.accepted)
        self.report.known += taken.known
        self.report.refused += len(taken.refused)
        for reason in taken.refused:
            if reason in self.report.reasons or len(self.report.reasons) < REASONS_MAX:
                self.report.reasons[reason] += 1

    def name(self, raws: list[bytes]) -> None:
        """Notes which blobs may follow: those that a record names that was taken in, each with what it resembles."""
        self._named = {}
        for record in _decoded(raws):
            if self._store.has(record.id):
                parent = record.body.get("parent")
                for name in names(record.body):
                    self._named.setdefault(name, parent if name == record.body.get("source") else None)

    def _source_of(self, parent: object) -> str | None:
        """Returns the hash of the source of a parent record, against which a child's is packed, if it is here."""
        if not is_hex64(parent) or not self._store.has(str(parent)):
            return None
        found = self._store.get(str(parent)).body.get("source")
        return found if isinstance(found, str) and is_hex64(found) else None

    def add_blob(self, part: Part) -> None:
        name = part.name.removeprefix("blobs/")
        fits = len(part.data) <= BLOB_BYTES_MAX and hashlib.sha256(part.data).hexdigest() == name
        if not fits or name not in self._named:
            self.report.blobs_refused += 1
        elif self._store.has_blob(name):
            self.report.blobs_known += 1
        else:
            parent = self._source_of(self._named[name])
            self._waiting.append(Blob(part.data, None if parent == name else parent))
            self._waiting_bytes += len(part.data)
            if self._waiting_bytes > BLOBS_AT_ONCE_BYTES:
                self.flush()

    def flush(self) -> None:
        """Stores the blobs that wait; they are counted once they are stored."""
        if self._waiting:
            self._store.ingest([], self._waiting)
            self.report.blobs_accepted += len({blob.sha256 for blob in self._waiting})
            self._waiting, self._waiting_bytes = [], 0


def _decoded(raws: list[bytes]) -> Iterator[Record]:
    for raw in raws:
        with suppress(RecordError):
            yield decode_stored(raw)


def names(body: Any) -> Iterator[str]:
    """Yields the hashes in a body that may name blobs, in their order, also in fields and kinds of later versions."""
    if isinstance(body, dict):
        for name, value in body.items():
            if name not in _NEVER_BLOBS:
                yield from names(value)
    elif isinstance(body, list):
        for value in body:
            yield from names(value)
    elif is_hex64(body):
        yield body


def _segments(records: Iterator[Record]) -> Iterator[list[Record]]:
    segment: list[Record] = []
    size = 0
    for record in records:
        taken = len(record.raw) + _LENGTH.size
        if segment and (len(segment) == SEGMENT_RECORDS_MAX or size + taken > SEGMENT_BYTES_MAX):
            yield segment
            segment, size = [], 0
        segment.append(record)
        size += taken
    if segment:
        yield segment


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
