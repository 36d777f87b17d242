"""The first start of a node: its key, the network it belongs to, its replica.

A node without an invite founds a network of its own, so that everything works alone from the first minute.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensue.genesis import Genesis, TrackRef, found
from ensue.identity import Identity
from ensue.store import Store, ownlog
from experiments import track as tracks
from node.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterable

NETWORK_NAME = "autoresearch"


@dataclass(frozen=True)
class Membership:
    """Who this node is and which network it belongs to."""

    identity: Identity
    genesis: Genesis
    store: Store
    founded: bool  # this very start founded the network


def enter(home: Home) -> Membership:
    """Return the node's membership, making the key and founding a network on the very first start.

    Every step is atomic and may be repeated, so a kill in between costs nothing. Raises BadKeyFile, UserError,
    StoreError, and LogInDoubt where the key may have signed what this home does not know.
    """
    home.create()
    new_key = not home.key.exists()
    identity = Identity.load_or_create(home.key)
    founded = not home.genesis.exists()
    if founded:
        known = [TrackRef(track.name, track.id) for track in _known_tracks()]
        genesis = found(identity, NETWORK_NAME, known, created_ms=time.time_ns() // 1_000_000)
        ownlog.begin(home.database, genesis.network_id, identity.peer_id)  # first: a genesis without it is restored
        try:
            genesis.save(home.genesis)
        except BaseException:
            ownlog.mark_path(home.database, genesis.network_id, identity.peer_id).unlink(missing_ok=True)
            raise
    genesis = Genesis.load(home.genesis)
    if new_key:
        ownlog.begin(home.database, genesis.network_id, identity.peer_id)
    store = Store(home.database, genesis.network_id)
    try:
        store.own_log.require(identity.peer_id)
    except BaseException:
        store.close()
        raise
    return Membership(identity, genesis, store, founded)


def _known_tracks() -> "Iterable[tracks.Track]":
    return [tracks.load(name) for name in tracks.available()]
