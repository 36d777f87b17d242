"""Running scripts for real: in the sandbox, on the supervisor's clock, to the checkpoint and its score."""

import os
import time
from pathlib import Path

import pytest

from experiments import job, runner, supervisor
from experiments.outcome import Phase, Progress


def before_end(bigram: str, line: str) -> str:
    """The honest script with a line at the end of its training."""
    return bigram.replace("\n\nif __name__", f"    {line}\n\n\nif __name__")


def test_an_honest_script_is_trained_and_scored(bench, bigram):
    trained, run = bench.train(bigram)
    assert (trained.status, trained.reason, trained.tokens_reported) == ("trained", None, None)
    assert 0 < trained.cpu_s < bench.track.budget_s
    assert Path(trained.checkpoint).is_file()
    outcome = run.score(trained)
    assert (outcome.status, outcome.reason) == ("scored", None)
    assert 2 < outcome.value < 3
    assert outcome.score_s > 0
    assert [event.name for event in run.events if isinstance(event, Phase)] == ["set-up", "training", "scoring"]
    assert all(0 <= event.fraction <= 1 for event in run.events if isinstance(event, Progress))


def test_the_same_checkpoint_scores_the_same_again(bench, bigram):
    trained, run = bench.train(bigram)
    first, second = run.score(trained), run.score(trained)
    assert (first.value, first.holdout) == (second.value, second.holdout)
    assert first.checks["probe_seed"] != second.checks["probe_seed"]


def test_what_training_left_survives_as_json(bench, bigram):
    trained, run = bench.train(bigram)
    again = runner.Trained.from_json(trained.to_json())
    assert again == trained
    outcome = run.score(again)
    assert runner.Outcome.from_json(outcome.to_json()) == outcome


def test_progress_is_shown_and_tokens_are_only_reported(bench, bigram):
    loop = "import time\n    while run.time_left() > 1.5:\n        run.progress(step=3, loss=1.25, tokens=99)"
    trained, run = bench.train(before_end(bigram, loop))
    assert trained.tokens_reported == 99
    shown = [event for event in run.events if isinstance(event, Progress) and event.step == 3]
    assert shown
    assert shown[-1].loss == 1.25
    assert trained.cpu_s == pytest.approx(1.2, abs=0.5)


def test_processor_seconds_of_other_processes_count(bench, bigram):
    burner = "import multiprocessing, itertools\n    context = multiprocessing.get_context('fork')\n    "
    burner += "worker = context.Process(target=sum, args=(itertools.count(),), daemon=True)\n    worker.start()"
    wait = "import time\n    while run.time_left() > 1:\n        time.sleep(0.01)\n    worker.terminate()"
    trained, _ = bench.train(before_end(bigram, f"{burner}\n    {wait}"))
    assert trained.status == "trained"
    assert trained.cpu_s > 1.5


def test_a_forked_child_that_ends_does_not_end_the_run(bench, bigram):
    fork = "import os\n    if os.fork() == 0:\n        return\n    os.wait()"
    trained, _ = bench.train(bigram.replace("    save_file(", f"    {fork}\n    save_file("))
    assert (trained.status, trained.reason) == ("trained", None)


def test_nothing_is_left_open(bench, bigram):
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    trained, run = bench.train(bigram)
    run.score(trained)
    before = open_files()
    for source in (bigram, "raise SystemExit(3)"):
        trained, run = bench.train(source)
        run.score(trained)
    assert open_files() == before


def test_the_owner_can_hold_a_run_and_let_it_go_on(bench, bigram):
    wishes = iter(["run", *["freeze"] * 20])
    spin = "\n    while run.time_left() > 1.5:\n        pass"
    began = time.monotonic()
    trained, _ = bench.train(before_end(bigram, spin.strip()), control=lambda: next(wishes, "run"))
    assert trained.status == "trained"
    assert time.monotonic() - began > 18 * supervisor.LOOK_S
    assert trained.cpu_s < 2


@pytest.mark.parametrize(("clock", "wish"), [("cpu", "stop"), ("wall", "stop"), ("wall", "freeze")])
def test_the_owner_can_stop_a_run(bench, bigram, clock, wish):
    asked = []

    def control() -> str:
        asked.append(time.monotonic())
        return "run" if len(asked) < 12 else wish

    spin = "while run.time_left() > -1:\n        pass"
    trained, run = bench.train(before_end(bigram, spin), control=control, clock=clock, budget_s=30.0)
    assert trained.status == "abandoned"
    assert time.monotonic() - asked[-1] < 5
    assert run.score(trained).status == "abandoned"


def test_the_owner_can_stop_a_scoring(bench, bigram):
    trained, run = bench.train(bigram)
    assert run.score(trained, control=lambda: "stop").status == "abandoned"
    assert run.score(trained).status == "scored"


def test_the_owner_can_stop_a_scoring_while_the_second_instance_is_held(bench, bigram):
    trained, run = bench.train(bigram)
    began = time.monotonic()
    scoring = run.score(trained, control=lambda: "stop" if any_progress(run) else "run")
    assert scoring.status == "abandoned"
    assert time.monotonic() - began < 10


def any_progress(run) -> bool:
    return any(isinstance(event, Progress) for event in run.events[run.events.index(Phase("scoring")) :])


def test_the_owner_can_stop_a_run_that_is_held(bench, bigram):
    wishes = iter(["run"] * 10 + ["freeze"] * 10)
    trained, _ = bench.train(
        before_end(bigram, "while True:\n        pass"), control=lambda: next(wishes, "stop"), budget_s=30.0
    )
    assert trained.status == "abandoned"


def test_a_wall_clock_ends_in_real_time(bench, bigram):
    spin = "while run.time_left() > 0:\n        pass\n    save_file({'table': np.zeros((2, 2))}, run.checkpoint)"
    trained, _ = bench.train(before_end(bigram, spin), clock="wall", budget_s=3.0, save_s=2.0)
    assert trained.status == "trained"
    assert 0.9 < trained.train_wall_s < 3.0


@pytest.mark.parametrize(
    ("source", "reason"),
    [(b"x = 1\n" * 40_000, "this track allows 131,072"), (b"x = '\xff'", "not UTF-8"), (b"\x00", "null bytes")],
)
def test_what_is_no_script_fails_with_one_sentence(bench, source, reason):
    trained, _ = bench.train(source)
    assert trained.status in ("refused", "crashed")
    assert reason in trained.reason


def test_the_log_keeps_what_was_printed(bench, bigram):
    trained, _ = bench.train(before_end(bigram, 'print("hello from the script")'))
    assert b"hello from the script" in Path(trained.log).read_bytes()


def test_a_script_sees_its_facts(bench, bigram):
    line = "print(run.seq_len, run.vocab_size, run.budget_s, run.seed, run.device, run.threads, run.time_left() > 0)"
    trained, _ = bench.train(before_end(bigram, line))
    assert b"32 256 3.0 7 cpu 1 True" in Path(trained.log).read_bytes()


def test_a_checkpoint_is_taken_only_if_it_is_a_plain_file(tmp_path):
    out, target = tmp_path / "out", tmp_path / "taken"
    out.mkdir()
    path = out / job.CHECKPOINT_NAME
    assert job.take_checkpoint(out, 100, target) == ("crashed", "it left no checkpoint at run.checkpoint")
    path.mkdir()
    assert job.take_checkpoint(out, 100, target)[0] == "refused"
    path.rmdir()
    path.write_bytes(b"short")
    assert job.take_checkpoint(out, 100, target) == ("crashed", "its checkpoint is no safetensors file")
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    assert job.take_checkpoint(out, 5, target)[0] == "refused"
    assert not target.exists()
    assert job.take_checkpoint(out, 100, target) is None
    assert target.read_bytes() == path.read_bytes()


def test_the_last_words_are_the_exception():
    printed = b"step 1\nTraceback (most recent call last):\n  File ...\nValueError: no\n"
    assert job.last_words(printed) == "ValueError: no"
    assert job.last_words(b"torch.OutOfMemoryError: much\ncleaning up\n") == "torch.OutOfMemoryError: much"
    assert job.last_words(b"\nall well\n") == "all well"
    assert job.last_words(b"\xff\n") == "\ufffd"
    assert job.last_words(b"") == ""


def test_a_channel_takes_no_more_than_it_asked_for():
    channel = job.Channel()
    try:
        for index in range(20):
            channel.theirs.send(b'{"n": %d}' % index)
        for rubbish in (b"\xff", b"[1]", b"[" * 4000):
            channel.theirs.send(rubbish)
        assert [message["n"] for message in channel.messages(5)] == [0, 1, 2, 3, 4]
        assert len(channel.messages()) == 15
        assert channel.messages() == []
        channel.theirs.close()
        assert channel.messages() == []
        assert not channel.send({"op": "x"})
    finally:
        channel.close()
