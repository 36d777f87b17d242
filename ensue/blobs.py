"""Packs sources and logs small: a blob is stored as its difference from another one that is already here.

Left out: where packed blobs are kept (the store) and which of them may be sent. Rejected: a trained dictionary, which
packs an edited 25 kB script to 1,366 bytes where the parent's own text as the dictionary needs 30; and git's object
store, which costs milliseconds and several files a commit.
"""

import hashlib
from dataclasses import dataclass, field

from ensue import packing
from ensue.errors import StoreError

BLOB_BYTES_MAX = 4 * 1024 * 1024
CHAIN_DEPTH_MAX = 16
"""Differences that may have to be applied one after the other to read one blob."""
ALONE_RATIO = 4
"""A difference must be this many times smaller than the blob packed alone, else it starts a chain of its own."""


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
    """Returns `data` packed against the text `base`, or alone when base is None."""
    return packing.pack(data, base)


def unpack(packed: bytes, base: bytes | None) -> bytes:
    """Returns the bytes that `pack` was given with the same base; memory is bounded by BLOB_BYTES_MAX.

    Raises StoreDamaged on anything else.
    """
    return packing.unpack(packed, base, BLOB_BYTES_MAX)


def smaller_alone(data: bytes, packed: bytes) -> bytes | None:
    """Returns `data` packed alone when the difference `packed` saves too little to make reading depend on its base."""
    if len(packed) * ALONE_RATIO <= len(data) // ALONE_RATIO:  # a script packs alone to about a quarter of its size
        return None
    alone = pack(data, None)
    return alone if len(packed) * ALONE_RATIO > len(alone) else None
