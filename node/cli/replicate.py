"""`autoresearch replicate ID`: rerun a result and what it was changed from on this machine, and sign what was seen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from ensue.errors import TrackError, UserError
from node import settings, text
from node.cli import output
from node.cli.main import INTERRUPTED
from node.cli.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable

    from ensue.record import Record
    from ensue.store import ResultRow, Store
    from experiments.runner import Event
    from experiments.track import Track
    from node.bench import Place
    from node.home import Home
    from node.settings import Settings
    from node.view import Trying
    from verify.ruling import Ruling, Task
    from verify.trust import Judge


class Watch:
    """Shows the runs of a block one after the other on stderr; also for other runs by hand."""

    def __init__(self, meter: Meter, *, silent: bool) -> None:
        self._meter, self._silent = meter, silent
        self._phase = ""
        self._what = ""

    def trying(self, trying: Trying) -> None:
        """Show which run begins."""
        self._what = trying.description.rpartition(": ")[2]

    def event(self, event: Event) -> None:
        """Show how far it is."""
        from experiments import runner

        if isinstance(event, runner.Phase):
            self._phase = event.name
        done = event.fraction if isinstance(event, runner.Progress) else 0.0
        self._meter(f"{self._what}: {self._phase}", done)

    def say(self, words: str | None) -> None:
        """Print a line, if there is one."""
        if words is not None and not self._silent:
            self._meter.end()
            click.echo(text.printable(words), err=True)


@click.command(short_help="Rerun a result here, and sign what was seen.")
@click.argument("identifier", metavar="ID")
@click.option("--device", metavar="D", help="cpu, cuda:0, mps; default: the setting.")
@output.as_json
@click.pass_context
def replicate(context: click.Context, identifier: str, device: str | None, in_json: bool) -> None:
    """Run one block of reruns of the result ID: its parent and itself, each twice, with seeds that nobody here chose.

    A result without a parent is run beside itself, which shows whether others reach its value.

    What was measured is signed and shown to all. It counts towards the verdict where a draw gave your account a seat.
    Ctrl-C stops; the same command goes on with the same block.
    """
    from ensue.identity import Identity
    from node import byhand, machine
    from verify.trust import Judge

    with output.replica() as (home, store):
        row = store.result(output.resolve(store, identifier, "result"))
        own = Identity.load(home.key).peer_id
        account = store.people.account_of(own)
        if account is None:
            raise UserError("this node speaks for no account yet: the next `autoresearch join` makes one")
        chosen, track = _conditions(home, row, device)
        judge = Judge(store)
        judge.settle()
        hardware = machine.hardware(home, machine.devices(chosen)[0], threads=track.threads)
        task = judge.task(account, row.id, hardware.hardware_class)
        _fit(store, track, task)
        meter = Meter(silent=in_json)
        with byhand.held(home, store):
            place = byhand.place(home, chosen, store, track, meter)
            record = _run(place, task, Watch(meter, silent=in_json))
        meter.end()
        if record is None:
            click.echo("stopped: the same command goes on with this block, as does `autoresearch join`", err=True)
            context.exit(INTERRUPTED)
        judge.settle()
        _report(_document(store, judge, account, task, row, record), in_json)


def _conditions(home: Home, row: ResultRow, device: str | None) -> tuple[Settings, Track]:
    """Return the settings, and the track that a result was measured on; raise UserError where it is not installed."""
    from experiments import track as tracks

    chosen = settings.load(home.settings, flags={"device": device})
    for name in (chosen.track, *tracks.available()):
        try:
            found = tracks.load(name)
        except TrackError:
            continue
        if found.id == row.track:
            return chosen, found
    raise UserError(
        f"{row.id[:12]} was measured on a track that is not installed here ({row.track[:10]}): choose a result of "
        f"{text.printable(chosen.track, 40)}, or set the setting track to the folder of that track"
    )


def _fit(store: Store, track: Track, task: Task) -> None:
    """Raise UserError, with the reason, where a block cannot be run with what is here."""
    from node import replicating

    why = replicating.unfit(store, track, task)
    if why is not None:
        raise UserError(f"{task.result[:12]} cannot be rerun here: {why}")


def _run(place: Place, task: Task, watch: Watch) -> Record | None:
    """Return the signed replication; None where it was stopped. Raises UserError where the block cannot be run."""
    from node import byhand, replicating
    from node.balance import note_time

    short = task.result[:12]
    before = replicating.told(place, task)
    if before is not None:
        raise UserError(
            f"this node has run block {task.block} of {short} already ({before.id[:12]}): `autoresearch show "
            f"{before.id[:12]}`"
        )
    if replicating.taken(place, task):
        raise UserError(f"another machine of your account has begun block {task.block} of {short}: let it finish")
    measuring = byhand.measuring(place, watch.event, watch.say)
    spent: Callable[[float], None] = note_time(place)
    replicator = replicating.Replicator(place, measuring, trying=watch.trying, said=watch.say, spent=spent)
    block = replicator.begin(task)
    return None if block is None else replicator.finish(block)


def _document(store: Store, judge: Judge, account: str, task: Task, row: ResultRow, record: Record) -> dict[str, Any]:
    from node import levels

    ruling = judge.ruling(row.id)
    body = record.body
    pairs = [pair | {"gain": _gain(pair, row.direction)} for pair in body["pairs"]]
    why = _why_not(store, ruling, account, task, record)
    here = ruling.classes.get(task.hardware_class) if ruling is not None else None
    counts = here is not None and here.done.get(account, 0) > task.block
    verdict = None
    if ruling is not None and here is not None:
        verdict = {name: getattr(here, name) for name in ("answer", "evidence", "evidence_needed", "pairs", "gain")}
        verdict |= {"pairs_needed": here.pairs_needed, "accounts": here.accounts, "refuted": here.refuted}
        verdict["words"] = levels.verdict(here, transfer=task.transfer, alone=row.parent is None)
    return {
        "id": record.id,
        "duty": body["duty"],
        "result": row.id,
        "parent": task.parent,
        "account": account,
        "metric": row.metric,
        "hardware_class": task.hardware_class,
        "transfer": task.transfer,
        "block": task.block,
        "seat": task.seat,
        "counts": counts,
        "why": why,
        "pairs": pairs,
        "verdict": verdict,
    }


def _gain(pair: dict[str, Any], direction: str) -> float | None:
    """Return by how much the child was better than the parent; None without both values."""
    parent, child = pair["parent"]["value"], pair["child"]["value"]
    if parent is None or child is None:
        return None
    gain: float = parent - child if direction == "min" else child - parent
    return gain


def _why_not(store: Store, ruling: Ruling | None, account: str, task: Task, record: Record) -> str | None:
    """Return why a replication does not count, or not whole; None where it does."""
    if task.seat is None:
        if store.people.standing(account, time.time_ns() // 1_000_000).expires_ms is None:
            return "your account is not verified: `autoresearch verify you@example.org`"
        if ruling is None or not ruling.drawn:
            return "no verifier has drawn yet who reruns this result"
        return "the draw gave the seats to other accounts, or to machines of another class"
    return next((why for key, why in ruling.ignored if key == record.id), None) if ruling is not None else None


def _report(document: dict[str, Any], in_json: bool) -> None:
    if in_json:
        output.print_json(document)
        return
    names = ("parent", "child") if document["parent"] != document["result"] else ("once", "again")
    for number, pair in enumerate(document["pairs"], start=1):
        click.echo(f"pair {number}  {_pair(pair, *names)}  {click.style('seed ' + str(pair['seed']), dim=True)}")
    found = "no reruns count there yet" if document["verdict"] is None else text.printable(document["verdict"]["words"])
    why = text.printable(document["why"] or "its verdict was not found yet")
    if not document["counts"]:
        click.echo(f"It is signed and shown to all, and does not count: {why}.")
    elif document["why"] is not None:
        click.echo(f"It is signed, and counts, but not all of it: {why}.")
    else:
        click.echo("It is signed, and counts.")
    click.echo(f"{text.short(document['result'])} on {text.printable(document['hardware_class'])}: {found}")
    output.note(f"`autoresearch show {text.short(document['id'])}` shows it; a running node sends it to others.")


def _pair(pair: dict[str, Any], first: str, second: str) -> str:
    from node.replicating import run_words

    words = f"{first} {text.printable(run_words(pair['parent']))}, {second} {text.printable(run_words(pair['child']))}"
    gain = pair["gain"]
    if gain is None or second == "again":
        return words
    return f"{words}: {'better' if gain > 0 else 'worse'} by {abs(gain):.4f}" if gain else f"{words}: the same"
