"""Reads rows off the pages of a database file without following its trees, for files that are damaged.

A table's rows lie in leaf pages that say by themselves where each row begins (SQLite's file format, section 1.6), so a
damaged root, schema or neighbour costs nothing but itself. The committed pages of the write-ahead log come before the
file's; the size of a page is what brings most rows. Left out: knowing which table a row belongs to, and whether it is
current; the caller goes by its shape, and trusts what carries a signature or a hash. Rejected: SQLite's recovery
extension, which few builds have.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE_BYTES_TRIED = (4096, 8192, 1024, 2048, 16384, 32768, 65536)
SAMPLED_BYTES = 4 * 1024 * 1024
"""Of a file, to find out the size of its pages."""
VALUE_BYTES_MAX = 16 * 1024 * 1024
"""A row that claims to be larger is damage."""
COLUMNS_MAX = 16

_LEAF = 0x0D
_HEADER_BYTES = 100  # of the file, at the beginning of its first page
_WAL_HEADER = struct.Struct(">8I")
_WAL_FRAME = struct.Struct(">6I")
_WAL_MAGIC = (0x377F0682, 0x377F0683)
_FIXED_BYTES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8, 8: 0, 9: 0}

Value = None | int | float | bytes


@dataclass(frozen=True, slots=True)
class Found:
    """A row: its number, and its columns; texts come as their bytes, and what is the number itself as None."""

    number: int
    values: tuple[Value, ...]


class _Damage(Exception):
    """A row that cannot be what it says."""


def rows(path: Path) -> Iterator[Found]:
    """Yields every row that can be read off the leaf pages of a file and its write-ahead log, in no order.

    Memory is bounded by the log and one row. Old versions of rows, which freed pages still hold, are among them.
    """
    wal = path.with_name(f"{path.name}-wal")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        pages = _Pages(file.fileno(), size, _likely_page_bytes(file.fileno(), size, wal), wal)
        for number in range(1, pages.count + 1):
            yield from _rows_of(pages, number)


def _likely_page_bytes(descriptor: int, size: int, wal: Path) -> int:
    """Returns the size of pages that brings most rows; a damaged header is not asked."""
    found: dict[int, int] = {}
    for page_bytes in PAGE_BYTES_TRIED:
        pages = _Pages(descriptor, size, page_bytes, wal)
        sampled = range(1, min(pages.count, SAMPLED_BYTES // page_bytes) + 1)
        found[page_bytes] = sum(len(row.values) > 1 for number in sampled for row in _rows_of(pages, number))
    return max(found, key=lambda page_bytes: found[page_bytes])


class _Pages:
    """Pages by number, the log's before the file's."""

    def __init__(self, descriptor: int, size: int, page_bytes: int, wal: Path) -> None:
        self._descriptor = descriptor
        self._newer = _committed(wal, page_bytes)
        self.bytes = page_bytes
        self.count = max([size // page_bytes, *self._newer])

    def page(self, number: int) -> bytes:
        """Returns a page, filled up with zeros where the file ends."""
        found = self._newer.get(number)
        if found is None:
            found = os.pread(self._descriptor, self.bytes, (number - 1) * self.bytes)
        return found.ljust(self.bytes, b"\0")


def _rows_of(reader: _Pages, number: int) -> Iterator[Found]:
    page, start = reader.page(number), _HEADER_BYTES if number == 1 else 0
    if page[start] != _LEAF:
        return
    cells = min(int.from_bytes(page[start + 3 : start + 5], "big"), (reader.bytes - start - 8) // 2)
    for index in range(cells):
        at = start + 8 + 2 * index
        try:
            yield _row(reader, page, int.from_bytes(page[at : at + 2], "big"))
        except (_Damage, IndexError, struct.error):
            continue


def _row(reader: _Pages, page: bytes, at: int) -> Found:
    size, at = _varint(page, at)
    number, at = _varint(page, at)
    if not 0 < size <= VALUE_BYTES_MAX:
        raise _Damage
    payload = _payload(reader, page, at, size)
    header_bytes, at = _varint(payload, 0)
    kinds = []
    while at < header_bytes:
        kind, at = _varint(payload, at)
        kinds.append(kind)
        if len(kinds) > COLUMNS_MAX:
            raise _Damage
    values = []
    for kind in kinds:
        value, at = _value(payload, at, kind)
        values.append(value)
    if at != size:
        raise _Damage
    return Found(number, tuple(values))


def _payload(reader: _Pages, page: bytes, at: int, size: int) -> bytes:
    """Returns the bytes of a row, which go on in overflow pages when they are many."""
    usable = reader.bytes
    local_max, local_min = usable - 35, (usable - 12) * 32 // 255 - 23
    if size <= local_max:
        return page[at : at + size]
    local = local_min + (size - local_min) % (usable - 4)
    local = local if local <= local_max else local_min
    parts = [page[at : at + local]]
    following = int.from_bytes(page[at + local : at + local + 4], "big")
    left = size - local
    while left > 0:
        if not 0 < following <= reader.count:
            raise _Damage
        overflow = reader.page(following)
        parts.append(overflow[4 : 4 + min(left, usable - 4)])
        following = int.from_bytes(overflow[:4], "big")
        left -= usable - 4
    return b"".join(parts)


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind >= 12:
        end = at + (kind - 12) // 2
        if end > len(payload):
            raise _Damage
        return payload[at:end], end
    if kind not in _FIXED_BYTES:
        raise _Damage
    end = at + _FIXED_BYTES[kind]
    if kind == 0:
        return None, end
    if kind in (8, 9):
        return kind - 8, end
    if kind == 7:
        return float(struct.unpack(">d", payload[at:end])[0]), end
    return int.from_bytes(payload[at:end], "big", signed=True), end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    value = value << 8 | data[at + 8]
    return value - (1 << 64) if value >= 1 << 63 else value, at + 9


def _committed(wal: Path, page_bytes: int) -> dict[int, bytes]:
    """Returns the newest committed version of each page in a write-ahead log."""
    try:
        content = wal.read_bytes()
    except FileNotFoundError:
        return {}
    if len(content) < _WAL_HEADER.size:
        return {}
    magic, _, said, _, *salts_and_sums = _WAL_HEADER.unpack_from(content)
    if magic not in _WAL_MAGIC or said != page_bytes:
        return {}
    found: dict[int, bytes] = {}
    waiting: dict[int, bytes] = {}
    step = _WAL_FRAME.size + page_bytes
    for at in range(_WAL_HEADER.size, len(content) - step + 1, step):
        number, size_after, *salts = _WAL_FRAME.unpack_from(content, at)[:4]
        if salts != salts_and_sums[:2]:
            break  # the rest is of an earlier round
        waiting[number] = content[at + _WAL_FRAME.size : at + step]
        if size_after:
            found |= waiting
            waiting = {}
    return found
