"""`autoresearch plot`: the picture of progress as a file."""

from __future__ import annotations

from pathlib import Path

import click

from node import text
from node.cli import output, tracks


@click.command(short_help="Draw the progress so far as PNG or SVG.")
@click.option(
    "--output",
    "-o",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("progress.png"),
    show_default=True,
    help="The file to write; its ending, .png or .svg, says how.",
)
@output.of_track
@output.as_json
def plot(path: Path, track: str | None, in_json: bool) -> None:
    """Draw the staircase of bests over all experiments, kept ones labelled, discarded and failed ones marked."""
    from node import plot as picture

    with output.replica() as (home, store):
        wanted = tracks.asked(home, store, track)
        shown = picture.sample(store.history(wanted.id))
    picture.draw(shown, path, title=wanted.name)
    steps = picture.staircase(shown)
    if in_json:
        found = {"file": str(path.absolute()), "results": shown.count, "steps": [step.row.id for step in steps]}
        output.print_json(found)
        return
    click.echo(f"{path}: {text.plural(shown.count, 'experiment')}, {text.plural(len(steps), 'step')} of the best")
