"""`contributions`: one's own records, who received them, and what they count for."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from node import names, text
from node.cli import output
from node.cli.records import summary

if TYPE_CHECKING:
    from ensue.people import InForce
    from ensue.store.people import AccountStanding
    from node.contributions import Contribution

COLOURS = {"official": "green", "confirmed": "green", "counted": "green", "void": "red", "unfinished": "yellow"}


@click.command(short_help="List your own records, and what became of them.")
@output.positive("--limit", 30, "At most so many, the newest.")
@output.as_json
def contributions(limit: int, in_json: bool) -> None:
    """List what you have published, oldest first: received by how many peers, and recorded, official or confirmed.

    Of reruns: whether their pairs counted, and duties that were left unfinished.

    Records of your account's other machines are listed with the end of their key; who received them is known there.
    """
    from ensue.identity import Identity
    from node.contributions import contributions as found_in

    with output.replica() as (home, store):
        node = Identity.load(home.key).peer_id
        found = found_in(store, node, limit)
        account = store.people.account_of(node)
        standing = None if account is None else store.people.standing(account, _now_ms())
        trusted = store.people.in_force()
    if in_json:
        output.print_json([_document(one) for one in found])
        return
    if not found:
        click.echo("Nothing yet: `autoresearch join` researches, `autoresearch hypothesis` publishes an idea.")
        return
    cells = [
        [
            text.short(one.record.id),
            one.record.kind,
            "this node" if one.this_node else names.key(one.record.author),
            text.NONE if one.received_by is None else text.plural(one.received_by, "peer"),
            one.level,
            summary(one.record) + (f" [{text.printable(one.why)}]" if one.why else ""),
        ]
        for one in found
    ]
    heads = ["id", "kind", "by", "received by", "level", "what"]
    output.rows(heads, cells, "<<<><<", [COLOURS.get(one.level) for one in found], spare=["by", "kind"])
    counted = Counter(one.level for one in found)
    click.echo(f"\n{', '.join(f'{count} {level}' for level, count in counted.items())}; {_words(standing, trusted)}")


def _words(standing: AccountStanding | None, trusted: InForce) -> str:
    """Return what stands between one's results and the level official."""
    if standing is not None and standing.official:
        return "your account is verified, so its results are official"
    if not trusted.verifiers:
        return "this network trusts no verifier, so nothing becomes official"
    had = 0 if standing is None else len(standing.covering)
    return f"{had} of {trusted.needed} verifiers vouch for you: `autoresearch verify you@example.org` makes it official"


def _document(one: Contribution) -> dict[str, Any]:
    return {
        "id": one.record.id,
        "kind": one.record.kind,
        "author": one.record.author,
        "this_node": one.this_node,
        "seq": one.record.seq,
        "created_at": text.iso(one.record.time_ms),
        "received_by": one.received_by,
        "level": one.level,
        "why": one.why or None,
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
