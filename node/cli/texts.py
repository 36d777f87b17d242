"""The ideas and lessons of a track as lists: what waits to be tried, what came of it, what was learnt."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from node import text
from node.cli import output
from node.names import Names

if TYPE_CHECKING:
    from ensue.store import HypothesisRow, InsightRow, Store

DAY_MS = 86_400_000


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
    if in_json:
        output.print_json([asdict(lesson) | {"expired": expired(lesson, now_ms)} for lesson in lessons])
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
            standing(lesson, now_ms),
            text.printable(lesson.text),
        ]
        for lesson in lessons
    ]
    output.rows(["id", "by", "evidence", "scope", "standing", "lesson"], cells, "<<><<<", spare=["by", "scope"])


def expired(lesson: InsightRow, now_ms: int) -> bool:
    """Return whether the days that a lesson was to hold for have passed since it came here."""
    return lesson.valid_days is not None and now_ms > lesson.received_ms + lesson.valid_days * DAY_MS


def standing(lesson: InsightRow, now_ms: int) -> str:
    """Return in a few words whether a lesson still counts."""
    if lesson.flags:
        return ", ".join(lesson.flags)
    return "expired" if expired(lesson, now_ms) else "stands"
