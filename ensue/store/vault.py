"""Keeps blobs in the database, each packed against the one it resembles, and checks every one against its hash.

A blob that comes before the one it resembles stands alone until that one comes, and is then packed against it. Left
out: packing itself (ensue.blobs). Chains of differences are bounded in depth: beyond it a blob is packed against the
root of its chain, or alone when that saves too little. Rejected: files beside the database, outside its transactions.
"""

import hashlib
from collections import OrderedDict

from ensue.blobs import CHAIN_DEPTH_MAX, Blob, pack, smaller_alone, unpack
from ensue.errors import BlobMissing, StoreDamaged
from ensue.store.database import Database, Row, damaged

REMEMBERED_BYTES_MAX = 4 * 1024 * 1024
"""Texts kept in memory because the next one is likely packed against them."""
REPACKED_MAX = 100
"""Blobs that are packed anew because what they resemble has come, at once."""

_COLUMNS = "no, base, data, depth, sha"


class Vault:
    """The blobs of one database; `put` belongs inside a write transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._texts: OrderedDict[bytes, bytes] = OrderedDict()  # by hash, so never wrong, whatever is rolled back

    def put(self, blob: Blob) -> None:
        """Stores a blob unless it is here, and packs what has waited for it."""
        if self.has(blob.sha256):
            return
        key, parent = bytes.fromhex(blob.sha256), None if blob.parent is None else bytes.fromhex(blob.parent)
        base, depth = self._base(parent)
        wanted = parent if base is None else None
        packed = pack(blob.data, None if base is None else self._unpacked(base))
        if base is not None and (alone := smaller_alone(blob.data, packed)) is not None:
            base, depth, packed = None, 0, alone
        number = self._database.run(
            "INSERT INTO blobs(sha, base, depth, data, wanted) VALUES (?, ?, ?, ?, ?)",
            (key, None if base is None else base[0], depth, packed, wanted),
        )
        self._remember(key, blob.data)
        self._repack((number, None if base is None else base[0], packed, depth, key))

    def has(self, sha256: str) -> bool:
        """Returns whether a blob is here."""
        return self._database.row("SELECT 1 FROM blobs WHERE sha = ?", (bytes.fromhex(sha256),)) is not None

    def get(self, sha256: str) -> bytes:
        """Returns a blob's bytes; raises BlobMissing, or StoreDamaged when they do not match the hash."""
        row = self._row(bytes.fromhex(sha256))
        if row is None:
            raise BlobMissing(
                f"The source or log {sha256[:12]} is not here: ask again when a peer that has it was met."
            )
        data = self._read(row)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise damaged(self._database.path, f"blob {sha256[:12]} does not match its hash")
        return data

    def text(self, no: int) -> bytes:
        """Returns what a row unpacks to, whatever its hash says; raises BlobMissing, or StoreDamaged if it does not."""
        row = self._database.row(f"SELECT {_COLUMNS} FROM blobs WHERE no = ?", (no,))
        if row is None:
            raise BlobMissing(f"There is no blob in row {no}.")
        return self._read(row)

    def _row(self, key: bytes) -> Row | None:
        return self._database.row(f"SELECT {_COLUMNS} FROM blobs WHERE sha = ?", (key,))

    def _base(self, parent: bytes | None) -> tuple[Row | None, int]:
        """Returns the row to pack against, and the depth that the new blob gets."""
        row = None if parent is None else self._row(parent)
        if row is not None and row[3] >= CHAIN_DEPTH_MAX:
            row = self._chain(row)[-1]
        return row, 0 if row is None else row[3] + 1

    def _repack(self, row: Row) -> None:
        """Packs the blobs that have waited for this row against it, where no chain becomes too deep or a circle."""
        no, _, _, depth, key = row
        waiting = self._database.rows(
            f"SELECT {_COLUMNS} FROM blobs WHERE wanted = ? AND base IS NULL LIMIT ?", (key, REPACKED_MAX)
        )
        root = self._chain(row)[-1][0] if waiting else None
        for other in waiting:
            below = self._database.row(
                "WITH RECURSIVE tree(no, depth) AS (SELECT no, depth FROM blobs WHERE no = ? UNION ALL"
                " SELECT b.no, b.depth FROM tree t JOIN blobs b ON b.base = t.no) SELECT max(depth) FROM tree",
                (other[0],),
            )
            self._database.run("UPDATE blobs SET wanted = NULL WHERE no = ?", (other[0],))
            if other[0] == root or below is None or depth + 1 + below[0] > CHAIN_DEPTH_MAX:
                continue
            data = self._unpacked(other)
            packed = pack(data, self._unpacked(row))
            if smaller_alone(data, packed) is None:
                self._database.run("UPDATE blobs SET base = ?, data = ? WHERE no = ?", (no, packed, other[0]))
                self._database.run(
                    "WITH RECURSIVE tree(no) AS (VALUES(?) UNION ALL SELECT b.no FROM tree t JOIN blobs b"
                    " ON b.base = t.no) UPDATE blobs SET depth = depth + ? WHERE no IN (SELECT no FROM tree)",
                    (other[0], depth + 1),
                )

    def _chain(self, row: Row) -> list[Row]:
        """Returns the rows that a blob is read from, itself first, the one that stands alone last."""
        chain = [row]
        while chain[-1][1] is not None:
            base = self._database.row(f"SELECT {_COLUMNS} FROM blobs WHERE no = ?", (chain[-1][1],))
            if base is None or len(chain) > CHAIN_DEPTH_MAX:
                raise damaged(self._database.path, "a packed blob has lost what it was packed against")
            chain.append(base)
        return chain

    def _unpacked(self, row: Row) -> bytes:
        """Returns the text of a row to pack against, from memory if it was there lately."""
        text = self._texts.get(row[4])
        if text is None:
            text = self._read(row)
            if hashlib.sha256(text).digest() != row[4]:
                raise damaged(self._database.path, f"blob {row[4].hex()[:12]} does not match its hash")
            self._remember(row[4], text)
        return text

    def _remember(self, key: bytes, text: bytes) -> None:
        self._texts[key] = text
        while sum(map(len, self._texts.values())) > REMEMBERED_BYTES_MAX:
            self._texts.popitem(last=False)

    def _read(self, row: Row) -> bytes:
        data: bytes | None = None
        for link in reversed(self._chain(row)):
            try:
                data = unpack(link[2], data)
            except StoreDamaged as error:
                raise damaged(self._database.path, "a blob does not unpack") from error
        return data or b""
