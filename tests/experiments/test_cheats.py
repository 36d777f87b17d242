"""The zoo: every cheat ends without what it wanted, with a reason; every honest script gets its value."""

from pathlib import Path

import numpy as np
import pytest

from experiments import supervisor

ZOO = Path(__file__).resolve().parents[1] / "zoo"
HONEST_VALUE = 2.4932913858096155  # of counting pairs on the tiny track: what each scored cheat is worth

# name: (statuses that may come out, a part of the reason)
CHEATS = {
    "corrupt_checkpoint": ("crashed", "no safetensors file"),
    "damaged_checkpoint": ("crashed", "could not be loaded"),
    "does_not_compile": ("crashed", "SyntaxError: 'return' outside function"),
    "exits_while_scored": ("crashed", "ended while being scored"),
    "fifo_checkpoint": ("refused", "no plain file"),
    "huge_checkpoint": ("refused", "this track allows 4,194,304"),
    "inf_logits": ("refused", "not finite"),
    "integer_logits": ("refused", "answered int64"),
    "load_model_fails": ("crashed", "ValueError: no such layer"),
    "mixes_rows": ("refused", "among other rows"),
    "nan_logits": ("refused", "not finite"),
    "never_starts": ("crashed", "without calling start()"),
    "no_array": ("refused", "answered NoneType"),
    "no_load_model": ("crashed", "no load_model"),
    "peeks": ("refused", "looks ahead or remembers"),
    "peeks_plausibly": ("refused", "looks ahead or remembers"),
    "peeks_prefix_cache": ("refused", "looks ahead or remembers"),
    "peeks_rarely": ("refused", "looks ahead or remembers"),
    "raises": ("crashed", "ValueError: [2J gnol xxx"),
    "remembers_calls": ("refused", "the second time"),
    "remembers_rows": ("refused", "looks ahead or remembers"),
    "sleeps": ("timed_out", "has not computed anything"),
    "sleeps_in_setup": ("timed_out", "did not call start()"),
    "sleeps_while_scored": ("timed_out", "was not scored within"),
    "starts_while_scored": ("crashed", "start() was called while scoring"),
    "symlink_checkpoint": ("refused", "no plain file"),
    "talks_to_scorer": ("refused", "something other than answers"),
    "trains_past_deadline": ("timed_out", "still running"),
    "turns_back_clock": ("timed_out", "still running"),
    "works_before_start": ("timed_out", "did not call start()"),
    "wrong_shape": ("refused", "(16, 32, 255)"),
}
WORTH_THE_SAME = (
    "floods_channel", "prints_fake_metric", "searches_data", "unnormalised", "writes_training_data", "writes_weights",
)  # fmt: skip
QUICK = {"setup_s": 20.0, "budget_s": 2.0, "score_s_max": 8.0, "probes": 64}


def source(name: str) -> bytes:
    return (ZOO / f"{name}.py").read_bytes()


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_ends_with_a_reason(bench, name, monkeypatch):
    monkeypatch.setattr(supervisor, "STALL_S", 2.0)
    shorter = {"sleeps_in_setup": {"setup_s": 1.0}, "works_before_start": {"setup_s": 1.0}, "sleeps_while_scored": {}}
    changes = QUICK | shorter.get(name, {"score_s_max": 30.0})
    trained, outcome = bench.measure(source(f"cheat_{name}"), **changes)
    status, reason = CHEATS[name]
    assert outcome.status == status, outcome
    assert reason in outcome.reason
    assert outcome.reason.isprintable()
    assert outcome.value is None
    assert outcome.holdout is None
    assert trained.train_wall_s < 30


@pytest.mark.parametrize("name", WORTH_THE_SAME)
def test_a_cheat_gets_its_true_value(bench, name):
    before = bench.data.train_path.read_bytes()
    trained, outcome = bench.measure(source(f"cheat_{name}"))
    assert outcome.status == "scored", outcome
    assert outcome.value == pytest.approx(HONEST_VALUE, abs=1e-5)
    assert bench.data.train_path.read_bytes() == before
    printed = Path(trained.log).read_bytes()
    assert b"overwritten" not in printed
    assert b"found before the start" not in printed


def test_writing_late_gains_nothing(bench):
    _, outcome = bench.measure(source("cheat_writes_late"))
    assert outcome.status == "refused" or outcome.value >= HONEST_VALUE


def test_every_cheat_says_what_it_tries_and_is_tried():
    files = {path.stem: path.read_text().splitlines()[0] for path in ZOO.glob("cheat_*.py")}
    assert all(line.startswith("# Tries: ") and line.endswith(".") for line in files.values())
    assert set(files) == {f"cheat_{name}" for name in (*CHEATS, *WORTH_THE_SAME, "writes_late")}


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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["honest_gpt", "honest_conv"])
def test_honest_networks_are_believed(bench, name):
    trained, outcome = bench.measure(source(name), setup_s=120.0)
    assert trained.tokens_reported > 0
    assert outcome.status == "scored", outcome
    assert outcome.value < HONEST_VALUE
    assert abs(outcome.checks["prefix_largest_nats"]) < 1e-3
