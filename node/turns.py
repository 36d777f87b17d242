"""Whose turn an experiment is: while it runs here, a claim of another node may turn out to count more.

Two nodes that claim one experiment in the same moment learn of each other within a second, and the one with the higher
id turns to something else. A stranger could claim whatever we try only to make us stop; so an author who made us give
way several times without a result of theirs is not given way to any more. Left out: which claim counts (Store.claims).
"""

import time
from collections import defaultdict

from ensue.record import Record
from ensue.store import Store

ASK_EVERY_S = 0.25
"""How old an answer may be, in seconds; a question costs some ten microseconds."""
GIVEN_WAY_MAX = 3
"""Experiments that one author may have taken over and not finished yet, before nothing more is given up for them."""


class Turns:
    """Remembers to whom this node gave way."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._given: dict[str, list[str]] = defaultdict(list)
        self._asked_at = float("-inf")

    def lost(self, claim: str) -> Record | None:
        """Return the claim of another node that takes the experiment over, or None; asks the replica now and then."""
        now = time.monotonic()
        if now - self._asked_at < ASK_EVERY_S:
            return None
        self._asked_at = now
        rival = self._store.claims.beaten_by(claim)
        if rival is None:
            return None
        owed = [one for one in self._given[rival.author] if self._store.claims.finished(one) is None]
        self._given[rival.author] = owed
        return rival if len(owed) < GIVEN_WAY_MAX else None

    def give_way(self, rival: Record) -> None:
        """Remember that an experiment was left to a rival's claim."""
        self._given[rival.author].append(str(rival.body.get("experiment")))
