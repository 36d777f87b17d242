"""The account: the key of the person behind this node, made silently at the first start, delegating to the node's.

The account's key signs no records, so the same one may lie on several machines; a node's log says once for which
account it speaks. Each step may be repeated, and what a kill leaves half done the next start ends. Left out: words for
the key (phrase), a new node key (rotation), who vouches for the account (participant). Rejected: one key for person and
machine, with which a stolen machine would take the person along.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ensue.errors import BadKeyFile, UserError
from ensue.identity import Identity, sync_folder
from node import names, text
from node.phrase import SEED_BYTES

if TYPE_CHECKING:
    from ensue.record import Record
    from ensue.store import Store
    from node.home import Home

KEY_NAME = "account.key"
REMOVED_NOTE = "account removed"
"""The account whose key the owner took off this machine."""
BACKED_UP_NOTE = "account back-up"
TOLD_NOTE = "account told"
"""The account for which the owner was told how to back it up."""


@dataclass(frozen=True, slots=True)
class Saved:
    """When and where an account's key was backed up; `where` is a file, or empty for words on a terminal."""

    account: str
    time_ms: int
    where: str = ""

    @property
    def words(self) -> str:
        """Return it in words."""
        place = f"in {text.printable(self.where)}" if self.where else "as 24 words that were shown"
        return f"{place}, {text.clock(self.time_ms)}"


def path(home: Home) -> Path:
    """Return where the account's key lies, mode 0600; it may be absent."""
    return home.path / KEY_NAME


def key(home: Home) -> Identity | None:
    """Return the account's key, None where it is not on this machine; raise BadKeyFile for a file that is none."""
    return Identity.load(path(home)) if os.path.lexists(path(home)) else None


def required(home: Home) -> Identity:
    """Return the account's key; raise UserError, with what to do, where it is not here."""
    found = key(home)
    if found is None:
        raise UserError(
            "the account's key is not on this machine: `autoresearch keys restore` brings it back from its 24 words, "
            "and `autoresearch join` makes one where there never was any"
        )
    return found


def settle(home: Home, store: Store, node: Identity, note: Callable[[str], None] = lambda words: None) -> str | None:
    """Return the account for which this node speaks; make the key and the delegation where there is none yet.

    Takes milliseconds, asks nothing, and tells once how to back the key up. An account whose key is elsewhere stays the
    node's account. Raises BadKeyFile, StoreError and LogInDoubt.
    """
    _end_removal(home, store)
    spoken_for = store.people.account_of(node.peer_id)
    if spoken_for is None and not os.path.lexists(path(home)) and store.local_get(REMOVED_NOTE) is None:
        Identity.load_or_create(path(home))
    account = key(home)
    if account is None:
        return spoken_for
    delegate(store, account, node)
    if store.local_get(TOLD_NOTE) != account.peer_id:
        if saved(store, account.peer_id) is None:
            note(
                f"your account is {names.account(account.peer_id)}: `autoresearch keys backup` shows the 24 words that "
                "bring it back, should this disk be lost"
            )
        store.local_set(TOLD_NOTE, account.peer_id)
    return store.people.account_of(node.peer_id)


def delegate(store: Store, account: Identity, node: Identity) -> Record | None:
    """Let a node's log say that it speaks for an account; return the record, None where it says so already.

    A node that its account has revoked says nothing any more, so nothing is written for it either.
    """
    from ensue.statements import delegation

    current = store.people.account_of(node.peer_id)
    if current == account.peer_id or (current is not None and revoked_from(store, current, node.peer_id) is not None):
        return None
    store.own_log.require(node.peer_id)
    return store.append(node, "delegation", delegation(account, store.network, node.peer_id))


def revoked_from(store: Store, account: str, node: str) -> int | None:
    """Return the number from which a node's records are void, None where all count."""
    return next((row.void_from for row in store.people.nodes(account) if row.node == node), None)


def put(home: Home, seed: bytes) -> Identity:
    """Make the account's key of this home that of a seed, durably, and return it.

    A key of another account that is here already is kept beside it as `account-….key`. Raises BadKeyFile.
    """
    if len(seed) != SEED_BYTES:
        raise BadKeyFile(f"An account's key has {SEED_BYTES} bytes, not {len(seed)}; use the back-up's 24 words.")
    wanted, present = Identity(seed), key(home)
    if present is not None and present.peer_id == wanted.peer_id:
        return present
    home.create()
    target = path(home)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        try:
            write_new(draft, wanted.file_bytes())
            if present is not None and not aside(home, present.peer_id).exists():
                os.link(target, aside(home, present.peer_id))
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(target.parent)
    except OSError as error:
        raise BadKeyFile(f"No key file can be made at {target} ({error.strerror}): make room there.") from None
    return Identity.load(target)


def aside(home: Home, account: str) -> Path:
    """Return where the key of an account that was replaced is kept."""
    return home.path / f"account-{account[-names.FINGERPRINT_CHARS :]}.key"


def seed(home: Home) -> bytes:
    """Return the 32 secret bytes of the account's key; raise UserError or BadKeyFile where there is none."""
    return required(home).seed()


def remove(home: Home, store: Store) -> str:
    """Take the account's key off this machine and return the account; the node goes on speaking for it.

    The intention is noted first, so that a kill in between cannot leave the key behind unnoticed.
    """
    account = required(home).peer_id
    store.local_set(REMOVED_NOTE, account)
    _end_removal(home, store)
    return account


def _end_removal(home: Home, store: Store) -> None:
    removed = store.local_get(REMOVED_NOTE)
    if removed is None or not os.path.lexists(path(home)) or Identity.load(path(home)).peer_id != removed:
        return
    path(home).unlink()
    sync_folder(home.path)


def write_new(target: Path, content: bytes) -> None:
    """Write a file that must not exist yet, readable by its owner alone, and wait for the disk; raises OSError."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)  # whatever the umask took away
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    sync_folder(target.absolute().parent)


def saved(store: Store, account: str) -> Saved | None:
    """Return when and where an account was backed up from this home, None where it never was."""
    try:
        found = json.loads(store.local_get(BACKED_UP_NOTE) or "{}")
        kept = Saved(str(found["account"]), int(found["time_ms"]), str(found["where"]))
    except (KeyError, RecursionError, TypeError, ValueError):
        return None
    return kept if kept.account == account else None


def note_saved(store: Store, account: str, where: str = "") -> None:
    """Note that an account was backed up."""
    found = {"account": account, "time_ms": time.time_ns() // 1_000_000, "where": where}
    store.local_set(BACKED_UP_NOTE, json.dumps(found))
