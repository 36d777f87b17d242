"""The zoo: every cheat ends without what it wanted, with a reason; every honest script gets its value.

Only the fast part: `make zoo` shows the whole, and what it does to the host.
"""

from pathlib import Path

import numpy as np
import pytest
from creature import HONEST_VALUE, ZOO, creatures, read

from experiments import supervisor

QUICK = {"setup_s": 20.0, "budget_s": 2.0, "score_s_max": 30.0}
FAST = [name for name, cheat in creatures("cheat").items() if not (cheat.slow or cheat.open)]


def source(name: str) -> bytes:
    return (ZOO / f"{name}.py").read_bytes()


@pytest.mark.parametrize("name", FAST)
def test_a_cheat_gains_nothing(bench, name, monkeypatch):
    monkeypatch.setattr(supervisor, "STALL_S", 2.0)
    cheat = creatures("cheat")[name]
    before = bench.data.train_path.read_bytes()
    for _ in range(cheat.runs):
        trained, outcome = bench.measure(cheat.source, **QUICK | cheat.changed())
        assert outcome.status in cheat.statuses, outcome
        if outcome.status == "scored":
            assert outcome.value >= HONEST_VALUE - 1e-5
        else:
            assert cheat.reason in outcome.reason
            assert outcome.reason.isprintable()
            assert outcome.value is None
            assert outcome.holdout is None
        assert trained.train_wall_s < 30
        printed = Path(trained.log).read_bytes() if trained.log else b""
        assert b"OBTAINED" not in printed
    assert bench.data.train_path.read_bytes() == before


def test_every_creature_says_what_it_tries_and_how_it_ends():
    for path in ZOO.glob("*.py"):
        assert read(path).kind in ("attack", "cheat", "honest"), path.name
    assert len(creatures("attack")) + len(creatures("cheat")) >= 60
    assert len(creatures("honest")) >= 20


@pytest.mark.parametrize("head", ["x = 1", "# Tries: nothing", "# Tries: to.\n# Ends: won"])
def test_a_creature_without_a_proper_head_is_noticed(tmp_path, head):
    path = tmp_path / "cheat_new.py"
    path.write_text(head + "\n")
    with pytest.raises(ValueError):
        read(path)


def test_the_honest_count_is_worth_what_it_says(bench):
    _, outcome = bench.measure(source("honest_bigram"))
    assert outcome.value == pytest.approx(HONEST_VALUE, abs=1e-9)
    assert outcome.checks["prefix_largest_nats"] == 0


def test_knowing_validation_by_heart_gains_nothing_that_counts(bench, bigram):
    """The worst case: the author has the main slice, and the script carries all of it."""
    known = bench.data.main_rows.astype(np.uint8).tobytes().hex()
    learnt = f"""
KNOWN = np.frombuffer(bytes.fromhex("{known}"), np.uint8).reshape(-1, {bench.track.seq_len + 1})
ROWS = {{row[:8].tobytes(): row for row in KNOWN}}


def load_model(checkpoint, device):
    table = load_file(checkpoint)["table"]

    def model(tokens):
        tokens = np.asarray(tokens)
        logits = table[tokens]
        for asked, answer in zip(tokens.astype(np.uint8), logits):
            row = ROWS.get(asked[:8].tobytes())
            if row is not None:
                answer[np.arange(7, len(asked)), row[8:]] += 10.0
        return logits

    return model
"""
    start, end = bigram.index("def load_model"), bigram.index("def main")
    _, outcome = bench.measure(bigram[:start] + learnt + "\n\n" + bigram[end:], holdout_rows=64)
    assert outcome.status == "refused"
    assert "by heart" in outcome.reason
    assert outcome.checks["holdout_raw_gap"] > 0.5


@pytest.mark.parametrize("name", [name for name, one in creatures("honest").items() if not one.slow])
def test_honest_counting_is_believed(bench, name):
    _, outcome = bench.measure(creatures("honest")[name].source, **QUICK)
    assert outcome.status == "scored", outcome
    assert outcome.value < HONEST_VALUE + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["honest_gpt", "honest_conv"])
def test_honest_networks_are_believed(bench, name):
    trained, outcome = bench.measure(source(name), setup_s=120.0)
    assert trained.tokens_reported > 0
    assert outcome.status == "scored", outcome
    assert outcome.value < HONEST_VALUE
    assert abs(outcome.checks["prefix_largest_nats"]) < 1e-3
