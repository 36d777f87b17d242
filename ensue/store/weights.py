"""What each author's log takes in the replica, and who has built on it: figures for whoever bounds what strangers hold.

Left out: the bound (node.sync.strangers). Rejected: a table that is kept up to date with each record, which every
command would pay for and only the swarm wants.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ensue.store.database import Database
from ensue.store.unnamed import NAMING_KINDS, named_blobs

ROWS_AT_ONCE = 1_000
_AUTHOR = "(SELECT no FROM names WHERE name = ?)"


class Arrived(NamedTuple):
    """A record as it came: its row, who signed it, of which kind it is, and the bytes that it is kept in."""

    no: int
    author: str
    kind: str
    bytes: int


class Weights:
    """Answers for one replica; reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def arrived(self, after: int, limit: int) -> list[Arrived]:
        """Returns the records after row `after`, in order of arrival."""
        found = self._database.rows(
            "SELECT r.no, n.name, k.name, length(r.raw) FROM records r JOIN names n ON n.no = r.author"
            " JOIN names k ON k.no = r.kind WHERE r.no > ? ORDER BY r.no LIMIT ?",
            (after, limit),
        )
        return [Arrived._make(row) for row in found]

    def heard(self) -> list[tuple[str, int]]:
        """Returns every author with the row of the last record that came, those heard of longest ago first."""
        rows = self._database.rows(
            "SELECT n.name, h.last FROM (SELECT author, max(no) AS last FROM records GROUP BY author) h"
            " JOIN names n ON n.no = h.author ORDER BY h.last"
        )
        return [(str(author), int(last)) for author, last in rows]

    def log(self, author: str, upto: int) -> tuple[int, int]:
        """Returns how many records of an author are in rows up to one, and the bytes of those and of their scripts.

        Time is linear in the number of records.
        """
        records, size, last, keys = 0, 0, 0, set[bytes]()
        while rows := self._database.rows(
            "SELECT r.no, k.name, plain(r.raw, r.form), length(r.raw) FROM records r JOIN names k ON k.no = r.kind"
            f" WHERE r.author = {_AUTHOR} AND r.no > ? AND r.no <= ? ORDER BY r.no LIMIT ?",
            (author, last, upto, ROWS_AT_ONCE),
        ):
            for no, kind, raw, count in rows:
                records, size, last = records + 1, size + count, no
                if kind in NAMING_KINDS:
                    keys.update(named_blobs(raw))
        return records, size + sum(self._blob_bytes(key) for key in keys)

    def scripts(self, kept: Sequence[tuple[bytes, int]]) -> list[tuple[str, int]]:
        """Returns, for hashes and the rows of records that name them, author and bytes of each script."""
        found = []
        for key, no in kept:
            row = self._database.row(
                "SELECT n.name FROM records r JOIN names n ON n.no = r.author WHERE r.no = ?", (no,)
            )
            if row is not None:
                found.append((str(row[0]), self._blob_bytes(key)))
        return found

    def built_on(self, author: str) -> set[str]:
        """Returns the other authors whose results have one of this author's for a parent."""
        rows = self._database.rows(
            "SELECT DISTINCT n.name FROM records r INDEXED BY records_author CROSS JOIN results x ON x.parent = r.no"
            f" JOIN names n ON n.no = x.author WHERE r.author = {_AUTHOR} AND x.author <> r.author",
            (author,),
        )
        return {str(name) for (name,) in rows}

    def _blob_bytes(self, key: bytes) -> int:
        row = self._database.row("SELECT length(data) FROM blobs WHERE sha = ?", (key,))
        return int(row[0]) if row else 0
