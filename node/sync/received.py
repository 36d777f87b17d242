"""How far other nodes have this node's own log: noted when it is sent to them, and when they say that they have it.

A note in the replica keeps it over restarts, so `contributions` knows it while nothing runs. Numbers are counted, not
records: whoever has number 7 of a log was sent what came before. Left out: records of others. Rejected: receipts in the
memory, which would cost a record for each record and peer.
"""

import json
from collections.abc import Iterable, Mapping

from ensue.store import Store

NOTE = "received"
VERSION = 1
PEERS_MAX = 256
"""Peers remembered; of more, those stay that have the most."""
NOTE_BYTES_MAX = 64 * 1024
_WHOLE_MAX = 2**53 - 1
_PEER_ID_CHARS_MAX = 64


class Received:
    """The highest number of one author's log that each peer has."""

    def __init__(self, author: str) -> None:
        self.author = author
        self._numbers: dict[str, int] = {}
        self._changed = False

    def has(self, peer: str, seq: int) -> None:
        """Take note that a peer has the log up to a number."""
        if peer == self.author or seq <= self._numbers.get(peer, 0):
            return
        if peer not in self._numbers and len(self._numbers) >= PEERS_MAX:
            least = min(self._numbers, key=lambda one: (self._numbers[one], one))
            if self._numbers[least] >= seq:
                return
            del self._numbers[least]
        self._numbers[peer] = seq
        self._changed = True

    def somebody_has(self, seq: int, peers: Iterable[str]) -> bool:
        """Return whether one of some peers has the log up to a number."""
        return any(self._numbers.get(peer, 0) >= seq for peer in peers)

    def resume(self, store: Store) -> None:
        """Take up what was noted before this start; another log's numbers are kept as they are."""
        for peer, seq in read(store, self.author).items():
            self.has(peer, seq)
        self._changed = False

    def save(self, store: Store) -> None:
        """Write the note if anything has changed since the last time."""
        if not self._changed:
            return
        self._changed = False
        logs = {author: numbers for author, numbers in _logs(store).items() if author != self.author}
        last = list(logs.items())[-1:]  # the log before the last change of keys: its records are still one's own
        document = {"v": VERSION, "logs": dict([*last, (self.author, self._numbers)])}
        store.local_set(NOTE, json.dumps(document, separators=(",", ":")), durable=False)


def read(store: Store, author: str) -> Mapping[str, int]:
    """Return how far each peer has an author's log, empty where nothing sound is noted."""
    return _logs(store).get(author, {})


def count(numbers: Mapping[str, int], seq: int) -> int:
    """Return how many peers have the record of a number."""
    return sum(has >= seq for has in numbers.values())


def _logs(store: Store) -> dict[str, dict[str, int]]:
    text = store.local_get(NOTE)
    if text is None or len(text) > NOTE_BYTES_MAX:
        return {}
    try:
        document = json.loads(text)
        if document["v"] != VERSION:
            return {}
        return {str(author): _numbers(numbers) for author, numbers in document["logs"].items()}
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return {}


def _numbers(found: Mapping[str, object]) -> dict[str, int]:
    sound = {
        peer: seq
        for peer, seq in found.items()
        if type(seq) is int and 0 < seq <= _WHOLE_MAX and len(peer) <= _PEER_ID_CHARS_MAX
    }
    return dict(list(sound.items())[:PEERS_MAX])
