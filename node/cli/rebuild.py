"""`autoresearch rebuild`: derive the state anew from the records, or prove that it is what the records say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ensue.errors import ForeignFile, StoreDamaged, StoreError
from node import text
from node.cli import output
from node.home import Home, default_home, open_replica
from node.lock import NodeLock

if TYPE_CHECKING:
    from ensue.store import RebuildReport


def _derived(home: Home, check: bool) -> RebuildReport:
    with open_replica(home) as store:
        return store.rebuild(check=check)


def _repair(home: Home) -> None:
    """Save what verifies into a new file; no node may run meanwhile."""
    from ensue.genesis import Genesis
    from ensue.store.repair import repair
    from node.mending import said

    with NodeLock(home.lock):
        saved = repair(home.database, Genesis.load(home.genesis).network_id)
    click.echo(said(saved), err=True)


def _needs_repair(home: Home, error: StoreError) -> bool:
    """Return whether a file that cannot be opened is ours and damaged, and no other program's or a later version's."""
    from ensue.genesis import Genesis
    from ensue.store.repair import holds_records_of

    if isinstance(error, StoreDamaged):
        return home.database.exists()
    return isinstance(error, ForeignFile) and holds_records_of(home.database, Genesis.load(home.genesis).network_id)


@click.command(short_help="Derive the state anew from the records.")
@click.option("--check", is_flag=True, help="Change nothing; compare the live state with one derived from the records.")
@output.as_json
def rebuild(check: bool, in_json: bool) -> None:
    """Derive leaderboards, bests and lineage anew from the signed records, which alone are the truth.

    A damaged file is replaced by one with every record and blob that still verifies; the damaged one is kept beside it.
    """
    home = default_home()
    try:
        report = _derived(home, check)
        damaged = bool(report.damaged)
    except StoreError as error:
        if check or not _needs_repair(home, error):
            raise
        damaged = True
    if damaged and not check:
        _repair(home)
        report = _derived(home, check)
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
