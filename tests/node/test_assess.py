"""Lessons confirmed and contradicted by others: who may say so, whose word counts, and where it is shown."""

import json
import time
from collections.abc import Iterator

import pytest
from conftest import Invoke
from hamlet import Hamlet, Person, sha

from node import insights
from node.home import Home


@pytest.fixture
def hamlet(home: Home) -> Iterator[Hamlet]:
    made = Hamlet(home, "ada bob cyd dee")
    yield made
    made.store.close()


def lesson(hamlet: Hamlet, author: Person, **more: object) -> str:
    body = {"track": hamlet.track, "text": "Depth beats width.", "evidence": [], "scope": "small nets"}
    return author.sign("insight", body | {"valid_days": None, "agent": author.name} | more).id


def says(hamlet: Hamlet, who: Person, about: str, what: str, evidence: str, **more: object) -> str:
    body = {"track": hamlet.track, "insight": about, "says": what, "evidence": [evidence]}
    return who.sign("assessment", body | more).id


def counts(hamlet: Hamlet, about: str) -> tuple[int, int]:
    found = insights.votes(hamlet.store, about)
    return found.count("confirms"), found.count("contradicts")


def reasons(hamlet: Hamlet, about: str) -> dict[str, str | None]:
    return {vote.record.id: vote.why for vote in insights.votes(hamlet.store, about).all}


def test_a_lesson_is_assessed_with_evidence(hamlet: Hamlet, invoke: Invoke) -> None:
    ada, bob, *_ = hamlet.people
    about, shows = lesson(hamlet, bob, valid_days=3), ada.find(1.6, None, "baseline")
    done = json.loads(
        invoke("assess", about[:9], "here", "too", "--confirms", "-e", shows[:8], "-e", shows, "--json").stdout
    )
    assert done["kind"] == "assessment"
    body = done["body"]
    assert (body["insight"], body["says"], body["evidence"], body["text"]) == (about, "confirms", [shows], "here too")
    assert body["track"] == hamlet.track
    row = json.loads(invoke("insight", "--json").stdout)[0]
    assert (row["confirmed_by"], row["contradicted_by"], row["expired"]) == (1, 0, False)
    assert "confirmed by 1" in invoke("insight").stdout
    told = invoke("show", about).stdout
    assert "standing     confirmed by 1" in told
    assert "holds until" in told
    assert "small nets" in told
    assert done["id"][:10] in told
    assert "counts    yes" in invoke("show", done["id"]).stdout
    document = json.loads(invoke("show", about, "--json").stdout)
    assert (document["confirmed_by"], document["assessments"][0]["counts"]) == (1, True)
    hit = next(one for one in json.loads(invoke("search", "depth", "--json").stdout) if one["id"] == about)
    assert (hit["confirmed_by"], hit["scope"], hit["expired"]) == (1, "small nets", False)
    assert "[for small nets, confirmed by 1]" in invoke("search", "depth").stdout


def test_one_word_for_each_verified_account_the_newest(hamlet: Hamlet) -> None:
    ada, bob, cyd, dee = hamlet.people
    about, shows = lesson(hamlet, ada), bob.find(1.6, None, "baseline")
    first = says(hamlet, bob, about, "confirms", shows)
    says(hamlet, cyd, about, "confirms", shows)
    assert counts(hamlet, about) == (2, 0)
    newer = says(hamlet, bob, about, "contradicts", shows)
    assert counts(hamlet, about) == (1, 1)
    assert reasons(hamlet, about)[first] == "its account has said something newer"
    bob.sign("retraction", {"target": newer, "reason": "after all"})
    assert counts(hamlet, about) == (2, 0)
    own = says(hamlet, ada, about, "confirms", shows)
    stranger = Person(hamlet, "eve")
    unknown = says(hamlet, stranger, about, "contradicts", shows)
    elsewhere = says(hamlet, dee, about, "contradicts", sha("nowhere"))
    other = says(hamlet, dee, about, "contradicts", shows, track=sha("another track"))
    assert counts(hamlet, about) == (2, 0)
    why = reasons(hamlet, about)
    assert why[own] == "it is about its own author's lesson"
    assert why[unknown] == "its author was not verified when it was signed"
    assert why[elsewhere] == "none of its evidence is a result here, on this track, that counts"
    assert why[other] == "it is about another track"
    stranger.vouch()
    assert counts(hamlet, about) == (2, 1)


def test_evidence_that_is_withdrawn_carries_nothing(hamlet: Hamlet, invoke: Invoke) -> None:
    ada, bob, cyd, _ = hamlet.people
    about, shows = lesson(hamlet, bob), ada.find(1.6, None, "baseline")
    said = says(hamlet, cyd, about, "contradicts", shows)
    assert counts(hamlet, about) == (0, 1)
    ada.sign("retraction", {"target": shows, "reason": "wrong"})
    assert counts(hamlet, about) == (0, 0)
    assert "no: none of its evidence" in invoke("show", said).stdout
    assert "not counted: none of its evidence" in invoke("show", about).stdout


def test_what_cannot_be_assessed(hamlet: Hamlet, invoke: Invoke) -> None:
    ada, bob, *_ = hamlet.people
    shows, other = ada.find(1.6, None, "baseline"), ada.find(1.6, None, "elsewhere", track=sha("another track"))
    gone = ada.find(1.7, None, "gone")
    ada.sign("retraction", {"target": gone, "reason": "wrong"})
    mine, about, withdrawn = lesson(hamlet, ada), lesson(hamlet, bob), lesson(hamlet, bob, text="Nothing.")
    bob.sign("retraction", {"target": withdrawn, "reason": "wrong"})
    count = hamlet.store.count()
    for arguments, why in (
        ((mine, "-e", shows), "is your own: only others"),
        ((withdrawn, "-e", shows), "does not count (its author withdrew it)"),
        ((about, "-e", other), "is of another track"),
        ((about, "-e", gone), "does not count (retracted)"),
        ((about, "-e", about), "is no result but another kind of record, insight"),
        ((shows, "-e", shows), "is no insight but another kind of record, result"),
        (("ffffffff", "-e", shows), "ffffffff"),
        ((about, "x" * 600, "-e", shows), "breaks a rule"),
    ):
        refused = invoke("assess", *arguments, "--confirms", code=1).stderr
        assert why in refused, refused
        assert refused.count("\n") == 1
    invoke("assess", about, "--confirms", code=2)
    invoke("assess", about, "-e", shows, code=2)
    assert hamlet.store.count() == count


def test_a_lesson_expires(hamlet: Hamlet) -> None:
    lesson(hamlet, hamlet.people[1], valid_days=2)
    row = hamlet.store.insights(hamlet.track)[0]
    day_ms = 24 * 3600 * 1000
    now_ms = time.time_ns() // 1_000_000
    assert [insights.expired(row, now_ms + days * day_ms) for days in (0, 1, 3)] == [False, False, True]
