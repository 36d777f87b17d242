"""Blocks of reruns on real sandboxes: the word first, the order, the seeds, and what a stop or a kill leaves."""

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rerunners import BUSY, CRASHING, TINY, Hood, on_class, replicator
from test_loop import Node, chain_is_whole, wait_for_line

from ensue.record import Record
from node import journal, replicating
from verify.trust import Judge

RUN_FIELDS = {"status", "value", "holdout", "train_wall_s", "cpu_s", "cpu_share", "contended", "reason"}


@pytest.fixture
def hood(tmp_path: Path) -> Iterator[Hood]:
    """A home whose node has something to rerun."""
    made = Hood(tmp_path / "home")
    yield made
    made.close()


def of_kind(hood: Hood, kind: str) -> list[Record]:
    return list(hood.store.records(author=hood.identity.peer_id, kind=kind))


def test_a_block_is_announced_run_in_abba_order_and_signed(hood: Hood):
    task = hood.task(hood.child(), block=3)
    work, heard = replicator(hood.place())
    block = work.begin(task)
    assert block is not None
    (duty,) = of_kind(hood, "duty")
    said = {"track": task.track, "result": task.result, "parent": task.parent, "block": 3}
    assert {name: duty.body[name] for name in said} == said
    assert of_kind(hood, "replication") == []
    record = work.finish(block)
    assert record is not None
    assert record.seq > duty.seq
    body = record.body
    assert {name: body[name] for name in said} == said
    assert body["duty"] == duty.id
    assert (body["clock"], body["budget_s"], body["metric"]) == ("cpu", 3.0, "val_bpb")
    assert [(pair["seed"], pair["child_first"]) for pair in body["pairs"]] == [(11, False), (22, True)]
    runs = [run for pair in body["pairs"] for run in (pair["parent"], pair["child"])]
    assert all(run["status"] == "measured" and run.keys() == RUN_FIELDS for run in runs)
    values = {which: [pair[which]["value"] for pair in body["pairs"]] for which in ("parent", "child")}
    assert len({*values["parent"], *values["child"]}) == 4  # by script and by seed
    order = [trying.description.rpartition(": ")[2] for trying in heard.tried]
    assert order == ["parent, seed 11", "child, seed 11", "child, seed 22", "parent, seed 22"]
    assert "for ada" in heard.tried[0].description
    assert len(heard.seconds) == 4
    assert min(heard.seconds) > 0
    assert journal.read_block(hood.store, duty.id) is None
    assert list(hood.home.runs.iterdir()) == []


def test_a_child_that_crashes_is_told_with_its_reason(hood: Hood):
    work, _ = replicator(hood.place())
    block = work.begin(hood.task(hood.child(CRASHING)))
    assert block is not None
    record = work.finish(block)
    assert record is not None
    for pair in record.body["pairs"]:
        assert pair["parent"]["status"] == "measured"
        assert pair["child"]["status"] == "crashed"
        assert pair["child"]["value"] is None
        assert "it fell over" in pair["child"]["reason"]


def test_a_stop_leaves_the_block_for_the_next_start(hood: Hood):
    place = hood.place()
    work, heard = replicator(place)
    block = work.begin(hood.task(hood.child()))
    assert block is not None
    work, heard = replicator(place)
    said = heard.said.append
    heard.heard["said"] = lambda words: (said(words), heard.control.end())
    work = replicating.Replicator(place, heard.measuring, **heard.heard)
    assert work.finish(block) is None
    (left,) = replicating.unfinished(place)
    assert len(left.runs) == 1
    assert replicating.unfinished(on_class(place, "another-class")) == []
    work, heard = replicator(place)
    adopted = work.adopt(left)
    assert adopted == left
    record = work.finish(left)
    assert record is not None
    assert len(heard.tried) == 3
    assert record.body["pairs"][0]["parent"] == left.runs[0]
    assert len(of_kind(hood, "duty")) == 1
    assert replicating.unfinished(place) == []


def test_a_block_that_lost_its_note_is_begun_anew_under_the_same_duty(hood: Hood):
    work, _ = replicator(hood.place())
    task = hood.task(hood.child())
    block = work.begin(task)
    assert block is not None
    hood.store.local_set(journal.block_key(block.duty), "{nonsense")
    assert replicating.unfinished(hood.place()) == []
    again = work.begin(task)
    assert again is not None
    assert (again.duty, again.seeds, again.runs) == (block.duty, task.seeds, [])
    drawn = work.begin(replace(task, seeds=(33, 44)))  # the draw came after a block by hand was begun
    assert drawn is not None
    assert (drawn.duty, drawn.seeds) == (block.duty, (33, 44))
    assert len(of_kind(hood, "duty")) == 1


def test_what_another_machine_of_the_account_or_another_device_has_begun_is_left_to_it(hood: Hood):
    place = hood.place()
    task = hood.task(hood.child())
    work, _ = replicator(place)
    assert not replicating.taken(place, task)
    assert work.begin(task) is not None
    assert not replicating.taken(place, task)
    elsewhere = replace(place.hardware, device="cuda:1")
    both = replace(place.shared, devices=("cpu", "cuda:1"))
    other_device = replace(place, hardware=elsewhere, shared=both)
    assert replicating.taken(other_device, task)
    assert replicator(other_device)[0].begin(task) is None
    assert replicating.unfinished(other_device) == []
    alone = replace(place, hardware=elsewhere)  # the first device has no loop any more
    (left,) = replicating.unfinished(alone)
    adopted = replicator(alone)[0].adopt(left)
    assert adopted is not None
    assert (adopted.duty, adopted.device) == (left.duty, "cuda:1")
    colleague = hood.person("own", hood.bob.node)  # bob's node now speaks for the same account
    assert colleague.account.peer_id == hood.account.peer_id
    assert replicating.taken(hood.place(identity=hood.bob.node), task)


def test_what_cannot_be_run_as_it_was_is_told_why(hood: Hood):
    child = hood.child()
    assert replicating.unfit(hood.store, hood.track, hood.task(child)) is None
    gone = hood.task(child, parent_source="cd" * 32)
    assert "not arrived" in str(replicating.unfit(hood.store, hood.track, gone))
    assert "not here" in str(replicating.unfit(hood.store, hood.track, replace(hood.task(child), result="ef" * 32)))
    longer = hood.publish(2.8, "LONGER = 1\n", child, budget_s=6.0)
    assert "other conditions" in str(replicating.unfit(hood.store, hood.track, hood.task(longer)))


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_node_killed_within_a_block_goes_on_with_it(hood: Hood, how: signal.Signals):
    child = hood.child()
    hood.draw()
    judge = Judge(hood.store)
    judge.settle()
    task = judge.work(hood.account.peer_id, hood.track.id, hood.hardware.hardware_class)[0]
    assert task.result == child
    node = Node(hood.home.path, TINY, measure=True)
    process = node.start("join", "--plain")
    lines = wait_for_line(process, "run 2 of 4")
    process.send_signal(how)
    process.communicate(timeout=60)
    text = "".join(lines)
    assert text.index("kept") < text.index("run 1 of 4")  # an experiment of one's own comes first
    assert "building on the official best" in text
    assert f"rerunning {child[:10]} for ada: block 0, run 1 of 4: parent, seed {task.seeds[0]}" in text
    (duty,) = of_kind(hood, "duty")
    assert of_kind(hood, "replication") == []
    left = journal.read_block(hood.store, duty.id)
    assert left is not None
    assert left.seeds == task.seeds
    assert len(left.runs) >= 1
    out = node.run("join", "--plain", "--experiments", "1")
    assert "left unfinished: it goes on" in out
    (first,) = of_kind(hood, "replication")
    assert first.body["duty"] == duty.id
    assert [pair["seed"] for pair in first.body["pairs"]] == list(task.seeds)
    assert first.body["pairs"][0]["parent"] == left.runs[0]
    assert len(of_kind(hood, "duty")) == 1
    judge.settle()
    ruling = judge.ruling(child)
    assert ruling is not None
    assert ruling.counted[hood.account.peer_id] == 2
    assert ruling.ignored == ()
    assert chain_is_whole([record for record in node.records() if record["author"] == hood.identity.peer_id])


def ask(node: Node, *arguments: str) -> dict[str, Any]:
    found = json.loads(node.run("replicate", *arguments, "--json"))
    assert isinstance(found, dict)
    return found


def test_replicate_by_hand_counts_with_a_seat_alone(hood: Hood):
    child = hood.child()
    node = Node(hood.home.path, TINY, measure=True)
    by_hand = ask(node, child[:12])
    assert by_hand["counts"] is False
    assert by_hand["seat"] is None
    assert by_hand["why"] == "no verifier has drawn yet who reruns this result"
    (before,) = of_kind(hood, "replication")
    assert by_hand["id"] == before.id
    pairs = before.body["pairs"]
    assert [pair["gain"] for pair in by_hand["pairs"]] == [
        pair["parent"]["value"] - pair["child"]["value"] for pair in pairs
    ]
    assert "has run block 0" in node.run("replicate", child, status=1)
    hood.draw()
    words = node.run("replicate", child)
    assert "It is signed, and counts." in words
    assert "2 of about" in words
    assert [record.body["block"] for record in of_kind(hood, "replication")] == [0, 0]
    judge = Judge(hood.store)
    judge.settle()
    assert judge.task(hood.account.peer_id, child, hood.hardware.hardware_class).block == 1


def test_an_interrupted_replicate_goes_on(hood: Hood):
    child = hood.child(BUSY)
    node = Node(hood.home.path, TINY, measure=True)
    process = node.start("replicate", child)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("child, seed") and "training" in line:
            break
    refused = node.run("replicate", child, status=1)
    assert "at work here" in refused
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on with this block" in errors
    (block,) = replicating.unfinished(hood.place())
    assert len(block.runs) == 1


def test_replicate_refuses_in_one_sentence(hood: Hood, invoke: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AUTORESEARCH_HOME", str(hood.home.path))
    monkeypatch.setenv("AUTORESEARCH_TRACK", str(TINY))
    parent = hood.publish(3.0, "A = 1\n")
    own = hood.store.get(hood.publish(2.9, "A = 2\n", parent)).body
    mine = hood.store.append(hood.identity, "result", own).id
    gone = hood.publish(2.8, "A = 3\n", parent)
    hood.store.append(hood.ada.node, "retraction", {"target": gone, "reason": "wrong"})
    foreign = hood.publish(2.7, "A = 4\n", parent, track="ab" * 32)
    crashed = hood.publish(None, "A = 6\n", parent, status="crashed", reason="it fell over")
    slow = hood.publish(2.6, "A = 5\n", parent, budget_s=6.0)
    for identifier, words in (
        ("0123456789", "0123456789"),
        (crashed, "crashed"),
        (mine, "your own"),
        (gone, "retracted"),
        (foreign, "not installed here"),
        (slow, "other conditions"),
    ):
        done = invoke("replicate", identifier, code=1)
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
    assert of_kind(hood, "duty") == []
