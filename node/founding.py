"""The first start of a node: its key, the network it belongs to, its replica.

A node without an invite founds a network of its own, so that everything works alone from the first minute. Left out:
reading an invite (swarm.invite), and asking peers where the log of a restored key ends.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ensue.errors import BadKeyFile, UserError
from ensue.genesis import Genesis, TrackRef, found
from ensue.identity import Identity, sync_folder
from ensue.people import Trust
from ensue.store import Store, ownlog
from experiments import track as tracks
from node.home import HOME_VARIABLE, Home
from node.verifying import founded_with

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


def enter(home: Home, invited: Genesis | None = None) -> Membership:
    """Return the node's membership; the very first start makes the key, and founds a network or joins the invited one.

    Every step is atomic and may be repeated, so a kill in between costs nothing: a new key gets its name when the mark
    of its log is there, so a key that is found without one comes from elsewhere. Raises BadKeyFile, UserError for a
    home of another network than `invited`, StoreError, and LogInDoubt where the key may have signed what this home
    does not know.
    """
    home.create()
    known = Genesis.load(home.genesis) if home.founded else None
    if known is not None and invited is not None and known.network_id != invited.network_id:
        raise UserError(
            f"this home ({home.path}) belongs to the network {known.name} ({known.network_id[:10]}) and the invite is "
            f"for {invited.name} ({invited.network_id[:10]}): set {HOME_VARIABLE} to another folder to join it there"
        )
    new_key = not home.key.exists()
    draft = home.key.with_name(f".{home.key.name}.new")
    identity = Identity.load_or_create(draft if new_key else home.key)
    genesis = known or invited or _new_network(home, identity)
    founded = known is None and invited is None
    logs = (identity.peer_id, *genesis.verifiers) if founded else (identity.peer_id,)
    if known is None and home.database.exists():
        Store(home.database, genesis.network_id).close()  # first, as it refuses a replica of another network
    if new_key or founded:
        for peer_id in logs:
            ownlog.begin(home.database, genesis.network_id, peer_id)  # first: a genesis without it is restored
    identity = _named(draft, home.key)
    if known is None:
        try:
            genesis.save(home.genesis)
        except BaseException:
            if founded and not home.founded:
                for peer_id in logs:
                    ownlog.mark_path(home.database, genesis.network_id, peer_id).unlink(missing_ok=True)
            raise
    store = Store(home.database, genesis.network_id, Trust.of(genesis))
    try:
        store.own_log.require(identity.peer_id)
    except BaseException:
        store.close()
        raise
    return Membership(identity, genesis, store, founded)


def _new_network(home: Home, identity: Identity) -> Genesis:
    """Return a new genesis that trusts a verifier in this very home, so that nobody else is needed for one either."""
    refs = [TrackRef(track.name, track.id) for track in _known_tracks()]
    verifier = founded_with(home)
    return found(identity, NETWORK_NAME, refs, created_ms=time.time_ns() // 1_000_000, verifiers=[verifier])


def _named(draft: Path, key: Path) -> Identity:
    """Return the key of the name `key`, which a new one gets from its draft; a key that is there already wins."""
    try:
        if draft.exists():
            with suppress(FileExistsError):
                os.link(draft, key)
            draft.unlink()
            sync_folder(key.parent)
    except OSError as error:
        raise BadKeyFile(
            f"No key file can be made at {key} ({error.strerror}); set {HOME_VARIABLE} to a local disk."
        ) from None
    return Identity.load(key)


def _known_tracks() -> "Iterable[tracks.Track]":
    return [tracks.load(name) for name in tracks.available()]
