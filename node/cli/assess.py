"""`assess`: say that a lesson holds, or does not, with the results that show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ensue.errors import UserError
from node import insights, text
from node.cli import output, publish
from node.void import Void

if TYPE_CHECKING:
    from ensue.record import Record
    from ensue.store import Store


@click.command(short_help="Confirm or contradict a lesson, with results that show it.")
@click.argument("insight")
@click.argument("words", nargs=-1)
@click.option("--confirms/--contradicts", "confirms", default=None, help="What the evidence says about it.")
@click.option(
    "--evidence", "-e", multiple=True, required=True, metavar="ID", help="A result that shows it; repeatable."
)
@output.as_json
def assess(
    insight: str, words: tuple[str, ...], confirms: bool | None, evidence: tuple[str, ...], in_json: bool
) -> None:
    """Publish that the lesson INSIGHT holds, or does not, as the results named show; WORDS ("-": stdin) may say more.

    The word of a verified account counts, one for each; the newest of an account is its word.
    """
    from ensue.identity import Identity

    if confirms is None:
        raise click.UsageError("Say what the evidence shows: --confirms or --contradicts.")
    with output.replica() as (home, store):
        lesson = store.get(output.resolve(store, insight, "insight"))
        _refuse_own(store, lesson, Identity.load(home.key).peer_id)
        why = Void(store).why(lesson)
        if why is not None:
            raise UserError(f"the insight {lesson.id[:10]} does not count ({why}): publish one of your own instead")
        body = {
            "track": lesson.body["track"],
            "insight": lesson.id,
            "says": insights.CONFIRMS if confirms else insights.CONTRADICTS,
            "evidence": list(dict.fromkeys(_carried(store, one, lesson) for one in evidence)),
            "text": publish.spoken(words) if words else "",
        }
        publish.sign(home, store, "assessment", body, in_json)


def _refuse_own(store: Store, lesson: Record, node: str) -> None:
    account = store.people.account_of(lesson.author, lesson.seq)
    if lesson.author == node or (account is not None and account == store.people.account_of(node)):
        raise UserError(f"the insight {lesson.id[:10]} is your own: only others can confirm or contradict it")


def _carried(store: Store, prefix: str, lesson: Record) -> str:
    """Return the full id of a result that may carry a word about a lesson; raise UserError where it may not."""
    found = output.resolve(store, prefix, "result")
    why = insights.evidence_against(output.result(store, found), lesson.body["track"])
    if why is not None:
        raise UserError(f"the result {text.short(found)} {why}: name results of the insight's track that count")
    return found
