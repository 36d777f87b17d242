"""Keeps blobs in the database, each packed against the one it resembles, and checks every one against its hash.

Left out: packing itself (ensue.blobs). Chains of differences are bounded in depth: beyond it a blob is packed against
the root of its chain, or alone when that saves too little. Rejected: files beside the database, which no transaction
covers.
"""

import hashlib

from ensue.blobs import CHAIN_DEPTH_MAX, Blob, pack, smaller_alone, unpack
from ensue.errors import BlobMissing, StoreDamaged
from ensue.store.database import Database, Row, damaged


def put(database: Database, blob: Blob) -> None:
    """Stores a blob unless it is here; belongs inside a write transaction."""
    if has(database, blob.sha256):
        return
    base, depth = _base(database, blob.parent)
    packed = pack(blob.data, None if base is None else _unpacked(database, base))
    if base is not None and (alone := smaller_alone(blob.data, packed)) is not None:
        base, depth, packed = None, 0, alone
    database.run(
        "INSERT INTO blobs(sha, base, depth, data) VALUES (?, ?, ?, ?)",
        (bytes.fromhex(blob.sha256), None if base is None else base[0], depth, packed),
    )


def has(database: Database, sha256: str) -> bool:
    """Returns whether a blob is here."""
    return database.row("SELECT 1 FROM blobs WHERE sha = ?", (bytes.fromhex(sha256),)) is not None


def get(database: Database, sha256: str) -> bytes:
    """Returns a blob's bytes; raises BlobMissing, or StoreDamaged when they do not match the hash."""
    row = database.row("SELECT no, base, data FROM blobs WHERE sha = ?", (bytes.fromhex(sha256),))
    if row is None:
        raise BlobMissing(f"The source or log {sha256[:12]} is not here: ask again when a peer that has it was met.")
    data = _unpacked(database, row)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise damaged(database.path, f"blob {sha256[:12]} does not match its hash")
    return data


def _base(database: Database, parent: str | None) -> tuple[Row | None, int]:
    """Returns the row to pack against, and the depth that the new blob gets."""
    row = None
    if parent is not None:
        sql = "SELECT no, base, data, depth FROM blobs WHERE sha = ?"
        row = database.row(sql, (bytes.fromhex(parent),))
    if row is None:
        return None, 0
    if row[3] >= CHAIN_DEPTH_MAX:
        row = (*_chain(database, row)[-1], 0)
    return row[:3], row[3] + 1


def _chain(database: Database, row: Row) -> list[Row]:
    """Returns the rows that a blob is read from, itself first, the one that stands alone last."""
    chain = [row[:3]]
    while chain[-1][1] is not None:
        base = database.row("SELECT no, base, data FROM blobs WHERE no = ?", (chain[-1][1],))
        if base is None or len(chain) > CHAIN_DEPTH_MAX:
            raise damaged(database.path, "a packed blob has lost what it was packed against")
        chain.append(base)
    return chain


def _unpacked(database: Database, row: Row) -> bytes:
    data: bytes | None = None
    for _, _, packed in reversed(_chain(database, row)):
        try:
            data = unpack(packed, data)
        except StoreDamaged as error:
            raise damaged(database.path, "a blob does not unpack") from error
    return data or b""
