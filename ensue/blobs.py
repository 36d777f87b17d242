"""Packs sources and logs small: a blob is stored as its difference from another one that is already here.

Left out: where packed blobs are kept (the store) and which of them may be sent. Rejected: a trained dictionary, which
packs an edited 25 kB script to 1,366 bytes where the parent's own text as the dictionary needs 30; and git's object
store, which costs milliseconds and several files a commit.
"""

import hashlib
from dataclasses import dataclass, field

import zstandard

from ensue.errors import StoreDamaged, StoreError

BLOB_BYTES_MAX = 4 * 1024 * 1024
CHAIN_DEPTH_MAX = 16
"""Differences that may have to be applied one after the other to read one blob."""
ALONE_RATIO = 4
"""A difference must be this many times smaller than the blob packed alone, else it starts a chain of its own."""

_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that records name by their hash; `parent` is the hash of a blob that they probably resemble."""

    data: bytes
    parent: str | None = None
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        if len(self.data) > BLOB_BYTES_MAX:
            raise StoreError(
                f"A source or log of {len(self.data):,} bytes cannot be stored: shorten it to {BLOB_BYTES_MAX:,} bytes."
            )
        object.__setattr__(self, "sha256", hashlib.sha256(self.data).hexdigest())


def pack(data: bytes, base: bytes | None) -> bytes:
    """Returns `data` as a zstd frame whose dictionary is `base`, or that stands alone when base is None."""
    return zstandard.ZstdCompressor(level=_LEVEL, dict_data=_dictionary(base), write_content_size=True).compress(data)


def unpack(packed: bytes, base: bytes | None) -> bytes:
    """Returns the bytes that `pack` was given with the same base.

    The size a frame declares is checked before a byte is written, so memory is bounded by BLOB_BYTES_MAX.
    Raises StoreDamaged on anything that is no such frame.
    """
    try:
        size = zstandard.get_frame_parameters(packed).content_size
        if size > BLOB_BYTES_MAX:  # an undeclared size reads as 2**64 - 1
            raise StoreDamaged("A packed source or log declares too many bytes: fetch it again from a peer.")
        if size == 0:
            return b""
        data = zstandard.ZstdDecompressor(dict_data=_dictionary(base)).decompress(packed, max_output_size=size)
    except (zstandard.ZstdError, MemoryError) as error:
        raise StoreDamaged(f"A packed source or log does not unpack ({error}): fetch it again from a peer.") from error
    if len(data) != size:
        raise StoreDamaged("A packed source or log is cut short: fetch it again from a peer.")
    return data


def smaller_alone(data: bytes, packed: bytes) -> bytes | None:
    """Returns `data` packed alone when the difference `packed` saves too little to make reading depend on its base."""
    if len(packed) * ALONE_RATIO <= len(data) // ALONE_RATIO:  # a script packs alone to about a quarter of its size
        return None
    alone = pack(data, None)
    return alone if len(packed) * ALONE_RATIO > len(alone) else None


def _dictionary(base: bytes | None) -> zstandard.ZstdCompressionDict | None:
    if not base:
        return None
    return zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
