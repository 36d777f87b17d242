"""Compresses with zstd against something that is known already: the only module that speaks zstandard for the store.

Left out: what is packed against what (blobs for sources and logs, store.shelf for records). Everything that is unpacked
declares its size, which is checked before a byte is written. Rejected: one dictionary shipped with the program; what
records have in common is their network, authors, tracks and machines, which only a file's own records can tell.
"""

from collections.abc import Sequence

import zstandard

from ensue.errors import StoreDamaged

LEVEL = 3
DIFFERENCE_LEVEL = 1
"""Against a base: two bytes more for an edited line than level 3, in two thirds of the time."""
RECORD_LEVEL = 1
"""Records: level 3 takes 1.6 times the time and saves 0.6 % more."""
DICTIONARY_BYTES = 32 * 1024


class Dictionary:
    """What many records have in common, ready for use; not for two threads at a time."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        shared = zstandard.ZstdCompressionDict(data)
        shared.precompute_compress(level=RECORD_LEVEL)
        self._compressor = zstandard.ZstdCompressor(dict_data=shared, write_checksum=True, write_content_size=True)
        self._decompressor = zstandard.ZstdDecompressor(dict_data=shared)

    def pack(self, data: bytes) -> bytes:
        """Returns `data` as a zstd frame with a checksum, which `unpack` of this dictionary alone can read."""
        return self._compressor.compress(data)

    def unpack(self, packed: bytes, bytes_max: int) -> bytes:
        """Returns what was packed; raises StoreDamaged when it is no such frame or declares more than `bytes_max`."""
        return _decompress(self._decompressor, packed, bytes_max)


def learn(samples: Sequence[bytes]) -> bytes | None:
    """Returns a dictionary of DICTIONARY_BYTES for texts like the samples; None when they have too little in common."""
    try:
        return zstandard.train_dictionary(DICTIONARY_BYTES, list(samples), level=RECORD_LEVEL).as_bytes()
    except zstandard.ZstdError:
        return None


def pack(data: bytes, base: bytes | None) -> bytes:
    """Returns `data` as a zstd frame whose dictionary is the text `base`, or that stands alone when base is None."""
    level = DIFFERENCE_LEVEL if base else LEVEL
    return zstandard.ZstdCompressor(level=level, dict_data=_text(base), write_content_size=True).compress(data)


def unpack(packed: bytes, base: bytes | None, bytes_max: int) -> bytes:
    """Returns the bytes that `pack` was given with the same base.

    Raises StoreDamaged on anything that is no such frame or declares more than `bytes_max`.
    """
    return _decompress(zstandard.ZstdDecompressor(dict_data=_text(base)), packed, bytes_max)


def _decompress(decompressor: zstandard.ZstdDecompressor, packed: bytes, bytes_max: int) -> bytes:
    try:
        size = zstandard.frame_content_size(packed)
        if not 0 <= size <= bytes_max:  # an undeclared size reads as -1
            raise StoreDamaged("Packed bytes do not declare a size that is allowed: fetch them again from a peer.")
        if size == 0:
            return b""
        data = decompressor.decompress(packed, max_output_size=size)
    except (zstandard.ZstdError, MemoryError) as error:
        raise StoreDamaged(f"Packed bytes do not unpack ({error}): fetch them again from a peer.") from error
    if len(data) != size:
        raise StoreDamaged("Packed bytes are cut short: fetch them again from a peer.")
    return data


def _text(base: bytes | None) -> zstandard.ZstdCompressionDict | None:
    if not base:
        return None
    return zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
