"""Named parts in one compressed file: a plain ustar in one zstd frame, which `tar --zstd` reads and writes as well.

Left out: what the parts mean (archive). Nothing is ever unpacked to a path, and every size is checked before memory is
taken. Rejected: the standard library's tarfile, which obeys extension headers of any size and needs a bound on each;
and zip, whose directory of a million parts has to be held in memory.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import zstandard

from ensue.errors import BadArchive

PART_BYTES_MAX = 8 * 1024 * 1024
"""Bytes of one part; it is held in memory as a whole."""
NAME_CHARS_MAX = 100
EXPANSION_MAX = 2_000
"""Bytes that one byte of the file may expand to; chains of edited scripts reach some hundreds."""
EXPANSION_FREE_BYTES = 64 * 1024 * 1024
"""Bytes that any file may expand to, however small it is."""

_LEVEL = 3
_WINDOW_BITS = 23  # 8 MiB back: a script still finds its parent behind the logs of a dozen others
_BLOCK_BYTES = 512
_NAME = re.compile(rb"[a-z0-9][a-z0-9._/-]{0,99}")
_OCTAL = re.compile(rb" *([0-7]{1,11})[ \0]*")
_PLAIN_FILE = (b"0", b"\0")


class Part(NamedTuple):
    """One named part."""

    name: str
    data: bytes


class Writer:
    """Writes parts one after the other; `close` ends the file, but leaves the stream open."""

    def __init__(self, stream: BinaryIO) -> None:
        settings = zstandard.ZstdCompressionParameters.from_level(
            _LEVEL, window_log=_WINDOW_BITS, enable_ldm=True, write_checksum=True
        )
        self._frame = zstandard.ZstdCompressor(compression_params=settings).stream_writer(stream, closefd=False)

    def add(self, name: str, data: bytes) -> None:
        """Writes one part of at most PART_BYTES_MAX bytes; no clock, owner or right goes into its header."""
        assert _NAME.fullmatch(name.encode())
        assert len(data) <= PART_BYTES_MAX
        self._frame.write(_header(name, len(data)))
        self._frame.write(data + bytes(-len(data) % _BLOCK_BYTES))

    def close(self) -> None:
        """Writes the end of the archive and of the frame."""
        self._frame.write(bytes(2 * _BLOCK_BYTES))
        self._frame.close()  # type: ignore[no-untyped-call]


def parts(stream: BinaryIO, called: str) -> Iterator[Part]:
    """Yields the parts of a file in their order; memory is bounded by PART_BYTES_MAX and the window.

    Raises BadArchive, naming the file as `called`, on bytes that are no such file, that end too early, or that expand
    beyond EXPANSION_MAX.
    """
    source = _Source(stream, called)
    while True:
        header = source.take(_BLOCK_BYTES)
        if not any(header):
            source.drain()
            return
        name, size = _read_header(header, called)
        data = source.take(size)
        source.take(-size % _BLOCK_BYTES)
        yield Part(name, data)


class _Source:
    """Expanded bytes of a file, as many as were asked for or BadArchive."""

    def __init__(self, stream: BinaryIO, called: str) -> None:
        self._stream = stream
        self._called = called
        self._expanded = 0
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_BITS)
        self._frame = decompressor.stream_reader(stream, closefd=False)

    def take(self, size: int) -> bytes:
        pieces: list[bytes] = []
        left = size
        while left:
            piece = self._read(left)
            if not piece:
                raise BadArchive(f"{self._called} is cut short: get a whole copy and import it again.")
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def drain(self) -> None:
        """Reads to the end of the frame, where its checksum is compared; there is only padding."""
        while piece := self._read(_BLOCK_BYTES * 20):
            if any(piece):
                raise BadArchive(f"{self._called} goes on behind its end: get a whole copy and import it again.")

    def _read(self, size: int) -> bytes:
        try:
            piece: bytes = self._frame.read(min(size, 1 << 17))
        except (zstandard.ZstdError, MemoryError):
            raise BadArchive(
                f"{self._called} is damaged or no export of ours: get a whole copy of a file that `autoresearch export`"
                " wrote."
            ) from None
        self._expanded += len(piece)
        if self._expanded > EXPANSION_FREE_BYTES + EXPANSION_MAX * self._stream.tell():
            raise BadArchive(f"{self._called} expands more than an honest export does: refuse it.")
        return piece


def _header(name: str, size: int) -> bytes:
    fields = (
        name.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"%011o\0" % 0,
        b"0" + bytes(100) + b"ustar\x0000",
    )
    blank = (fields[0] + b" " * 8 + fields[1]).ljust(_BLOCK_BYTES, b"\0")
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def _read_header(header: bytes, called: str) -> tuple[str, int]:
    """Returns name and size of a part; only plain files with short plain names are parts."""
    name, size, checksum = header[:100].rstrip(b"\0"), _OCTAL.fullmatch(header[124:136]), header[148:156]
    summed, plain = _OCTAL.fullmatch(checksum), header[156:157] in _PLAIN_FILE and not any(header[345:500])
    expected = sum(header) - sum(checksum) + 8 * ord(" ")
    if size is None or summed is None or int(summed[1], 8) != expected or not plain or _NAME.fullmatch(name) is None:
        raise BadArchive(f"{called} holds something that no export holds: get one that `autoresearch export` wrote.")
    if int(size[1], 8) > PART_BYTES_MAX:
        raise BadArchive(f"{called} holds a part of more than {PART_BYTES_MAX:,} bytes: refuse it.")
    return name.decode(), int(size[1], 8)
