"""The recovery phrase: the 32 bytes of an account key as 24 English words that a person can write down.

The words are BIP-39's: 11 bits each, the last 8 of all 264 a check sum. They hold the key itself; the derivation that
wallets put after it is left out, as there is nothing here to derive. Rejected: hexadecimal digits, which nobody copies
by hand without a mistake and which cannot say where the mistake is.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from ensue.errors import UserError

if TYPE_CHECKING:
    from mnemonic import Mnemonic

WORDS = 24
SEED_BYTES = 32
WORD_CHARS_MAX = 40
"""Characters of a wrong word that a message repeats."""
PHRASE_CHARS_MAX = 4_000
"""Longer input is no phrase, however it is spaced and numbered."""
A_ROW = 4
COMMENT = "#"
"""Begins a line of a back-up file that holds no words."""
_NUMBER = re.compile(r"(?<!\w)\d{1,2}(?:[.):]|(?!\w))")
_ALONE = 4  # letters by which a word of the list is told from every other


def words_of(seed: bytes) -> list[str]:
    """Return the 24 words of a 32-byte seed."""
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    return str(_english().to_mnemonic(seed)).split()


def seed_of(phrase: str) -> bytes:
    """Return the 32-byte seed of a phrase, however it is spaced, numbered and cased; lines of comment are passed over.

    The first four letters of a word stand for the whole. Raises UserError that names the word that is wrong, its place
    and the nearest right one; or says that the words do not belong together.
    """
    if len(phrase) > PHRASE_CHARS_MAX:
        raise UserError(f"this is no recovery phrase: it has {len(phrase):,} characters; give its {WORDS} words")
    lines = [line for line in unicodedata.normalize("NFKD", phrase).lower().splitlines() if line[:1] != COMMENT]
    given = _NUMBER.sub(" ", " ".join(lines)).replace(",", " ").split()
    words = [_right(place, word) for place, word in enumerate(given[: WORDS + 1], 1)]
    if len(words) != WORDS:
        raise UserError(f"a recovery phrase has {WORDS} words, and here are {len(given)}: give all of them, in order")
    mnemonic = _english()
    if not mnemonic.check(" ".join(words)):
        raise UserError(
            "each word is one of the list, but together they fail their check sum: one of them is another than was "
            "written down, or two have changed places; compare them with your copy"
        )
    return bytes(mnemonic.to_entropy(words))


def rows(words: list[str]) -> list[str]:
    """Return a phrase in numbered rows of four words, as it is printed and written to files."""
    wide = max(len(word) for word in words)
    cells = [f"{place:2}. {word:{wide}}" for place, word in enumerate(words, 1)]
    return ["  ".join(cells[at : at + A_ROW]).rstrip() for at in range(0, len(cells), A_ROW)]


def is_word(given: str, word: str) -> bool:
    """Return whether what was typed stands for a word of the list."""
    typed = unicodedata.normalize("NFKD", given).strip().lower()
    return typed == word or (len(typed) >= _ALONE and word.startswith(typed))


def _right(place: int, word: str) -> str:
    """Return the word of the list that was meant; raise UserError where none is."""
    known = _english().wordlist
    if word in _known():
        return word
    begun = [one for one in known if len(word) >= _ALONE and one.startswith(word)]
    if len(begun) == 1:
        return begun[0]
    near = difflib.get_close_matches(word[:WORD_CHARS_MAX], known, n=1, cutoff=0.0)
    raise UserError(
        f"word {place} of the recovery phrase, {word[:WORD_CHARS_MAX]!r}, is not in the list of words: "
        f"the nearest is {near[0]!r}; look it up in your copy"
    )


@cache
def _english() -> Mnemonic:
    from mnemonic import Mnemonic

    return Mnemonic("english")


@cache
def _known() -> frozenset[str]:
    return frozenset(_english().wordlist)
