"""What a home knows of the person behind it: the account, whether it is backed up, who vouches for it and until when.

For `status`, `doctor` and the words at a start; it only reads. Left out: becoming verified (participant).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from node import account as accounts
from node import names, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensue.identity import Identity
    from ensue.store import Store
    from node.home import Home

RENEWAL_DUE_MS = 30 * 86_400_000
"""Before its end a credential should be renewed for so long."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The account of a node, None where it speaks for none; times in ms since 1970."""

    account: str | None
    key_here: bool = False
    saved: accounts.Saved | None = None
    revoked_from: int | None = None
    vouching: tuple[str, ...] = ()
    needed: int = 1
    trusted: int = 0
    expires_ms: int | None = None

    @property
    def official(self) -> bool:
        """Return whether what this node publishes now is official."""
        return self.expires_ms is not None and self.revoked_from is None

    def due(self, now_ms: int) -> bool:
        """Return whether it is time to renew."""
        return self.expires_ms is not None and self.expires_ms - now_ms < RENEWAL_DUE_MS

    def verified_words(self, now_ms: int) -> str:
        """Return in words who vouches for the account, and until when."""
        if self.revoked_from is not None:
            return f"this node's key was revoked: nothing counts from number {self.revoked_from} on"
        if self.expires_ms is not None:
            by = ", ".join(names.key(one) for one in self.vouching)
            return f"until {text.clock(self.expires_ms)[:10]}, by {by}" + ("; renew it" if self.due(now_ms) else "")
        if not self.trusted:
            return "no: this network trusts no verifier"
        return f"no: {len(self.vouching)} of {self.needed} verifiers vouch for you"


def read(home: Home, store: Store, node: str) -> Standing:
    """Return how things stand; raises BadKeyFile where the account's key file is none."""
    account = store.people.account_of(node)
    if account is None:
        return Standing(None)
    key = accounts.key(home)
    now = store.people.standing(account, now_ms())
    return Standing(
        account,
        key_here=key is not None and key.peer_id == account,
        saved=accounts.saved(store, account),
        revoked_from=accounts.revoked_from(store, account, node),
        vouching=now.covering,
        needed=now.needed,
        trusted=len(store.people.in_force().verifiers),
        expires_ms=now.expires_ms,
    )


def begin_as_person(home: Home, store: Store, node: Identity, note: Callable[[str], None]) -> None:
    """See to the account at the start of a node, and say what its owner should know; asks and awaits nothing."""
    accounts.settle(home, store, node, note)
    found = read(home, store, node.peer_id)
    if found.revoked_from is not None:
        note(
            f"this node's key was revoked by its account: nothing it publishes from number {found.revoked_from} on "
            "counts; `autoresearch keys rotate` gives it a new one"
        )
    elif found.due(now_ms()):
        note(f"your account is verified {found.verified_words(now_ms())}: `autoresearch verify` with the same address")


def now_ms() -> int:
    """Return this machine's clock."""
    return time.time_ns() // 1_000_000
