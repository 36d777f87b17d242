"""Where trees of two nodes differ and nothing is to be fetched: pairs of digests that were walked below before.

Two nodes that forgot other strangers differ for good. Without this each would list the same logs to the other every few
seconds; with it a walk costs what has changed since. A digest stands for what is below it, so a pair holds whoever the
peer is. Left out: what is to be fetched (pull). Rejected: asking such peers less often, which delays what is new.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

PAIRS_MAX = 50_000


class Visited(NamedTuple):
    """A node of a peer's tree that was looked at: where, the peer's digest, and ours at that moment."""

    prefix: str
    theirs: bytes
    mine: bytes


class Settled:
    """Pairs of digests (a peer's, ours) below which nothing is to be fetched."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[bytes, None] = OrderedDict()

    def has(self, theirs: bytes, mine: bytes) -> bool:
        """Returns whether a pair is known."""
        return theirs + mine in self._pairs

    def note(self, visited: Iterable[Visited], wanted: Iterable[str]) -> None:
        """Remembers the nodes of a walk that ended, but those above leaves where something is wanted."""
        above = {prefix[:length] for prefix in wanted for length in range(len(prefix) + 1)}
        for one in visited:
            if one.prefix not in above:
                self._pairs[one.theirs + one.mine] = None
        while len(self._pairs) > PAIRS_MAX:
            self._pairs.popitem(last=False)

    def clear(self) -> None:
        """Forgets all of them, since more is wanted than before."""
        self._pairs.clear()
