"""`export` and `import`: the memory as one file that anybody can read, and back; results as a table.

Leaves out the formats (`ensue.archive`, `node.tabular`). Importing is like meeting a peer that sends all it has: every
record is verified, and nothing in a file can change what this node has.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ensue.errors import BadArchive
from node import text
from node.cli import output, tracks
from node.cli.meter import Meter
from node.home import Home, default_home, open_replica

if TYPE_CHECKING:
    from ensue.archive import ExportReport, ImportReport
    from ensue.genesis import Genesis
    from ensue.store import Store

FORMATS = ("archive", "parquet", "csv")


@click.command("export", short_help="Write the memory, or a track's results, to one file.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="archive: everything; parquet, csv: the results of a track. Default: by FILE's ending.",
)
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@output.of_track
@output.as_json
def export_(file: Path, form: str | None, force: bool, track: str | None, in_json: bool) -> None:
    """Write every record, source and log to FILE, for `autoresearch import` on any machine.

    A FILE that ends in .parquet or .csv gets the results of one track as a table.
    """
    form = form or {".parquet": "parquet", ".csv": "csv"}.get(file.suffix.lower(), "archive")
    if form == "archive" and track is not None:
        raise click.UsageError("an archive holds every track: leave out --track, or write to a .parquet or .csv file.")
    meter = Meter(silent=in_json)
    with output.replica() as (home, store):
        total = max(store.count(), 1)

        def done(count: int) -> None:
            meter("writing", count / total, text.plural(count, "record"))

        found = (
            _archive(home, store, file, force, done)
            if form == "archive"
            else _table(home, store, file, form, force, track, done)
        )
    meter.end()
    if in_json:
        output.print_json({"file": str(file.absolute()), "format": form} | found)
        return
    held = text.plural(found["records"], "record") if form == "archive" else text.plural(found["results"], "result")
    more = f", {text.plural(found['blobs'], 'blob')}" if form == "archive" else ""
    click.echo(f"{text.printable(str(file))}: {held}{more}, {text.size(found['bytes'])}")
    if found.get("missing"):
        output.note(f"{found['missing']} sources and logs that records name are not here, so not in the file.")


def _archive(home: Home, store: Store, file: Path, force: bool, done: Any) -> dict[str, Any]:
    from ensue import archive
    from ensue.genesis import Genesis

    report: ExportReport = archive.write(store, Genesis.load(home.genesis), file, force=force, on_progress=done)
    return {"records": report.records, "blobs": report.blobs, "missing": report.missing, "bytes": report.file_bytes}


def _table(
    home: Home, store: Store, file: Path, form: str, force: bool, track: str | None, done: Any
) -> dict[str, Any]:
    from node import tabular

    wanted = tracks.asked(home, store, track)
    count = tabular.write(store, wanted.id, file, form, force=force, on_rows=done)
    return {"track": wanted.id, "results": count, "bytes": file.stat().st_size}


@click.command("import", short_help="Take in the memory that a file holds.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@output.as_json
def import_(file: Path, in_json: bool) -> None:
    """Take in every record, source and log of FILE that verifies; doing it again changes nothing.

    A home without a network becomes a member of the file's network.
    """
    from ensue.archive import Archive

    home = default_home()
    meter = Meter(silent=in_json)
    with Archive(file) as archive:
        adopted = not home.founded
        if adopted:
            _adopt(home, archive.genesis, file)
        _refuse_other(home, archive.genesis, file)
        with open_replica(home) as store:
            report = archive.into(store, lambda count: meter("importing", 0.0, text.plural(count, "record")))
    meter.end()
    if in_json:
        output.print_json({"network": archive.genesis.network_id, "adopted": adopted} | _document(report))
        return
    click.echo(
        f"{text.plural(report.accepted, 'record')} taken in, {report.known} known already, {report.refused} refused;"
        f" {text.plural(report.blobs_accepted, 'blob')} taken in, {report.blobs_known} known already,"
        f" {report.blobs_refused} refused"
    )
    for reason, count in report.reasons.most_common():
        click.echo(f"refused {count}×: {text.printable(reason)}", err=True)


def _adopt(home: Home, genesis: Genesis, file: Path) -> None:
    """Make a home a member of a network, saying so before; a kill in between costs nothing."""
    from node.founding import enter

    name = text.printable(genesis.name)
    click.echo(
        f"no node here yet ({home.path}): joining the network {name} ({genesis.network_id[:10]}) of"
        f" {text.printable(str(file))}",
        err=True,
    )
    enter(home, genesis).store.close()


def _refuse_other(home: Home, genesis: Genesis, file: Path) -> None:
    from ensue.genesis import Genesis

    own = Genesis.load(home.genesis)
    if own.network_id != genesis.network_id:
        raise BadArchive(
            f"{file} holds the network {genesis.name} ({genesis.network_id[:10]}) and this home {own.name}"
            f" ({own.network_id[:10]}): set AUTORESEARCH_HOME to another folder to import it there."
        )


def _document(report: ImportReport) -> dict[str, Any]:
    return {
        "records": {"accepted": report.accepted, "known": report.known, "refused": report.refused},
        "blobs": {
            "accepted": report.blobs_accepted,
            "known": report.blobs_known,
            "refused": report.blobs_refused,
        },
        "reasons": dict(report.reasons),
    }
