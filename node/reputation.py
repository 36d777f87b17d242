"""What became of all that an account did: its results, what reruns said, the reruns it made, the claims it left.

Counted from the records, so everybody finds the same; no score is made of it, as any would be somebody's opinion. Left
out: credit (credit), which is about the size of gains. Rejected: keeping it in tables, since few ask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ensue.errors import UnknownId
from ensue.store.rows import FROZEN, RETRACTED, REVOKED

if TYPE_CHECKING:
    from ensue.store import ResultRow, Store
    from verify.ruling import Ruling

WITHIN_SD = 1.96
"""Standard deviations within which 95 of 100 honest expectations come true."""
VOID = frozenset((RETRACTED, FROZEN, REVOKED))
RunSd = Callable[[str], float]
"""The standard deviation of one run in a hardware class, in the metric's unit; 0 where nothing is known."""


@dataclass(slots=True)
class Reputation:
    """One account, or a node that speaks for nobody, on one track; all are counts but the `surprises`."""

    account: str
    is_node: bool = False
    results: int = 0
    withdrawn: int = 0
    confirmed: int = 0
    refuted: int = 0
    tie: int = 0
    worse: int = 0
    in_test: int = 0
    replications: int = 0
    pairs_counted: int = 0
    duties_unfinished: int = 0
    claims_abandoned: int = 0
    surprises: list[float] = field(default_factory=list)
    """For each expectation: how much better the value was than foretold, in standard deviations of both."""

    @property
    def surprise_mean(self) -> float | None:
        """Return the mean surprise: below zero for one who promises too much."""
        return math.fsum(self.surprises) / len(self.surprises) if self.surprises else None

    @property
    def within(self) -> float | None:
        """Return the share of expectations that came true within 1.96 standard deviations."""
        held = sum(abs(one) <= WITHIN_SD for one in self.surprises)
        return held / len(self.surprises) if self.surprises else None


def reputations(
    store: Store, track: str, rulings: Iterable[Ruling], run_sd: RunSd, now_ms: int, only: str | None = None
) -> list[Reputation]:
    """Return what became of the work of every account on a track, the most confirmed first, or of one account.

    `rulings` are all there are; `only` is an account or a node that speaks for none.
    """
    found: dict[str, Reputation] = {}

    def of(name: str | None) -> Reputation | None:
        if not name or only not in (None, name):
            return None
        return found.setdefault(name, Reputation(name))

    rows = store.history(track) if only is None else _results_of(store, track, only)
    nodes: set[str] = set() if only is None else _nodes(store, only)
    for row in rows:
        nodes.add(row.author)
        one = of(store.people.account_of(row.author, row.seq) or row.author)
        if one is not None:
            _count_result(store, one, row, run_sd)
    for ruling in rulings:
        if ruling.track == track:
            _count_ruling(store, of, ruling, nodes)
    for node in sorted(nodes):
        _count_node(store, of, node, track, now_ms)
    for one in found.values():
        one.is_node = one.account in nodes
    return sorted(found.values(), key=lambda one: (-one.confirmed, one.refuted, -one.results, one.account))


def known(store: Store, track: str) -> set[str]:
    """Return the accounts, and the nodes that speak for none, that have results on a track or reran any."""
    authors = {*store.stats(track).by_author, *(one.author for one in store.trials.about(track, "calibration"))}
    return {store.people.account_of(author) or author for author in authors}


def surprise(store: Store, row: ResultRow, run_sd: float) -> float | None:
    """Return how much better a value was than its claim foretold, in standard deviations; None without both."""
    try:
        claim = store.get(row.claim) if row.claim else None
    except UnknownId:
        return None
    said = None if claim is None or claim.author != row.author else claim.body.get("expectation")
    if not isinstance(said, dict) or row.value is None:
        return None
    spread = math.hypot(said["sd"], run_sd)
    better = said["mean"] - row.value if row.direction == "min" else row.value - said["mean"]
    return better / spread if spread > 0 else None


def _results_of(store: Store, track: str, only: str) -> Iterable[ResultRow]:
    return (row for node in sorted(_nodes(store, only)) for row in store.results(track, author=node))


def _nodes(store: Store, name: str) -> set[str]:
    """Return the nodes that speak or spoke for an account, the name itself where it is a node's."""
    return {one.node for one in store.people.nodes(name)} or {name}


def _count_result(store: Store, one: Reputation, row: ResultRow, run_sd: RunSd) -> None:
    if VOID.intersection(row.flags):
        one.withdrawn += 1
        return
    one.results += 1
    one.confirmed += row.level == "confirmed"
    found = surprise(store, row, run_sd(row.hardware_class))
    if found is not None:
        one.surprises.append(found)


def _count_ruling(store: Store, of: Callable[[str | None], Reputation | None], ruling: Ruling, nodes: set[str]) -> None:
    """Count what was found about a result with its author, and what was rerun with whoever did it."""
    author = of(ruling.account)
    if author is not None and ruling.drawn:
        author.refuted += ruling.answer == "refuted"
        author.tie += ruling.answer == "tie"
        author.worse += ruling.answer == "worse"
        author.in_test += ruling.answer == "not yet"
    for each in ruling.classes.values():
        for account, pairs in each.counted.items():
            one = of(account)
            if one is not None:
                one.pairs_counted += pairs
                nodes.update(row.node for row in store.people.nodes(account))
    for key in ruling.unfinished:
        duty = store.get(key)
        one = of(store.people.account_of(duty.author, duty.seq) or duty.author)
        if one is not None:
            one.duties_unfinished += 1


def _count_node(
    store: Store, of: Callable[[str | None], Reputation | None], node: str, track: str, now_ms: int
) -> None:
    """Count a node's replications, and the claims that it withdrew or let pass."""
    for record in store.trials.by(node, "replication"):
        one = of(store.people.account_of(node, record.seq) or node)
        if one is not None and record.body["track"] == track:
            one.replications += 1
    for claim in store.claims.open(track, author=node):
        over = now_ms > claim.received_ms + 1000 * claim.ttl_s and store.claims.held(claim.experiment) != claim.id
        one = of(store.people.account_of(node, claim.seq) or node)
        if one is not None and over:
            one.claims_abandoned += 1
    for taken_back in store.records(author=node, kind="retraction"):
        target = taken_back.body["target"]
        if not store.has(target):
            continue
        record = store.get(target)
        one = of(store.people.account_of(node, record.seq) or node)
        if record.kind == "claim" and record.author == node and record.body["track"] == track and one is not None:
            one.claims_abandoned += 1
