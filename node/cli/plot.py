"""`autoresearch plot`: the picture of progress, or of descent, as a file."""

from __future__ import annotations

from pathlib import Path

import click

from node import text
from node.cli import output, tracks

PROGRESS, DESCENT = Path("progress.png"), Path("lineage.png")
WHOLE = "the whole track"


@click.command(short_help="Draw the progress so far as PNG or SVG.")
@click.option(
    "--output",
    "-o",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The file to write; its ending, .png or .svg, says how.  [default: {PROGRESS}, {DESCENT} with --lineage]",
)
@click.option(
    "--lineage",
    "of",
    metavar="[ID]",
    is_flag=False,
    flag_value=WHOLE,
    help="Draw the tree of kept results instead: of the track, or of the result ID.",
)
@output.of_track
@output.as_json
def plot(path: Path | None, of: str | None, track: str | None, in_json: bool) -> None:
    """Draw the staircase of bests over all experiments, kept ones labelled, discarded and failed ones marked.

    With --lineage: who descends from whom, by value and level, the line of the best bold, what was refuted crossed out.
    """
    if of is not None:
        _descent(path or DESCENT, of, track, in_json)
        return
    from node import plot as picture

    path = path or PROGRESS
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


def _descent(path: Path, of: str, track: str | None, in_json: bool) -> None:
    """Draw the tree of a track, or of one result's ancestors and descendants."""
    from node import treeplot

    with output.replica() as (home, store):
        if of == WHOLE:
            wanted = tracks.asked(home, store, track)
            best = store.best(wanted.id, level=None)
            tree = treeplot.grow(store.history(wanted.id), best.id if best else None)
            title = wanted.name
        else:
            row = store.result(output.resolve(store, of, "result"))
            ancestors, descendants = store.lineage(row.id)
            family = [*ancestors, row, *descendants]
            tree = treeplot.grow(family, treeplot.best_of(family), row.id)
            title = f"{tracks.call(home, row.track)}, the family of {row.id[:10]}"
    treeplot.draw(tree, path, title=title)
    if in_json:
        drawn = [place.row.id for place in tree.places]
        line = [key for key in drawn if key in tree.path]
        output.print_json({"file": str(path.absolute()), "kept": tree.count, "drawn": drawn, "best_line": line})
        return
    click.echo(f"{path}: {text.plural(len(tree.places), 'kept result')}, {len(tree.path)} in the line of the best")
