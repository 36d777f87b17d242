"""`autoresearch rebuild`: derive the state anew from the records, or prove that it is what the records say."""

from __future__ import annotations

import click

from ensue.errors import StoreDamaged
from node import text
from node.cli import output


@click.command(short_help="Derive the state anew from the records.")
@click.option("--check", is_flag=True, help="Change nothing; compare the live state with one derived from the records.")
@output.as_json
def rebuild(check: bool, in_json: bool) -> None:
    """Derive leaderboards, bests and lineage anew from the signed records, which alone are the truth."""
    with output.replica() as (_, store):
        report = store.rebuild(check=check)
    if in_json:
        output.print_json(
            {
                "records": report.records,
                "digest_live": report.digest_live,
                "digest_fold": report.digest_fold,
                "equal": report.equal,
            }
        )
    else:
        output.facts(
            [
                ("records", f"{report.records:,}"),
                ("live state", report.digest_live),
                ("from records", report.digest_fold),
            ]
        )
    if not report.equal:
        raise StoreDamaged("the live state is not what the records say: run `autoresearch rebuild` to derive it anew")
    if not in_json:
        done = "equal: the live state is what the records say" if check else "the state was derived anew"
        click.secho(f"{done}, from {text.plural(report.records, 'record')}", fg="green")
