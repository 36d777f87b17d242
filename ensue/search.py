"""Turns what a person types into queries of the full-text indexes, and scores what they find: pure text work.

Left out: the indexes themselves (store). Words are found by their stem; a word that nobody ever wrote is taken for a
typo and looked up among all spellings by its trigrams. Rejected: FTS5's own query syntax for users, where a stray quote
is an error; and trigrams of whole texts, an index as large as they are, where a common trigram hits most of them.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

SEARCHED_CHARS_MAX = 2000
"""Characters of a text that are indexed."""
QUERY_CHARS_MAX = 400
QUERY_WORDS_MAX = 16
TRIGRAMS_MAX = 48
WORD_CHARS_MIN = 4
WORD_CHARS_MAX = 32
"""Words outside these bounds are found as they are, and never offered for a typo."""
SHORT_WORD_CHARS = 5
"""Up to this length a typo has one edit, beyond it two."""
MEANT_MAX = 4
"""Words that one typo is taken for."""
CANDIDATES_MAX = 100
"""Spellings that are compared with one typo."""
USUAL_WORDS = 12
"""Words of a usual description."""

_WORD = re.compile(r"[^\W_]+")
_SATURATION = 1.2
_LENGTH_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Hit:
    """A record whose text answers a search; `score` only orders the hits of one search, more is better."""

    id: str
    kind: str
    text: str
    score: float


def words(text: str) -> list[str]:
    """Returns the distinct words of a query in their order, folded to lower case; at most QUERY_WORDS_MAX."""
    return list(dict.fromkeys(_WORD.findall(folded(text[:QUERY_CHARS_MAX]))))[:QUERY_WORDS_MAX]


def folded(text: str) -> str:
    """Returns a text as it is indexed and sought: no capitals, accents or look-alike forms; SEARCHED_CHARS_MAX long."""
    if text.isascii():  # most are, and the rest of this takes as long as reading a record
        return text[:SEARCHED_CHARS_MAX].lower().replace("\0", " ")
    plain = unicodedata.normalize("NFKD", text[:SEARCHED_CHARS_MAX]).casefold()
    return "".join(char for char in plain if not unicodedata.combining(char))[:SEARCHED_CHARS_MAX].replace("\0", " ")


def tokens(text: str) -> list[str]:
    """Returns all words of a text in their order, folded."""
    return _WORD.findall(folded(text))


def shortness(length: int) -> float:
    """Returns how much a word counts in a text of `length` words: 1 in a usual one, more in a shorter one.

    BM25's rule for length (Robertson, Zaragoza 2009), with a usual length for the mean one, which would cost a walk
    over all texts, and each word counted once.
    """
    return (_SATURATION + 1) / (1 + _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * length / USUAL_WORDS))


def match_any(terms: Iterable[str]) -> str:
    """Returns an FTS5 query for texts with any of the terms."""
    return " OR ".join(f'"{term}"' for term in terms)


def match_trigrams(term: str) -> str:
    """Returns an FTS5 query for spellings (see `spelling`) that share any run of three characters with a term."""
    return " OR ".join(f'"{gram}"' for gram in sorted(trigrams(term))[:TRIGRAMS_MAX])


def trigrams(word: str) -> set[str]:
    """Returns the runs of three characters in a word's spelling."""
    padded = spelling(word)
    return {padded[i : i + 3] for i in range(len(padded) - 2)}


def spelling(word: str) -> str:
    """Returns a word as the trigram index has it: its ends count as characters."""
    return f" {word} "


def vocabulary(text: str) -> set[str]:
    """Returns the words of a folded text that may be meant by a typo; words without a letter are none."""
    found = (word for word in set(_WORD.findall(text)) if WORD_CHARS_MIN <= len(word) <= WORD_CHARS_MAX)
    return {word for word in found if not word.isdigit() and (word.isascii() or _is_indexed(word))}


def _is_indexed(word: str) -> bool:
    """Whether a full-text index has anything of a word: its Unicode is older, and knows no letters of later ones."""
    return any(unicodedata.ucd_3_2_0.category(char)[0] in "LN" for char in word)


def likely(term: str, candidates: Iterable[str]) -> list[str]:
    """Returns the candidates that a term may be a typo of, the nearest first; at most MEANT_MAX."""
    allowed = 1 if len(term) <= SHORT_WORD_CHARS else 2
    near = ((distance(term, word, allowed), word) for word in candidates)
    return [word for _, word in sorted(pair for pair in near if pair[0] <= allowed)[:MEANT_MAX]]


def distance(first: str, second: str, limit: int) -> int:
    """Returns the edits between two words (insert, delete, replace, swap neighbours), or limit + 1 when there are more.

    Optimal string alignment, in O(len(first) * len(second)) time.
    """
    if abs(len(first) - len(second)) > limit:
        return limit + 1
    before: list[int] = []
    above = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        row = [i]
        for j, b in enumerate(second, start=1):
            edits = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and first[i - 2] == b:
                edits = min(edits, before[j - 2] + 1)
            row.append(edits)
        if min(row) > limit:
            return limit + 1
        before, above = above, row
    return min(above[-1], limit + 1)
