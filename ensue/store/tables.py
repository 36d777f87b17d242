"""The live tables: what the records amount to, brought up to date with each batch of records in its transaction.

A batch is written as if nothing stood against its records; then those that something stands against, and those that
they change (a retraction's target, a fork's author, a late parent's children), are found by a few joins and judged by
rules that read a record's neighbours only. `fold` is the check on it.
Left out: reading (queries). Rejected: deriving the state when asked, which takes a minute at a million records; and
database triggers, which nobody can step through.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from ensue.fold import Standing, void_mark
from ensue.people import NEVER
from ensue.store.database import Database
from ensue.store.entry import CLAIM, RESULT, RETRACTION, TEXT, Entry
from ensue.store.rows import tie
from ensue.store.schema import LIVE_TABLES
from ensue.store.vouching import Vouching
from ensue.store.waits import Waits
from ensue.store.wordindex import WordIndex

NAMES_CACHED_MAX = 10_000
IDS_ASKED_AT_ONCE = 500

FORKED, REVOKED = void_mark(True, False), void_mark(False, True)

Numbered = tuple[int, Entry]
_Key = TypeVar("_Key", bytes, int)


class Tables:
    """Writes the live tables of one database; every method belongs inside a write transaction."""

    def __init__(self, database: Database, network: str) -> None:
        self._database = database
        self.vouching = Vouching(database, network)
        self.word_index = WordIndex(database)
        self.waits = Waits(database)
        self._names: dict[str, int] = {}
        self.changes: Counter[tuple[int, int, int, int]] = Counter()
        """Track, author, agent and status to how many results that count are to be counted more."""

    def forget(self) -> None:
        """Drops what is cached, which a rolled back transaction may have made wrong."""
        self._names.clear()
        self.word_index.forget()
        self.changes.clear()
        self.vouching.forget()

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

    def numbers(self, ids: Iterable[bytes]) -> dict[bytes, int]:
        """Returns the row numbers of those records that are here."""
        found: dict[bytes, int] = {}
        for some in _by_parts(ids):
            marks = ", ".join("?" * len(some))
            found.update(self._database.rows(f"SELECT id, no FROM records WHERE id IN ({marks})", some))
        return found

    def clear(self) -> None:
        """Empties every derived table."""
        self.forget()
        for table in LIVE_TABLES:
            self._database.run(f"DELETE FROM {table}")
        self.word_index.clear()
        self.vouching.trials.clear()

    def freeze_forked(self) -> None:
        """Freezes whoever signed one number twice, from all that is in `records`; for tables that were cleared."""
        forks = "SELECT author, seq FROM records GROUP BY author, seq HAVING count(*) > 1"
        self._database.run(f"INSERT INTO forked SELECT author, min(seq) FROM ({forks}) GROUP BY author")
        self._database.run("INSERT INTO frozen SELECT author, from_seq FROM forked")

    def trust_changed(self) -> None:
        """Judges every result anew, since others are trusted than before."""
        self.vouching.begin()
        self.vouching.trust_changed()
        self.vouching.judge()

    def add(self, batch: Sequence[Numbered], suspects: Iterable[tuple[int, int]] = ()) -> None:
        """Derives what records, already in `records` and in ascending order of number, change.

        `suspects` are authors and sequence numbers that may be there twice.
        """
        if not batch:
            return
        self.vouching.begin()
        known = self._references(batch)
        self.vouching.write(batch, self.name)
        self.vouching.trials.write(batch, self.name)
        waiting = self._write(batch, known)
        self.waits.end([item.id for _, item in batch])
        self.waits.begin(waiting)
        for author, seq in suspects:
            self._freeze_if_forked(author, seq)
        for _, item in batch:
            if item.role == RETRACTION and item.target is not None:
                self.judge(item.target)
        self._judge_span(batch)
        for node in self.vouching.unheard():
            self.settle(node)
        self.vouching.judge()
        self.count(Counter(item.kind for _, item in batch))

    def _references(self, batch: Sequence[Numbered]) -> dict[bytes, int]:
        """Returns the row numbers of what a batch names and is here."""
        named = {key for _, item in batch for key in (item.parent, item.claim, item.hypothesis) if key is not None}
        known = {item.id: no for no, item in batch if item.id in named}
        known.update(self.numbers(named - known.keys()))
        return known

    def _write(self, batch: Sequence[Numbered], known: dict[bytes, int]) -> list[tuple[bytes, int]]:
        """Writes the rows of a batch, and returns what its records name that is not here."""
        name, void, official = self.name, _Memo(self._void), self.vouching.official
        doubtful = self._doubtful(known[item.parent] for _, item in batch if item.parent in known)
        results, claims, texts, retractions, words, waiting = [], [], [], [], [], []
        for no, item in batch:
            if item.role not in (RESULT, CLAIM, TEXT, RETRACTION):
                continue
            author = name(item.author)
            if item.role == RETRACTION:
                retractions.append((no, author, item.seq, item.target))
                continue
            track, frozen = name(item.track), _mark(item.seq, void[author])
            waiting += [
                (key, no) for key in (item.parent, item.claim, item.hypothesis) if key is not None and key not in known
            ]
            if item.role == RESULT:
                agent, status = name(item.agent), name(item.status)
                parent = known.get(item.parent or b"")
                tainted = parent in doubtful
                if tainted:
                    doubtful.add(no)
                results.append(
                    (
                        *(no, author, track, name(item.hardware_class), agent, status, item.place, item.score),
                        *(tie(item.id), item.experiment),
                        *(known.get(item.claim or b""), parent, 0, frozen, tainted, item.time_ms),
                        not frozen and official(author, item.seq, item.time_ms),
                    )
                )
                if not frozen:
                    self.changes[(track, author, agent, status)] += 1
            elif item.role == CLAIM:
                hypothesis = known.get(item.hypothesis or b"")
                claims.append((no, author, track, item.experiment, hypothesis, item.ttl_s, not frozen))
            else:
                texts.append((no, name(item.kind), track, 0, frozen))
            if item.role != CLAIM:
                words.append((no, item.text))
        for table, rows in (("results", results), ("claims", claims), ("texts", texts), ("retractions", retractions)):
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                self._database.run_many(f"INSERT INTO {table} VALUES ({marks})", rows)
        self.word_index.add(words, batch[-1][0])
        return waiting

    def _doubtful(self, parents: Iterable[int]) -> set[int | None]:
        """Returns those of some results whose children are tainted."""
        found: set[int | None] = set()
        for some in _by_parts(set(parents)):
            marks = ", ".join("?" * len(some))
            found.update(
                no
                for (no,) in self._database.rows(
                    f"SELECT no FROM results WHERE no IN ({marks}) AND (retracted OR tainted)", some
                )
            )
        return found

    def count(self, kinds: Mapping[str, int]) -> None:
        """Writes how many records of each kind there are more now, and what was noted in `changes` about results."""
        self._database.run_many(
            "INSERT INTO totals(kind, number) VALUES (?, ?)"
            " ON CONFLICT DO UPDATE SET number = number + excluded.number",
            [(self.name(kind), number) for kind, number in kinds.items()],
        )
        if min(kinds.values(), default=0) < 0:
            self._database.run("DELETE FROM totals WHERE number = 0")
        self._database.run_many(
            "INSERT INTO counts(track, author, agent, status, number) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET number = number + excluded.number",
            [(*group, number) for group, number in self.changes.items() if number],
        )
        if min(self.changes.values(), default=0) < 0:
            self._database.run_many(
                "DELETE FROM counts WHERE track = ? AND author = ? AND agent = ? AND status = ? AND number = 0",
                list(self.changes),
            )
        self.changes.clear()

    # Rules, each from a record's neighbours alone

    def _standing(self, key: bytes, author: int, seq: int) -> Standing:
        void_from, forked_from = self._void(author)
        retracted = self._database.row(
            "SELECT 1 FROM retractions WHERE target = ? AND author = ? AND seq < ?", (key, author, void_from)
        )
        mark = _mark(seq, (void_from, forked_from))
        return Standing(retracted is not None, mark == FORKED, revoked=mark == REVOKED)

    def _void(self, author: int) -> tuple[int, int]:
        """Returns from which numbers on an author's records are void, and void because it forked its log."""
        row = self._database.row(
            "SELECT f.from_seq, ifnull(k.from_seq, ?) FROM frozen f LEFT JOIN forked k ON k.author = f.author"
            " WHERE f.author = ?",
            (NEVER, author),
        )
        return (int(row[0]), int(row[1])) if row else (NEVER, NEVER)

    def _is_tainted(self, parent: int | None) -> bool:
        row = self._database.row("SELECT retracted OR tainted FROM results WHERE no = ?", (parent,))
        return bool(row and row[0])

    def _is_open(self, no: int, key: bytes, author: int, seq: int) -> bool:
        if not self._standing(key, author, seq).counts:
            return False
        answer = "SELECT 1 FROM results WHERE claim = ? AND author = ? AND frozen = 0"
        return self._database.row(answer, (no, author)) is None

    # What one change brings about

    def _freeze_if_forked(self, author: int, seq: int) -> None:
        twins = self._database.rows("SELECT 1 FROM records WHERE author = ? AND seq = ? LIMIT 2", (author, seq))
        _, forked_from = self._void(author)
        if len(twins) < 2 or seq >= forked_from:
            return
        self._database.run("INSERT OR REPLACE INTO forked(author, from_seq) VALUES (?, ?)", (author, seq))
        self.settle(author, forked_from)

    def settle(self, author: int, forked_before: int | None = None) -> None:
        """Finds out from which number on an author's records are void, and judges those for which that changes."""
        before, _ = self._void(author)
        row = self._database.row("SELECT from_seq FROM forked WHERE author = ?", (author,))
        forked = int(row[0]) if row else NEVER
        now = self.vouching.speak(author, forked)
        if now < NEVER:
            self._database.run("INSERT OR REPLACE INTO frozen(author, from_seq) VALUES (?, ?)", (author, now))
        else:
            self._database.run("DELETE FROM frozen WHERE author = ?", (author,))
        changed = {(min(before, now), max(before, now)), (forked, forked if forked_before is None else forked_before)}
        for first, beyond in sorted(span for span in changed if span[0] < span[1]):
            self._judge_numbers(author, first, beyond)

    def _judge_numbers(self, author: int, first: int, beyond: int) -> None:
        span = (author, first, beyond)
        for no, key in self._database.rows(
            "SELECT no, id FROM records WHERE author = ? AND seq >= ? AND seq < ? ORDER BY seq, id", span
        ):
            self.judge(key)
            self.vouching.touched(no)
        for (target,) in self._database.rows(
            "SELECT target FROM retractions WHERE author = ? AND seq >= ? AND seq < ?", span
        ):
            self.judge(target)

    def _judge_span(self, batch: Sequence[Numbered]) -> None:
        """Judges the records of a batch that something may stand against, and the claims that it answers."""
        rows, span = self._database.rows, (batch[0][0], batch[-1][0])
        for (key,) in rows(
            "SELECT r.id FROM records r JOIN retractions t ON t.target = r.id WHERE r.no BETWEEN ? AND ?", span
        ):
            self.judge(key)
        if any(item.role == RESULT for _, item in batch):
            self._judge_results(span)
        if any(item.role == CLAIM for _, item in batch):
            self._database.run(
                "UPDATE claims SET open = 0 WHERE open = 1 AND no BETWEEN ? AND ? AND EXISTS(SELECT 1 FROM results x"
                " WHERE x.claim = claims.no AND x.author = claims.author AND x.frozen = 0)",
                span,
            )

    def _judge_results(self, span: tuple[int, int]) -> None:
        rows = self._database.rows
        for no, parent in rows(
            "SELECT x.no, x.parent FROM results x JOIN results p ON p.no = x.parent"
            " WHERE x.no BETWEEN ? AND ? AND x.tainted = 0 AND (p.retracted OR p.tainted)",
            span,
        ):
            if self._is_tainted(parent):
                self._database.run("UPDATE results SET tainted = 1 WHERE no = ?", (no,))
        for (no,) in rows(
            "SELECT DISTINCT x.no FROM results x JOIN results c ON c.parent = x.no"
            " WHERE x.no BETWEEN ? AND ? AND (x.retracted OR x.tainted) AND c.tainted = 0",
            span,
        ):
            self.taint_children(no)
        answered = rows(
            "SELECT c.no FROM results x JOIN claims c ON c.no = x.claim"
            " WHERE x.no BETWEEN ? AND ? AND x.author = c.author AND x.frozen = 0 AND c.open = 1",
            span,
        )
        self._database.run_many("UPDATE claims SET open = 0 WHERE no = ?", answered)

    def judge(self, key: bytes) -> None:
        """Applies the rules again to the record with this id, if it is here and has derived columns."""
        row = self._database.row("SELECT no, author, seq FROM records WHERE id = ?", (key,))
        if row is None:
            return
        no, author, seq = row
        self.vouching.trials.touched(no, key)
        standing = self._standing(key, author, seq)
        result = self._database.row(
            "SELECT retracted, frozen, claim, time_ms, track, author, agent, status FROM results WHERE no = ?", (no,)
        )
        mark = void_mark(standing.frozen, standing.revoked)
        if result is not None:
            retracted, frozen, claim, time_ms, *group = result
            official = standing.counts and self.vouching.official(author, seq, time_ms)
            self._database.run(
                "UPDATE results SET retracted = ?, frozen = ?, official = ? WHERE no = ?",
                (standing.retracted, mark, official, no),
            )
            self.changes[tuple(group)] += standing.counts - (not (retracted or frozen))
            if bool(retracted) != standing.retracted:
                self.taint_children(no)
            if claim is not None:
                self.judge_claim(claim)
            return
        self._database.run("UPDATE texts SET retracted = ?, frozen = ? WHERE no = ?", (standing.retracted, mark, no))
        self.vouching.touched(no)
        self.judge_claim(no)

    def judge_claim(self, no: int) -> None:
        """Finds out whether a claim is open."""
        row = self._database.row(
            "SELECT r.id, r.author, r.seq FROM claims c JOIN records r ON r.no = c.no WHERE c.no = ?", (no,)
        )
        if row is not None:
            self._database.run("UPDATE claims SET open = ? WHERE no = ?", (self._is_open(no, *row), no))

    def taint_children(self, no: int) -> None:
        """Judges the children of a result anew, and theirs, as far as something changes."""
        waiting = [no]
        while waiting:
            parent = waiting.pop()
            tainted = self._is_tainted(parent)
            for child, retracted, before in self._database.rows(
                "SELECT no, retracted, tainted FROM results WHERE parent = ?", (parent,)
            ):
                if bool(before) != tainted:
                    self._database.run("UPDATE results SET tainted = ? WHERE no = ?", (tainted, child))
                    if not retracted:
                        waiting.append(child)


def _by_parts(ids: Iterable[_Key]) -> Iterator[list[_Key]]:
    rest = iter(ids)
    while some := list(islice(rest, IDS_ASKED_AT_ONCE)):
        yield some


def _mark(seq: int, void: tuple[int, int]) -> int:
    """Returns why a record is void, by the numbers of `_void`."""
    return void_mark(seq >= void[1], seq >= void[0])


class _Memo(dict[int, tuple[int, int]]):
    """Remembers what a function said; for the length of one batch."""

    def __init__(self, ask: Callable[[int], tuple[int, int]]) -> None:
        self._ask = ask

    def __missing__(self, key: int) -> tuple[int, int]:
        self[key] = self._ask(key)
        return self[key]
