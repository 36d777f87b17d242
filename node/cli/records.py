"""`show`, `diff`, `log` and `lineage`: single records, in full, in order, and in their family."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import click

from ensue.errors import UserError
from node import credit, insights, levels, names, text
from node import reruns as about
from node.cli import output, reruns, sources, texts, tracks
from node.cli.tree import family
from node.names import Names

if TYPE_CHECKING:
    from ensue.record import Record
    from ensue.store import ResultRow, Store
    from node.home import Home

WINDOW_RECORDS = 1000
CREDIT_DIGITS = 6
ENDING_MIN = 4  # characters of a peer id that name its author


@click.command(short_help="Show one record in full.")
@click.argument("id")
@click.option("--source", "as_source", is_flag=True, help="Print its script.")
@click.option("--log", "as_log", is_flag=True, help="Print what its run printed; fetched from another node.")
@output.as_json
def show(id: str, as_source: bool, as_log: bool, in_json: bool) -> None:
    """Show the record whose id begins with ID (four characters or more)."""
    with output.replica() as (home, store):
        found = store.resolve(id)
        row = output.result(store, found)
        if as_source:
            sources.print_source(store, sources.source_of(store, found), in_json)
        elif as_log:
            if row is None or row.log is None:
                raise UserError(f"{found[:10]} kept no output: only results whose run printed something have one")
            if not store.has_blob(row.log):
                _fetch_output(home, store, row)
            sources.print_source(store, row.log, in_json)
        elif in_json:
            output.print_json(_document(home, store, found))
        elif row is not None:
            sources.print_result(store, row, tracks.call(home, row.track), also=_duplicates(store, row))
        else:
            _print_record(store, store.get(found))


def _fetch_output(home: Home, store: Store, row: ResultRow) -> None:
    """Fetch what another node's run printed, which stays there until somebody asks; raise UserError where it cannot."""
    from ensue.errors import AutoresearchError
    from ensue.identity import Identity
    from node.swarm import outputs

    assert row.log is not None
    click.secho("Fetching what it printed from another node.", dim=True, err=True)
    try:
        outputs.fetch(store, row.log, Identity.load(home.key).peer_id, row.author)
    except AutoresearchError as error:
        raise UserError(f"what {row.id[:10]} printed is not here, and could not be fetched: {error}") from None


def _document(home: Home, store: Store, identifier: str) -> dict[str, Any]:
    """Return a record as JSON; a result has its promised fields at the top and its change beside them."""
    record = store.get(identifier)
    row = output.result(store, identifier)
    if row is None:
        more = _votes(store, record) if record.kind == "insight" else {}
        return _envelope(record) | {"body": record.body} | more
    ruling = levels.ruling_of(store, row.id)
    more = {
        "why": levels.words(store, row),
        "reruns": about.document(store, row.id, ruling),
        "credit": credit_json(credit.credit(store, output.policy(home), row, ruling)),
        "change": record.body.get("change", []),
        "expectation": sources.expectation(store, row),
        "duplicates": [other.id for other in _duplicates(store, row)],
    }
    return output.result_json(row) | _envelope(record) | more


def _votes(store: Store, record: Record) -> dict[str, Any]:
    """Return who has assessed a lesson, as JSON."""
    found = insights.votes(store, record.id)
    told = [
        {
            "id": vote.record.id,
            "account": vote.account,
            "says": vote.says,
            "evidence": vote.record.body["evidence"],
            "text": vote.record.body.get("text", ""),
            "counts": vote.why is None,
            "why": vote.why,
        }
        for vote in found.all
    ]
    counts = {"confirmed_by": found.count(insights.CONFIRMS), "contradicted_by": found.count(insights.CONTRADICTS)}
    return counts | {"assessments": told}


def credit_json(found: credit.Credit | None) -> dict[str, Any] | None:
    """Return how a gain is shared as JSON: in whole units, of which a billion are one of the metric's unit."""
    if found is None:
        return None
    parts = [
        {
            "account": part.account,
            "role": part.role,
            "generation": part.generation,
            "result": part.result,
            "units": part.units,
        }
        for part in found.parts
    ]
    return {"gain_units": found.units, "accounts": found.accounts(), "parts": parts}


def _duplicates(store: Store, row: ResultRow) -> list[ResultRow]:
    """Return what others got from the same experiment, as nodes do that could not hear each other."""
    found = [output.result(store, other) for other in store.claims.results_of(row.experiment)]
    return [other for other in found if other is not None and other.author != row.author]


def _envelope(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "kind": record.kind,
        "author": record.author,
        "seq": record.seq,
        "prev": record.prev,
        "created_at": text.iso(record.time_ms),
    }


def _print_record(store: Store, record: Record) -> None:
    click.secho(f"{text.printable(record.kind)}  {summary(record)}", bold=True)
    pairs = [
        ("id", record.id),
        ("by", text.printable(record.author)),
        ("number", f"{record.seq} of its author"),
        ("when", f"{text.clock(record.time_ms)} by its author's clock"),
    ]
    output.facts([*pairs, *_facts(store, record)])


def _facts(store: Store, record: Record) -> list[tuple[str, str]]:
    """Return what a record says beside its envelope, in its own words where its kind has none of its own here."""
    if record.kind in reruns.KINDS and _fits(record):
        return reruns.facts(store, record)
    pairs = []
    for name, value in record.body.items():
        words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        pairs.append((text.printable(name, 24), text.block(words)))
    return pairs + (texts.standing_facts(store, record) if record.kind == "insight" else [])


def _fits(record: Record) -> bool:
    """Return whether a record keeps the rules of its kind; one that came before its kind was known here may not."""
    from ensue.errors import InvalidBody
    from ensue.kinds import parse_body

    try:
        parse_body(record.kind, record.body)
    except InvalidBody:
        return False
    return True


@click.command(short_help="Compare the scripts of two results.")
@click.argument("id")
@click.argument("other", required=False)
@output.as_json
def diff(id: str, other: str | None, in_json: bool) -> None:
    """Print how a script became another: from the parent of ID to ID, or from ID to OTHER."""
    with output.replica() as (_, store):
        new = store.resolve(other or id)
        old = store.resolve(id) if other else _parent(store, new)
        rows = [output.result(store, old), output.result(store, new)]
        values = [text.number(row.value) for row in rows if row is not None]
        pair = [(found, sources.source_of(store, found)) for found in (old, new)]
        sources.compare(store, pair[0], pair[1], " → ".join(values) if len(values) == 2 else "", in_json)


def _parent(store: Store, identifier: str) -> str:
    parent = store.get(identifier).body.get("parent")
    if not isinstance(parent, str):
        raise UserError(f"{identifier[:10]} has no parent to compare with: name a second id")
    return store.resolve(parent)


@click.command(short_help="List records, newest last.")
@click.option("--author", metavar="A", help="Only of this peer id, its ending, this node name, or this @account.")
@click.option("--kind", metavar="K", help="Only records of this kind, such as result or hypothesis.")
@output.positive("--limit", 50, "At most so many, the newest.")
@output.as_json
def log(author: str | None, kind: str | None, limit: int, in_json: bool) -> None:
    """List records in the order in which they arrived here, one a line."""
    with output.replica() as (_, store):
        newest = _newest(store, author, kind, limit)
        called = Names.of(store, {record.author: None for record in newest})
    if in_json:
        output.print_json([_envelope(record) | {"body": record.body} for record in newest])
        return
    if not newest:
        click.echo("No such records: `autoresearch log` without options lists all, `autoresearch join` makes some.")
        return
    cells = [
        [
            text.clock(record.time_ms),
            text.short(record.id),
            called.who(str(record.body.get("agent", "")), record.author),
            str(record.seq),
            text.printable(record.kind, 12),
            summary(record),
        ]
        for record in newest
    ]
    colours = [output.COLOURS.get(str(record.body.get("status"))) for record in newest]
    output.rows(
        ["author's time", "id", "by", "no.", "kind", "what"],
        cells,
        "<<<><<",
        colours,
        spare=["no.", "by", "author's time"],
    )


def _newest(store: Store, author: str | None, kind: str | None, limit: int) -> list[Record]:
    """Return the newest records that fit, oldest first; reads backwards, so a long log is not read as a whole."""
    found: list[Record] = []
    end: int | None = None
    start = store.count()
    while len(found) < limit and (end is None or end > 0):
        start = max(0, start - max(limit, WINDOW_RECORDS))
        numbered = store.numbered(kind=kind, after_rowid=start)
        window = takewhile(lambda pair, end=end: end is None or pair[0] <= end, numbered)  # type: ignore[misc]
        found = [record for _, record in window if author is None or _written_by(store, record, author)] + found
        end = start
    return found[-limit:]


def _written_by(store: Store, record: Record, author: str) -> bool:
    author = text.entered(author)
    if author.startswith(names.ACCOUNT):
        account, ending = store.people.account_of(record.author), author[1:]
        return account is not None and len(ending) >= ENDING_MIN and account.endswith(ending)
    ending = author.lstrip(names.NODE)
    return (
        record.author == author
        or (len(ending) >= ENDING_MIN and record.author.endswith(ending))
        or (record.body.get("agent") == author)
    )


def summary(record: Record) -> str:
    """Return what a record says in one line."""
    body = record.body
    if record.kind == "result":
        value = body.get("value")
        number = text.number(value) if isinstance(value, float | int) else str(body.get("status")).replace("_", " ")
        return text.printable(f"{number}  {body.get('description')}")
    if record.kind == "claim":
        said = body.get("expectation")
        expected = (
            f"  expecting {text.number(said['mean'])} ± {text.number(said['sd'])}" if isinstance(said, dict) else ""
        )
        return text.printable(f"{body.get('description')}{expected}")
    if record.kind == "retraction":
        return text.printable(f"{str(body.get('target'))[:10]}: {body.get('reason')}")
    if record.kind in reruns.KINDS:
        with suppress(KeyError, TypeError, ValueError, AttributeError):  # it came before its kind was known here
            return text.printable(reruns.summary(record))
    if record.kind in ("delegation", "revocation", "credential", "verifier", "quorum"):
        return text.printable(_of_people(record.kind, body))
    return text.printable(str(body.get("text", "")))


def _of_people(kind: str, body: Mapping[str, Any]) -> str:
    """Return what a record about people says; its body has been checked when it came."""
    if kind == "delegation":
        return f"speaks for {names.account(body['account'])}"
    if kind == "revocation":
        said = f"{names.account(body['account'])} voids {names.key(body['node'])} after number {body['last_seq']}"
        return f"{said}: {body['reason']}" if body.get("reason") else said
    if kind == "credential":
        return f"vouches for {names.account(body['account'])} until {text.clock(body['expires_ms'])}"
    if kind == "verifier":
        return f"{body['name']} at {body['url']}"
    return f"{text.plural(len(body['verifiers']), 'verifier')} trusted from now on, {body['needed']} needed"


@click.command(short_help="Draw a result's ancestors and descendants.")
@click.argument("id")
@click.option("--all", "whole", is_flag=True, help="Draw also the many children of one result that led nowhere.")
@output.as_json
def lineage(id: str, whole: bool, in_json: bool) -> None:
    """Draw the line from the beginning to ID, what was tried on top of it, and who its confirmed gain is owed to.

    The JSON document always has all of them.
    """
    with output.replica() as (home, store):
        row = store.result(output.resolve(store, id, "result"))
        ancestors, descendants = store.lineage(row.id)
        owed = credit.credit(store, output.policy(home), row, levels.ruling_of(store, row.id))
        if in_json:
            output.print_json(
                {
                    "result": output.result_json(row),
                    "ancestors": [output.result_json(found) for found in ancestors],
                    "descendants": [output.result_json(found) for found in descendants],
                    "credit": credit_json(owed),
                }
            )
            return
        for line in family(row, ancestors, descendants, output.columns(), whole=whole):
            click.echo(line)
        if owed is not None:
            _print_credit(owed)


def _print_credit(owed: credit.Credit) -> None:
    """Print how a gain is shared along the line, and what each account gets of it."""
    output.title(f"\ncredit for a confirmed gain of {text.number(credit.amount(owed.units), CREDIT_DIGITS)}")
    cells = [
        [
            text.number(credit.amount(part.units), CREDIT_DIGITS),
            names.account(part.account),
            part.role,
            text.NONE if part.result is None else text.short(part.result),
            _generation(part),
        ]
        for part in owed.parts
    ]
    output.rows(["credit", "account", "as", "of", "how near"], cells, "><<<<")
    whole = (
        f"{names.account(name)} {text.number(credit.amount(units), CREDIT_DIGITS)}"
        for name, units in owed.accounts().items()
    )
    click.echo(f"together: {', '.join(whole)}")


def _generation(part: credit.Part) -> str:
    if part.role == credit.REPLICATOR:
        return "reran it"
    return "itself" if part.generation == 0 else f"{text.plural(part.generation, 'generation')} before"
