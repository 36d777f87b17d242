"""The first start of a node: its key, the network it belongs to, its replica.

A node without an invite founds a network of its own, so that everything works alone from the first minute.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensue.genesis import Genesis, TrackRef, found
from ensue.identity import Identity
from ensue.store import Store
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
    StoreError.
    """
    home.create()
    identity = Identity.load_or_create(home.key)
    founded = not home.genesis.exists()
    if founded:
        known = [TrackRef(track.name, track.id) for track in _known_tracks()]
        found(identity, NETWORK_NAME, known, created_ms=time.time_ns() // 1_000_000).save(home.genesis)
    genesis = Genesis.load(home.genesis)
    return Membership(identity, genesis, Store(home.database, genesis.network_id), founded)


def _known_tracks() -> "Iterable[tracks.Track]":
    return [tracks.load(name) for name in tracks.available()]
