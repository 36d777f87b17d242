"""The ideas and lessons of a track as lists: what waits to be tried, what came of it, what was learnt."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from node import insights, names, text
from node.cli import output
from node.names import Names

if TYPE_CHECKING:
    from ensue.record import Record
    from ensue.store import HypothesisRow, InsightRow, Store


def list_hypotheses(store: Store, track: str, limit: int, in_json: bool) -> None:
    """Print the newest ideas of a track in order of arrival, with what became of them."""
    ideas = store.hypotheses(track, limit=limit, newest=True)
    if in_json:
        output.print_json([asdict(idea) for idea in ideas])
        return
    if not ideas:
        click.echo("No ideas yet: `autoresearch hypothesis WORDS --change KNOB=VALUE` publishes the first.")
        return
    called = Names.of(store)
    cells = [
        [text.short(idea.id), called.who(idea.agent, idea.author), fate(idea), text.printable(idea.text)]
        for idea in ideas
    ]
    output.rows(
        ["id", "by", "fate", "idea"], cells, "<<<<", ["green" if idea.tried else None for idea in ideas], spare=["by"]
    )


def fate(idea: HypothesisRow) -> str:
    """Return in a few words what became of an idea."""
    if idea.flags:
        return ", ".join(idea.flags)
    if idea.tried:
        return f"tried {idea.tried}×"
    return "being tried" if idea.claimed else "waits"


def list_insights(store: Store, track: str, limit: int, in_json: bool) -> None:
    """Print the newest lessons of a track in order of arrival, with what carries them."""
    lessons = store.insights(track, limit=limit)
    now_ms = time.time_ns() // 1_000_000
    voted = {lesson.id: insights.votes(store, lesson.id) for lesson in lessons}
    if in_json:
        output.print_json([asdict(lesson) | _document(lesson, voted[lesson.id], now_ms) for lesson in lessons])
        return
    if not lessons:
        click.echo("No lessons yet: `autoresearch insight WORDS --evidence ID` publishes the first.")
        return
    called = Names.of(store)
    cells = [
        [
            text.short(lesson.id),
            called.who(lesson.agent, lesson.author),
            text.plural(len(lesson.evidence), "result"),
            text.printable(lesson.scope, 24) or text.NONE,
            standing(lesson, voted[lesson.id], now_ms),
            text.printable(lesson.text),
        ]
        for lesson in lessons
    ]
    output.rows(["id", "by", "evidence", "scope", "standing", "lesson"], cells, "<<><<<", spare=["by", "scope"])


def _document(lesson: InsightRow, found: insights.Votes, now_ms: int) -> dict[str, object]:
    return {
        "expired": insights.expired(lesson, now_ms),
        "confirmed_by": found.count(insights.CONFIRMS),
        "contradicted_by": found.count(insights.CONTRADICTS),
    }


def standing(lesson: InsightRow, found: insights.Votes, now_ms: int) -> str:
    """Return in a few words whether a lesson still counts, and what others say."""
    if lesson.flags:
        return ", ".join(lesson.flags)
    said = [word for word in (found.words(), "expired" if insights.expired(lesson, now_ms) else "") if word]
    return ", ".join(said) or "stands"


def standing_facts(store: Store, record: Record) -> list[tuple[str, str]]:
    """Return what others say about a lesson, and until when it is to hold, for `show`."""
    found = insights.votes(store, record.id)
    facts = [("standing", found.words() or "nobody else has assessed it")]
    ends_ms = insights.ends_ms(store.received_ms(record.id), record.body.get("valid_days"))
    if ends_ms is not None:
        over = time.time_ns() // 1_000_000 > ends_ms
        facts.append(("expired" if over else "holds until", text.clock(ends_ms)))
    lines = [
        f"{vote.says}  {text.short(vote.record.id)}  {_who(vote)}"
        + (f"  not counted: {vote.why}" if vote.why else "")
        + (f"  {text.printable(vote.record.body['text'], 60)}" if vote.record.body.get("text") else "")
        for vote in found.all
    ]
    return [*facts, *([("assessed", "\n".join(lines))] if lines else [])]


def _who(vote: insights.Vote) -> str:
    return names.account(vote.account) if vote.account is not None else names.key(vote.record.author)
