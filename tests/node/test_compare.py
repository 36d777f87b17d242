"""Agents, proposers and accounts compared by stretches of their logs, and when there is too little for that."""

import json
from collections.abc import Iterator

import pytest
from conftest import Invoke
from hamlet import CLASS, Hamlet, Person

from node import comparing
from node.home import Home

STRETCH = 3


@pytest.fixture
def hamlet(home: Home) -> Iterator[Hamlet]:
    made = Hamlet(home, "ada bob")
    yield made
    made.store.close()


def research(hamlet: Hamlet, who: Person, gain: float, stretches: int, **more: object) -> None:
    """Let somebody make stretches of three experiments, of which one gains."""
    base = hamlet.store.results(hamlet.track)[0].id
    for number in range(stretches):
        who.find(1.6 - gain, base, f"{who.name} {number} {more} gains", **more)
        who.find(None, base, f"{who.name} {number} {more} crashes", **more)
        who.find(1.61, base, f"{who.name} {number} {more} loses", status="discarded", **more)


def compared(invoke: Invoke, *arguments: str) -> dict:
    return json.loads(invoke("compare", "--experiments", str(STRETCH), "--json", *arguments).stdout)


def test_who_gains_more_is_rated_higher(hamlet: Hamlet, invoke: Invoke) -> None:
    ada, bob = hamlet.people
    ada.find(1.6, None, "baseline", proposer="")
    ada.find(None, None, "first crash", proposer="")
    ada.find(None, None, "second crash", proposer="")
    research(hamlet, ada, 0.05, 11, proposer="wise")
    research(hamlet, bob, 0.01, 12, proposer="plain")
    found = compared(invoke)
    assert (found["by"], found["experiments"], found["trials"]) == ("agent", STRETCH, 24)
    assert found["games"] >= comparing.GAMES_MIN
    best, other = found["players"]
    assert (best["name"], best["author"]) == ("ada", ada.node.peer_id)
    assert best["points"] > 0 > other["points"]
    assert best["points_sd"] > 20
    ahead = best["ahead_of_next"]
    assert 0.8 < ahead["probability"] < 1
    assert ahead["points"] == pytest.approx(best["points"] - other["points"])
    assert other["ahead_of_next"] is None
    assert [one["player"] for one in compared(invoke, "--by", "account")["players"]] == [
        ada.account.peer_id,
        bob.account.peer_id,
    ]
    assert [one["player"] for one in compared(invoke, "--by", "proposer")["players"]] == ["wise", "plain"]
    shown = invoke("compare", "--experiments", str(STRETCH), "--by", "proposer").stdout.splitlines()
    assert shown[0].startswith("sotu · each proposer by 3 experiments, ")
    assert shown[2].split()[0] == "1"
    assert shown[2].endswith("wise")
    assert "%, by " in shown[2]


def test_conditions_are_kept_apart(hamlet: Hamlet, invoke: Invoke) -> None:
    ada, bob = hamlet.people
    ada.find(1.6, None, "baseline", proposer="")
    research(hamlet, ada, 0.05, 8, proposer="wise")
    research(hamlet, bob, 0.01, 8, proposer="plain", hardware_class="gpu-80")
    assert "too little to compare each proposer: 0 games" in invoke("compare", "--by", "proposer", code=1).stderr
    refused = invoke("compare", "--by", "proposer", "--experiments", "3", code=1).stderr
    assert "too little to compare each proposer: 0 games of 6 needed, from 16 trials of 3 experiments" in refused
    research(hamlet, bob, 0.01, 8, proposer="plain")
    found = compared(invoke, "--by", "proposer", "--class", CLASS)
    assert (found["trials"], found["games"]) == (16, 8)
    assert "on gpu-80: 0 games" in invoke("compare", "--by", "proposer", "--class", "gpu-80", code=1).stderr


def test_what_reruns_say_counts_and_not_the_author(hamlet: Hamlet) -> None:
    ada, bob = hamlet.people
    base = ada.find(1.6, None, "baseline")
    for name in ("cyd", "dee"):
        person = Person(hamlet, name)
        hamlet.people.append(person)
        person.vouch()
    lie = bob.find(1.3, base, "a lie")
    hamlet.draw()
    hamlet.rerun({lie: 0.0})
    rulings = {one.result: one for one in hamlet.judge.rulings()}
    rows = [hamlet.store.result(lie)]
    scores = [
        comparing.trials(hamlet.store, rows, told, "account", 1, lambda _: 0.005)[0].score for told in ({}, rulings)
    ]
    assert scores[0] == pytest.approx(0.3 / (0.005 * 2**0.5))
    assert abs(scores[1]) < 3


def test_nothing_to_compare(founded: object, invoke: Invoke) -> None:
    assert "too little to compare each agent" in invoke("compare", code=1).stderr
    invoke("compare", "--by", "colour", code=2)
