"""Scripts, logs and names that no record holds any more, once records were forgotten: found in one pass, and deleted.

Hashes that a record named which went wait in a table until a pass over the records that are left has looked whether
others name them too, so a kill in between loses none. A blob that others are packed against stays until they go. Left
out: blobs that no record ever named. Rejected: counting for each blob who names it, which every record would pay for.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice

from ensue.identity import SIGNATURE_BYTES
from ensue.store.database import Database
from ensue.store.generation import note_forgotten

ROWS_AT_ONCE = 1_000
DELETED_AT_ONCE = 500
"""Blobs deleted by one transaction."""
NAMES_OF_ROWS = 20_000
"""Rows looked at for names by one query, for which other threads wait."""
LAST_ROW = 2**62
NAMING_KINDS = ("result", "claim", "hypothesis")
"""Kinds of records whose bodies name blobs."""

_NAMED = re.compile(rb'"(?:source|log)"\s*:\s*"([0-9a-f]{64})"')
_NAMES = {
    "records": ("author", "kind"),
    "results": ("author", "track", "class", "agent", "status"),
    "claims": ("author", "track"),
    "texts": ("kind", "track"),
    "retractions": ("author",),
    "delegations": ("node", "account"),
    "revocations": ("node", "account"),
    "credentials": ("verifier", "account", "superseded"),
    "leaves": ("node",),
    "listed": ("node",),
    "announcements": ("verifier",),
}
"""Tables with a row or more for each record, and their columns that are numbers of names."""


class Unnamed:
    """What was named by records that went; `changing` opens a write transaction."""

    def __init__(self, database: Database, changing: Callable[[], AbstractContextManager[None]]) -> None:
        self._database, self._changing = database, changing

    def note(self, keys: Iterable[bytes]) -> None:
        """Remembers hashes that a record names which goes; belongs inside its transaction."""
        self._database.run_many("INSERT OR IGNORE INTO unnamed(sha) VALUES (?)", [(key,) for key in set(keys)])

    def sweep(self, asked: Iterable[bytes] = ()) -> dict[bytes, int]:
        """Deletes what nothing names any more; returns which of some hashes a record still names, and in which row.

        Time is linear in the number of records: some ten seconds at a million. Memory holds the hashes.
        """
        doomed = {bytes(key) for (key,) in self._database.rows("SELECT sha FROM unnamed")}
        wanted, found = set(asked), dict[bytes, int]()
        upto = 0
        if doomed or wanted:
            upto = self._look(0, doomed, wanted, found)
        rest = iter(self._outermost_first(doomed))
        while some := list(islice(rest, DELETED_AT_ONCE)):
            with self._changing():
                upto = self._look(upto, doomed, wanted, found)  # what has come meanwhile
                for no, key in some:
                    if (
                        key in doomed
                        and self._database.row("SELECT 1 FROM blobs WHERE base = ? LIMIT 1", (no,)) is None
                    ):
                        self._database.run("DELETE FROM blobs WHERE no = ?", (no,))
        if upto:
            with self._changing():
                self._look(upto, doomed, wanted, found)
                self._settle(doomed)
        self._drop_names()
        return found

    def _look(self, after: int, doomed: set[bytes], wanted: set[bytes], found: dict[bytes, int]) -> int:
        """Takes out of `doomed` what rows after one name, and notes those of `wanted`; returns the last row."""
        marks = ", ".join("?" * len(NAMING_KINDS))
        kinds = [no for (no,) in self._database.rows(f"SELECT no FROM names WHERE name IN ({marks})", NAMING_KINDS)]
        inside = ", ".join(map(str, kinds)) or "NULL"
        while rows := self._database.rows(
            f"SELECT no, iif(kind IN ({inside}), plain(raw, form), NULL) FROM records WHERE no > ? ORDER BY no LIMIT ?",
            (after, ROWS_AT_ONCE),
        ):
            for no, raw in rows:
                if raw is None:
                    continue
                for key in named_blobs(raw):
                    doomed.discard(key)
                    if key in wanted:
                        found.setdefault(key, no)
            after = rows[-1][0]
        return after

    def _outermost_first(self, doomed: set[bytes]) -> Iterator[tuple[int, bytes]]:
        """Yields number and hash of blobs, each before those that it is packed against."""
        rows = [
            row
            for key in doomed
            if (row := self._database.row("SELECT depth, no, sha FROM blobs WHERE sha = ?", (key,))) is not None
        ]
        return ((no, bytes(key)) for _, no, key in sorted(rows, key=lambda row: (-row[0], row[1])))

    def _settle(self, doomed: set[bytes]) -> None:
        """Forgets the hashes that something names, and those whose blobs are gone."""
        for (key,) in self._database.rows("SELECT sha FROM unnamed"):
            if key not in doomed or self._database.row("SELECT 1 FROM blobs WHERE sha = ?", (key,)) is None:
                self._database.run("DELETE FROM unnamed WHERE sha = ?", (key,))

    # Names

    def _drop_names(self) -> None:
        """Deletes names that no row holds, such as those of authors that went."""
        row = self._database.row("SELECT max(no) FROM records")
        upto, held = int(row[0] or 0) if row else 0, set[int]()
        for after in range(0, upto, NAMES_OF_ROWS):
            held |= self._held(after, after + NAMES_OF_ROWS)
        rest = iter([no for (no,) in self._database.rows("SELECT no FROM names") if no not in held])
        while some := list(islice(rest, DELETED_AT_ONCE)):
            with self._changing():
                fresh = self._held(upto, LAST_ROW)  # what has come meanwhile
                if doomed := [(no,) for no in some if no not in fresh]:
                    note_forgotten(self._database)
                    self._database.run_many("DELETE FROM names WHERE no = ?", doomed)

    def _held(self, after: int, upto: int) -> set[int]:
        """Returns the numbers of names in rows that belong to some records."""
        return {
            int(no)
            for table, columns in _NAMES.items()
            for row in self._database.rows(
                f"SELECT DISTINCT {', '.join(columns)} FROM {table} WHERE no > ? AND no <= ?", (after, upto)
            )
            for no in row
            if no is not None
        }


def named_blobs(raw: bytes) -> list[bytes]:
    """Returns the hashes of the scripts and logs that a stored record names."""
    return [bytes.fromhex(key.decode()) for key in _NAMED.findall(raw, SIGNATURE_BYTES)]
