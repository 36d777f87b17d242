"""Why a result is at the level it is: recorded, official, or not counting at all; in words, for `show`.

Left out: the rules (ensue.people). Rejected: keeping reasons in the tables, which would be as many as there are rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from node import names, text

_VOID = {
    "retracted": "its author withdrew it",
    "frozen": "its author signed a number of its log twice, and nothing counts from there on",
    "revoked": "its account took its word from the key before this was made",
}

if TYPE_CHECKING:
    from ensue.store import ResultRow, Store


def words(store: Store, row: ResultRow) -> str:
    """Return a result's level with the reason for it."""
    void = next((why for flag, why in _VOID.items() if flag in row.flags), None)
    said = "".join(f", {flag}" for flag in row.flags)
    return f"{row.level}{said}: {void or reason(store, row)}"


def reason(store: Store, row: ResultRow) -> str:
    """Return why a result is official, or why it is not."""
    account = store.people.account_of(row.author, row.seq)
    trusted = store.people.in_force()
    if not trusted.verifiers:
        return "this network trusts no verifier"
    if account is None:
        return "its node speaks for no account"
    whose = names.account(account)
    given = [one for one in store.people.credentials(account) if one.counts]
    vouching = sorted({one.verifier for one in given if row.created_ms < one.expires_ms and not one.superseded})
    by = ", ".join(names.key(one) for one in vouching) or "an older credential"
    if row.level == "official":
        return f"{whose} is vouched for by {by}"
    if not given:
        return f"0 of {trusted.needed} verifiers vouch for {whose}"
    if any(one.superseded for one in given) and not vouching:
        return f"the address of {whose} went to another account before this was known"
    if not vouching:
        ended = text.clock(max(one.expires_ms for one in given))[:10]
        return f"the credential of {whose} ended {ended}, before this was made"
    return f"{len(vouching)} of {trusted.needed} verifiers vouch for {whose}"
