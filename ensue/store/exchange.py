"""Reads what nodes exchange: records by author and number or by id, what they name, blobs as they are packed here.

Every answer is bounded by its caller, so that a peer's question costs no more than what it is answered with. Left out:
which records to exchange, and with whom (node.sync). Rejected: objects of records; nodes pass on the signed bytes.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from ensue.identity import SIGNATURE_BYTES
from ensue.store.database import Database, Row, Value
from ensue.store.generation import generation

ID_BYTES = 32
RAWS_AT_ONCE = 64
"""Records read by one statement, each of at most 64 KiB."""
KEYS_AT_ONCE = 500
SOURCES_REMEMBERED_MAX = 20_000
"""Ids whose source is kept in memory, since their children ask for it."""
WITH_SOURCES = ("result", "claim", "hypothesis")
"""Kinds whose bodies name a script."""

_NAMING = "SELECT r.no, n.name, r.id, plain(r.raw, r.form) FROM records r JOIN names n ON n.no = r.kind"

Key = tuple[int, bytes]
"""The place of a record in its author's log: sequence number, and id, which orders forks."""


class Numbered(NamedTuple):
    """A record's place in this file and in its author's log."""

    no: int
    author: str
    seq: int
    id: bytes


class Named(NamedTuple):
    """A script that the record in row `no` names, and the script that it was made from; hashes.

    `waits`: what it was made from will be known when the record of its parent is here.
    """

    no: int
    source: bytes
    base: bytes | None
    waits: bool = False


class Packed(NamedTuple):
    """A blob as it is kept: against which other blob (a hash, None for alone), and the bytes."""

    base: bytes | None
    data: bytes


class Exchange:
    """Answers for what other nodes ask; reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sources: OrderedDict[bytes, bytes | None] = OrderedDict()

    def rows(self, after: int, limit: int) -> list[Numbered]:
        """Returns the records after row `after`, in order of arrival."""
        found = self._database.rows(
            "SELECT r.no, n.name, r.seq, r.id FROM records r JOIN names n ON n.no = r.author"
            " WHERE r.no > ? ORDER BY r.no LIMIT ?",
            (after, limit),
        )
        return [Numbered._make(row) for row in found]

    def rows_of(self, authors: Iterable[str], upto: int) -> list[Numbered]:
        """Returns the records of some authors in rows up to one, in order of arrival for each author."""
        return [
            Numbered(no, author, seq, key)
            for author in authors
            for no, seq, key in self._database.rows(
                "SELECT no, seq, id FROM records WHERE author = (SELECT no FROM names WHERE name = ?) AND no <= ?"
                " ORDER BY no",
                (author, upto),
            )
        ]

    def last_until(self, no: int) -> tuple[int, bytes] | None:
        """Returns number and id of the last record in rows up to one."""
        row = self._database.row("SELECT no, id FROM records WHERE no <= ? ORDER BY no DESC LIMIT 1", (no,))
        return (int(row[0]), bytes(row[1])) if row else None

    def generation(self) -> int:
        """Returns how often records were taken out of this replica."""
        return generation(self._database)

    def id_of(self, no: int) -> bytes | None:
        """Returns the id of the record in a row."""
        row = self._database.row("SELECT id FROM records WHERE no = ?", (no,))
        return bytes(row[0]) if row else None

    def keys(self, author: str, first: int, last: int, upto: int, limit: int, after: Key = (0, b"")) -> list[Key]:
        """Returns an author's numbers and ids from number `first` to `last`, in order, those in rows up to `upto`."""
        found = self._database.rows(
            "SELECT seq, id FROM records WHERE author = (SELECT no FROM names WHERE name = ?)"
            " AND seq BETWEEN ? AND ? AND no <= ? AND (seq, id) > (?, ?) ORDER BY seq, id LIMIT ?",
            (author, first, last, upto, *after, limit),
        )
        return [(int(seq), bytes(key)) for seq, key in found]

    def tail(self, author: str, after: Key, bytes_max: int) -> tuple[list[bytes], Key | None]:
        """Returns an author's records after a place in its log, and the place of the last one if there may be more.

        At least one is returned if there is any; those whose bytes are damaged are left out.
        """
        raws: list[bytes] = []
        size = 0
        while True:
            rows = self._database.rows(
                "SELECT seq, id, plain(raw, form) FROM records WHERE author = (SELECT no FROM names WHERE name = ?)"
                " AND (seq, id) > (?, ?) ORDER BY seq, id LIMIT ?",
                (author, *after, RAWS_AT_ONCE),
            )
            for seq, key, raw in rows:
                if raws and size + len(raw) > bytes_max:
                    return raws, after
                after = (int(seq), bytes(key))
                if _sound(key, raw):
                    raws.append(raw)
                    size += len(raw)
            if len(rows) < RAWS_AT_ONCE:
                return raws, None

    def raws(self, ids: Sequence[bytes], bytes_max: int) -> tuple[list[bytes], int]:
        """Returns those records that are here, in the order asked for, and how many ids were looked at.

        It stops before `bytes_max` would be passed, after at least one record.
        """
        raws: list[bytes] = []
        size = 0
        for start in range(0, len(ids), RAWS_AT_ONCE):
            some = ids[start : start + RAWS_AT_ONCE]
            marks = ", ".join("?" * len(some))
            rows = self._database.rows(f"SELECT id, plain(raw, form) FROM records WHERE id IN ({marks})", some)
            found = {bytes(key): raw for key, raw in rows if _sound(key, raw)}
            for offset, key in enumerate(some):
                raw = found.get(key)
                if raw is not None and raws and size + len(raw) > bytes_max:
                    return raws, start + offset
                if raw is not None:
                    raws.append(raw)
                    size += len(raw)
        return raws, len(ids)

    def lacking(self, ids: Iterable[bytes]) -> list[bytes]:
        """Returns those ids of which no record is here, in the order given."""
        return self._absent("SELECT id FROM records WHERE id IN", list(ids))

    def lacking_blobs(self, hashes: Iterable[bytes]) -> list[bytes]:
        """Returns those hashes of which no blob is here, in the order given."""
        return self._absent("SELECT sha FROM blobs WHERE sha IN", list(hashes))

    def named(self, after: int, limit: int) -> tuple[list[Named], int]:
        """Returns what the next `limit` rows after row `after` name and is not here, and the last row looked at."""
        rows = self._database.rows(f"{_NAMING} WHERE r.no > ? ORDER BY r.no LIMIT ?", (after, limit))
        return self._wanted(rows), rows[-1][0] if rows else after

    def named_by(self, numbers: Sequence[int]) -> list[Named]:
        """Returns what the rows of these numbers name and is not here, by all that is known of their parents now."""
        return self._wanted([row for rows in self._parts(f"{_NAMING} WHERE r.no IN", numbers) for row in rows])

    def _wanted(self, rows: Sequence[Row]) -> list[Named]:
        bodies = [(no, key, _names(raw)) for no, kind, key, raw in rows if kind in WITH_SOURCES]
        for _, key, (source, _) in bodies:
            self._remember(bytes(key), source)
        named: dict[bytes, tuple[int, bytes | None]] = {}
        for no, _, (source, parent) in bodies:
            if source is not None and named.get(source, (no, None))[1] is None:
                named[source] = no, parent  # of several records one that says what the script was made from
        absent = self.lacking_blobs(named)
        parents = self._sources_of([parent for key in absent if (parent := named[key][1]) is not None])
        wanted = []
        for key in absent:
            no, parent = named[key]
            wanted.append(Named(no, key, parents.get(parent or b""), parent is not None and parent not in parents))
        return sorted(wanted, key=lambda one: one.no)

    def packed(self, sha: bytes) -> Packed | None:
        """Returns a blob as it is kept here, None if it is not; what it unpacks to is not checked."""
        row = self._database.row(
            "SELECT b.base, other.sha, b.data FROM blobs b LEFT JOIN blobs other ON other.no = b.base WHERE b.sha = ?",
            (sha,),
        )
        if row is None or (row[0] is not None and row[1] is None):
            return None
        return Packed(None if row[1] is None else bytes(row[1]), bytes(row[2]))

    def _sources_of(self, ids: Sequence[bytes]) -> dict[bytes, bytes | None]:
        """Returns the sources that records name, of those that are here."""
        unknown = [key for key in dict.fromkeys(ids) if key not in self._sources]
        found = {key: self._sources[key] for key in ids if key in self._sources}
        for rows in self._parts("SELECT id, plain(raw, form) FROM records WHERE id IN", unknown):
            for key, raw in rows:
                found[bytes(key)] = source = _names(raw)[0]
                self._remember(bytes(key), source)
        return found

    def _remember(self, key: bytes, source: bytes | None) -> None:
        self._sources[key] = source
        if len(self._sources) > SOURCES_REMEMBERED_MAX:
            self._sources.popitem(last=False)

    def _absent(self, select: str, keys: list[bytes]) -> list[bytes]:
        here = {bytes(key) for rows in self._parts(select, keys) for (key,) in rows}
        return [key for key in keys if key not in here]

    def _parts(self, select: str, keys: Sequence[Value]) -> Iterable[list[Row]]:
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            yield self._database.rows(f"{select} ({', '.join('?' * len(some))})", some)


def _sound(key: bytes, raw: bytes) -> bool:
    return hashlib.sha256(raw[SIGNATURE_BYTES:]).digest() == key


def _names(raw: bytes) -> tuple[bytes | None, bytes | None]:
    """Returns the source and the parent that a stored record's body names."""
    try:
        body = orjson.loads(raw[SIGNATURE_BYTES:])["body"]
        return _hash(body.get("source")), _hash(body.get("parent"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, None


def _hash(value: Any) -> bytes | None:
    try:
        found = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return None
    return found if len(found) == ID_BYTES else None
