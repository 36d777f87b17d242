"""Which replications count, and as which pairs: rule T4 of docs/PROTOCOL.md, pure.

Left out: what the pairs say (verdict) and who may vouch for an author (hearing). Rejected: leaving out runs on a busy
machine, since whoever reruns could call a machine busy whose outcome is unwelcome.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from verify.seating import Seat, seeds
from verify.verdict import Pair

LOSS = 3.0
"""Standard deviations of a difference that a child without a value counts as worse."""
CONDITIONS = ("metric", "direction", "clock", "budget_s")


@dataclass(frozen=True, slots=True)
class Started:
    """A duty, with the account that its author spoke for."""

    id: str
    author: str
    account: str | None
    block: int
    hardware_class: str


@dataclass(frozen=True, slots=True)
class Told:
    """A replication, with the account whose official record it is, None where it is not official."""

    id: str
    author: str
    account: str | None
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Counted:
    """What counts in one hardware class: replications by account, in order of blocks, and why others do not."""

    blocks: Mapping[str, tuple[Told, ...]]
    closed: tuple[str, ...]
    ignored: tuple[tuple[str, str], ...] = field(default=())


def count(
    result: Mapping[str, Any],
    author: str,
    hardware_class: str,
    seats: Mapping[str, Seat],
    duties: Mapping[str, Started],
    told: Sequence[Told],
) -> Counted:
    """Return what counts of the replications of a result of an account in one class.

    `result` gives its id, parent and conditions, `duties` those about it by id, `told` the replications about it in
    order of author and number, those of other classes included.
    """
    blocks: dict[str, dict[int, Told]] = {}
    ignored: list[tuple[str, str]] = []
    for one in told:
        if one.body["hardware_class"] != hardware_class:
            continue
        why = _against(one, result, author, seats, duties)
        if why is None and one.account is not None:
            mine = blocks.setdefault(one.account, {})
            if one.body["block"] in mine:
                why = "its account has told of this block before"
            else:
                mine[one.body["block"]] = one
        if why is not None:
            ignored.append((one.id, why))
    counted: dict[str, tuple[Told, ...]] = {}
    closed = []
    for account, mine in blocks.items():
        whole = next(number for number in range(len(mine) + 1) if number not in mine)
        counted[account] = tuple(mine[number] for number in range(whole))
        ignored += [
            (mine[number].id, "a block of its account before it is missing") for number in mine if number > whole
        ]
    for account in seats:
        whole = len(counted.get(account, ()))
        begun = [one.block for one in duties.values() if (one.account, one.hardware_class) == (account, hardware_class)]
        if any(number > whole for number in begun) or any(number > whole for number in blocks.get(account, ())):
            closed.append(account)
    return Counted(counted, tuple(closed), tuple(ignored))


def pairs_of(counted: Counted, seats: Mapping[str, Seat], run_sd: float) -> tuple[list[Pair], list[str]]:
    """Return the pairs that count, in order of seats and blocks, and for each the replication that told of it."""
    pairs: list[Pair] = []
    sources: list[str] = []
    for account in sorted(counted.blocks, key=lambda name: seats[name].place):
        for one in counted.blocks[account]:
            sign = 1.0 if one.body["direction"] == "min" else -1.0
            for pair in one.body["pairs"]:
                parent, child = pair["parent"].get("value"), pair["child"].get("value")
                if parent is None:
                    continue
                lost = -LOSS * run_sd * math.sqrt(2)
                difference = lost if child is None else sign * (float(parent) - float(child))
                values = (float(parent), float(pair["seed"]) if child is None else float(child))
                pairs.append(Pair(account, one.body["hardware_class"], difference, pair["seed"], values))
                sources.append(one.id)
    return pairs, sources


def shortfalls(counted: Counted, seats: Mapping[str, Seat], value: float) -> list[Pair]:
    """Return by how much each rerun of the child was worse than its author's value, in order of seats and blocks."""
    found = []
    for account in sorted(counted.blocks, key=lambda name: seats[name].place):
        for one in counted.blocks[account]:
            sign = 1.0 if one.body["direction"] == "min" else -1.0
            for pair in one.body["pairs"]:
                child = pair["child"].get("value")
                if child is not None:
                    worse, told = sign * (float(child) - value), (float(pair["seed"]), float(child))
                    found.append(Pair(account, one.body["hardware_class"], worse, pair["seed"], told))
    return found


def typical(told: Iterable[Pair], value: float, direction: str) -> float | None:
    """Return the median of the accounts' mean values, of what `shortfalls` gave; None without any."""
    groups: dict[str, list[float]] = {}
    for one in told:
        groups.setdefault(one.account, []).append(one.difference)
    worse = median(math.fsum(group) / len(group) for group in groups.values()) if groups else None
    return None if worse is None else value + worse if direction == "min" else value - worse


def unfinished(duties: Mapping[str, Started], told: Iterable[Told]) -> tuple[str, ...]:
    """Return the duties that have come to nothing so far."""
    done = {one.body["duty"] for one in told}
    return tuple(sorted(key for key in duties if key not in done))


def _against(
    one: Told, result: Mapping[str, Any], author: str, seats: Mapping[str, Seat], duties: Mapping[str, Started]
) -> str | None:
    """Return why a replication does not count, None where it does, as far as it tells itself."""
    body = one.body
    duty = duties.get(body["duty"])
    if one.account is None:
        return "its author was not verified when it was signed"
    if one.account == author:
        return "it is the author's own"
    if body["parent"] != (result["parent"] or result["id"]):
        return "it reran another parent"
    if body["track"] != result["track"] or any(body[name] != result[name] for name in CONDITIONS):
        return "it ran under other conditions than the result"
    if duty is None or duty.author != one.author:
        return "it was not announced before it began"
    if (duty.block, duty.hardware_class) != (body["block"], body["hardware_class"]):
        return "something else was announced"
    seat = seats.get(one.account)
    if seat is None:
        return "its account has no seat in the draw"
    if [(pair["seed"], pair.get("child_first")) for pair in body["pairs"]] != [
        (seed, bool(number)) for number, seed in enumerate(seeds(result["id"], one.account, seat.value, body["block"]))
    ]:
        return "it chose its seeds or their order itself"
    if not any(pair["parent"].get("value") is not None for pair in body["pairs"]):
        return "the parent did not run there"
    return None
