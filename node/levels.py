"""Why a result is at the level it is, in words for `show`: who vouches for it, and what reruns say about it.

Left out: the rules (ensue.people, verify). Rejected: keeping reasons in the tables, which would be as many as there are
rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ensue.errors import UnknownId
from node import names, text

_CONFIRMED = "confirmed: "
_SEEDLESS = "it gives one value with every seed, which counts once: a script must use the seed that it is given"
_VOID = {
    "retracted": "its author withdrew it",
    "frozen": "its author signed a number of its log twice, and nothing counts from there on",
    "revoked": "its account took its word from the key before this was made",
}

OTHERS_MIN = 2
"""Accounts besides the author's that a test needs."""

if TYPE_CHECKING:
    from ensue.store import ResultRow, Store
    from verify.ruling import ClassRuling, Ruling


def ruling_of(store: Store, result: str) -> Ruling | None:
    """Return what reruns were last found to say about a result; None where nobody has listed or rerun it."""
    said = store.trials.said(result)
    if said is None:
        return None
    from verify.ruling import Ruling

    return Ruling.read(said)


def words(store: Store, row: ResultRow) -> str:
    """Return a result's level with the reason for it, and how far reruns have come."""
    void = next((why for flag, why in _VOID.items() if flag in row.flags), None)
    if void:
        return f"{_with_flags(row.level, row.flags)}: {void}"
    tested = test(store, row, ruling_of(store, row.id))
    said = [flag for flag in row.flags if not tested.startswith(flag)]
    if row.level == "confirmed" and tested.startswith(_CONFIRMED):
        return f"{_with_flags(row.level, said)}: {tested.removeprefix(_CONFIRMED)}; official: {reason(store, row)}"
    return f"{_with_flags(row.level, said)}: {reason(store, row)}" + (f"; {tested}" if tested else "")


def _with_flags(level: str, flags: Sequence[str]) -> str:
    return ", ".join((level, *flags))


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
    if row.level != "recorded":
        return f"{whose} is vouched for by {by}"
    if not given:
        return f"0 of {trusted.needed} verifiers vouch for {whose}"
    if any(one.superseded for one in given) and not vouching:
        return f"the address of {whose} went to another account before this was known"
    if not vouching:
        ended = text.clock(max(one.expires_ms for one in given))[:10]
        return f"the credential of {whose} ended {ended}, before this was made"
    return f"{len(vouching)} of {trusted.needed} verifiers vouch for {whose}"


def test(store: Store, row: ResultRow, ruling: Ruling | None) -> str:
    """Return what reruns say about a result in its own class, or why there are none; nothing below official."""
    if row.level == "recorded":
        return ""
    if ruling is None or not (ruling.listed or ruling.classes):
        return f"not listed for reruns: {_unlisted(store, row)}"
    if not ruling.drawn:
        return "not yet confirmed: waiting for a draw of who reruns it"
    own = ruling.own
    if own is None or not own.seats:
        return "not yet confirmed: no machine of its class was in the draw"
    return verdict(own, alone=row.parent is None)


def transfers(ruling: Ruling) -> list[tuple[str, str]]:
    """Return each other hardware class in which a result was rerun, with what was found there, in words."""
    others = sorted(ruling.classes.items())
    return [(name, verdict(one, transfer=True)) for name, one in others if name != ruling.hardware_class and one.pairs]


def verdict(found: ClassRuling, *, transfer: bool = False, alone: bool = False) -> str:
    """Return what the pairs of one class say, in words with their numbers; `alone`: it was rerun beside itself."""
    pairs, by = text.plural(found.pairs, "pair"), text.plural(found.accounts, "account")
    seen = text.number(found.measured)
    evidence = f"E = {_round(found.evidence)} of {_round(found.evidence_needed)}"
    gain = "" if found.gain is None else f"{text.number(abs(found.gain))} ± {text.number(found.gain_sd)}"
    if found.refuted and not transfer:
        gained = "" if alone else f"gained {_signed(found)} and "
        return f"refuted: it {gained}measured {seen} in {pairs} by {by}; luck does not explain what its author told"
    if found.answer == "better":
        return f"{'holds here too: ' if transfer else _CONFIRMED}better by {gain} in {pairs} by {by}, {evidence}"
    if found.answer == "worse":
        return f"worse in reruns: by {gain} in {pairs} by {by}"
    if alone and found.pairs:
        return f"it has no parent to be better than; in {pairs} by {by} it measured {seen}"
    if found.answer == "tie" and found.repeats:
        return f"a tie: {_SEEDLESS}"
    if found.answer == "tie":
        return f"a tie: no gain worth the name in {pairs} by {by} ({_signed(found)})"
    waiting = "" if found.pairs else ", the first reruns are to come"
    if found.repeats:
        waiting = f"; {_SEEDLESS}"
    about = f"{found.pairs} of about {found.pairs + found.pairs_needed} pairs"
    return f"not yet {'known' if transfer else 'confirmed'}: {about}, {evidence}{waiting}"


def _signed(found: ClassRuling) -> str:
    return "nothing" if found.gain is None else f"{text.signed(found.gain)} ± {text.number(found.gain_sd)}"


def _round(evidence: float) -> str:
    """Return evidence to about two figures, as more would mean nothing."""
    if evidence >= 1e6:
        return f"{evidence:.0e}".replace("e+0", "e").replace("e+", "e")
    return f"{evidence:,.0f}" if evidence >= 9.5 else f"{evidence:.1f}"


def _unlisted(store: Store, row: ResultRow) -> str:
    """Return why no verifier has put an official result to the test."""
    if row.status != "kept" or row.value is None:
        return "only kept results are"
    if row.parent is not None:
        try:
            store.result(row.parent)
        except UnknownId:
            return "its parent is not here yet"
    best = store.best(row.track, row.hardware_class, level="confirmed")
    if best is not None and best.value is not None:
        ahead = row.value - best.value if row.direction == "min" else best.value - row.value
        if ahead >= 0:
            return f"a better one of its class is confirmed, {best.id[:10]}"
    if _others(store, row) < OTHERS_MIN:
        return f"fewer than {OTHERS_MIN} other accounts have a machine that may be drawn"
    return "it waits for its turn, the best come first"


def _others(store: Store, row: ResultRow) -> int:
    """Return how many accounts besides the author's have a machine for reruns on the track of a result."""
    from verify.hearing import Hearing

    machines = Hearing(store).machines(row.track).values()
    return len({one.account for one in machines if one.available} - {store.people.account_of(row.author, row.seq)})
