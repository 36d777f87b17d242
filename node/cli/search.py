"""`autoresearch search`: what was tried and learnt, found by words, also misspelt ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from node import insights, text
from node.cli import output

if TYPE_CHECKING:
    from ensue.store import Store

WORDS_MAX = 1000
SCOPE_COLUMNS = 24


@click.command(short_help="Find what was tried and learnt.")
@click.argument("words", nargs=-1, required=True)
@output.positive("--limit", 20, "At most so many hits.")
@output.as_json
def search(words: tuple[str, ...], limit: int, in_json: bool) -> None:
    """Find results, hypotheses and insights about WORDS, the closest first."""
    asked = " ".join(words)[:WORDS_MAX]
    with output.replica() as (_, store):
        hits = store.search(asked, limit)
        if in_json:
            output.print_json([_document(store, hit.id, hit.kind, hit.text, hit.score) for hit in hits])
            return
        if not hits:
            click.echo(f"Nothing about {text.printable(asked, 60)!r}: try fewer or other words.")
            return
        cells, colours = [], []
        for hit in hits:
            row = output.result(store, hit.id)
            value = text.NONE if row is None else text.number(row.value)
            said = standing(store, hit.id) if hit.kind == "insight" else ""
            what = text.printable(hit.text) + (f" [{said}]" if said else "")
            cells.append([text.short(hit.id), text.printable(hit.kind, 12), value, what])
            colours.append(None if row is None else output.COLOURS[row.status])
        output.rows(["id", "kind", "value", "what"], cells, "<<><", colours)


def _document(store: Store, identifier: str, kind: str, words: str, score: float) -> dict[str, Any]:
    row = output.result(store, identifier)
    found: dict[str, Any] = {"id": identifier, "kind": kind, "text": words, "score": score}
    if kind == "insight":
        voted, body = insights.votes(store, identifier), store.get(identifier).body
        found |= {"scope": body.get("scope", ""), "expired": _expired(store, identifier)}
        counts = voted.count(insights.CONFIRMS), voted.count(insights.CONTRADICTS)
        found |= {"confirmed_by": counts[0], "contradicted_by": counts[1]}
    return found if row is None else output.result_json(row) | found


def standing(store: Store, identifier: str) -> str:
    """Return in a few words what others say about a lesson, where it holds, and whether its time is over."""
    scope = text.printable(str(store.get(identifier).body.get("scope", "")), SCOPE_COLUMNS)
    said = (insights.votes(store, identifier).words(), "expired" if _expired(store, identifier) else "")
    return ", ".join(word for word in (f"for {scope}" if scope else "", *said) if word)


def _expired(store: Store, identifier: str) -> bool:
    ends_ms = insights.ends_ms(store.received_ms(identifier), store.get(identifier).body.get("valid_days"))
    return ends_ms is not None and time.time_ns() // 1_000_000 > ends_ms
