"""The live tables: what the records amount to, brought up to date with each record in the transaction that adds it.

Every derived column has a rule that reads its neighbours only, so a record that changes others (a retraction, a proof
of equivocation, a late parent) has those others judged again by the same rules. `fold` is the check on it.
Left out: reading (queries). Rejected: deriving the state when asked, which takes a minute at a million records; and
database triggers, which nobody can step through.
"""

from ensue.fold import PLACE_UNMEASURED, PLACES, Standing, score
from ensue.kinds import Body, Claim, Hypothesis, Insight, Result, Retraction
from ensue.record import Record
from ensue.search import folded, spelling, vocabulary
from ensue.store.database import Database
from ensue.store.schema import LIVE_TABLES, SEARCH_TABLES

NAMES_CACHED_MAX = 10_000

_NEVER = 2**62  # beyond every sequence number


class Tables:
    """Writes the live tables of one database; every method belongs inside a write transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._names: dict[str, int] = {}
        self._words: set[str] = set()

    def forget(self) -> None:
        """Drops what is cached, which a rolled back transaction may have made wrong."""
        self._names.clear()
        self._words.clear()

    def name(self, text: str) -> int:
        """Returns the number of a name, giving it one if it has none."""
        number = self._names.get(text)
        if number is None:
            row = self._database.row("SELECT no FROM names WHERE name = ?", (text,))
            number = row[0] if row else self._database.run("INSERT INTO names(name) VALUES (?)", (text,))
            if len(self._names) >= NAMES_CACHED_MAX:
                self._names.clear()
            self._names[text] = number
        return number

    def clear(self) -> None:
        """Empties every derived table."""
        self.forget()
        for table in LIVE_TABLES:
            self._database.run(f"DELETE FROM {table}")
        for table in SEARCH_TABLES:
            self._database.run(f"INSERT INTO {table}({table}) VALUES ('delete-all')")

    def add(self, no: int, record: Record, body: Body | None) -> None:
        """Derives what record number `no`, already in `records`, changes. A body of None is an unknown kind."""
        author = self.name(record.author)
        self._freeze_if_forked(author, record.seq)
        if isinstance(body, Result):
            self._add_result(no, author, record, body)
        elif isinstance(body, Claim):
            self._add_claim(no, author, record, body)
        elif isinstance(body, Hypothesis | Insight):
            self._add_text(no, author, record, body)
        elif isinstance(body, Retraction):
            self._database.run(
                "INSERT INTO retractions(no, author, seq, target) VALUES (?, ?, ?, ?)",
                (no, author, record.seq, bytes.fromhex(body.target)),
            )
            self._judge(bytes.fromhex(body.target))

    def _add_result(self, no: int, author: int, record: Record, body: Result) -> None:
        key = bytes.fromhex(record.id)
        standing = self._standing(key, author, record.seq)
        parent = _unhex(body.parent)
        tainted = self._is_tainted(parent)
        self._database.run(
            "INSERT INTO results(no, author, track, class, agent, status, place, score, tie, experiment, claim, parent,"
            " retracted, frozen, tainted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(no, author, self.name(body.track), self.name(body.hardware_class), self.name(body.agent)),
                *(self.name(body.status), PLACES.get(body.status, PLACE_UNMEASURED), score(body)),
                *(int.from_bytes(key[:7], "big"), bytes.fromhex(body.experiment), _unhex(body.claim), parent),
                *(standing.retracted, standing.frozen, tainted),
            ),
        )
        self._index(no, body.description)
        if standing.retracted or tainted:
            self._taint_children(key)
        if body.claim is not None:
            self._judge(bytes.fromhex(body.claim))

    def _add_claim(self, no: int, author: int, record: Record, body: Claim) -> None:
        key = bytes.fromhex(record.id)
        self._database.run(
            "INSERT INTO claims(no, author, track, experiment, hypothesis, ttl_s, open) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(no, author, self.name(body.track), bytes.fromhex(body.experiment)),
                *(_unhex(body.hypothesis), body.ttl_s, self._is_open(key, author, record.seq)),
            ),
        )

    def _add_text(self, no: int, author: int, record: Record, body: Hypothesis | Insight) -> None:
        standing = self._standing(bytes.fromhex(record.id), author, record.seq)
        self._database.run(
            "INSERT INTO texts(no, kind, track, retracted, frozen) VALUES (?, ?, ?, ?, ?)",
            (no, self.name(record.kind), self.name(body.track), standing.retracted, standing.frozen),
        )
        self._index(no, body.text)

    def _index(self, no: int, text: str) -> None:
        text = folded(text)
        self._database.run("INSERT INTO words(rowid, text) VALUES (?, ?)", (no, text))
        for word in sorted(vocabulary(text) - self._words):
            if self._database.row("SELECT 1 FROM vocabulary WHERE word = ?", (word,)) is None:
                number = self._database.run("INSERT INTO vocabulary(word) VALUES (?)", (word,))
                self._database.run("INSERT INTO spellings(rowid, word) VALUES (?, ?)", (number, spelling(word)))
            if len(self._words) >= NAMES_CACHED_MAX:
                self._words.clear()
            self._words.add(word)

    # Rules, each from a record's neighbours alone

    def _standing(self, key: bytes, author: int, seq: int) -> Standing:
        frozen_from = self._frozen_from(author)
        retracted = self._database.row(
            "SELECT 1 FROM retractions WHERE target = ? AND author = ? AND seq < ?", (key, author, frozen_from)
        )
        return Standing(retracted is not None, seq >= frozen_from)

    def _frozen_from(self, author: int) -> int:
        row = self._database.row("SELECT from_seq FROM frozen WHERE author = ?", (author,))
        return int(row[0]) if row else _NEVER

    def _is_tainted(self, parent: bytes | None) -> bool:
        if parent is None:
            return False
        row = self._database.row(
            "SELECT p.retracted OR p.tainted FROM records r JOIN results p ON p.no = r.no WHERE r.id = ?", (parent,)
        )
        return bool(row and row[0])

    def _is_open(self, key: bytes, author: int, seq: int) -> bool:
        if not self._standing(key, author, seq).counts:
            return False
        answer = "SELECT 1 FROM results WHERE claim = ? AND author = ? AND frozen = 0"
        return self._database.row(answer, (key, author)) is None

    # What one change brings about

    def _freeze_if_forked(self, author: int, seq: int) -> None:
        twins = self._database.rows("SELECT 1 FROM records WHERE author = ? AND seq = ? LIMIT 2", (author, seq))
        frozen_from = self._frozen_from(author)
        if len(twins) < 2 or seq >= frozen_from:
            return
        self._database.run("INSERT OR REPLACE INTO frozen(author, from_seq) VALUES (?, ?)", (author, seq))
        span = (author, seq, frozen_from)
        for (key,) in self._database.rows(
            "SELECT id FROM records WHERE author = ? AND seq >= ? AND seq < ? ORDER BY seq, id", span
        ):
            self._judge(key)
        for (target,) in self._database.rows(
            "SELECT target FROM retractions WHERE author = ? AND seq >= ? AND seq < ?", span
        ):
            self._judge(target)

    def _judge(self, key: bytes) -> None:
        """Applies the rules again to the record with this id, if it is here and has derived columns."""
        row = self._database.row("SELECT no, author, seq FROM records WHERE id = ?", (key,))
        if row is None:
            return
        no, author, seq = row
        standing = self._standing(key, author, seq)
        result = self._database.row("SELECT retracted, claim FROM results WHERE no = ?", (no,))
        if result is not None:
            self._database.run(
                "UPDATE results SET retracted = ?, frozen = ? WHERE no = ?",
                (standing.retracted, standing.frozen, no),
            )
            if bool(result[0]) != standing.retracted:
                self._taint_children(key)
            if result[1] is not None:
                self._judge_claim(result[1])
            return
        self._database.run(
            "UPDATE texts SET retracted = ?, frozen = ? WHERE no = ?", (standing.retracted, standing.frozen, no)
        )
        self._judge_claim(key)

    def _judge_claim(self, key: bytes) -> None:
        row = self._database.row(
            "SELECT c.no, r.author, r.seq FROM records r JOIN claims c ON c.no = r.no WHERE r.id = ?", (key,)
        )
        if row is not None:
            no, author, seq = row
            self._database.run("UPDATE claims SET open = ? WHERE no = ?", (self._is_open(key, author, seq), no))

    def _taint_children(self, key: bytes) -> None:
        """Judges the children of a result anew, and theirs, as far as something changes."""
        waiting = [key]
        while waiting:
            parent = waiting.pop()
            tainted = self._is_tainted(parent)
            for no, child, retracted, before in self._database.rows(
                "SELECT c.no, r.id, c.retracted, c.tainted FROM results c JOIN records r ON r.no = c.no"
                " WHERE c.parent = ?",
                (parent,),
            ):
                if bool(before) != tainted:
                    self._database.run("UPDATE results SET tainted = ? WHERE no = ?", (tainted, no))
                    if not retracted:
                        waiting.append(child)


def _unhex(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
