"""Names of people and nodes as they are shown: harmless, folded, and never without the fingerprint of a key.

Anyone may call itself anything, so a name is shown with the end of its account's peer id after `@`, or of its node's
after `…` where no account stands behind it. Characters that look like ASCII are shown as the ASCII they look like (the
Unicode Consortium's list of confusables), so that what is read can be typed and found. Left out: refusing names, which
each replica would have to agree on. Rejected: fingerprints of six characters, which a graphics card can imitate in
seconds; eight take it months, and two of one output that end alike are shown longer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from node import text

if TYPE_CHECKING:
    from ensue.store import Store

FINGERPRINT_CHARS = 8
LONGER_CHARS = 4
"""How much longer a fingerprint gets at a time, where another key of the same output ends alike."""
NAME_COLUMNS = 20
FOLDED_MAX = 4096
"""Names remembered in their folded form."""
ACCOUNT, NODE = "@", "…"
_MARKED = re.compile(r"(?<!\S)[@…]")
_LEFT_TO_RIGHT = "\u200e"  # stands around right-to-left entries of the list
_PLAINER = {"rn": "m"}  # the list has "rn" for everything that looks like m


def account(peer_id: str) -> str:
    """Return the fingerprint of an account."""
    return ACCOUNT + _end(peer_id, FINGERPRINT_CHARS)


def key(peer_id: str) -> str:
    """Return the fingerprint of a node's or a verifier's key."""
    return NODE + _end(peer_id, FINGERPRINT_CHARS)


@lru_cache(maxsize=FOLDED_MAX)
def folded(name: str) -> str:
    """Return a name on one line, with ASCII for all that looks like it, and no word that looks like a fingerprint."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", "".join(map(_folded, unicodedata.normalize("NFKD", name))))
    return _MARKED.sub("_", text.printable(name))


class Names:
    """Names in one output; of two keys that end alike the second is shown longer."""

    def __init__(self, account_of: Callable[[str], str | None]) -> None:
        self._account_of = account_of
        self._shown: dict[str, str] = {}
        self._known: dict[str, str] = {}

    @classmethod
    def of(cls, store: Store, authors: Iterable[str] = ()) -> Names:
        """Return the names of a replica's authors; those given are looked up now, the others while it is open."""
        found = cls(store.people.account_of)
        for author in authors:
            found.fingerprint(author)
        return found

    def who(self, name: str, peer_id: str) -> str:
        """Return a node's name with the fingerprint of its account, else of its key; without a name that alone."""
        shown, fingerprint = folded(name), self.fingerprint(peer_id)
        names_itself = shown.endswith(fingerprint[1:]) and text.width(shown) <= NAME_COLUMNS
        if names_itself and fingerprint[0] == NODE:  # "node-AbCdEfGh": the name that a node has until it gets one
            return shown
        return f"{text.fit(shown, NAME_COLUMNS)} {fingerprint}" if shown else fingerprint

    def fingerprint(self, peer_id: str) -> str:
        """Return the fingerprint of a node's account, else of its key, as long as this output needs."""
        found = self._known.get(peer_id)
        if found is None:
            spoken_for = self._account_of(peer_id)
            mark, whole = (NODE, peer_id) if spoken_for is None else (ACCOUNT, spoken_for)
            chars = FINGERPRINT_CHARS
            while self._shown.setdefault(mark + _end(whole, chars), whole) != whole:
                chars += LONGER_CHARS
            found = self._known[peer_id] = mark + _end(whole, chars)
        return found


def _end(peer_id: str, chars: int) -> str:
    return text.printable(peer_id)[-chars:]


@lru_cache(maxsize=FOLDED_MAX)
def _folded(character: str) -> str:
    if character.isascii():
        return character
    looks_like = next((one for one in _confusables().get(character, ()) if one.isascii()), character)
    return _PLAINER.get(looks_like, looks_like)


@cache
def _confusables() -> dict[str, list[str]]:
    """Return what each character looks like; read when the first name beyond ASCII is shown, in 60 ms."""
    from confusable_homoglyphs.confusables import confusables_data  # type: ignore[import-untyped]

    return {
        character.strip(_LEFT_TO_RIGHT): [str(one["c"]).strip(_LEFT_TO_RIGHT) for one in found]
        for character, found in confusables_data.items()
    }
