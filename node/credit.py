"""Who a confirmed gain is owed to, read off the records: the lineage, the ideas that were claimed, who reran it.

An idea counts where the claim, which was signed before the run, names it; so none is found after the fact. Results
without a parent are nobody's, as the baseline is the track's. Left out: how a gain is divided (verify.credit), and
whether it is one (verify.trust). Rejected: keeping credit in the tables, since anyone can recompute it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensue.errors import UnknownId
from ensue.store.rows import FROZEN, REFUTED, RETRACTED, REVOKED, WORSE
from node.void import Void

if TYPE_CHECKING:
    from ensue.record import Record
    from ensue.store import ResultRow, Store
    from verify.credit import Shares, Step
    from verify.ruling import Ruling

PART_MAX = 1000
"""Largest part that a genesis may give to authors, ancestors, replicators or ideas."""
CREDITED_MAX = 10_000
"""Confirmed results of a track, the best, whose gains are shared."""
ANCESTORS_MAX = 256
"""Ancestors that are looked at for those that share."""
NOTHING_OWED = frozenset((RETRACTED, FROZEN, REVOKED, REFUTED, WORSE))
"""What is said against an ancestor that takes no share."""
AUTHOR, IDEA, REPLICATOR = "author", "idea", "replicator"


@dataclass(frozen=True, slots=True)
class Part:
    """What an account is owed of one gain, in units (verify.credit.UNITS), and for what: 0 is the result itself.

    `result` is None for a replicator.
    """

    account: str
    role: str
    generation: int
    result: str | None
    units: int


@dataclass(frozen=True, slots=True)
class Credit:
    """How one confirmed gain is shared; the units of all parts add up to exactly `units`."""

    result: str
    units: int
    parts: tuple[Part, ...]

    def accounts(self) -> dict[str, int]:
        """Return what each account is owed, most first, then by name."""
        from verify.credit import total_credit  # here and below: fractions take longer to import than a query takes

        return total_credit({part.account: part.units} for part in self.parts)


def shares(policy: Mapping[str, object]) -> Shares:
    """Return how a network shares by the policy of its genesis; a part that is no sound integer is the usual one."""
    from verify.credit import Shares

    usual = Shares()

    def part(name: str, least: int, most: int) -> int:
        found = policy.get(f"credit_{name}")
        sound = type(found) is int and least <= found <= most
        value: int = found if sound else getattr(usual, name)  # type: ignore[assignment]
        return value

    return Shares(
        author=part("author", 1, PART_MAX),
        ancestors=part("ancestors", 0, PART_MAX),
        replicators=part("replicators", 0, PART_MAX),
        idea=part("idea", 0, 100),
    )


def credit(
    store: Store, policy: Mapping[str, object], row: ResultRow, ruling: Ruling | None, void: Void | None = None
) -> Credit | None:
    """Return how the gain of a result is shared; None unless it is confirmed and counts."""
    if row.level != "confirmed" or ruling is None or ruling.own is None or ruling.own.gain is None:
        return None
    from verify.credit import Step, units_of

    void = void or Void(store)
    steps: list[tuple[Step, str]] = []
    for one in (row, *_owed(store, row)):
        account = store.people.account_of(one.author, one.seq)
        if account is None:
            continue
        idea = idea_of(store, one, void)
        by = None if idea is None else store.people.account_of(idea.author, idea.seq)
        steps.append((Step(account, by if by != account else None), one.id))
    checkers = {name: pairs for name, pairs in ruling.counted.items() if steps and name != steps[0][0].author}
    units = units_of(max(0.0, ruling.own.gain))
    parts = sorted(_parts(units, steps, checkers, shares(policy)), key=_order) if steps else []
    return Credit(row.id, units, tuple(parts)) if parts else None


def idea_of(store: Store, row: ResultRow, void: Void) -> Record | None:
    """Return the hypothesis that a result's claim named before the run; None for none that is here and counts."""
    try:
        claim = store.get(row.claim) if row.claim else None
        named = None if claim is None else claim.body.get("hypothesis")
        idea = store.get(named) if isinstance(named, str) else None
    except UnknownId:
        return None
    if claim is None or idea is None or claim.kind != "claim" or idea.kind != "hypothesis":
        return None
    same = claim.author == row.author and claim.body["track"] == row.track == idea.body["track"]
    return idea if same and void.why(idea) is None else None


def totals(store: Store, policy: Mapping[str, object], track: str, rulings: Mapping[str, Ruling]) -> dict[str, int]:
    """Return the units that each account is owed for all confirmed results of a track, most first."""
    from verify.credit import total_credit

    found: list[Credit] = []
    void = Void(store)
    for row in store.leaderboard(track, limit=CREDITED_MAX, level="confirmed"):
        one = credit(store, policy, row, rulings.get(row.id), void)
        if one is not None:
            found.append(one)
    return total_credit(one.accounts() for one in found)


def amount(units: int) -> float:
    """Return units of credit in the metric's unit."""
    from verify.credit import UNITS

    return units / UNITS


def _owed(store: Store, row: ResultRow) -> list[ResultRow]:
    """Return the ancestors that share, the nearest first: official ones with a parent, nothing said against them."""
    from verify.credit import GENERATIONS_MAX

    found: list[ResultRow] = []
    above = row.parent
    for _ in range(ANCESTORS_MAX):
        try:
            one = store.result(above) if above is not None else None
        except UnknownId:
            break
        if one is None or one.parent is None or len(found) == GENERATIONS_MAX:
            break
        if one.level != "recorded" and not NOTHING_OWED.intersection(one.flags):
            found.append(one)
        above = one.parent
    return found


def _order(part: Part) -> tuple[bool, int, str, str]:
    return part.role == REPLICATOR, part.generation, part.role, part.account


def _parts(units: int, steps: list[tuple[Step, str]], checkers: Mapping[str, int], how: Shares) -> Iterable[Part]:
    """Yield the parts; each has a name of its own in the division, so that an account's several ones stay apart."""
    from verify.credit import Step, share_gain

    lineage = []
    for generation, (step, _) in enumerate(steps):
        name = f"{generation:02d} "
        lineage.append(Step(f"{name}{AUTHOR} {step.author}", step.idea and f"{name}{IDEA} {step.idea}"))
    named = {f"-- {REPLICATOR} {account}": pairs for account, pairs in checkers.items()}
    for name, owed in sorted(share_gain(units, lineage, named, how).items()):
        number, role, account = name.split(" ")
        if role == REPLICATOR:
            yield Part(account, role, 0, None, owed)
        else:
            yield Part(account, role, int(number), steps[int(number)][1], owed)
