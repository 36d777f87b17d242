"""Takes records of others out of the replica again, with everything that follows from them, as if they had never come.

After each transaction the live tables are the fold of the records that are left. What stays of a log that is forgotten
is what others' standing hangs on, whoever carries it: revocations by verified accounts, and changes of those who are
trusted. Keys that sign here are never forgotten. Scripts and logs that nothing names any more go in a second step
(unnamed). Left out: whom to forget, and when (node.sync.strangers). Rejected: deriving the live tables anew, which
takes a minute at a million records; and one transaction for a log of any length, for which others would wait.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from ensue.errors import StoreDamaged
from ensue.facts import understood
from ensue.people import InForce, Successors, covers_of, is_known, meant
from ensue.record import Record
from ensue.search import folded, spelling, vocabulary
from ensue.store.database import Database, Row
from ensue.store.entry import RESULT, TEXT, Entry, entry
from ensue.store.generation import note_forgotten
from ensue.store.ownlog import own_keys
from ensue.store.rows import checked
from ensue.store.shelf import VERBATIM
from ensue.store.tables import Tables
from ensue.store.trusted import parsed, read_in_force, read_voters, vouches
from ensue.store.unnamed import Unnamed, named_blobs
from ensue.store.wordindex import last_indexed, said

RECORDS_AT_ONCE = 250
"""Records taken out by one transaction: some tenths of a second, for which other processes wait to write."""
_BY_RECORD = (
    *("results", "claims", "texts", "retractions", "delegations", "revocations", "credentials", "leaves", "listed"),
    *("quorums", "announcements", "outbox", "about", "verdicts"),
)
Changing = Callable[[], AbstractContextManager[None]]
_Gone = tuple[int, bytes, int, str, Entry | None]


class Forgetting:
    """Forgets in one replica; `changing` opens a write transaction."""

    def __init__(self, database: Database, tables: Tables, network: str, changing: Changing) -> None:
        self._database, self._tables, self._network, self._changing = database, tables, network, changing
        self.unnamed = Unnamed(database, changing)
        self._trusted: InForce | None = None
        self._voters: set[str] | None = None

    def forget(self, authors: Iterable[str], at_once: int = RECORDS_AT_ONCE) -> int:
        """Takes out all that authors signed, and what only they named; returns the number of records."""
        waiting, gone = list(authors), 0
        while waiting:
            gone += self.some(waiting, at_once)
        self.unnamed.sweep()
        return gone

    def some(self, waiting: list[str], most: int = RECORDS_AT_ONCE) -> int:
        """Takes out at most so many records of the last ones in `waiting`, in one transaction; returns how many.

        Authors of whom nothing is left that may go are removed from the list.
        """
        rows: list[Row] = []
        with self._changing():
            own, self._trusted, self._voters = own_keys(self._database), None, None
            self._tables.forget()
            while waiting and len(rows) < most:
                if waiting[-1] not in own:
                    rows += self._last_rows(waiting[-1], most - len(rows))
                if len(rows) < most:
                    waiting.pop()
            if rows:
                self._take_out([self._read(row) for row in rows])
        return len(rows)

    def _last_rows(self, author: str, most: int) -> list[Row]:
        """Returns number, id, author, kind and bytes of an author's records, the highest numbers first."""
        found: list[Row] = []
        last = (2**63 - 1, b"")
        while len(found) < most:
            rows = self._database.rows(
                "SELECT r.no, r.id, r.author, k.name, plain(r.raw, r.form), r.seq FROM records r"
                " JOIN names k ON k.no = r.kind WHERE r.author = (SELECT no FROM names WHERE name = ?)"
                " AND (r.seq, r.id) < (?, ?) ORDER BY r.seq DESC, r.id DESC LIMIT ?",
                (author, *last, most),
            )
            if not rows:
                break
            last = (rows[-1][5], rows[-1][1])
            found += [row[:5] for row in rows if not self._is_kept(row[0], row[3])]
        return found[:most]

    def _read(self, row: Row) -> tuple[_Gone, Record | None]:
        no, key, author, kind, raw = row
        try:
            record = checked(self._database.path, key, raw)
        except StoreDamaged:  # it goes with what the tables know of it
            return (no, bytes(key), author, kind, None), None
        return (no, bytes(key), author, kind, entry(record, understood(record), VERBATIM, b"")), record

    # What stays, whoever carries it

    def _is_kept(self, no: int, kind: str) -> bool:
        if kind == "revocation":
            return self._keeps_revocation(no)
        return kind == "quorum" and self._keeps_quorum(no)

    def _keeps_revocation(self, no: int) -> bool:
        """Whether a revocation is the first here of the lowest number, by an account that is or was verified."""
        rows = self._database.rows(
            "SELECT v.node, v.account, v.last_seq, n.name, a.name FROM revocations v JOIN names n ON n.no = v.node"
            " JOIN names a ON a.no = v.account WHERE v.no = ?",
            (no,),
        )
        if not rows:
            return False
        node, account, last_seq, name, holder = rows[0]
        lower = "SELECT 1 FROM revocations WHERE node = ? AND account = ? AND (last_seq, no) < (?, ?)"
        if self._database.row(lower, (node, account, last_seq, no)) is not None:
            return False
        if self._trusted is None:
            self._trusted = read_in_force(self._database, self._network)
        covers = covers_of(holder, vouches(self._database, holder), self._trusted)
        return is_known(covers, self._trusted.needed, name)

    def _keeps_quorum(self, no: int) -> bool:
        """Whether a statement bears a signature that matters and that no earlier record of it here bears."""
        row = self._database.row("SELECT says, epoch, previous, statement FROM quorums WHERE no = ?", (no,))
        if row is None:
            return False
        if self._voters is None:
            self._voters = read_voters(self._database, self._network)
        matters = self._signers(row[0]) & self._voters
        earlier = "SELECT says FROM quorums WHERE epoch = ? AND previous = ? AND statement = ? AND no < ?"
        if matters:
            for (says,) in self._database.rows(earlier, (*row[1:], no)):
                matters -= self._signers(says)
        return bool(matters)

    @staticmethod
    def _signers(says: str) -> frozenset[str]:
        change = meant(parsed(says))
        return change.signers if isinstance(change, Successors) else frozenset()

    # What goes

    def _take_out(self, read: list[tuple[_Gone, Record | None]]) -> None:
        tables, run, rows = self._tables, self._database.run, self._database.rows
        gone = [one for one, _ in read]
        note_forgotten(self._database)
        run("CREATE TEMP TABLE IF NOT EXISTS gone(no INTEGER PRIMARY KEY)")
        run("DELETE FROM temp.gone")
        self._database.run_many("INSERT INTO temp.gone VALUES (?)", [(no,) for no, *_ in gone])
        tables.vouching.begin()
        self._note_people()
        for no, key, *_ in gone:
            tables.vouching.trials.touched(no, key)
        words = self._unindex(gone, [record for _, record in read])
        self.unnamed.note(key for _, record in read if record is not None for key in named_blobs(record.raw))
        for track, author, agent, status, number in rows(
            "SELECT x.track, x.author, x.agent, x.status, count(*) FROM temp.gone g CROSS JOIN results x ON x.no = g.no"
            " WHERE x.retracted = 0 AND x.frozen = 0 GROUP BY 1, 2, 3, 4"
        ):
            tables.changes[track, author, agent, status] -= number
        targets = rows("SELECT t.target FROM temp.gone g CROSS JOIN retractions t ON t.no = g.no")
        claims = rows(
            "SELECT DISTINCT x.claim FROM temp.gone g CROSS JOIN results x ON x.no = g.no WHERE x.claim IS NOT NULL"
        )
        orphans = self._cut_references(gone)
        for table in _BY_RECORD:
            run(f"DELETE FROM {table} WHERE no IN (SELECT no FROM temp.gone)")
        run("DELETE FROM leases WHERE claim IN (SELECT no FROM temp.gone)")
        run("DELETE FROM records WHERE no IN (SELECT no FROM temp.gone)")
        self._drop_words(words)
        self._judge([key for (key,) in targets], [no for (no,) in claims], orphans, {one[2] for one in gone})
        kinds: dict[str, int] = {}
        for _, _, _, kind, _ in gone:
            kinds[kind] = kinds.get(kind, 0) - 1
        tables.count(kinds)

    def _note_people(self) -> None:
        """Notes whose standing the records that go may change; changes of who is trusted are not among them."""
        vouching, rows = self._tables.vouching, self._database.rows
        for (no,) in rows("SELECT c.no FROM temp.gone g CROSS JOIN credentials c ON c.no = g.no"):
            vouching.touched(no)
        for (node,) in rows(
            "SELECT v.node FROM temp.gone g CROSS JOIN revocations v ON v.no = g.no"
            " UNION SELECT d.node FROM temp.gone g CROSS JOIN delegations d ON d.no = g.no"
        ):
            vouching.respeak(node)

    def _cut_references(self, gone: list[_Gone]) -> list[int]:
        """Lets what names a record that goes wait for it again; returns the results that lose their parent."""
        run, rows, waits = self._database.run, self._database.rows, self._tables.waits
        keys = {no: key for no, key, *_ in gone}
        orphans: list[int] = []
        for table, column in (("results", "parent"), ("results", "claim"), ("claims", "hypothesis")):
            found = rows(
                f"SELECT x.no, x.{column} FROM temp.gone g CROSS JOIN {table} x ON x.{column} = g.no"
                " WHERE x.no NOT IN (SELECT no FROM temp.gone)"
            )
            waits.begin([(keys[named], no) for no, named in found])
            for no, _ in found:
                run(f"UPDATE {table} SET {column} = NULL WHERE no = ?", (no,))
            if column == "parent":
                orphans = [no for no, _ in found]
        for no, _, _, _, item in gone:
            if item is not None:
                named = {key for key in (item.parent, item.claim, item.hypothesis) if key is not None}
                waits.drop([(key, no) for key in named])
            else:
                run("DELETE FROM missing WHERE no = ?", (no,))
        return orphans

    def _judge(self, targets: list[bytes], claims: list[int], orphans: list[int], authors: set[int]) -> None:
        """Judges again what is left of that which the records that went had a bearing on."""
        tables, run, row = self._tables, self._database.run, self._database.row
        for no in orphans:
            before = row("SELECT retracted, tainted FROM results WHERE no = ?", (no,))
            if before is not None and before[1]:
                run("UPDATE results SET tainted = 0 WHERE no = ?", (no,))
                if not before[0]:
                    tables.taint_children(no)
        for author in sorted(authors):
            fork = row("SELECT from_seq FROM forked WHERE author = ?", (author,))
            if fork is None:
                continue
            twins = self._database.rows("SELECT 1 FROM records WHERE author = ? AND seq = ? LIMIT 2", (author, fork[0]))
            if len(twins) < 2:  # the highest numbers go first, and this was the lowest that is there twice
                run("DELETE FROM forked WHERE author = ?", (author,))
                tables.settle(author, fork[0])
        for target in targets:
            tables.judge(target)
        for no in claims:
            tables.judge_claim(no)
        for node in tables.vouching.unheard():
            tables.settle(node)
        tables.vouching.judge()

    # Search

    def _unindex(self, gone: list[_Gone], records: list[Record | None]) -> set[str]:
        """Takes the texts of records that go out of the index; returns their words."""
        last, words = last_indexed(self._database), set[str]()
        for (no, _, _, _, item), record in zip(gone, records, strict=True):
            if item is None or record is None or item.role not in (RESULT, TEXT) or no > last:
                continue
            text = folded(said(record))
            self._database.run("INSERT INTO words(words, rowid, text) VALUES ('delete', ?, ?)", (no, text))
            words |= vocabulary(text)
        return words

    def _drop_words(self, words: set[str]) -> None:
        """Takes out of the vocabulary those of some words of which no text that is left has even the stem."""
        for word in sorted(words):
            if self._database.row("SELECT 1 FROM words WHERE words MATCH ? LIMIT 1", (f'"{word}"',)) is not None:
                continue
            row = self._database.row("SELECT no FROM vocabulary WHERE word = ?", (word,))
            if row is not None:
                delete = "INSERT INTO spellings(spellings, rowid, word) VALUES ('delete', ?, ?)"
                self._database.run(delete, (row[0], spelling(word)))
                self._database.run("DELETE FROM vocabulary WHERE no = ?", (row[0],))
