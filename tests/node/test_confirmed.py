"""What queries say about reruns: levels in words, rankings of what was confirmed, credit, reputation, contributions."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Invoke
from hamlet import CLASS, Hamlet

from node import credit, levels
from node.home import Home
from verify.credit import Shares


@pytest.fixture
def hamlet(home: Home) -> Iterator[Hamlet]:
    made = Hamlet(home, "ada bob cyd dee")
    yield made
    made.store.close()


def shown(invoke: Invoke, identifier: str) -> dict[str, str]:
    """Return what `show` prints: its first line under "", then each fact by name, lines of one joined."""
    first, *lines = invoke("show", identifier).stdout.splitlines()
    facts, name = {"": first}, ""
    for line in lines:
        head, _, rest = line.partition("  ")
        name = head.strip() or name
        facts[name] = f"{facts.get(name, '')}\n{rest.strip()}".strip()
    return facts


def ids(invoke: Invoke, *arguments: str) -> list[str]:
    return [row["id"] for row in json.loads(invoke("leaderboard", "--json", *arguments).stdout)]


def test_a_result_says_how_far_its_test_has_come(hamlet: Hamlet, invoke: Invoke) -> None:
    ada, bob, *_ = hamlet.people
    base = ada.find(1.6, None, "baseline")
    true = bob.find(1.58, base, "a true gain")
    assert "fewer than 2 other accounts" in shown(invoke, base)["level"]
    assert "fewer than 2 other accounts have a machine" in shown(invoke, true)["level"]
    hamlet.draw()
    level = shown(invoke, true)["level"]
    assert level.startswith("official: @")
    assert "; not yet confirmed: 0 of about " in level
    assert level.endswith(", the first reruns are to come")
    block = ada.rerun(hamlet.task(ada, true), 0.02)
    level = shown(invoke, true)["level"]
    assert "; not yet confirmed: 2 of about " in level
    assert " of 271" in level
    assert shown(invoke, true)["reruns"].split()[:3] == ["ada", f"@{ada.account.peer_id[-8:]}", block[:10]]
    hamlet.rerun({true: 0.02})
    level = shown(invoke, true)["level"]
    assert re.match(r"confirmed: better by 0\.0\d+ ± 0\.0\d+ in \d+ pairs by [23] accounts, E = [\d,]+ of 271; ", level)
    assert "; official: @" in level
    document = json.loads(invoke("show", true, "--json").stdout)
    assert document["reruns"]["verdict"]["answer"] == "better"
    assert document["why"] == level
    assert sum(one["counts"] for one in document["reruns"]["replications"]) >= 2
    assert ids(invoke, "--level", "confirmed") == [true]
    assert json.loads(invoke("best", "--json").stdout)["id"] == true
    assert "★" in invoke("leaderboard").stdout
    worse = ada.find(1.595, base, "less of a gain")
    assert f"a better one of its class is confirmed, {true[:10]}" in shown(invoke, worse)["level"]


def test_ties_losses_and_lies_are_told_apart(hamlet: Hamlet, invoke: Invoke) -> None:
    ada, bob, cyd, _ = hamlet.people
    base = ada.find(1.6, None, "baseline")
    lie = bob.find(1.3, base, "a lie")
    child = ada.find(1.299, lie, "on the lie")
    hamlet.draw()
    hamlet.rerun({lie: 0.0, child: 0.0})
    told = shown(invoke, lie)["level"]
    assert told.startswith("official: @")
    assert "; refuted: it gained " in told
    assert "luck does not explain" in told
    assert "descends from refuted" in shown(invoke, child)["level"]
    assert lie not in ids(invoke)
    tie = cyd.find(1.592, base, "nothing")
    hamlet.draw()
    hamlet.rerun({tie: 0.0, child: 0.0})
    assert "; a tie: no gain worth the name in " in shown(invoke, tie)["level"]
    loss = cyd.find(1.591, base, "a loss")
    hamlet.draw()
    for _ in range(3):
        for person in (ada, bob):
            person.rerun(hamlet.task(person, loss), -0.03)
    assert "; worse in reruns: by 0.0" in shown(invoke, loss)["level"]
    assert loss not in ids(invoke)


def test_what_does_not_count_is_shown_with_the_reason(hamlet: Hamlet, invoke: Invoke) -> None:
    ada, bob, cyd, dee = hamlet.people
    base = ada.find(1.6, None, "baseline")
    true = bob.find(1.58, base, "a gain")
    unlisted = cyd.rerun(hamlet.task(cyd, true), 0.02)
    assert f"{unlisted[:10]}  " in shown(invoke, true)["reruns"]
    assert "left out: there was no draw yet" in invoke("show", unlisted).stdout
    hamlet.draw()
    task = hamlet.task(cyd, true)
    chosen = cyd.rerun(replace(task, seeds=(1, 2)), 0.02)
    left = dee.take(hamlet.task(dee, true))
    facts = shown(invoke, true)
    assert facts["reruns"].count("left out: ") == 2
    assert "left out: it chose its seeds or their order itself" in facts["reruns"]
    assert f"{left[:10]}  block 0 unfinished since" in facts["reruns"]
    document = json.loads(invoke("show", true, "--json").stdout)["reruns"]
    assert document["unfinished_duties"] == [left]
    assert {one["id"]: one["counts"] for one in document["replications"]} == {unlisted: False, chosen: False}
    assert "became    unfinished so far" in invoke("show", left).stdout
    assert "counts      left out: it chose its seeds" in invoke("show", chosen).stdout


def test_a_gain_in_another_class_is_a_transfer(hamlet: Hamlet, invoke: Invoke) -> None:
    ada, bob, cyd, dee = hamlet.people
    for person in (cyd, dee):
        person.calibrate(1.6, 1.61, hardware_class="gpu-80")
        person.calibrate(1.6, 1.61)
    base = ada.find(1.6, None, "baseline")
    true = bob.find(1.58, base, "a gain")
    hamlet.draw()
    hamlet.rerun({true: 0.02})
    for person in (cyd, dee):
        person.rerun(hamlet.task(person, true, "gpu-80"), 0.02)
    transfer = shown(invoke, true)["transfer"]
    assert transfer.startswith("gpu-80: not yet known: 4 of about ")
    assert json.loads(invoke("show", true, "--json").stdout)["reruns"]["verdict"]["classes"]["gpu-80"]["pairs"] == 4
    for _ in range(6):
        for person in (cyd, dee):
            person.rerun(hamlet.task(person, true, "gpu-80"), 0.02)
    assert shown(invoke, true)["transfer"].startswith("gpu-80: holds here too: better by 0.0")


def test_every_record_about_reruns_is_shown_and_listed(hamlet: Hamlet, invoke: Invoke) -> None:
    ada, bob, *_ = hamlet.people
    base = ada.find(1.6, None, "baseline")
    true = bob.find(1.58, base, "a gain")
    hamlet.draw()
    ada.rerun(hamlet.task(ada, true), None)
    words = {
        "calibration": ["5 runs on cpu-2t", "± 0.00", "may be drawn"],
        "listing": ["draw 0 of 2 results, 4 machines", "0.005 a run", "a gain"],
        "drawing": ["draw 0 of 2 results", "secrets"],
        "duty": [f"to rerun {true[:10]}, block 0", "became"],
        "replication": ["–, –", "then child crashed (it crashed)", "60 processor seconds", "counts"],
    }
    listed = invoke("log").stdout
    for kind, expected in words.items():
        record = next(hamlet.store.records(kind=kind))
        told = invoke("show", record.id).stdout
        assert all(word in told for word in expected), told
        assert expected[0] in listed
        assert json.loads(invoke("show", record.id, "--json").stdout)["body"] == record.body


def shared(hamlet: Hamlet) -> tuple[str, str]:
    """Return two confirmed results, the second grown from the first, which tried an idea of dee's."""
    ada, bob, _, dee = hamlet.people
    base = ada.find(1.6, None, "baseline")
    idea = dee.sign("hypothesis", {"track": hamlet.track, "text": "a lower rate", "change": []}).id
    claim = bob.claim("first", hypothesis=idea, parent=base, expectation={"mean": 1.59, "sd": 0.005})
    first = bob.find(1.58, base, "first", claim=claim)
    hamlet.draw()
    hamlet.rerun({first: 0.02})
    second = ada.find(1.56, first, "second")
    hamlet.draw()
    hamlet.rerun({second: 0.02})
    return first, second


def test_credit_adds_up_to_exactly_the_gain(hamlet: Hamlet, invoke: Invoke) -> None:
    first, second = shared(hamlet)
    ada, bob, _, dee = (person.account.peer_id for person in hamlet.people)
    rulings = {one.result: one for one in hamlet.judge.rulings()}
    whole = 0
    for key in (first, second):
        row = hamlet.store.result(key)
        found = credit.credit(hamlet.store, {}, row, rulings[key])
        assert found is not None
        assert row.level == "confirmed"
        assert found.units == round(rulings[key].own.gain * 10**9)  # type: ignore[union-attr, operator]
        assert sum(part.units for part in found.parts) == found.units == sum(found.accounts().values())
        whole += found.units
    parts = {(part.role, part.account, part.generation) for part in found.parts}
    assert {("author", ada, 0), ("author", bob, 1), ("idea", dee, 1)} <= parts
    assert {part.account for part in found.parts if part.role == "replicator"} == set(rulings[second].counted)
    totals = credit.totals(hamlet.store, {}, hamlet.track, rulings)
    assert sum(totals.values()) == whole
    document = json.loads(invoke("lineage", second, "--json").stdout)["credit"]
    assert document["gain_units"] == found.units
    assert document["accounts"] == found.accounts()
    assert "1 generation before\n" in invoke("lineage", second).stdout
    rows = json.loads(invoke("leaderboard", "--by", "account", "--json").stdout)
    assert {row["account"]: row["credit_units"] for row in rows} == {name: totals[name] for name in (ada, bob)}
    assert "Credit of others, for reruns and ideas: @" in invoke("leaderboard", "--by", "account").stdout


def test_an_idea_found_after_the_fact_or_taken_back_earns_nothing(hamlet: Hamlet) -> None:
    first, _ = shared(hamlet)
    _, bob, _, dee = hamlet.people
    row = hamlet.store.result(first)
    ruling = levels.ruling_of(hamlet.store, first)

    def ideas() -> set[str]:
        found = credit.credit(hamlet.store, {}, row, ruling)
        assert found is not None
        assert sum(found.accounts().values()) == found.units
        return {part.account for part in found.parts if part.role == "idea"}

    assert ideas() == {dee.account.peer_id}
    late = {"track": hamlet.track, "text": "the same idea", "change": [], "source": row.source}
    bob.sign("hypothesis", late)
    assert ideas() == {dee.account.peer_id}
    named = hamlet.store.get(row.claim or "").body["hypothesis"]
    dee.sign("retraction", {"target": named, "reason": "not mine"})
    assert ideas() == set()


def test_a_genesis_says_how_credit_is_shared(home: Home, invoke: Invoke) -> None:
    usual = Shares()
    assert credit.shares({}) == usual
    for wrong in (-1, 1001, True, 2.5, "60", None):
        assert credit.shares({"credit_author": wrong, "credit_idea": wrong}) == usual
    assert credit.shares({"credit_idea": 101}) == usual
    hamlet = Hamlet(home, "ada bob cyd dee", {"credit_author": 1, "credit_ancestors": 0, "credit_replicators": 0})
    first, _ = shared(hamlet)
    found = json.loads(invoke("lineage", first, "--json").stdout)["credit"]
    assert {part["role"] for part in found["parts"]} == {"author", "idea"}
    assert [part["units"] for part in found["parts"]] == [
        found["gain_units"] - found["gain_units"] // 4,
        found["gain_units"] // 4,
    ]
    hamlet.store.close()


def test_nothing_is_owed_before_a_gain_is_confirmed_or_after_it_is_withdrawn(hamlet: Hamlet, invoke: Invoke) -> None:
    first, second = shared(hamlet)
    hamlet.people[0].sign("retraction", {"target": second, "reason": "a mistake"})
    assert json.loads(invoke("lineage", second, "--json").stdout)["credit"] is None
    assert "credit for" not in invoke("lineage", second).stdout
    assert ids(invoke, "--level", "confirmed") == [first]
    assert shown(invoke, second)["level"] == "recorded, retracted: its author withdrew it"


def test_reputation_counts_what_became_of_everything(hamlet: Hamlet, invoke: Invoke) -> None:
    _, second = shared(hamlet)
    ada, bob, cyd, dee = hamlet.people
    claim = cyd.claim("never run")
    cyd.sign("retraction", {"target": claim, "reason": "the node stopped"})
    lie = cyd.find(1.3, second, "a lie")
    hamlet.draw()
    hamlet.rerun({lie: 0.0})
    left = ada.find(1.55, second, "left")
    hamlet.draw()
    cyd.take(hamlet.task(cyd, left))
    everybody = {one["account"]: one for one in json.loads(invoke("reputation", "--json").stdout)}
    mine = {person.name: everybody[person.account.peer_id] for person in hamlet.people}
    assert mine["ada"] == json.loads(invoke("reputation", "me", "--json").stdout)
    assert (mine["ada"]["results"], mine["ada"]["confirmed"], mine["ada"]["in_test"]) == (3, 1, 1)
    assert (mine["cyd"]["refuted"], mine["cyd"]["claims_abandoned"], mine["cyd"]["duties_unfinished"]) == (1, 1, 1)
    assert mine["dee"]["results"] == 0
    counted = [one.counted for one in hamlet.judge.rulings()]
    assert mine["dee"]["pairs_counted"] == sum(one.get(dee.account.peer_id, 0) for one in counted) > 0
    assert (mine["bob"]["expectations"], mine["bob"]["within_1_96"]) == (1, 1.0)
    assert 1.2 < mine["bob"]["surprise_mean"] < 1.7  # 0.01 better than said; sd 0.005 and the noise of about 0.005
    one = invoke("reputation", f"@{cyd.account.peer_id[-8:]}").stdout
    assert "1 block left unfinished" in one
    assert "100% of 1 within, 1." in invoke("reputation", bob.account.peer_id).stdout
    assert "has done anything on this track" in invoke("reputation", "@nobody99", code=1).stderr
    invoke("reputation", "--track", "none such", code=1)


def test_reputation_of_nobody(founded: object, invoke: Invoke) -> None:
    assert "nobody has done anything on sotu yet" in invoke("reputation", code=1).stderr
    assert "done anything on sotu yet" in invoke("reputation", "me", code=1).stderr


def test_contributions_say_which_reruns_counted(hamlet: Hamlet, invoke: Invoke) -> None:
    ada, bob, *_ = hamlet.people
    base = ada.find(1.6, None, "baseline")
    true = bob.find(1.58, base, "a gain")
    hamlet.draw()
    good = ada.rerun(hamlet.task(ada, true), 0.02)
    bad = ada.rerun(replace(hamlet.task(ada, true), seeds=(5, 6)), 0.02)
    rows = {one["id"]: one for one in json.loads(invoke("contributions", "--json").stdout)}
    assert (rows[good]["level"], rows[good]["why"]) == ("counted", "2 pairs")
    assert (rows[bad]["level"], rows[bad]["why"]) == ("left out", "it chose its seeds or their order itself")
    last = ada.take(replace(hamlet.task(ada, true), block=1))
    rows = {one["id"]: one for one in json.loads(invoke("contributions", "--json").stdout)}
    duty = hamlet.store.get(good).body["duty"]
    assert (rows[duty]["level"], rows[duty]["why"]) == ("done", f"by {good[:10]}")
    assert rows[last]["level"] == "unfinished"
    shown_lines = invoke("contributions").stdout
    assert "1 counted" in shown_lines
    assert "1 unfinished" in shown_lines


def test_a_verdict_is_brought_up_to_date_by_whoever_asks_first(hamlet: Hamlet, invoke: Invoke, tmp_path: Path) -> None:
    ada, bob, *_ = hamlet.people
    base = ada.find(1.6, None, "baseline")
    true = bob.find(1.58, base, "a gain")
    hamlet.draw()
    hamlet.rerun({true: 0.02})
    hamlet.store.rebuild()
    assert hamlet.store.trials.waiting()
    assert hamlet.store.best(hamlet.track, CLASS, level="confirmed") is None
    assert ids(invoke, "--level", "confirmed") == [true]
    assert not hamlet.store.trials.waiting()
    invoke("show", "ffffffffff", code=1)
