"""Which scripts are named by records here and are missing, and in which order to ask for them.

The missing ones hang in a tree of their own: equal replicas that miss the same need not speak of it, and otherwise the
cost is that of the difference. Left out: asking (fetch). Rejected: asking every peer for everything that is missing,
which a liar who names scripts that nobody has could make as dear as he likes.
"""

import json
from collections.abc import Iterable
from typing import NamedTuple

from ensue.store.exchange import Named
from node.sync.tree import Tree

MISSING_MAX = 50_000
"""Missing scripts that are kept in mind at once; more are looked for once some of these have come."""


class Sources:
    """The missing scripts of one replica: hash → the script that it was made from, and the row that names it."""

    def __init__(self) -> None:
        self.upto = 0
        """The row up to which records were looked at."""
        self.tree = Tree()
        self._missing: dict[bytes, tuple[bytes | None, int]] = {}
        self._waiting: dict[bytes, int] = {}
        self._absent: dict[bytes, None] = {}

    def has_room(self) -> bool:
        """Returns whether more can be kept in mind; if need be, what a peer did not have is forgotten for that."""
        while len(self._missing) >= MISSING_MAX and self._absent:
            self.got([next(iter(self._absent))])
        return len(self._missing) < MISSING_MAX

    def add(self, named: Iterable[Named], upto: int) -> None:
        """Takes in what the rows up to `upto` name and is missing."""
        for no, source, base, waits in named:
            if source not in self._missing:
                self.tree.put(source, 1, source)
                self._missing[source] = base, no
            elif base is not None and self._missing[source][0] is None:
                self._missing[source] = base, no
            if self._missing[source][0] is not None:
                self._waiting.pop(source, None)
            elif waits:
                self._waiting[source] = no
        self.upto = max(self.upto, upto)

    def got(self, keys: Iterable[bytes]) -> None:
        """Removes those that have come."""
        for key in keys:
            self._absent.pop(key, None)
            self._waiting.pop(key, None)
            if self._missing.pop(key, None) is not None:
                self.tree.drop(key)

    def absent(self, keys: Iterable[bytes]) -> None:
        """Notes those that a peer did not have."""
        self._absent.update((key, None) for key in keys if key in self._missing)

    def waiting(self) -> list[int]:
        """Returns the rows that name a missing script and a parent whose record was not here."""
        return list(self._waiting.values())

    def row_of(self, key: bytes) -> int | None:
        """Returns the row that names a missing script."""
        return self._missing[key][1] if key in self._missing else None

    def held(self) -> list[bytes]:
        """Returns all missing ones."""
        return list(self._missing)

    def since(self, row: int) -> list[bytes]:
        """Returns those that rows after `row` were the first to name."""
        return [key for key, (_, no) in self._missing.items() if no > row]

    def in_order(self, keys: Iterable[bytes]) -> list[tuple[bytes, bytes | None]]:
        """Returns scripts and what they were made from, each after that one if both are asked for."""
        asked = dict.fromkeys(keys)
        ordered: dict[bytes, bytes | None] = {}
        for key in asked:
            path: dict[bytes, None] = {}
            at: bytes | None = key
            while at is not None and at in asked and at not in ordered and at not in path:  # a circle can be signed
                path[at] = None
                at = self._missing.get(at, (None, 0))[0]
            for one in reversed(path):
                ordered[one] = self._missing.get(one, (None, 0))[0]
        return list(ordered.items())

    def noted(self, most: int, upto_id: str) -> str | None:
        """Returns up to which row nothing but a few known scripts is missing, as a note; None where too many are."""
        if len(self._missing) > most:
            return None
        held = [[key.hex(), base.hex() if base else None, no] for key, (base, no) in self._missing.items()]
        return json.dumps({"upto": self.upto, "id": upto_id, "missing": held})


class Note(NamedTuple):
    """What an earlier start noted: a row, the id of its record, and what was missing up to there."""

    upto: int
    id: str
    missing: list[Named]


def parsed(note: str | None) -> Note | None:
    """Returns a note, None for none or a damaged one."""
    try:
        fields = json.loads(note or "{}")
        held = [Named(no, bytes.fromhex(key), base and bytes.fromhex(base)) for key, base, no in fields["missing"]]
        return Note(fields["upto"] + 0, fields["id"], held)
    except (ValueError, KeyError, TypeError):
        return None
