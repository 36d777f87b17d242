"""What a node owes to others: its share of the time as a law, being enrolled and calibrated, and what doctor says."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rerunners import CRASHING, PLAIN, TINY, Bystander, Hood, on_class
from test_loop import Node

from ensue.record import Record
from node import calibrating, journal
from node.balance import SAVED_S_MAX, Balance, balance_key
from node.bench import Place
from node.calibrating import Calibrator
from node.duties import Duties
from node.report import Report
from node.view import PlainView
from verify.trust import Judge

STEPS = st.lists(st.tuples(st.booleans(), st.floats(0.0, 900.0)), max_size=60)


@pytest.fixture
def hood(tmp_path: Path) -> Iterator[Hood]:
    """A home whose node may be drawn."""
    made = Hood(tmp_path / "home")
    yield made
    made.close()


@given(STEPS, st.floats(0.0, 1.0))
def test_reruns_never_take_more_than_their_share_and_the_block_in_hand(steps: list[tuple[bool, float]], share: float):
    balance, longest = Balance(), 0.0
    for is_rerun, seconds in steps:
        if not is_rerun:
            balance = balance.researched(seconds, share)
        elif balance.free(share):
            balance = balance.reran(seconds, share)
            longest = max(longest, seconds)
        whole = balance.reruns_s + balance.research_s
        assert balance.reruns_s <= share * whole + (1 - share) * longest + 1e-6
        assert balance.saved_s <= SAVED_S_MAX
        if balance.experiments == 0 or share == 0:
            assert balance.reruns_s == 0


@given(STEPS, st.floats(0.01, 1.0))
def test_what_was_saved_up_is_spent_again(steps: list[tuple[bool, float]], share: float):
    """However much was rerun before, research brings the time when a rerun may begin."""
    balance = Balance(saved_s=-sum(seconds for _, seconds in steps), experiments=1)
    owed = -balance.saved_s
    assert balance.researched(owed / share + 1.0, share).free(share)


def test_the_balance_outlives_the_process_and_nonsense(hood: Hood):
    balance = Balance().researched(100.0, 0.2).reran(7.5, 0.2)
    hood.store.local_set(balance_key("cpu"), balance.text())
    assert Balance.read(hood.store, "cpu") == balance
    for nonsense in ("[]", "{", '{"unknown": 1}', '{"saved_s": "much"}', "7"):
        hood.store.local_set(balance_key("cpu"), nonsense)
        assert Balance.read(hood.store, "cpu") == Balance()


def calibrator(place: Place) -> tuple[Calibrator, Bystander]:
    bystander = Bystander(place)
    return Calibrator(place, bystander.measuring, **bystander.heard), bystander


def told(hood: Hood) -> list[Record]:
    return list(hood.store.records(author=hood.identity.peer_id, kind="calibration"))


def with_share(place: Place, share: float) -> Place:
    return replace(place, settings=replace(place.settings, replication_share=share))


def test_a_machine_is_enrolled_once_and_taken_back_when_its_owner_says_so(hood: Hood):
    place = hood.place()
    away = with_share(place, 0.0)
    assert calibrator(away)[0].enrol() is None
    assert calibrator(place)[0].enrol() is not None
    assert calibrator(place)[0].enrol() is None
    assert calibrator(on_class(place, "another-class"))[0].enrol() is not None
    assert calibrator(away)[0].enrol() is not None
    assert calibrator(away)[0].enrol() is None
    assert calibrator(place)[0].enrol() is not None
    assert [(one.body["available"], one.body["values"]) for one in told(hood)] == [
        (True, []), (True, []), (False, []), (True, []),
    ]  # fmt: skip


def test_a_few_runs_of_the_baseline_tell_speed_and_noise(hood: Hood):
    place = hood.place()
    own, heard = calibrator(place)
    assert own.due()
    assert own.run_one()
    assert told(hood) == []
    series = journal.read_series(hood.store, "cpu")
    assert series is not None
    own, heard = calibrator(place)  # as after a restart: the runs that are over are not made again
    record = own.run_all()
    assert record is not None
    assert len(heard.tried) == calibrating.RUNS - 1
    assert record.body["values"][0] == series.values[0]
    assert len(set(record.body["seeds"])) == len(record.body["values"]) == calibrating.RUNS
    assert record.body["tokens_per_s"] > 0
    assert record.body["source"] == hashlib.sha256(PLAIN.encode()).hexdigest()
    assert not own.due()
    assert own.enrol() is None
    assert calibrator(on_class(place, "another-class"))[0].due()
    assert journal.read_series(hood.store, "cpu") is None


def test_a_baseline_without_a_value_is_no_calibration(hood: Hood, tmp_path: Path):
    script = tmp_path / "baseline.py"
    script.write_text(CRASHING)
    own, heard = calibrator(hood.place(track=replace(hood.track, baseline=script)))
    assert own.run_all() is None
    assert "it fell over" in heard.said[-1]
    assert not own.due()
    assert told(hood) == []


def test_duties_come_after_the_first_experiment_and_within_the_share(hood: Hood):
    child = hood.child()
    hood.draw()
    place = hood.place()
    heard = Bystander(place)
    view = PlainView()
    report = Report(hood.store, view, "cpu")
    patience = heard.measuring.patience

    def fresh(place: Place) -> Duties:
        return Duties(place, Judge(hood.store), heard.control, patience, report, view.note)

    duties = fresh(place)
    assert not duties.turn()
    duties.researched(1.0)
    assert duties.turn()
    assert duties.balance.blocks == 1
    assert duties.balance.saved_s < 0
    assert not duties.turn()
    assert not fresh(place).turn()
    restarted = fresh(place)
    restarted.researched(1000.0, experiments=0)
    assert restarted.turn()
    assert restarted.balance.blocks == 2
    assert not fresh(with_share(place, 0.0)).turn()
    node = Node(hood.home.path, TINY, measure=True)
    reruns = node.ask("status")["reruns"]  # type: ignore[index]
    assert (reruns["share"], reruns["blocks"]) == (0.2, 2)
    assert 0 < reruns["used"] < 0.2
    assert "2 blocks of others' results" in node.run("status")
    blocks = [record.body for record in hood.store.records(author=hood.identity.peer_id, kind="replication")]
    # First the change, then the baseline, which is under test too: one account's blocks alone decide nothing.
    assert [(body["result"] == child, body["block"]) for body in blocks] == [(True, 0), (False, 0)]


def test_a_calibration_waits_until_its_time_is_earned():
    balance = Balance()
    assert not balance.paid_for(0.2)
    earned = []
    for _ in range(6):
        balance = balance.researched(120.0, 0.2)
        earned.append(balance.paid_for(0.2))
    assert earned == [False, False, False, True, True, True]
    assert not balance.reran(120.0, 0.2).paid_for(0.2)
    assert not balance.paid_for(0.0)


def test_doctor_calibrates_and_says_how_fast_this_machine_is(hood: Hood):
    node = Node(hood.home.path, TINY, measure=True)
    verdicts = {check["name"]: check for check in asked(node)["checks"]}
    assert "not measured here yet" in verdicts["speed"]["found"]
    verdicts = {check["name"]: check for check in asked(node, "--calibrate")["checks"]}
    assert "tokens a second, 3 runs here varied by" in verdicts["speed"]["found"]
    (record,) = told(hood)
    assert len(record.body["values"]) == calibrating.RUNS


def asked(node: Node, *arguments: str) -> dict[str, Any]:
    process = node.start("doctor", "--json", *arguments)
    out, errors = process.communicate(timeout=90)
    assert errors == ""
    found = json.loads(out)
    assert isinstance(found, dict)
    return found
