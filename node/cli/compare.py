"""`compare`: how strong agents, proposers and accounts are against each other, with how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ensue.errors import UserError
from node import names, text
from node.cli import output, tracks
from node.cli.reputation import class_noise
from node.names import Names

if TYPE_CHECKING:
    from node.comparing import By
    from verify.rating import Rating, Table

BY = ("agent", "proposer", "account")
EXPERIMENTS = 10
"""Experiments of one trial, unless another number is asked for."""
NAME_COLUMNS = 40


@click.command(short_help="Compare agents, proposers or accounts under equal conditions.")
@click.option("--by", type=click.Choice(BY), default="agent", show_default=True, help="Who is compared.")
@click.option("--class", "hardware_class", metavar="C", help="On one hardware class only.")
@output.positive("--experiments", EXPERIMENTS, "Experiments of one trial.")
@output.of_track
@output.as_json
def compare(by: By, hardware_class: str | None, experiments: int, track: str | None, in_json: bool) -> None:
    """Rate agents, proposers or accounts by what so many experiments in a row brought each of them.

    Trials meet others of the same track, class and number of experiments; who gained more wins. 400 points more are
    odds of ten to one, and stand with their standard error.
    """
    from node.comparing import GAMES_MIN, TIE_SD, trials
    from verify.rating import games_of, rate

    with output.replica() as (home, store):
        wanted = tracks.asked(home, store, track)
        judge = output.judge(store)
        rulings = {one.result: one for one in judge.rulings()}
        noise = class_noise(home, judge, wanted.id)
        rows = (row for row in store.history(wanted.id) if hardware_class in (None, row.hardware_class))
        played = trials(store, rows, rulings, by, experiments, noise)
        games = games_of(played, TIE_SD)
        called = Names.of(store)
        table = rate(games)
        shown = {one.player: _called(called, by, one.player) for one in table.ratings}
    if len(games) < GAMES_MIN:
        where = "" if hardware_class is None else f" on {text.printable(hardware_class, 60)}"
        raise UserError(
            f"too little to compare each {by}{where}: {text.plural(len(games), 'game')} of {GAMES_MIN} needed, from"
            f" {text.plural(len(played), 'trial')} of {experiments} experiments; wait, or try fewer --experiments"
        )
    if in_json:
        output.print_json(_document(table, by, experiments, len(played), len(games)))
        return
    output.title(
        f"{wanted.name} · each {by} by {text.plural(experiments, 'experiment')}, {text.plural(len(games), 'game')}"
    )
    cells = [
        [
            str(place),
            f"{one.points:+.0f}".replace("-", "−"),
            f"± {one.points_sd:.0f}",
            str(one.games),
            _ahead(table, one),
            shown[one.player],
        ]
        for place, one in enumerate(table.ratings, 1)
    ]
    output.rows(["#", "points", "", "games", "stronger than the next", by], cells, ">>>><<", spare=["games"])


def _called(called: Names, by: By, player: str) -> str:
    if by == "account":
        return names.account(player)
    if by == "proposer":
        return text.printable(player, NAME_COLUMNS)
    author, _, name = player.partition(" ")
    return called.who(name, author)


def _next(table: Table, one: Rating) -> Rating | None:
    place = table.ratings.index(one)
    return table.ratings[place + 1] if place + 1 < len(table.ratings) else None


def _ahead(table: Table, one: Rating) -> str:
    """Return how probable it is that a player is stronger than the next one in the table."""
    from verify.rating import compare as between

    other = _next(table, one)
    if other is None:
        return text.NONE
    ahead, sd, chance = between(table, one.player, other.player)
    return f"{chance:.0%}, by {ahead:.0f} ± {sd:.0f}"


def _document(table: Table, by: By, experiments: int, played: int, games: int) -> dict[str, Any]:
    """Return a table as JSON; an agent is the key of its node and its name."""
    from verify.rating import compare as between

    found = []
    for one in table.ratings:
        other = _next(table, one)
        document: dict[str, Any] = {"player": one.player, "points": one.points, "points_sd": one.points_sd}
        if by == "agent":
            document["author"], _, document["name"] = one.player.partition(" ")
        document |= {"games": one.games, "ahead_of_next": None}
        if other is not None:
            ahead, sd, chance = between(table, one.player, other.player)
            document["ahead_of_next"] = {"points": ahead, "points_sd": sd, "probability": chance}
        found.append(document)
    return {"by": by, "experiments": experiments, "trials": played, "games": games, "players": found}
