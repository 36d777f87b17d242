"""Results and their scripts as text: all facts of one result, one script, two scripts compared.

A script is written exactly, byte for byte, into a file; towards a terminal or a pipe every control character is written
out, because a script is a stranger's text.
"""

from __future__ import annotations

import difflib
import os
import stat
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ensue.errors import UnknownId, UserError
from node import levels, text
from node.cli import output
from node.names import Names

if TYPE_CHECKING:
    from ensue.store import ResultRow, Store

DIFF_COLOURS = {"+": "green", "-": "red", "@": "cyan"}
CONTEXT_LINES = 3
DIFF_LINES_MAX = 5_000
"""Lines of a script that is compared; made to be slow, so many take a second, and time grows with the third power."""


def into_file() -> bool:
    """Return whether stdout is a plain file, where a script's exact bytes belong."""
    try:
        return stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def print_source(store: Store, sha256: str, in_json: bool) -> None:
    """Print a script, or a document with its hash and text."""
    data = store.blob(sha256)
    if in_json:
        output.print_json({"source": sha256, "text": data.decode("utf-8", "replace")})
    elif into_file():
        click.echo(data, nl=False)
    else:
        click.echo(text.block(data.decode("utf-8", "replace")), nl=False)


def root(store: Store, row: ResultRow) -> ResultRow:
    """Return the result at the beginning of a result's line: the baseline it goes back to."""
    ancestors, _ = store.lineage(row.id)
    known = {ancestor.id: ancestor for ancestor in ancestors}
    found = row
    for _ in range(len(known)):
        if found.parent is None or found.parent not in known:
            break
        found = known[found.parent]
    return found


def source_of(store: Store, identifier: str) -> str:
    """Return the hash of the script that a record names; raise UserError where it names none."""
    record = store.get(identifier)
    found = record.body.get("source")
    if not isinstance(found, str):
        raise UserError(
            f"{text.printable(record.kind, 40)} {identifier[:10]} has no script: name a result, claim or submission"
        )
    return found


def print_diff(store: Store, old: ResultRow, new: ResultRow, in_json: bool) -> None:
    """Print how the script of one result became that of another."""
    words = f"{text.number(old.value)} → {text.number(new.value)}"
    compare(store, (old.id, old.source), (new.id, new.source), words, in_json)


def compare(store: Store, old: tuple[str, str], new: tuple[str, str], words: str, in_json: bool) -> None:
    """Print a unified diff of two scripts, each given as (record id, source hash)."""
    lines = _unified(store.blob(old[1]), store.blob(new[1]), old[0][:10], new[0][:10])
    if in_json:
        output.print_json(
            {"from": old[0], "to": new[0], "from_source": old[1], "to_source": new[1], "diff": "".join(lines)}
        )
        return
    click.secho(f"{text.short(old[0])} → {text.short(new[0])}   {words}".rstrip(), bold=True)
    if not lines:
        output.note("the scripts are the same")
    for line in lines:
        shown = text.block(line.rstrip("\r\n"))
        heading = line.startswith(("---", "+++"))
        click.echo(click.style(shown, bold=True) if heading else click.style(shown, fg=DIFF_COLOURS.get(line[:1])))


def _unified(old: bytes, new: bytes, old_name: str, new_name: str) -> list[str]:
    before, after = (data.decode("utf-8", "replace").splitlines(keepends=True) for data in (old, new))
    if max(len(before), len(after)) > DIFF_LINES_MAX:
        raise UserError(
            f"a script has more than {DIFF_LINES_MAX:,} lines, too many to compare here: write both to files with"
            " `autoresearch show ID --source`"
        )
    names = (f"{old_name}/train.py", f"{new_name}/train.py")
    return list(difflib.unified_diff(before, after, *names, n=CONTEXT_LINES))


def print_result(
    store: Store, row: ResultRow, track: str, also: Sequence[ResultRow] = (), *, here: bool = True
) -> None:
    """Print everything that is known of one result, most telling first.

    `track` is what to call its track, `also` are the results that others got from the same experiment; `here`: this
    machine has a replica, which further commands can be asked about.
    """
    called = Names.of(store)
    mark = click.style(f"{output.MARKS[row.status]} {row.status.replace('_', ' ')}", fg=output.COLOURS[row.status])
    value = f"{text.printable(row.metric)} {text.number(row.value)}" if row.value is not None else "no value"
    click.echo(f"{mark}  {click.style(value, bold=True)}  {text.printable(row.description)}")
    if row.reason:
        click.echo(f"because {text.printable(row.reason)}")
    pairs = [("id", row.id), ("level", levels.words(store, row) if here else row.level), ("track", track)]
    pairs += _line_of(store, row)
    pairs += _measured(row)
    pairs += [
        ("seed", str(row.seed)),
        ("hardware", f"{text.printable(row.hardware_class)} on {text.printable(row.device)}"),
        ("sandbox", text.printable(row.sandbox)),
        ("software", text.printable(row.software)),
        (
            "by",
            f"{called.who(row.agent, row.author)} with {text.printable(row.proposer)}   {text.printable(row.author)}",
        ),
        ("when", f"{text.clock(row.created_ms)} by its author's clock, here {text.clock(row.received_ms)}"),
        ("script", f"{row.source[:10]}, {text.size(row.source_bytes)}" + _more(here, row, "--source")),
    ]
    if here:
        from node.cli import reruns  # what a ranking can start without

        pairs += reruns.of_result(store, row, called)
    if also:
        pairs.append(("also run by", "\n".join(_run_again(other, called) for other in also)))
    if row.log:
        pairs.append(("output", row.log[:10] + _more(here, row, "--log")))
    output.facts(pairs)


def _more(here: bool, row: ResultRow, option: str) -> str:
    return f"   autoresearch show {row.id[:10]} {option}" if here else ""


def _run_again(other: ResultRow, called: Names) -> str:
    value = other.status.replace("_", " ") if other.value is None else text.number(other.value)
    return f"{called.who(other.agent, other.author)}   {text.short(other.id)}  {value}"


def _line_of(store: Store, row: ResultRow) -> list[tuple[str, str]]:
    if row.parent is None:
        return [("parent", "none: a beginning")]
    parent = output.result(store, row.parent)
    if parent is None:
        return [("parent", f"{text.short(row.parent)}, not here yet")]
    better = output.gain(row, store)
    words = f"{text.short(row.parent)}  {text.number(parent.value)}  {text.printable(parent.description, 60)}"
    verdict = "" if better is None else f"{text.signed(better)} ({'better' if better > 0 else 'not better'})"
    pairs = [("parent", words)] + ([("gain", verdict)] if verdict else [])
    return pairs + _expected(store, row)


def _expected(store: Store, row: ResultRow) -> list[tuple[str, str]]:
    said = expectation(store, row)
    if said is None:
        return []
    return [("expected", f"{text.number(said['mean'])} ± {text.number(said['sd'])}, said before the run")]


def expectation(store: Store, row: ResultRow) -> dict[str, float] | None:
    """Return the mean and sd that the claim had said before the run; None if it said none or is not here."""
    try:
        said = store.get(row.claim).body.get("expectation") if row.claim else None
    except UnknownId:
        return None
    return {"mean": said["mean"], "sd": said["sd"]} if isinstance(said, dict) else None


def _measured(row: ResultRow) -> list[tuple[str, str]]:
    pairs = []
    if row.holdout is not None:
        spread = "" if row.holdout_gap_sd is None else f" ± {row.holdout_gap_sd:.4f}"
        pairs.append(("hold-out", f"{text.number(row.holdout)}, gap {text.signed(row.holdout_gap)}{spread}"))
    share = "" if row.cpu_share is None else f", share {row.cpu_share:.0%}"
    busy = " (others used the machine)" if row.contended else ""
    pairs.append(("training", f"{text.seconds(row.train_wall_s)}, processor {text.seconds(row.cpu_s)}{share}{busy}"))
    rest = (
        f"set-up {text.seconds(row.setup_s)}, scoring {text.seconds(row.score_s)}, node {text.seconds(row.overhead_s)}"
    )
    pairs.append(("besides", f"{rest}; all {text.seconds(row.wall_s)}"))
    if row.tokens_reported is not None and row.train_wall_s > 0:
        rate = row.tokens_reported / row.train_wall_s
        pairs.append(("tokens", f"{row.tokens_reported:,} by its own account, {rate:,.0f} a second"))
    return pairs
