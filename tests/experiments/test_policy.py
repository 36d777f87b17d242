"""The serve protocol fits a track whose model is a policy: observations in, actions out, the same sandbox and code."""

from pathlib import Path

import balance
import pytest

from experiments import job
from experiments.outcome import Failed

BALANCES, FALLS = [0.1, 0.5, 10.0, 2.0], [0.0, 0.0, -1.0, 0.0]


def scored(bench, source: bytes) -> float:
    trained, run = bench.train(source)
    assert trained.status == "trained", trained.reason
    task = job.Task(source, run.track, "cpu", bench.level, run.folder, bench.data.folder)
    return balance.score(task, Path(trained.checkpoint), seed=3).value


def test_a_policy_is_trained_and_scored_by_a_scorer_of_its_own(bench):
    assert scored(bench, balance.script(BALANCES)) == 1
    assert scored(bench, balance.script(FALLS)) < 0.5


def test_a_policy_that_counts_its_steps_is_refused(bench):
    counting = balance.script(BALANCES).decode().replace(
        "    return lambda seen: np.asarray(seen) @ weights",
        "    steps = []\n    return lambda seen: np.asarray(seen) @ weights + (steps.append(0) or len(steps)) % 2",
    )  # fmt: skip
    with pytest.raises(Failed) as caught:
        scored(bench, counting.encode())
    assert caught.value.status == "refused"
    assert "remembers" in caught.value.reason


def test_actions_of_another_shape_are_refused(bench):
    with pytest.raises(Failed) as caught:
        scored(bench, balance.script(BALANCES).replace(b"@ weights", b"@ weights[:, 0]"))
    assert "it must answer float32 of shape (16, 1)" in caught.value.reason
