"""One experiment on this machine: train a script in a sandbox, then have the scorer measure what it left.

Two steps with a plain value between them, so that a node killed in between scores the checkpoint it has instead of
training again. Leaves out what the numbers mean. Rejected: one call, whose crash would lose a finished training.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from experiments import job, sandbox, scorer
from experiments.outcome import Control, Event, Failed, Note, OnEvent, Outcome, Phase, Progress, Trained
from experiments.sandbox import Level
from experiments.shared import Region, sealed_copy
from experiments.supervisor import CLOCK_PAGE_BYTES, Training, Watch
from experiments.track import Track, TrackData

__all__ = ["Control", "Event", "Note", "OnEvent", "Outcome", "Phase", "Progress", "Trained", "score", "train"]

LOG_NAME = "train.log"


def train(
    source: bytes, track: Track, data: TrackData, *, seed: int, device: str, run_dir: Path, level: Level,
    on_event: OnEvent, control: Control,
) -> Trained:  # fmt: skip
    """Return what training `source` came to; a script's failure is a status, never an exception.

    `run_dir` becomes the run's own folder: job, log and checkpoint lie in it until the caller removes it.
    `control` is asked some twenty times a second. Raises SandboxUnavailable and ExperimentError for our own faults.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    run_dir.chmod(0o700)
    task = job.Task(source, track, device, level, run_dir, data.folder)
    problem = _unfit(source, track)
    if problem:
        return Trained("refused", problem)
    out, log = run_dir / "out", run_dir / LOG_NAME
    sandbox.remove_tree(out)
    out.mkdir()
    checkpoint = run_dir / job.CHECKPOINT_NAME
    checkpoint.unlink(missing_ok=True)
    with contextlib.ExitStack() as held:
        channel = job.Channel()
        held.callback(channel.close)
        facts = {
            "seed": seed, "checkpoint": f"{job.OUT_INSIDE}/{job.CHECKPOINT_NAME}", "control_fd": channel.their_fd,
        }  # fmt: skip
        folder = job.write_folder(task, "train", facts)
        box = held.enter_context(job.start(task, job.TRAIN, folder, fds=[channel.their_fd], out=out))
        channel.started()
        page = Region("clock", CLOCK_PAGE_BYTES, child_writes=False)
        held.callback(page.close)
        tokens_fd = sealed_copy(data.train_path)
        held.callback(os.close, tokens_fd)
        watch = Watch([box], control, may_freeze=track.clock == "cpu")
        training = Training(track, box, channel, watch, on_event)
        failed: Failed | None = None
        try:
            training.until_start()
            training.until_end(tokens_fd, page)
        except Failed as failure:
            failed = failure.with_traceback(None)  # whose frames would keep everything here alive
        box.kill()
        log.write_bytes(box.output())
    if failed is None:
        missing = job.take_checkpoint(out, track.checkpoint_bytes_max, checkpoint)
        failed = Failed(missing[0], f"train.py ended, but {missing[1]}") if missing else None
    sandbox.remove_tree(out)
    figures = training.figures
    possible_s = figures.train_wall_s * track.threads
    return Trained(
        status=failed.status if failed else "trained",
        reason=failed.reason if failed else None,
        checkpoint=None if failed else str(checkpoint),
        log=str(log),
        setup_s=figures.setup_s,
        train_wall_s=figures.train_wall_s,
        cpu_s=figures.cpu_s,
        cpu_share=min(1.0, figures.cpu_s / possible_s) if possible_s else None,
        tokens_reported=figures.tokens_reported,
    )


def score(
    trained: Trained, source: bytes, track: Track, data: TrackData, *, device: str, run_dir: Path, level: Level,
    on_event: OnEvent, control: Control,
) -> Outcome:  # fmt: skip
    """Return the value of what `train` left, or why it has none.

    A training that failed keeps its status and reason. Raises SandboxUnavailable, ExperimentError for our own faults.
    """
    if trained.checkpoint is None:
        return Outcome(trained.status, trained.reason)
    began = time.monotonic()
    task = job.Task(source, track, device, level, run_dir, data.folder)
    try:
        outcome = scorer.measure(task, data, Path(trained.checkpoint), on_event, control)
    except Failed as failure:
        outcome = Outcome(failure.status, failure.reason, checks=failure.checks)
    return outcome.after(time.monotonic() - began)


def _unfit(source: bytes, track: Track) -> str | None:
    """Return why a source cannot be an experiment at all, before anything is started."""
    if len(source) > track.source_bytes_max:
        return f"train.py has {len(source):,} bytes; this track allows {track.source_bytes_max:,}"
    try:
        source.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"train.py is not UTF-8 ({error.reason} at byte {error.start})"
    if b"\0" in source:
        return f"train.py has null bytes, the first at byte {source.index(0)}"
    return None
