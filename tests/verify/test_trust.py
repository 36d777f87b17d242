"""What reruns say about results, whole: draws, duties, replications, verdicts, on a replica with real signatures."""

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest
from village import CLASS, NETWORK, TRACK, Person, Village, replication, run, sha

from ensue.errors import UserError
from ensue.store import Store
from node.levels import verdict
from verify import ruling
from verify.trust import Judge


@pytest.fixture
def village(tmp_path: Path) -> Iterator[Village]:
    made = Village(tmp_path, people=4)
    made.calibrate()
    yield made
    made.close()


def lines(village: Village) -> tuple[str, str, str]:
    """Publish a baseline and two changes of it by the first person; return their ids."""
    ada = village.people[0]
    baseline = ada.found(1.6, None, "baseline")
    return baseline, ada.found(1.58, baseline, "true change"), ada.found(1.585, baseline, "lucky change")


def test_a_true_gain_is_confirmed_and_luck_is_not(village: Village):
    baseline, true, lucky = lines(village)
    village.draw()
    assert village.work(village.people[0]) == []
    assert {task.result for task in village.work(village.people[1])} == {true, lucky}
    village.rerun({true: 0.02, lucky: 0.0})
    found = village.judge.ruling(true)
    assert found is not None
    assert found.confirmed
    assert found.own is not None
    assert found.own.gain is not None
    assert 0.008 < found.own.gain < 0.03
    assert village.store.result(true).level == "confirmed"
    assert village.store.best(TRACK, CLASS, level="confirmed").id == true  # type: ignore[union-attr]
    other = village.judge.ruling(lucky)
    assert other is not None
    assert other.answer in ("tie", "worse")
    assert village.store.result(lucky).level == "official"
    assert village.judge.ruling(baseline) is None  # it is not the best, and has no gain of its own
    assert [row.id for row in village.store.leaderboard(TRACK, level="confirmed")] == [true]


def test_every_replica_comes_to_the_same_in_any_order(village: Village, tmp_path: Path):
    _, true, lucky = lines(village)
    village.draw()
    village.rerun({true: 0.02, lucky: -0.03}, *village.people[1:3], rounds=5)
    raws = [record.raw for record in village.store.records()]
    for number in range(3):
        Random(number).shuffle(raws)
        with Store(tmp_path / f"other{number}", NETWORK, trust=village.trust) as other:
            for start in range(0, len(raws), 7):  # judged again and again on the way
                assert other.ingest(raws[start : start + 7]).refused == ()
                Judge(other).settle()
            assert other.trials.all_said() == village.store.trials.all_said()
            assert other.digest() == village.store.digest()
            other.rebuild()
            assert other.trials.all_said() == []
            Judge(other).settle()
            assert other.trials.all_said() == village.store.trials.all_said()


def test_a_liar_is_refuted_and_its_descendants_are_flagged(village: Village):
    ada, bob = village.people[:2]
    baseline = ada.found(1.6, None, "baseline")
    lie = bob.found(1.3, baseline, "a lie")
    child = ada.found(1.29, lie, "built on it")
    grandchild = ada.found(1.28, child, "built on that")
    village.draw()
    village.rerun({lie: 0.0, child: 0.0, grandchild: 0.0})
    assert "refuted" in village.store.result(lie).flags
    assert "descends from refuted" in village.store.result(child).flags
    assert "descends from refuted" in village.store.result(grandchild).flags
    assert village.store.result(baseline).flags == ()
    assert lie not in {row.id for row in village.store.leaderboard(TRACK)}
    assert village.store.best(TRACK).id != lie  # type: ignore[union-attr]
    assert village.store.rebuild(check=True).equal


def test_what_does_not_count_says_why(village: Village):
    _, true, _ = lines(village)
    village.draw()
    ada, bob, cyd, dan = village.people
    task = next(task for task in village.work(bob) if task.result == true)
    chosen = [{"seed": 5 + n, "child_first": bool(n), "parent": run(1.6), "child": run(1.5)} for n in (0, 1)]
    drawn = [
        {"seed": seed, "child_first": bool(n), "parent": run(1.6 + n / 100), "child": run(1.5 + n / 100)}
        for n, seed in enumerate(task.seeds)
    ]
    append = village.store.append
    wrong = {
        append(bob.node, "replication", replication(task, bob.begin(task), chosen)).id: "seeds",
        append(bob.node, "replication", replication(task, sha("no duty"), drawn)).id: "announced",
        append(ada.node, "replication", replication(task, ada.begin(task), drawn)).id: "author's own",
        append(bob.node, "replication", replication(task, bob.begin(task), drawn) | {"budget_s": 6.0}).id: "conditions",
        append(bob.node, "replication", replication(task, bob.begin(task), drawn) | {"parent": sha("x")}).id: "parent",
        append(cyd.node, "replication", replication(task, cyd.begin(task), drawn)).id: "seeds",  # bob's, copied
    }
    stranger = village.key("stranger")
    duty = append(stranger, "duty", {name: getattr(task, name) for name in ("track", "result", "parent")} | {
        "hardware_class": CLASS, "block": 0,
    }).id  # fmt: skip
    wrong[append(stranger, "replication", replication(task, duty, drawn)).id] = "not verified"
    village.judge.settle()
    found = village.judge.ruling(true)
    assert found is not None
    said = dict(found.ignored)
    assert found.counted == {}
    for key, word in wrong.items():
        assert word in said[key], (word, said[key])
    good = append(bob.node, "replication", replication(task, bob.begin(task), drawn)).id
    again = append(bob.node, "replication", replication(task, bob.begin(task), drawn)).id
    village.judge.settle()
    found = village.judge.ruling(true)
    assert found is not None
    assert found.counted == {bob.account.peer_id: 2}
    assert good not in dict(found.ignored)
    assert "before" in dict(found.ignored)[again]
    assert dan.account.peer_id in found.seats


def test_who_leaves_a_block_out_adds_nothing_more(village: Village):
    _, true, _ = lines(village)
    village.draw()
    bob = village.people[1]
    task = next(task for task in village.work(bob) if task.result == true)
    first = bob.rerun(task, 0.02, village.chance)
    second = next(task for task in village.work(bob) if task.result == true)
    assert second.block == 1
    left = bob.begin(second)
    third = type(second)(**{name: getattr(second, name) for name in second.__slots__} | {"block": 2})
    bob.begin(third)
    village.judge.settle()
    found = village.judge.ruling(true)
    assert found is not None
    assert found.own is not None
    assert found.own.closed == (bob.account.peer_id,)
    assert left in found.unfinished
    assert true not in {task.result for task in village.work(bob)}
    # Taking a replication back ends it too, and takes what came after with it.
    village.store.append(bob.node, "retraction", {"target": first, "reason": "unwelcome"})
    village.store.append(bob.node, "retraction", {"target": left, "reason": "unwelcome"})
    village.judge.settle()
    found = village.judge.ruling(true)
    assert found is not None
    assert found.own is not None
    assert found.counted == {}
    assert left in found.unfinished
    assert found.own.closed == (bob.account.peer_id,)


def test_nobody_leaves_a_seat_for_another_one(village: Village):
    _, true, _ = lines(village)
    village.draw()
    bob = village.people[1]
    before = next(task for task in village.work(bob) if task.result == true)
    drawn = village.store.trials.by(bob.node.peer_id, "calibration")[0]
    village.store.append(bob.node, "retraction", {"target": drawn.id, "reason": "unwelcome"})
    assert next(task for task in village.work(bob) if task.result == true) == before
    bob.calibrate(available=False)
    assert next(task for task in village.work(bob) if task.result == true) == before


def test_blocks_are_spread_over_what_is_under_test(village: Village):
    _, true, lucky = lines(village)
    village.draw()
    bob = village.people[1]
    done = []
    for _ in range(4):
        task = village.work(bob)[0]
        bob.rerun(task, 0.0, village.chance)
        done.append((task.result, task.block))
    assert done == [(true, 0), (lucky, 0), (true, 1), (lucky, 1)]


def test_a_verdict_falls_with_the_word_of_its_verifier(village: Village):
    _, true, lucky = lines(village)
    village.draw()
    village.rerun({true: 0.03, lucky: 0.0})
    assert village.store.result(true).level == "confirmed"
    verifier = village.verifiers[0]
    kept = next(
        one
        for one in village.store.records(kind="credential")
        if one.body["account"] == village.people[0].account.peer_id
    )
    village.store.append(verifier, "retraction", {"target": kept.id, "reason": "two accounts"})
    village.judge.settle()
    assert village.store.result(true).level == "recorded"
    assert village.judge.ruling(true).answer == "not yet"  # type: ignore[union-attr]


def test_a_verdict_falls_also_where_its_author_reruns_nothing(village: Village):
    """None of its other records is about a rerun, so that the credential alone says what is to be judged again."""
    eve = Person(village, 9)
    eve.vouch()
    true = eve.found(1.58, village.people[0].found(1.6, None, "baseline"), "true change")
    village.draw()
    village.rerun({true: 0.03}, *village.people)
    assert village.judge.ruling(true).answer == "better"  # type: ignore[union-attr]
    (kept,) = (one for one in village.store.records(kind="credential") if one.body["account"] == eve.account.peer_id)
    village.store.append(village.verifiers[0], "retraction", {"target": kept.id, "reason": "a mistake"})
    assert village.store.trials.waiting()
    village.judge.settle()
    assert village.judge.ruling(true).answer == "not yet"  # type: ignore[union-attr]


def test_two_verifiers_draw_only_together(tmp_path: Path):
    village = Village(tmp_path, people=4, verifiers=3, needed=2)
    village.calibrate()
    _, true, _ = lines(village)
    assert sum(one.step(time.time_ns() // 1_000_000) for one in village.registrars)
    told = [each["result"] for one in village.store.records(kind="drawing") for each in one.body["results"]]
    listed = [each["result"] for one in village.store.records(kind="listing") for each in one.body["results"]]
    assert all(listed.count(one) == 2 for one in told)  # nobody tells before both have sealed
    village.draw()
    told = [each["result"] for one in village.store.records(kind="drawing") for each in one.body["results"]]
    assert sorted(told) == sorted(listed)
    assert told.count(true) == 2
    village.judge.settle()
    assert village.judge.ruling(true).drawn  # type: ignore[union-attr]
    village.close()


def test_by_hand_there_are_reasons_for_refusing(village: Village):
    _, true, _ = lines(village)
    ada, bob = village.people[:2]
    village.judge.settle()
    free = village.judge.task(bob.account.peer_id, true, CLASS)
    assert free.seat is None
    for result, account, word in (
        (sha("nothing"), bob, "No result"),
        (true, ada, "your own"),
    ):
        with pytest.raises(UserError, match=word):
            village.judge.task(account.account.peer_id, result, CLASS)
    village.draw()
    assert village.judge.task(bob.account.peer_id, true, CLASS).seat is not None
    village.store.append(ada.node, "retraction", {"target": true, "reason": "wrong"})
    with pytest.raises(UserError, match="does not count"):
        village.judge.task(bob.account.peer_id, true, CLASS)


def test_another_class_is_a_transfer(village: Village):
    _, true, lucky = lines(village)
    for person in village.people[1:]:
        person.calibrate(hardware_class="gpu-big")
    village.draw()
    bob = village.people[1]
    assert village.work(bob, "gpu-big") == []  # its own class comes first
    village.rerun({true: 0.03, lucky: 0.0})
    tasks = village.work(bob, "gpu-big")
    assert [task.result for task in tasks] == [true]
    assert tasks[0].transfer
    for person in village.people[1:]:
        while tasks := village.work(person, "gpu-big"):
            person.rerun(tasks[0], -0.03, village.chance)
    found = village.judge.ruling(true)
    assert found is not None
    assert found.confirmed
    assert found.classes["gpu-big"].answer in ("tie", "worse")  # either way it did not carry over
    assert village.store.result(true).level == "confirmed"


def test_a_value_out_of_reach_is_refuted_without_a_parent_and_leads_nothing(village: Village):
    ada, bob = village.people[:2]
    lie = bob.found(1.0, None, "a planted baseline")
    child = bob.found(0.98, lie, "a small true gain on it")
    honest = ada.found(1.6, None, "baseline")
    true = ada.found(1.56, honest, "a large true gain")
    village.draw()
    village.rerun({child: 0.02, true: 0.04})
    assert "refuted" in village.store.result(lie).flags
    assert "refuted" in village.store.result(child).flags  # the gain is true, the value is not
    best = village.store.best(TRACK, level="confirmed")
    assert best is not None
    assert best.id == true
    assert best.measured == pytest.approx(1.56, abs=0.01)
    assert village.store.best(TRACK).id == true  # type: ignore[union-attr]


def rerun_with_one_value(village: Village, result: str, number: int, value: float) -> None:
    """Let a person do two blocks in which the child has one value with every seed, beside parents that scatter."""
    person = village.people[1 + number]
    for block in range(2):
        task = next(task for task in village.work(person) if task.result == result)
        assert task.block == block
        pairs = [
            {"seed": seed, "child_first": bool(n), "child": run(value)}
            | {"parent": run(1.6 + (4 * number + 2 * block + n) / 1000)}
            for n, seed in enumerate(task.seeds)
        ]
        person.rerun(task, 0.0, village.chance, pairs=pairs)
    village.judge.settle()


def test_a_seed_built_into_the_script_is_never_confirmed_and_soon_left_alone(village: Village):
    _, lucky, _ = lines(village)
    village.draw()
    for number in range(2):
        rerun_with_one_value(village, lucky, number, 1.58)
        person = village.people[1 + number]
        assert lucky not in {task.result for task in village.work(person)}
        with pytest.raises(UserError, match="one value with every seed"):
            village.judge.task(person.account.peer_id, lucky, CLASS)
        found = village.judge.ruling(lucky)
        assert found is not None
        assert found.own is not None
        assert len(found.own.repeats) == number + 1
        assert sum(found.counted.values()) == 1
        assert "must use the seed" in verdict(found.own)
        others = {task.result for task in village.work(village.people[3])}
        assert (found.answer, lucky in others) == (("not yet", True), ("tie", False))[number]  # nobody alone says so


@pytest.mark.parametrize("told", [1.3, 1.55])
def test_a_seed_built_into_the_script_saves_no_lie(village: Village, told: float):
    """Neither a value beyond reach nor, next to a parent that others find as it was, a gain beyond luck."""
    ada = village.people[0]
    lie = ada.found(told, ada.found(1.6, None, "baseline"), "a lie with a seed built in")
    village.draw()
    for number in range(2):
        rerun_with_one_value(village, lie, number, 1.6)
    assert "refuted" in village.store.result(lie).flags


def test_what_another_version_found_is_found_again(village: Village):
    """A command of a newer version may judge beside a node that still runs."""
    _, true, lucky = lines(village)
    with patch.object(ruling, "FORM", 99):
        village.draw()
        assert village.judge.ruling(true).drawn  # type: ignore[union-attr]
    assert village.judge.ruling(true) is None
    assert village.judge.rulings() == []
    village.people[3].calibrate(1.6)  # anything that a verdict may hang on
    village.rerun({true: 0.03, lucky: 0.0})
    assert village.judge.ruling(true).confirmed  # type: ignore[union-attr]
    assert {one.result for one in village.judge.rulings()} == {true, lucky}


def test_of_confirmed_results_the_reruns_say_which_is_better(village: Village):
    ada = village.people[0]
    baseline = ada.found(1.6, None, "baseline")
    lucky, modest = ada.found(1.55, baseline, "lucky"), ada.found(1.56, baseline, "modest")
    village.draw()
    village.rerun({lucky: 0.03, modest: 0.045})
    board = village.store.leaderboard(TRACK, level="confirmed")
    assert [row.id for row in board] == [modest, lucky]
    assert village.store.leaderboard(TRACK)[0].id == lucky
