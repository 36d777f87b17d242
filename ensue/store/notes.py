"""This node's own notes: a text for each key, never sent, each with a sum that a damaged page does not pass.

A note that fails its sum counts as absent, so whoever asks falls back to what the records say. Left out: what the notes
mean. Rejected: a column for the sum, which would cost a migration and bring nothing more.
"""

import zlib

from ensue.store.database import Database

_MARK = "\x1e"  # stands between a text and its sum; notes of earlier versions have none
_SUM_CHARS = 8


class Notes:
    """The notes of one database; `put` belongs inside a write transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str) -> str | None:
        """Returns a note, None where there is none or it is damaged."""
        row = self._database.row("SELECT value FROM local WHERE key = ?", (key,))
        return _checked(key, row[0]) if row else None

    def put(self, key: str, value: str | None) -> None:
        """Sets a note, or removes it with None."""
        if value is None:
            self._database.run("DELETE FROM local WHERE key = ?", (key,))
        else:
            text = f"{value}{_MARK}{_sum(key, value)}"
            self._database.run("INSERT OR REPLACE INTO local(key, value) VALUES (?, ?)", (key, text))

    def damaged(self) -> tuple[str, ...]:
        """Returns "notes" if any of them is damaged."""
        rows = self._database.rows("SELECT key, value FROM local")
        return ("notes",) if any(_checked(key, value) is None for key, value in rows) else ()


def _checked(key: object, stored: object) -> str | None:
    if not isinstance(stored, str) or not isinstance(key, str):
        return None
    text, mark, found = stored.rpartition(_MARK)
    if not mark or len(found) != _SUM_CHARS:
        return stored
    return text if found == _sum(key, text) else None


def _sum(key: str, text: str) -> str:
    return f"{zlib.crc32(f'{key}{_MARK}{text}'.encode(errors='surrogatepass')):08x}"
