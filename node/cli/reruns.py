"""How `show` prints what there is about reruns: what became of a result's, and each kind of record about them.

Left out: finding it (node.reruns, node.levels).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from node import insights, levels, reruns, text
from node.cli import output

if TYPE_CHECKING:
    from ensue.record import Record
    from ensue.store import ResultRow, Store
    from node.names import Names

Facts = list[tuple[str, str]]
LINES_MAX = 40
"""Reruns of one result that are listed; the others are counted."""


def of_result(store: Store, row: ResultRow, called: Names) -> Facts:
    """Return what reruns say about a result in other classes, then each of them, and what was left undone."""
    ruling = levels.ruling_of(store, row.id)
    found = reruns.of_result(store, row.id, ruling)
    facts: Facts = []
    if ruling is not None:
        others = levels.transfers(ruling)
        facts += [("transfer", "\n".join(f"{text.printable(name)}: {words}" for name, words in others))] * bool(others)
    lines = [_told(one, called) for one in found.told]
    lines += [
        f"{called.who('', one.author)}   {text.short(one.id)}  block {one.body['block']} unfinished since"
        f" {text.clock(one.time_ms)}"
        for one in found.unfinished
    ]
    if len(lines) > LINES_MAX:
        lines = [*lines[:LINES_MAX], f"and {len(lines) - LINES_MAX} more: see `autoresearch show {row.id[:10]} --json`"]
    return [*facts, ("reruns", "\n".join(lines))] if lines else facts


def _told(one: reruns.Replicated, called: Names) -> str:
    by = ", ".join(text.signed(each) for each in reruns.differences(one.record))
    words = f"{called.who(one.record.body.get('agent', ''), one.record.author)}   {text.short(one.record.id)}  {by}"
    return words if one.why is None else f"{words}  left out: {one.why}"


def summary(record: Record) -> str:
    """Return what a record about reruns says in one line."""
    body = record.body
    if record.kind == "replication":
        by = ", ".join(text.signed(each) for each in reruns.differences(record))
        return f"{text.short(body['result'])} against its parent: {by}"
    if record.kind == "duty":
        return f"to rerun {text.short(body['result'])}, block {body['block']}"
    if record.kind == "calibration":
        runs = text.plural(len(body["values"]), "run")
        return f"{runs} on {body['hardware_class']}" + ("" if body.get("available", True) else ", not to be drawn")
    if record.kind == "assessment":
        return f"{body['says']} {text.short(body['insight'])}: {body.get('text', '')}".removesuffix(": ")
    number = text.plural(len(body["results"]), "result")
    machines = f", {text.plural(len(body['entrants']), 'machine')}" if record.kind == "listing" else ""
    return f"draw {body.get('draw', 0)} of {number}{machines}"


def facts(store: Store, record: Record) -> Facts:
    """Return what a record about reruns says, for people."""
    found: dict[str, Callable[[Store, Record], Facts]] = {
        "replication": _replication,
        "duty": _duty,
        "calibration": _calibration,
        "assessment": _assessment,
        "listing": _listing,
        "drawing": _drawing,
    }
    return found[record.kind](store, record)


KINDS = frozenset(("replication", "duty", "calibration", "assessment", "listing", "drawing"))


def _named(store: Store, identifier: str) -> str:
    row = output.result(store, identifier)
    if row is None:
        return f"{text.short(identifier)}, not here"
    return f"{text.short(identifier)}  {text.number(row.value)}  {text.printable(row.description, 60)}"


def _replication(store: Store, record: Record) -> Facts:
    body = record.body
    ruling = levels.ruling_of(store, body["result"])
    mine = next((one for one in reruns.of_result(store, body["result"], ruling).told if one.record == record), None)
    why = "it was withdrawn, or its author's key counts for nothing" if mine is None else mine.why
    return [
        ("result", _named(store, body["result"])),
        ("parent", _named(store, body["parent"])),
        ("duty", f"{text.short(body['duty'])}, block {body['block']}"),
        ("counts", "yes" if why is None else f"left out: {why}"),
        ("hardware", f"{text.printable(body['hardware_class'])} on {text.printable(body['device'])}"),
        ("conditions", _conditions(body)),
        ("sandbox", text.printable(body["sandbox"])),
        ("software", text.printable(body["software"])),
        ("pairs", "\n".join(_pair(pair, body["direction"]) for pair in body["pairs"])),
    ]


def _conditions(body: Mapping[str, Any]) -> str:
    better = "lower is better" if body["direction"] == "min" else "higher is better"
    clock = "processor seconds" if body["clock"] == "cpu" else "seconds"
    return f"{text.printable(body['metric'])}, {better}, {body['budget_s']:g} {clock}"


def _pair(pair: Mapping[str, Any], direction: str) -> str:
    """Return a pair with its runs in the order in which they ran."""
    order = ["child", "parent"] if pair["child_first"] else ["parent", "child"]
    runs = ", then ".join(f"{name} {_run(pair[name])}" for name in order)
    return f"{text.signed(reruns.difference(pair, direction))}   {runs}   seed {pair['seed']}"


def _run(run: Mapping[str, Any]) -> str:
    if run.get("value") is None:
        return f"{run['status'].replace('_', ' ')} ({text.printable(run.get('reason') or '', 60)})"
    return text.number(run["value"]) + (" on a busy machine" if run.get("contended") else "")


def _duty(store: Store, record: Record) -> Facts:
    body = record.body
    came = reruns.replication_of(store, record)
    became = "unfinished so far" if came is None else f"{text.short(came.id)}  {summary(came)}"
    return [
        ("result", _named(store, body["result"])),
        ("parent", _named(store, body["parent"])),
        ("hardware", text.printable(body["hardware_class"])),
        ("block", str(body["block"])),
        ("became", became),
    ]


def _calibration(store: Store, record: Record) -> Facts:
    body = record.body
    values = [float(value) for value in body["values"]]
    speed = body.get("tokens_per_s")
    return [
        ("hardware", f"{text.printable(body['hardware_class'])} on {text.printable(body['device'])}"),
        ("reruns", "may be drawn" if body.get("available", True) else "is not to be drawn"),
        ("noise", _noise(values)),
        ("speed", text.NONE if speed is None else f"{speed:,.0f} tokens a second"),
        ("script", text.short(body["source"])),
        ("software", text.printable(body["software"])),
        ("values", "\n".join(_seeded(body["seeds"], values)) or text.NONE),
    ]


def _noise(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "not measured yet"
    from statistics import stdev

    mean = math.fsum(values) / len(values)
    return f"{text.number(mean)} ± {text.number(stdev(values))} a run, {len(values)} runs"


def _seeded(seeds: Sequence[int], values: Sequence[float]) -> list[str]:
    return [f"{text.number(value)}   seed {seed}" for seed, value in zip(seeds, values, strict=True)]


def _assessment(store: Store, record: Record) -> Facts:
    body = record.body
    vote = next((one for one in insights.votes(store, body["insight"]).all if one.record == record), None)
    why = "it was withdrawn, or its author's key counts for nothing" if vote is None else vote.why
    lesson = store.get(body["insight"]) if store.has(body["insight"]) else None
    words = "not here" if lesson is None else text.printable(str(lesson.body.get("text", "")), 80)
    return [
        ("insight", f"{text.short(body['insight'])}  {words}"),
        ("says", body["says"]),
        ("counts", "yes" if why is None else f"no: {why}"),
        ("evidence", "\n".join(_named(store, key) for key in body["evidence"])),
        ("words", text.block(body.get("text", "")) or text.NONE),
    ]


def _listing(store: Store, record: Record) -> Facts:
    body = record.body
    return [
        ("draw", str(body.get("draw", 0))),
        ("results", "\n".join(_named(store, one["result"]) for one in body["results"])),
        ("noise", ", ".join(sorted({f"{one['noise_sd']:g}" for one in body["results"]})) + " a run, by the track"),
        ("sealed", "\n".join(one["commitment"] for one in body["results"])),
        ("in the draw", "\n".join(_entrant(store, key) for key in body["entrants"]) or "no machine"),
        ("quorum", text.short(body["quorum"])),
    ]


def _entrant(store: Store, key: str) -> str:
    if not store.has(key):
        return f"{text.short(key)}, not here"
    found = store.get(key)
    return f"{text.short(key)}  {text.printable(str(found.body.get('hardware_class', '')))}  of …{found.author[-8:]}"


def _drawing(store: Store, record: Record) -> Facts:
    body = record.body
    return [
        ("draw", str(body.get("draw", 0))),
        ("results", "\n".join(f"{_named(store, one['result'])}" for one in body["results"])),
        ("secrets", "\n".join(one["secret"] for one in body["results"])),
        ("quorum", text.short(body["quorum"])),
    ]
