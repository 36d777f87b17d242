"""What was rerun of a result, replication by replication: what each measured, whether it counts, what was left undone.

Left out: the verdict (verify.trust) and printing (cli.reruns).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensue.record import Record
    from ensue.store import Store
    from verify.ruling import Ruling

NOT_JUDGED = "its result is not official, or nobody has listed it"


@dataclass(frozen=True, slots=True)
class Replicated:
    """One replication of a result and the account behind it; `why` says why it does not count, or not whole."""

    record: Record
    account: str | None
    why: str | None


@dataclass(frozen=True, slots=True)
class Reruns:
    """All that was begun about one result: replications in order of author and number, and duties without one."""

    told: tuple[Replicated, ...]
    unfinished: tuple[Record, ...]


def of_result(store: Store, result: str, ruling: Ruling | None) -> Reruns:
    """Return what was rerun of a result, by its ruling."""
    why = {} if ruling is None else dict(ruling.ignored)
    told = []
    for one in store.trials.about(result, "replication"):
        if one.body["result"] == result:
            account = store.people.account_of(one.author, one.seq)
            judged = ruling is not None and one.body["hardware_class"] in ruling.classes
            told.append(Replicated(one, account, why.get(one.id) or (None if judged else NOT_JUDGED)))
    done = {one.record.body["duty"] for one in told}
    duties = [one for one in store.trials.about(result, "duty") if one.body["result"] == result]
    return Reruns(tuple(told), tuple(one for one in duties if one.id not in done))


def replication_of(store: Store, duty: Record) -> Record | None:
    """Return what a duty came to; None where it was left unfinished so far."""
    about = store.trials.about(duty.body["result"], "replication")
    return next((one for one in about if one.body["duty"] == duty.id and one.author == duty.author), None)


def difference(pair: Mapping[str, Any], direction: str) -> float | None:
    """Return by how much the child of a pair was better than the parent, in the metric's unit; None without both."""
    parent, child = pair["parent"].get("value"), pair["child"].get("value")
    if parent is None or child is None:
        return None
    return float(parent - child) if direction == "min" else float(child - parent)


def differences(record: Record) -> list[float | None]:
    """Return the differences of all pairs of a replication, positive where the child was better."""
    return [difference(pair, record.body["direction"]) for pair in record.body["pairs"]]


def document(store: Store, result: str, ruling: Ruling | None) -> dict[str, Any]:
    """Return all that reruns say about a result, as JSON."""
    found = of_result(store, result, ruling)
    told = [
        {
            "id": one.record.id,
            "author": one.record.author,
            "account": one.account,
            "hardware_class": one.record.body["hardware_class"],
            "block": one.record.body["block"],
            "counts": one.why is None,
            "why": one.why,
            "differences": differences(one.record),
        }
        for one in found.told
    ]
    return {
        "verdict": _verdict(ruling),
        "replications": told,
        "unfinished_duties": [one.id for one in found.unfinished],
    }


def _verdict(ruling: Ruling | None) -> dict[str, Any] | None:
    """Return a ruling as JSON; what says which account has done how much stands with each class."""
    if ruling is None:
        return None
    whole: dict[str, Any] = json.loads(ruling.text())
    return {"answer": ruling.answer, "confirmed": ruling.confirmed, "refuted": ruling.refuted, **whole}
