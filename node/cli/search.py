"""`autoresearch search`: what was tried and learnt, found by words, also misspelt ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from node import text
from node.cli import output

if TYPE_CHECKING:
    from ensue.store import Store

WORDS_MAX = 1000


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
            cells.append([text.short(hit.id), text.printable(hit.kind, 12), value, text.printable(hit.text)])
            colours.append(None if row is None else output.COLOURS[row.status])
        output.rows(["id", "kind", "value", "what"], cells, "<<><", colours)


def _document(store: Store, identifier: str, kind: str, words: str, score: float) -> dict[str, Any]:
    row = output.result(store, identifier)
    found = {"id": identifier, "kind": kind, "text": words, "score": score}
    return found if row is None else output.result_json(row) | found
