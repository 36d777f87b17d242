"""Keeps records packed: the bytes that were signed, against what the records of this file have in common.

Once a file holds LEARN_AT records it learns a dictionary from them, and learns again when it has grown far beyond. Each
dictionary is stored twice, since every record that needs it would be lost with it. SQL reads records as
`plain(raw, form)`. Left out: the packing itself (ensue.packing). Rejected: packing each record against the author's one
before, where one damaged page takes all that follow along.
"""

import hashlib

from ensue.errors import StoreDamaged
from ensue.packing import Dictionary, learn
from ensue.record import RECORD_BYTES_MAX
from ensue.store.database import Database

VERBATIM = 0
"""The form of a record that is stored as it came; other forms are numbers of dictionaries."""
LEARN_AT = (1_000, 50_000)
"""How many records a file holds when it learns its first dictionary, and its second."""
SAMPLES = 300
"""Records that are learnt from; 1,000 take three times as long and save 0.3 % more."""

_COPIES = ("dictionaries", "dictionaries_copy")
_SUM_BYTES = 32


class Shelf:
    """Packs and unpacks the records of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dictionaries: dict[int, Dictionary] = {}
        self._newest: int | None = None
        database.function("plain", self.plain)

    def forget(self) -> None:
        """Drops what is cached, which a rolled back transaction may have made wrong."""
        self._dictionaries.clear()
        self._newest = None

    def newest(self) -> int:
        """Returns the form in which records are packed now."""
        if self._newest is None:
            found = self._database.row("SELECT max(no) FROM dictionaries")
            self._newest = int(found[0] or VERBATIM) if found else VERBATIM
        return self._newest

    def pack(self, raw: bytes) -> tuple[int, bytes]:
        """Returns the form of a record, and its bytes in that form."""
        form = self.newest()
        dictionary = self.dictionary(form)
        return (VERBATIM, raw) if dictionary is None else (form, dictionary.pack(raw))

    def plain(self, stored: bytes, form: int) -> bytes:
        """Returns a record's bytes as they were signed; bytes that do not unpack as they are, for a hash to notice."""
        if form == VERBATIM:
            return stored
        dictionary = self.dictionary(form)
        try:
            return stored if dictionary is None else dictionary.unpack(stored, RECORD_BYTES_MAX)
        except (StoreDamaged, TypeError):
            return stored

    def dictionary(self, form: int) -> Dictionary | None:
        """Returns the dictionary of a form; None for VERBATIM, or when both copies are damaged."""
        found = self._dictionaries.get(form)
        if found is None and form != VERBATIM:
            data = _sound(self._database, form)
            if data is not None:
                found = self._dictionaries[form] = Dictionary(data)
        return found

    def dictionaries(self) -> dict[int, bytes]:
        """Returns every dictionary that can be read, by form."""
        forms = (int(no) for (no,) in self._database.rows("SELECT no FROM dictionaries"))
        return {form: found.data for form in forms if (found := self.dictionary(form)) is not None}

    def learn(self, count: int) -> bool:
        """Learns a dictionary if the file, of `count` records, has come to hold enough; belongs inside a transaction.

        What was stored until then stays as it is. Returns whether a new dictionary was learnt.
        """
        due = sum(count >= least for least in LEARN_AT)
        if due <= self.newest():
            return False
        self._newest = None  # another process may have learnt meanwhile
        if due <= self.newest():
            return False
        data = learn([raw for (raw,) in self._samples()])
        if data is None:
            return False
        stored = hashlib.sha256(data).digest() + data
        for table in _COPIES:
            self._database.run(f"INSERT INTO {table}(no, data) VALUES (?, ?)", (due, stored))
        self._newest = due
        return True

    def _samples(self) -> list[tuple[bytes]]:
        newest = "SELECT plain(raw, form) FROM records ORDER BY no DESC LIMIT ?"
        return self._database.rows(newest, (SAMPLES,))


def _sound(database: Database, form: int) -> bytes | None:
    for table in _COPIES:
        try:
            row = database.row(f"SELECT data FROM {table} WHERE no = ?", (form,))
        except StoreDamaged:
            continue
        if row and hashlib.sha256(row[0][_SUM_BYTES:]).digest() == row[0][:_SUM_BYTES]:
            return bytes(row[0][_SUM_BYTES:])
    return None
