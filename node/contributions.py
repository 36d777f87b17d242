"""One's own records and what became of them: who received them, whether they count, at which level, in which verdict.

Claims are left out, as each is the announcement of a result. Also left out: how it is printed (cli.contributions).
Rejected: asking peers; what they have was noted when it was sent to them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensue.store.rows import FROZEN, RETRACTED, REVOKED
from node import levels, reruns, text
from node.sync import received

if TYPE_CHECKING:
    from ensue.record import Record
    from ensue.store import Store

WINDOW_RECORDS = 1_000
LEFT_OUT = frozenset(("claim",))
VOID = "void"
COUNTED, LEFT_OUT_LEVEL, DONE, UNFINISHED = "counted", "left out", "done", "unfinished"
"""What takes the place of a level for replications and duties."""
_WHY = {
    RETRACTED: "you withdrew it",
    FROZEN: "its key signed one number twice, so nothing counts from there on",
    REVOKED: "its key was revoked, and this came after the last number that counts",
}


@dataclass(frozen=True, slots=True)
class Contribution:
    """One own record; `received_by` is None where only another machine of the account can know, `why` says more."""

    record: Record
    this_node: bool
    received_by: int | None
    level: str
    why: str = ""


def contributions(store: Store, node: str, limit: int) -> list[Contribution]:
    """Return the newest own records, oldest first: this node's, and those of the account's other nodes."""
    account = store.people.account_of(node)
    rows = store.people.nodes(account) if account is not None else []
    authors = {row.node: row.void_from for row in rows} | {node: store.frozen_from(node)}
    withdrawn = frozenset(
        str(record.body["target"])
        for author in authors
        for _, record in store.numbered(author=author, kind="retraction")
    )
    numbers = {author: received.read(store, author) for author in authors}
    official = account is not None and store.people.standing(account, time.time_ns() // 1_000_000).official
    found = []
    for record in _newest(store, frozenset(authors), limit):
        own, known = record.author == node, numbers[record.author]
        count = received.count(known, record.seq) if own or known else None
        level, why = _standing(store, record, authors[record.author], withdrawn, official)
        found.append(Contribution(record, own, count, level, why))
    return found


def _newest(store: Store, authors: frozenset[str], limit: int) -> list[Record]:
    """Return the newest records of some authors, oldest first; reads backwards, a window at a time."""
    found: list[Record] = []
    end: int | None = None
    start = store.count()
    while len(found) < limit and (end is None or end > 0):
        start = max(0, start - max(limit, WINDOW_RECORDS))
        window = []
        for number, record in store.numbered(after_rowid=start):
            if end is not None and number > end:
                break
            if record.author in authors and record.kind not in LEFT_OUT:
                window.append(record)
        found = window + found
        end = start
    return found[-limit:]


def _standing(
    store: Store, record: Record, void_from: int | None, withdrawn: frozenset[str], official: bool
) -> tuple[str, str]:
    """Return a record's level, and why it is no higher where its account's other results are."""
    if record.kind == "result":
        row = store.result(record.id)
        why = next((words for flag, words in _WHY.items() if flag in row.flags), "")
        if why:
            return VOID, why
        if row.status == "refused":
            return row.level, f"refused by the scorer: {row.reason}"
        if row.flags or row.level == "recorded":
            return row.level, ", ".join(row.flags) or (levels.reason(store, row) if official else "")
        ruling = levels.ruling_of(store, row.id)
        return row.level, levels.test(store, row, ruling) if ruling is not None else ""
    if record.id in withdrawn:
        return VOID, _WHY[RETRACTED]
    if void_from is not None and record.seq >= void_from:
        return VOID, f"nothing of this key counts from number {void_from} on"
    if record.kind == "replication":
        return _replication(store, record)
    if record.kind == "duty":
        came = reruns.replication_of(store, record)
        return (UNFINISHED, "it adds nothing before it is done") if came is None else (DONE, f"by {came.id[:10]}")
    return "recorded", ""


def _replication(store: Store, record: Record) -> tuple[str, str]:
    """Return whether the pairs of a replication count, and why they do not."""
    result = record.body["result"]
    told = reruns.of_result(store, result, levels.ruling_of(store, result)).told
    why = next((one.why for one in told if one.record.id == record.id), reruns.NOT_JUDGED)
    pairs = text.plural(len(record.body["pairs"]), "pair")
    return (COUNTED, pairs) if why is None else (LEFT_OUT_LEVEL, why)
