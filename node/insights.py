"""How a lesson stands: which accounts confirm or contradict it, and whether its time is over.

One vote for each verified account but the author's; of several the newest by the account's own clock, as nobody else
has anything from it. A vote needs a result here, on the lesson's track, that counts. Left out: publishing votes
(cli.assess). Rejected: a score, in which ten shallow votes would outweigh one good experiment unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensue.errors import UnknownId
from ensue.people import is_official
from ensue.store.rows import FROZEN, RETRACTED, REVOKED
from node.void import Void

if TYPE_CHECKING:
    from ensue.record import Record
    from ensue.store import InsightRow, ResultRow, Store

DAY_MS = 86_400_000
VOID = frozenset((RETRACTED, FROZEN, REVOKED))
CONFIRMS, CONTRADICTS = "confirms", "contradicts"


@dataclass(frozen=True, slots=True)
class Vote:
    """One assessment; `why` says why it does not count, None where it does."""

    record: Record
    account: str | None
    says: str
    why: str | None


@dataclass(frozen=True, slots=True)
class Votes:
    """All assessments of one lesson, in order of author and number."""

    all: tuple[Vote, ...] = ()

    def count(self, says: str) -> int:
        """Return how many accounts say so."""
        return sum(vote.says == says and vote.why is None for vote in self.all)

    def words(self) -> str:
        """Return in a few words who confirms and who contradicts; nothing where nobody does."""
        said = ((self.count(CONFIRMS), "confirmed by"), (self.count(CONTRADICTS), "contradicted by"))
        return ", ".join(f"{verb} {count}" for count, verb in said if count)


def votes(store: Store, insight: str) -> Votes:
    """Return who has assessed a lesson, and which of it counts."""
    about = store.trials.about(insight, "assessment")
    if not about:
        return Votes()
    lesson, void = store.get(insight), Void(store)
    own = {lesson.author, store.people.account_of(lesson.author, lesson.seq)}
    found: list[Vote] = []
    for one in about:
        account = store.people.account_of(one.author, one.seq)
        why = _against(store, one, lesson, account, own) or void.why(one)
        found.append(Vote(one, account, one.body["says"], why))
    newest: dict[str | None, Record] = {}
    for vote in found:
        if vote.why is None:
            known = newest.setdefault(vote.account, vote.record)
            newest[vote.account] = max(known, vote.record, key=lambda one: (one.time_ms, one.seq, one.id))
    return Votes(
        tuple(
            Vote(vote.record, vote.account, vote.says, vote.why or _later(vote.record, newest[vote.account]))
            for vote in found
        )
    )


def expired(lesson: InsightRow, now_ms: int) -> bool:
    """Return whether the days that a lesson was to hold for have passed since it came here."""
    ends = ends_ms(lesson.received_ms, lesson.valid_days)
    return ends is not None and now_ms > ends


def ends_ms(received_ms: int, valid_days: int | None) -> int | None:
    """Return until when a lesson that came at a time is to hold, None for ever."""
    return None if valid_days is None else received_ms + valid_days * DAY_MS


def evidence_against(row: ResultRow | None, track: str) -> str | None:
    """Return why a result carries no word about a lesson on a track, None where it does."""
    if row is None:
        return "is not here"
    if row.track != track:
        return "is of another track"
    against = [flag for flag in row.flags if flag in VOID]
    return f"does not count ({', '.join(against)})" if against else None


def _later(record: Record, newest: Record) -> str | None:
    return None if record.id == newest.id else "its account has said something newer"


def _against(store: Store, one: Record, lesson: Record, account: str | None, own: set[str | None]) -> str | None:
    """Return why an assessment does not count, by itself."""
    if account is None:
        return "its node speaks for no account"
    if account in own or one.author in own:
        return "it is about its own author's lesson"
    needed = store.people.in_force().needed
    if not is_official(store.people.covers(account), needed, one.author, one.seq, one.time_ms):
        return "its author was not verified when it was signed"
    if lesson.kind != "insight" or one.body["track"] != lesson.body["track"]:
        return "it is about another track"
    if all(evidence_against(_row(store, key), lesson.body["track"]) for key in one.body["evidence"]):
        return "none of its evidence is a result here, on this track, that counts"
    return None


def _row(store: Store, key: str) -> ResultRow | None:
    try:
        return store.result(key)
    except UnknownId:
        return None
