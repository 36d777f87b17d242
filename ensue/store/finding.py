"""Answers a search from the full-text index: candidates in bounded numbers first, then an order among them.

Each word of a query puts forward the newest texts that have it, all of them if it is rare; the words together put
forward the newest texts that have all. What is put forward is scored like BM25, with frequencies that the
candidates themselves tell. So a word that stands in half of all texts costs no more than any other. The few newest
texts that are not in the index yet (wordindex) are put into one of their own, which lasts as long as the search.
Left out: pure text work (ensue.search). Rejected: FTS5's own bm25(), which visits every text with a word to rank any,
1.5 s at a million texts; and its prefix queries, which gather every text before the first: words that begin alike come
from the vocabulary instead.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from heapq import nlargest

from ensue import search as words
from ensue.search import Hit
from ensue.store.database import Database, Row
from ensue.store.rows import checked
from ensue.store.schema import WORDS
from ensue.store.wordindex import last_indexed, said, text_of, waiting

CANDIDATES_EACH = 400
"""Texts that one word, or all words together, put forward: the newest."""
READ_MIN = 60
"""Texts whose bytes are read for the final order, at least."""
READ_EACH = 2
"""The same, for each hit that is asked for."""
BEGINNINGS_MAX = 24
"""Words of the vocabulary that one word of a query is taken for the beginning of."""
PREFIX_CHARS_MIN = 3

_NEWEST = (
    "SELECT rowid FROM {0} w WHERE {0} MATCH ?"
    " AND NOT EXISTS(SELECT 1 FROM results x WHERE x.no = w.rowid AND (x.retracted OR x.frozen))"
    " AND NOT EXISTS(SELECT 1 FROM texts x WHERE x.no = w.rowid AND (x.retracted OR x.frozen))"
    " ORDER BY rowid DESC LIMIT ?"
)
_LAST_CHARACTER = "\U0010ffff"


class _Texts:
    """What is asked of the indexes and of the texts that wait for them, as if they were one."""

    def __init__(self, database: Database, wait: bool, spoken: frozenset[str]) -> None:
        self._database = database
        self._wait = wait
        self._spoken = spoken

    def newest(self, match: str) -> list[int]:
        """Returns the newest texts that an FTS5 query finds, of those that count."""
        found: list[int] = []
        for table in ("waiting", "words") if self._wait else ("words",):
            rows = self._database.rows(_NEWEST.format(table), (match, CANDIDATES_EACH - len(found)))
            found += [int(no) for (no,) in rows]
        return found

    def beginnings(self, word: str) -> list[str]:
        """Returns words that begin with one, in order."""
        if len(word) < PREFIX_CHARS_MIN:
            return []
        rows: list[Row] = self._database.rows(
            "SELECT word FROM vocabulary WHERE word > ? AND word < ? ORDER BY word LIMIT ?",
            (word, word + _LAST_CHARACTER, BEGINNINGS_MAX),
        )
        fresh = {other for other in self._spoken if other != word and other.startswith(word)}
        return sorted(fresh.union(str(found) for (found,) in rows))[:BEGINNINGS_MAX]

    def spellings(self, word: str) -> list[str]:
        """Returns words that are spelt somewhat like one."""
        rows = self._database.rows(
            "SELECT v.word FROM spellings s JOIN vocabulary v ON v.no = s.rowid WHERE s.spellings MATCH ?"
            " ORDER BY s.rank LIMIT ?",
            (words.match_trigrams(word), words.CANDIDATES_MAX),
        )
        grams = words.trigrams(word)
        fresh = nlargest(words.CANDIDATES_MAX, self._spoken, key=lambda other: len(grams & words.trigrams(other)))
        return [*(str(found) for (found,) in rows), *fresh]


@contextmanager
def _opened(database: Database) -> Iterator[_Texts]:
    """Yields the texts of one state of the replica."""
    with database.snapshot():
        last = last_indexed(database)
        texts = [(no, text_of(database, no)) for no in waiting(database, last)]
        if not texts:
            yield _Texts(database, False, frozenset())
            return
        database.run(f"CREATE VIRTUAL TABLE temp.waiting {WORDS}")
        try:
            database.run_many("INSERT INTO temp.waiting(rowid, text) VALUES (?, ?)", texts)
            spoken = frozenset(words.vocabulary("\n".join(text for _, text in texts)))
            yield _Texts(database, True, spoken)
        finally:
            database.run("DROP TABLE temp.waiting")


class _Term:
    """One word of a query: the words that it may mean, and the newest texts that have one of them."""

    def __init__(self, texts: _Texts, word: str) -> None:
        self.meanings = [word, *texts.beginnings(word)]
        self.newest = texts.newest(words.match_any(self.meanings))
        if not self.newest:  # nobody ever wrote it, so it may be a typo
            self.meanings = words.likely(word, texts.spellings(word))
            self.newest = texts.newest(words.match_any(self.meanings)) if self.meanings else []
        self.found = set(self.newest)
        self.weight = 0.0

    def weigh(self, texts: int) -> None:
        """Sets the weight by how rare the term is; of one with more texts than candidates, by how close they lie."""
        number = float(len(self.newest))
        if number >= CANDIDATES_EACH:
            number *= texts / max(texts - self.newest[-1], number)
        self.weight = math.log1p((texts - number + 0.5) / (number + 0.5)) if texts > number else math.log1p(0.5)

    def stands(self, no: int, tokens: Sequence[str]) -> bool:
        """Returns whether a text has the term; one that is beyond the candidates tells by its words."""
        return no in self.found or any(token in self.meanings for token in tokens)


def search(database: Database, text: str, limit: int) -> list[Hit]:
    """Returns the results, hypotheses and insights that count and speak of a text, the nearest first.

    Among texts that are equally near, and among those of a word that is everywhere, the newest.
    """
    with _opened(database) as texts:
        return _found(database, texts, words.words(text), limit)


def _found(database: Database, texts: _Texts, asked: list[str], limit: int) -> list[Hit]:
    terms = [term for term in (_Term(texts, word) for word in asked) if term.newest]
    if not terms:
        return []
    last = database.row("SELECT max(no) FROM records")
    for term in terms:
        term.weigh(last[0] if last else 0)
    together = _together(texts, terms)
    numbers = set().union(together, *(term.found for term in terms))

    def promise(no: int) -> tuple[float, int]:
        return sum(term.weight for term in terms if no in term.found or no in together), no

    hits = []
    for no in sorted(numbers, key=promise, reverse=True)[: max(READ_MIN, READ_EACH * limit)]:
        row = database.row("SELECT id, plain(raw, form) FROM records WHERE no = ?", (no,))
        if row is not None:
            record = checked(database.path, *row)
            text = said(record)
            tokens = words.tokens(text)
            weight = sum(term.weight for term in terms if no in together or term.stands(no, tokens))
            score = weight * words.shortness(len(tokens))
            hits.append((score, no, Hit(record.id, record.kind, text, score)))
    return [hit for _, _, hit in sorted(hits, key=lambda one: one[:2], reverse=True)[:limit]]


def _together(texts: _Texts, terms: list[_Term]) -> set[int]:
    """Returns texts that have every term, where the terms' own candidates cannot tell."""
    if len(terms) < 2 or all(len(term.newest) < CANDIDATES_EACH for term in terms):
        return set()
    return set(texts.newest(" AND ".join(f"({words.match_any(term.meanings)})" for term in terms)))
