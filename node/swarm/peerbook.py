"""The book of peers: who was met or heard of, where, and whom to try next; kept in the replica's own notes.

One bounded note, so that a start finds its way back without any fixed server. Whoever floods the book with peers of his
own crowds out neither those that an invite named nor the anchors, which are the peers that served us longest, and what
is left is chosen evenly from all neighbourhoods of the internet (`Address.group`). A damaged note is an empty book.
Left out: dialing, and what peers say (sync). Rejected: a table, for two hundred rows that are read and written as one;
believing an address because many tell it: an address counts once the peer itself has answered there.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal

from node.swarm.address import Address, parsed

if TYPE_CHECKING:
    from ensue.store import Store

Learnt = Literal["invite", "lan", "dht", "gossip"]

NOTE: Final = "peers"
VERSION: Final = 1
PEERS_MAX = 200
"""Peers in the book."""
PEER_ADDRESSES_MAX = 8
"""Addresses kept of one peer: where it answered, then where the owner's invite says, then what others say."""
INVITED_MAX = 32
"""Peers of invites that are never crowded out; invites come from the owner alone."""
ANCHORS_MAX = 8
"""Peers that served longest, which are never crowded out and are tried first."""
BOOK_BYTES_MAX = 1024 * 1024
"""The note as JSON; a larger one is taken for damaged."""
TIME_MS_MAX = 2**53 - 1
FAILURES_MAX = 1_000
WAIT_FIRST_MS: Final = 5_000
WAIT_LONGEST_MS: Final = 3_600_000
GIVEN_UP_FAILURES: Final = 12
"""A peer that failed so often in a row, and was never reached or not for GIVEN_UP_MS, leaves the book."""
GIVEN_UP_MS: Final = 14 * 86_400_000

LEARNT: Final[tuple[Learnt, ...]] = ("invite", "lan", "dht", "gossip")
"""Where a peer was learnt of, the most trustworthy first."""
_RANK: Final = {name: rank for rank, name in enumerate(LEARNT)}


@dataclass(slots=True)
class Place:
    """An address of a peer: who told of it, and when the peer last answered there (0: never)."""

    address: Address
    learnt: Learnt
    worked_ms: int = 0

    @property
    def worth(self) -> tuple[int, int]:
        """Returns what places are ordered by, the best least."""
        return (-self.worked_ms, _RANK[self.learnt])


@dataclass(slots=True)
class Peer:
    """One peer as the book knows it; times are this node's wall clock in milliseconds, 0 for never."""

    peer_id: str
    learnt: Learnt
    places: list[Place] = field(default_factory=list)
    seen_ms: int = 0
    served_s: int = 0  # how long it was connected and of use, over all sessions
    failures: int = 0  # in a row
    retry_ms: int = 0  # not to be tried before

    @property
    def addresses(self) -> list[str]:
        """Returns where to dial, the likeliest first."""
        return [place.address.text for place in self.places]

    @property
    def group(self) -> str:
        """Returns the neighbourhood of the likeliest address."""
        return self.places[0].address.group if self.places else ""


class PeerBook:
    """The peers known here, this node itself excepted; `dice` decides where nothing else does."""

    def __init__(self, own: str, dice: Random | None = None) -> None:
        self._own = own
        self._dice = dice or Random()
        self._peers: dict[str, Peer] = {}

    @classmethod
    def load(cls, store: Store, own: str, dice: Random | None = None) -> PeerBook:
        """Returns the book in a replica's notes; what of it is damaged is left out. `own`: this node's peer id."""
        book = cls(own, dice)
        text = store.local_get(NOTE)
        if text is None or len(text) > BOOK_BYTES_MAX:
            return book
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return book
        rows = document.get("peers") if isinstance(document, dict) and document.get("v") == VERSION else None
        for row in (rows if isinstance(rows, list) else [])[:PEERS_MAX]:
            peer = _peer(row)
            if peer is not None and peer.peer_id != own:
                book._peers[peer.peer_id] = peer
        return book

    def save(self, store: Store) -> None:
        """Writes the book to the replica's notes; not durable at once, as all of it can be learnt again."""
        document = {"v": VERSION, "peers": [_row(peer) for peer in self._peers.values()]}
        store.local_set(NOTE, json.dumps(document, separators=(",", ":")), durable=False)

    def __len__(self) -> int:
        return len(self._peers)

    def __contains__(self, peer_id: object) -> bool:
        return peer_id in self._peers

    def get(self, peer_id: str) -> Peer | None:
        """Returns a peer, None for one that is not in the book."""
        return self._peers.get(peer_id)

    def all(self) -> list[Peer]:
        """Returns the peers, those met last first."""
        return sorted(self._peers.values(), key=lambda peer: (-peer.seen_ms, _RANK[peer.learnt], peer.peer_id))

    def add(self, addresses: Iterable[str], learnt: Learnt) -> int:
        """Notes addresses that somebody told, and returns how many peers are new; what is no address is left out."""
        before = set(self._peers)
        for text in addresses:
            address = parsed(text)
            if address is None or address.peer_id == self._own:
                continue
            peer = self._peers.setdefault(address.peer_id, Peer(address.peer_id, learnt))
            if _RANK[learnt] < _RANK[peer.learnt]:
                peer.learnt = learnt
            self._place(peer, address, learnt)
            self._crowd_out()
        return len(self._peers.keys() - before)

    def seen(self, peer_id: str, now_ms: int, *, address: str | None = None, served_s: float = 0.0) -> None:
        """Notes that a peer answered, at `address` if that is known, and was of use for `served_s` more seconds."""
        peer = self._peers.get(peer_id)
        where = parsed(address)
        if peer is None:
            if where is None or where.peer_id != peer_id or peer_id == self._own:
                return
            self.add([where.text], "gossip")
            peer = self._peers.get(peer_id)
            if peer is None:
                return
        peer.seen_ms = _bounded(now_ms)
        peer.served_s = _bounded(peer.served_s + int(served_s))
        peer.failures = peer.retry_ms = 0
        if where is not None and where.peer_id == peer_id:
            self._place(peer, where, "gossip", peer.seen_ms)

    def failed(self, peer_id: str, now_ms: int) -> None:
        """Notes that a peer did not answer: it is left alone for twice as long each time, up to an hour."""
        peer = self._peers.get(peer_id)
        if peer is None:
            return
        peer.failures = min(peer.failures + 1, FAILURES_MAX)
        wait_ms = min(WAIT_FIRST_MS << min(peer.failures - 1, 20), WAIT_LONGEST_MS)
        peer.retry_ms = _bounded(now_ms + int(wait_ms * self._dice.uniform(0.75, 1.0)))
        lost = peer.seen_ms == 0 or now_ms - peer.seen_ms > GIVEN_UP_MS
        if peer.failures >= GIVEN_UP_FAILURES and lost and peer_id not in self._kept():
            del self._peers[peer_id]

    def forget(self, peer_id: str) -> None:
        """Takes a peer out of the book, as one that lied."""
        self._peers.pop(peer_id, None)

    def candidates(self, count: int, now_ms: int, *, without: Iterable[str] = ()) -> list[Peer]:
        """Returns up to `count` peers to try now: anchors, at most half; then peers of invites; then all others.

        Within each, neighbourhoods take turns, in an order that the dice draw. Who failed lately waits; `without` are
        peers that need no trying, such as those that are connected.
        """
        out = set(without)
        free = [peer for peer in self._peers.values() if peer.peer_id not in out and _may_try(peer, now_ms)]
        anchors = {peer.peer_id for peer in self._anchors()}
        first = self._turns([peer for peer in free if peer.peer_id in anchors], served=True)[: max(1, count // 2)]
        invited = self._turns([peer for peer in free if peer.learnt == "invite"])
        chosen = {peer.peer_id: peer for peer in [*first, *invited, *self._turns(free)]}
        return list(chosen.values())[:count]

    def _turns(self, peers: Sequence[Peer], *, served: bool = False) -> list[Peer]:
        """Returns peers so that one of each neighbourhood comes before a second one of any."""
        groups: dict[str, list[Peer]] = defaultdict(list)
        for peer in sorted(peers, key=lambda peer: peer.peer_id):
            groups[peer.group].append(peer)
        order = sorted(groups)
        self._dice.shuffle(order)
        for name in order:
            self._dice.shuffle(groups[name])
            groups[name].sort(key=lambda peer: (-peer.served_s if served else peer.failures, peer.seen_ms == 0))
        deepest = max(map(len, groups.values()), default=0)
        return [groups[name][turn] for turn in range(deepest) for name in order if turn < len(groups[name])]

    def _place(self, peer: Peer, address: Address, learnt: Learnt, worked_ms: int = 0) -> None:
        """Notes an address; where there are too many, one of those that are worth least is left out."""
        place = next((place for place in peer.places if place.address.text == address.text), None)
        if place is None:
            place = Place(address, learnt)
            peer.places.append(place)
        place.learnt = min(place.learnt, learnt, key=lambda name: _RANK[name])
        place.worked_ms = max(place.worked_ms, worked_ms)
        peer.places.sort(key=lambda place: place.worth)
        if len(peer.places) > PEER_ADDRESSES_MAX:
            last = peer.places[-1].worth
            peer.places.remove(self._dice.choice([place for place in peer.places if place.worth == last]))

    def _anchors(self) -> list[Peer]:
        served = [peer for peer in self._peers.values() if peer.served_s]
        return sorted(served, key=lambda peer: (-peer.served_s, peer.peer_id))[:ANCHORS_MAX]

    def _kept(self) -> set[str]:
        """Returns the peers that nobody crowds out."""
        invited = [peer for peer in self._peers.values() if peer.learnt == "invite"]
        newest = sorted(invited, key=lambda peer: (-peer.seen_ms, peer.failures))[:INVITED_MAX]
        return {peer.peer_id for peer in [*self._anchors(), *newest]}

    def _crowd_out(self) -> None:
        """Keeps the book at its size: the fullest neighbourhood loses the peer that is worth least.

        Peers that never answered give way first while they are more than half, so that made-up ones displace no real
        one. Those of invites and the anchors stay.
        """
        while len(self._peers) > PEERS_MAX:
            kept = self._kept()
            unmet = sum(not peer.seen_ms for peer in self._peers.values()) > PEERS_MAX // 2
            groups: dict[str, list[Peer]] = defaultdict(list)
            for peer in self._peers.values():
                if peer.peer_id not in kept and (not peer.seen_ms) == unmet:
                    groups[peer.group].append(peer)
            fullest = max(map(len, groups.values()))
            loser = self._dice.choice(sorted(name for name, peers in groups.items() if len(peers) == fullest))
            worst = max(groups[loser], key=lambda peer: (peer.failures, -peer.seen_ms, self._dice.random()))
            del self._peers[worst.peer_id]


def _may_try(peer: Peer, now_ms: int) -> bool:
    """Returns whether a peer's wait is over; one that a clock set back would stretch is."""
    return bool(peer.places) and not 0 < peer.retry_ms - now_ms <= WAIT_LONGEST_MS


def _bounded(number: int) -> int:
    return max(0, min(number, TIME_MS_MAX))


def _row(peer: Peer) -> dict[str, Any]:
    places = [[place.address.text, place.learnt, place.worked_ms] for place in peer.places]
    return {
        "id": peer.peer_id,
        "learnt": peer.learnt,
        "places": places,
        "seen_ms": peer.seen_ms,
        "served_s": peer.served_s,
        "failures": peer.failures,
        "retry_ms": peer.retry_ms,
    }


def _peer(row: object) -> Peer | None:
    """Returns the peer in a row of the note, None where anything in it is wrong."""
    if not isinstance(row, dict) or row.get("learnt") not in LEARNT or not isinstance(row.get("places"), list):
        return None
    numbers = [row.get(name) for name in ("seen_ms", "served_s", "failures", "retry_ms")]
    places = [_read_place(item) for item in row["places"][:PEER_ADDRESSES_MAX]]
    whole = [place for place in places if place is not None and place.address.peer_id == row.get("id")]
    if not whole or not all(type(number) is int and 0 <= number <= TIME_MS_MAX for number in numbers):
        return None
    seen_ms, served_s, failures, retry_ms = (int(number or 0) for number in numbers)
    peer_id = whole[0].address.peer_id
    return Peer(peer_id, row["learnt"], whole, seen_ms, served_s, min(failures, FAILURES_MAX), retry_ms)


def _read_place(item: object) -> Place | None:
    if not isinstance(item, list) or len(item) != 3 or item[1] not in LEARNT:
        return None
    address = parsed(item[0])
    if address is None or type(item[2]) is not int or not 0 <= item[2] <= TIME_MS_MAX:
        return None
    return Place(address, item[1], item[2])
