"""Answers a search from the full-text index: candidates in bounded numbers first, then an order among them.

Each word of a query puts forward the newest texts that have it, all of them if it is rare; the words together put
forward the newest texts that have all. What is put forward is scored like BM25, with frequencies that the
candidates themselves tell. So a word that stands in half of all texts costs no more than any other.
Left out: pure text work (ensue.search). Rejected: FTS5's own bm25(), which visits every text with a word to rank any,
1.5 s at a million texts; and its prefix queries, which gather every text before the first: words that begin alike come
from the vocabulary instead.
"""

import math
from collections.abc import Sequence

from ensue import search as words
from ensue.search import Hit
from ensue.store.database import Database, Row
from ensue.store.rows import checked

CANDIDATES_EACH = 400
"""Texts that one word, or all words together, put forward: the newest."""
READ_MIN = 60
"""Texts whose bytes are read for the final order, at least."""
READ_EACH = 2
"""The same, for each hit that is asked for."""
BEGINNINGS_MAX = 24
"""Words of the vocabulary that one word of a query is taken for the beginning of."""
PREFIX_CHARS_MIN = 3

_STANDS = (
    " AND NOT EXISTS(SELECT 1 FROM results x WHERE x.no = words.rowid AND (x.retracted OR x.frozen))"
    " AND NOT EXISTS(SELECT 1 FROM texts x WHERE x.no = words.rowid AND (x.retracted OR x.frozen))"
)
_LAST_CHARACTER = "\U0010ffff"


class _Term:
    """One word of a query: the words that it may mean, and the newest texts that have one of them."""

    def __init__(self, database: Database, word: str) -> None:
        self.meanings = [word, *_beginnings(database, word)]
        self.newest = _newest(database, words.match_any(self.meanings))
        if not self.newest:  # nobody ever wrote it, so it may be a typo
            self.meanings = words.likely(word, _spellings(database, word))
            self.newest = _newest(database, words.match_any(self.meanings)) if self.meanings else []
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
    terms = [term for term in (_Term(database, word) for word in words.words(text)) if term.newest]
    if not terms:
        return []
    last = database.row("SELECT max(no) FROM records")
    for term in terms:
        term.weigh(last[0] if last else 0)
    together = _together(database, terms)
    numbers = set().union(together, *(term.found for term in terms))

    def promise(no: int) -> tuple[float, int]:
        return sum(term.weight for term in terms if no in term.found or no in together), no

    hits = []
    for no in sorted(numbers, key=promise, reverse=True)[: max(READ_MIN, READ_EACH * limit)]:
        row = database.row("SELECT id, plain(raw, form) FROM records WHERE no = ?", (no,))
        if row is not None:
            record = checked(database.path, *row)
            said = str(record.body.get("text", record.body.get("description", "")))
            tokens = words.tokens(said)
            weight = sum(term.weight for term in terms if no in together or term.stands(no, tokens))
            score = weight * words.shortness(len(tokens))
            hits.append((score, no, Hit(record.id, record.kind, said, score)))
    return [hit for _, _, hit in sorted(hits, key=lambda one: one[:2], reverse=True)[:limit]]


def _together(database: Database, terms: list[_Term]) -> set[int]:
    """Returns texts that have every term, where the terms' own candidates cannot tell."""
    if len(terms) < 2 or all(len(term.newest) < CANDIDATES_EACH for term in terms):
        return set()
    return set(_newest(database, " AND ".join(f"({words.match_any(term.meanings)})" for term in terms)))


def _newest(database: Database, match: str) -> list[int]:
    sql = f"SELECT rowid FROM words WHERE words MATCH ?{_STANDS} ORDER BY rowid DESC LIMIT ?"
    return [int(no) for (no,) in database.rows(sql, (match, CANDIDATES_EACH))]


def _beginnings(database: Database, word: str) -> list[str]:
    if len(word) < PREFIX_CHARS_MIN:
        return []
    rows: list[Row] = database.rows(
        "SELECT word FROM vocabulary WHERE word > ? AND word < ? ORDER BY word LIMIT ?",
        (word, word + _LAST_CHARACTER, BEGINNINGS_MAX),
    )
    return [str(found) for (found,) in rows]


def _spellings(database: Database, word: str) -> list[str]:
    rows = database.rows(
        "SELECT v.word FROM spellings s JOIN vocabulary v ON v.no = s.rowid WHERE s.spellings MATCH ?"
        " ORDER BY s.rank LIMIT ?",
        (words.match_trigrams(word), words.CANDIDATES_MAX),
    )
    return [str(found) for (found,) in rows]
