"""A new key for this node under the same account: the old one ends where its log ends, the new one is delegated.

Two records of the new key, written in one transaction, are the rotation; what a kill leaves before or after them the
next start undoes or ends. The old key stays beside the new one, as it may have founded the network. Left out: the
account's own key, which is never changed. Rejected: letting the old key sign its own end, as it may be in other hands.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensue.errors import UserError
from ensue.identity import Identity, sync_folder
from ensue.statements import delegation, revocation
from ensue.store import Draft, Store, ownlog
from node import account as accounts
from node import lock, names
from node.home import open_replica

if TYPE_CHECKING:
    from pathlib import Path

    from node.home import Home

REASON = "replaced by another key of the same account"


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did: the key that ended, after which number, and the new one."""

    old: str
    last_seq: int
    new: str


def rotate(home: Home, store: Store) -> Rotated:
    """Give this node a new key and end the old one; the caller holds the node's lock.

    A rotation that was cut short is ended, and is the one that is returned. Raises UserError where the account's key is
    not here, BadKeyFile, StoreError.
    """
    account = accounts.required(home)
    old = Identity.load(home.key)
    spoken_for = store.people.account_of(old.peer_id)
    if spoken_for is not None and spoken_for != account.peer_id:
        raise UserError(
            f"this node speaks for {names.account(spoken_for)} and the key here is that of "
            f"{names.account(account.peer_id)}: put the right one here with `autoresearch keys restore`"
        )
    if not finish(home, store):
        new = Identity.load_or_create(draft(home))
        ownlog.begin(store.path, store.network, new.peer_id)
        store.own_log.require(new.peer_id)
        ended = revocation(account, store.network, old.peer_id, _end(store, account.peer_id, old.peer_id), REASON)
        begun = delegation(account, store.network, new.peer_id)
        store.append_all(new, [Draft("delegation", begun), Draft("revocation", ended)])
        finish(home, store)
    return Rotated(old.peer_id, _end(store, account.peer_id, old.peer_id), Identity.load(home.key).peer_id)


def finish(home: Home, store: Store) -> bool:
    """Bring a rotation that was cut short to its end, and return True; undo one that had not begun to be recorded."""
    path = draft(home)
    if not os.path.lexists(path):
        return False
    new = Identity.load(path).peer_id
    recorded = store.head(new) is not None
    if recorded:
        kept = aside(home, Identity.load(home.key).peer_id)
        if not os.path.lexists(kept):
            os.link(home.key, kept)
        path.replace(home.key)
    else:
        path.unlink()
        ownlog.mark_path(store.path, store.network, new).unlink(missing_ok=True)
    sync_folder(home.path)
    return recorded


def finish_at_start(home: Home) -> None:
    """Do what `finish` does before anything is opened with the old key; nothing where no rotation was cut short."""
    if home.founded and os.path.lexists(draft(home)):
        with open_replica(home) as store:
            finish(home, store)


def aside(home: Home, node: str) -> Path:
    """Return where a node key that was replaced is kept."""
    return home.path / f"node-{node[-names.FINGERPRINT_CHARS :]}.key"


def draft(home: Home) -> Path:
    """Return where the new key lies until it takes the old one's place."""
    return home.path / f".{home.key.name}.next"


def refuse_while_running(home: Home) -> lock.NodeLock:
    """Return the node's lock, held; raise UserError where a node runs on this home."""
    pid = lock.holder(home.lock)
    if pid is not None:
        raise UserError(
            f"the node is running (process {pid}) and signs with the key that would be replaced: "
            "end it with `autoresearch leave`, then rotate"
        )
    return lock.NodeLock(home.lock)


def _end(store: Store, account: str, node: str) -> int:
    """Return the last number of a node's log that goes on counting: its present end, or an earlier revocation's."""
    void_from = accounts.revoked_from(store, account, node)
    end = store.own_log.end(node).seq
    return end if void_from is None else min(end, void_from - 1)
