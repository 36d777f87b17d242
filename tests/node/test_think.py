"""What a thought looks at is bounded, however large the network has grown."""

from dataclasses import replace

import pytest
from conftest import BASELINE, Research

from ensue.identity import Identity
from ensue.record import sign
from experiments import track as tracks
from experiments.proposers import Context, Proposal
from node import think

CLASS = "cpu-2t-avx512-128"


class Listening:
    """A proposer that remembers what it was told and changes the depth."""

    name = "listening"

    def propose(self, ctx: Context) -> Proposal:
        self.told = ctx
        return Proposal(ctx.parent_source.replace("DEPTH = 4", "DEPTH = 5"), "depth", [], None, None, None, "")


@pytest.fixture
def memory(founded: Research) -> think.Memory:
    track = replace(tracks.load("sotu"), id=founded.track)
    return think.Memory(founded.store, track, CLASS, ideas_share=1.0)


def test_a_proposer_is_told_the_newest_and_nothing_more(
    founded: Research, memory: think.Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(think, "TRIALS_MAX", 5)
    monkeypatch.setattr(think, "RESULTS_MAX", 12)
    monkeypatch.setattr(think, "IDEAS_MAX", 3)
    monkeypatch.setattr(think, "SOURCES_BYTES_MAX", 2_000)
    scripts = [BASELINE + f"# {number}\n" for number in range(20)]
    made = [founded.add("kept", 1.6 - number / 100, script, "x") for number, script in enumerate(scripts)]
    founded.add("kept", 1.0, BASELINE + "# other", "elsewhere", hardware_class="gpu")
    for number in range(9):
        body = {"track": founded.track, "text": f"idea {number}", "change": [], "agent": "ada"}
        founded.store.append(founded.identity, "hypothesis", body)
    proposer = Listening()
    for _ in range(2):
        memory.plan(proposer, seed=1)
        assert [trial.source for trial in proposer.told.trials] == scripts[-5:]
        assert [idea.text for idea in proposer.told.ideas] == ["idea 0", "idea 1", "idea 2"]
        assert sum(len(source) for source in memory._sources.values()) == memory._sources_bytes <= 2_000
    assert len(memory._results()) == 12
    baseline = memory.baseline()
    assert baseline is not None
    assert baseline.id == made[0]  # the first, although it is read no more


def test_there_is_no_baseline_before_a_class_has_a_best(founded: Research, memory: think.Memory) -> None:
    assert memory.baseline() is None
    founded.add("kept", 1.0, BASELINE, "elsewhere", hardware_class="gpu")
    assert memory.baseline() is None
    first = founded.add("kept", 1.2, BASELINE, "here")
    founded.add("kept", 1.1, BASELINE + "# 2", "later")
    found = memory.baseline()
    assert found is not None
    assert found.id == first


def stranger(founded: Research, seed: int, value: float) -> Identity:
    """Take in a result of a key that nobody vouches for."""
    key, (first, *_) = Identity(bytes([seed]) * 32), founded.store.results(founded.track)
    body = founded.store.get(first.id).body | {"value": value}
    made = sign(key, network=founded.store.network, seq=1, prev=None, time_ms=1, kind="result", body=body)
    assert founded.store.ingest([made.raw]).accepted
    return key


def test_once_there_are_official_results_nobody_builds_on_what_anyone_may_make_up(
    founded: Research, memory: think.Memory
) -> None:
    mine = founded.add("kept", 1.5, BASELINE, "mine")
    liar = stranger(founded, 43, 0.1)
    found = memory.best()
    assert found is not None
    assert found.author == liar.peer_id  # nobody is official yet: there is nothing else to go by
    founded.vouch()
    found = memory.best()
    assert found is not None
    assert (found.id, found.level) == (mine, "official")
    assert memory._parent()[0] == found


def test_own_results_are_built_on_before_anybody_vouches_for_them(founded: Research, memory: think.Memory) -> None:
    official = founded.add("kept", 1.5, BASELINE, "official")
    founded.vouch()
    for seed, value in ((44, 1.4), (45, 1.6)):
        newcomer = stranger(founded, seed, value)
        track = replace(tracks.load("sotu"), id=founded.track)
        found = think.Memory(founded.store, track, CLASS, ideas_share=1.0, own=newcomer.peer_id).best_of_class()
        assert found is not None
        assert (found.author == newcomer.peer_id) == (value < 1.5)
        assert found.id == official or found.level == "recorded"
