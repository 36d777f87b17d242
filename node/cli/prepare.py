"""`autoresearch prepare`: fetch and prepare a track's data, so that research can start without waiting."""

from __future__ import annotations

import click

from node import settings
from node.cli import output
from node.cli.meter import Meter
from node.home import default_home


@click.command(short_help="Fetch and prepare the data of a track.")
@click.argument("name", metavar="[TRACK]", required=False)
@click.option("--track", metavar="T", help="The same as TRACK.")
@click.option(
    "--pin", is_flag=True, help="Take sources that have no hash yet as they come, and write their hashes down."
)
@output.as_json
def prepare(name: str | None, track: str | None, pin: bool, in_json: bool) -> None:
    """Fetch TRACK's data over HTTPS where it does not come with the program, check its hash, and make its tokens."""
    from experiments import track as tracks

    home = default_home()
    found = tracks.load(name or track or settings.load(home.settings).track)
    home.create()
    meter = Meter(silent=in_json)
    try:
        data = tracks.prepare(found, home.data, meter, pin=pin)
    finally:
        meter.end()
    if pin:
        found = tracks.load(found.folder)  # the lock that was just written gives the track its final id
    facts = {
        "track": found.id,
        "name": found.name,
        "folder": str(data.folder),
        "digest": data.digest,
        "train_tokens": data.train_tokens,
        "val_tokens": len(data.val_tokens),
        "main_rows": len(data.main_rows),
        "pool_rows": len(data.pool_rows),
    }
    if in_json:
        output.print_json(facts)
        return
    click.echo(f"{click.style('ready', fg='green')}  {found.name}: {found.title}")
    output.facts(
        [
            ("id", found.id),
            ("tokens", f"{data.train_tokens:,} to train on, {len(data.val_tokens):,} to measure on"),
            (
                "rows",
                f"{len(data.main_rows):,} main, {len(data.pool_rows):,} hold-out pool, {found.seq_len} tokens each",
            ),
            ("folder", str(data.folder)),
        ]
    )
