"""What a running swarm shows of itself: its neighbours, totals, and in words whether others can reach it."""

import os
from dataclasses import asdict

from ensue.store import Store
from node.swarm.neighbours import Neighbour
from node.swarm.peer import Peer
from node.swarm.status import Counters, PeerStatus, Reachable, SwarmStatus, Unverified
from node.transport.reach import Reachability

NAMED_RECORDS = 500
"""The newest records here, among which one may tell a peer's name."""

_WORDS: dict[Reachability, tuple[Reachable, str]] = {
    Reachability.PUBLIC: ("yes", "other nodes dialed this one back"),
    Reachability.PRIVATE: (
        "no",
        "other nodes could not dial this one back, so it reaches out itself; to be reached, forward a TCP port of the "
        "router to this machine and set swarm_listen and swarm_announce (see docs/how-to/join-others.md)",
    ),
    Reachability.UNKNOWN: ("unknown", "nobody has tried to dial this node back yet"),
}


async def snapshot(
    peer: Peer, store: Store, addresses: list[str], reachability: Reachability, now_ms: int
) -> SwarmStatus:
    """Return the status document of this moment."""
    reachable, why = _WORDS[reachability]
    here = peer.neighbours.all()
    records = (await peer.replica.current()).root()[0]
    totals = peer.neighbours.totals
    return SwarmStatus(
        pid=os.getpid(),
        updated_ms=now_ms,
        addresses=tuple(addresses),
        reachable=reachable,
        why=why,
        peers=tuple(_of(one, peer, store, records) for one in here),
        counters=Counters(
            records_in=totals.records,
            records_out=peer.herald.records_out,
            bytes_in=totals.bytes_in,
            bytes_out=totals.bytes_out,
            refused=totals.refused,
            cut_off=sum(peer.budgets.of(one.peer).cut_off for one in here),
        ),
        unverified=Unverified(**asdict(peer.ring.fill)),
        problem=peer.herald.problem,
    )


def _name(store: Store, author: str) -> str:
    """Return what an author's agent calls itself in one of the newest records here, as not every record says it."""
    newest = store.numbered(author=author, after_rowid=max(0, store.count() - NAMED_RECORDS))
    return next((str(record.body["agent"]) for _, record in newest if record.body.get("agent")), "")


def _of(one: Neighbour, peer: Peer, store: Store, records: int) -> PeerStatus:
    known, theirs = peer.book.get(one.peer), one.welcome
    if not one.name:
        one.name = _name(store, one.peer)
    return PeerStatus(
        one.peer,
        name=one.name,
        addresses=tuple(known.addresses) if known is not None else (),
        connected=True,
        version=theirs.software if theirs is not None else "",
        records=theirs.records if theirs is not None else None,
        lag_records=max(0, theirs.records - records) if theirs is not None else None,
        last_seen_ms=one.seen_ms,
        rtt_ms=one.rtt_ms,
    )
