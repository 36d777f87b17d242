"""`hypothesis`, `insight` and `submit`: what people add to the collective memory; none of it needs a GPU."""

from __future__ import annotations

import ast
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ensue.errors import BadScript, BlobMissing, InvalidBody, UserError
from node import text
from node.cli import output, texts, tracks
from node.cli.records import summary
from node.home import Home

if TYPE_CHECKING:
    from ensue.record import Record
    from ensue.store import Blob, Store

STDIN_CHARACTERS_MAX = 100_000


@click.command(short_help="Publish an idea for others to try.")
@click.argument("words", nargs=-1)
@click.option(
    "--change", "-c", "changes", multiple=True, metavar="KNOB=VALUE", help="A constant to change; repeatable."
)
@click.option("--parent", metavar="ID", help="The result to build on; default: the best.")
@output.positive("--limit", 100, "List at most so many, the newest.")
@output.of_track
@output.as_json
def hypothesis(
    words: tuple[str, ...], changes: tuple[str, ...], parent: str | None, limit: int, track: str | None, in_json: bool
) -> None:
    """Publish the idea WORDS ("-" reads them from stdin); without WORDS, list the ideas there are.

    With --change a node can try it as it stands.
    """
    with output.replica() as (home, store):
        wanted = tracks.asked(home, store, track).id
        if not words:
            texts.list_hypotheses(store, wanted, limit, in_json)
            return
        found = output.resolve(store, parent, "result") if parent else None
        best = store.result(found) if found else store.best(wanted, level=None)
        body: dict[str, Any] = {
            "track": wanted,
            "text": spoken(words),
            "change": [_change(change, _source(store, best.source if best else None)) for change in changes],
            "source": None,
            "parent": found,
        }
        sign(home, store, "hypothesis", body, in_json)


def spoken(words: tuple[str, ...]) -> str:
    """Return the words of a command as one text, in normal form C; a single "-" reads them from stdin."""
    if words == ("-",):
        return text.entered(sys.stdin.read(STDIN_CHARACTERS_MAX).strip())
    return text.entered(" ".join(words).strip())


def _source(store: Store, sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    try:
        return store.blob(sha256).decode("utf-8", "replace")
    except BlobMissing:
        return None


def _change(spelled: str, source: str | None) -> dict[str, Any]:
    """Return KNOB=VALUE as a change; the old value comes from the script, and an unknown knob is refused."""
    from experiments import knobs

    name, equals, value = text.entered(spelled).partition("=")
    name = name.strip()
    if not equals or not name or not value.strip():
        raise click.BadParameter(f"{spelled!r} is not KNOB=VALUE", param_hint="--change")
    try:
        new: object = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        new = value.strip()
    if source is None:
        return {"knob": name, "old": None, "new": new}
    known = knobs.read(source)
    name = next((knob for knob in known if knob.lower() == name.lower()), name)
    if name not in known:
        near = difflib.get_close_matches(name.upper(), known, n=1) or sorted(known)[:8]
        raise UserError(f"the script has no constant {text.printable(name, 60)}: did you mean {', '.join(near)}?")
    knobs.apply(source, {name: new}, bounded=False)
    return {"knob": name, "old": known[name].value, "new": new}


@click.command(short_help="Publish a lesson with the results that carry it.")
@click.argument("words", nargs=-1)
@click.option("--evidence", "-e", multiple=True, metavar="ID", help="A result that carries it; repeatable.")
@click.option("--scope", default="", metavar="TEXT", help='Where it holds, such as "depth 4 and below".')
@click.option(
    "--valid-days", type=click.IntRange(min=1), metavar="N", help="After so many days it should be looked at anew."
)
@output.positive("--limit", 100, "List at most so many, the newest.")
@output.of_track
@output.as_json
def insight(
    words: tuple[str, ...],
    evidence: tuple[str, ...],
    scope: str,
    valid_days: int | None,
    limit: int,
    track: str | None,
    in_json: bool,
) -> None:
    """Publish the lesson WORDS ("-" reads them from stdin); without WORDS, list the lessons there are."""
    with output.replica() as (home, store):
        wanted = tracks.asked(home, store, track).id
        if not words:
            texts.list_insights(store, wanted, limit, in_json)
            return
        body = {
            "track": wanted,
            "text": spoken(words),
            "evidence": list(dict.fromkeys(output.resolve(store, found, "result") for found in evidence)),
            "scope": text.entered(scope),
            "valid_days": valid_days,
        }
        sign(home, store, "insight", body, in_json)


@click.command(short_help="Publish a ready train.py for nodes to run.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--message", "-m", default="", metavar="TEXT", help="What it changes and why; default: found by comparing."
)
@output.of_track
@output.as_json
def submit(file: Path, message: str, track: str | None, in_json: bool) -> None:
    """Check FILE and publish it; nodes of this track will run it."""
    from ensue.store import Blob
    from experiments import track as problems
    from experiments.experiment import changes, describe, experiment_key
    from node import script, settings

    with output.replica() as (home, store):
        wanted = tracks.asked(home, store, track).id
        installed = problems.load(track or settings.load(home.settings).track)
        source = script.read(file, installed.source_bytes_max)
        best = store.best(wanted, level=None)
        old = _source(store, best.source if best else None)
        _refuse_known(store, experiment_key(wanted, old, source), source == old)
        change = changes(old, source)[:32] if old is not None else []
        blob = Blob(source.encode(), parent=best.source if best and old is not None else None)
        body = {
            "track": wanted,
            "text": text.entered(message.strip()) or describe(change) or f"try {file.name}",
            "change": change,
            "source": blob.sha256,
            "parent": best.id if best else None,
        }
        sign(home, store, "hypothesis", body, in_json, [blob])


@click.command(short_help="Withdraw a record of one's own.")
@click.argument("id")
@click.argument("reason", nargs=-1, required=True)
@output.as_json
def retract(id: str, reason: tuple[str, ...], in_json: bool) -> None:
    """Withdraw the record ID, which this node signed; it stays readable, counts no more, and flags its descendants."""
    from ensue.identity import Identity

    with output.replica() as (home, store):
        record = store.get(store.resolve(id))
        found = record.id[:10]
        if record.author != Identity.load(home.key).peer_id:
            raise UserError(f"{found} was signed by another node: publish an insight that contradicts it instead")
        if record.kind == "retraction":
            raise UserError(f"{found} is a retraction, which stands: publish the withdrawn record anew instead")
        sign(home, store, "retraction", {"target": record.id, "reason": spoken(reason)}, in_json)


def _refuse_known(store: Store, experiment: str, same: bool) -> None:
    if same:
        raise BadScript("this script is the best one already: change something before you submit it")
    taken = store.claims.taken(experiment)
    if taken is not None:
        raise UserError(f"this experiment was made or claimed already: see `autoresearch show {taken[:10]}`")


def sign(
    home: Home, store: Store, kind: str, body: dict[str, Any], in_json: bool, blobs: list[Blob] | None = None
) -> None:
    """Sign, store and report one record; it reaches others through the outbox."""
    from ensue.identity import Identity
    from node import settings

    identity = Identity.load(home.key)
    if kind != "retraction":
        body = body | {"agent": settings.own_name(settings.load(home.settings), identity.peer_id)}
    store.own_log.require(identity.peer_id)
    try:
        record: Record = store.append(identity, kind, body, blobs or [])
    except InvalidBody as error:
        raise UserError(str(error)) from error
    if in_json:
        output.print_json(
            {"id": record.id, "kind": kind, "author": record.author, "seq": record.seq, "body": record.body}
        )
        return
    click.echo(f"{click.style('published', fg='green')} {kind} {record.id[:10]}: {text.fit(summary(record), 80)}")
    if kind == "hypothesis":
        output.note("Nodes of this track will try it; `autoresearch join` makes this machine one of them.")
