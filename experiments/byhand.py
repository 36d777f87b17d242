"""`python train.py` outside any sandbox: the same data, clock and arithmetic, in one process that nobody supervises.

For people at work on a script. The number it prints counts for nothing: only a supervised run is ever recorded.
Rejected: refusing to run without a node, which would cost every author their debugger.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from experiments import answer, device, likelihood, track
from experiments.harness import Run, used_processor_s

CHECKPOINT = Path("model.safetensors")
PRINT_INTERVAL_S = 2.0


def connect() -> Run:
    """Return a run on this process's own data and clock, scored when the script ends.

    AUTORESEARCH_TRACK, AUTORESEARCH_SEED, AUTORESEARCH_DEVICE and AUTORESEARCH_BUDGET_S change what it does;
    AUTORESEARCH_HOME says where the prepared data is kept.
    """
    chosen = track.load(os.environ.get("AUTORESEARCH_TRACK", track.DEFAULT_TRACK))
    home = os.environ.get("AUTORESEARCH_HOME") or platformdirs.user_data_dir("autoresearch", appauthor=False)
    data = track.prepare(chosen, Path(home) / "data", _say_progress)
    asked = os.environ.get("AUTORESEARCH_DEVICE", "auto")
    where = device.usable_device() if asked in ("", "auto") else asked
    budget_s = float(os.environ.get("AUTORESEARCH_BUDGET_S", chosen.budget_s))
    facts = {
        "seq_len": chosen.seq_len, "vocab_size": chosen.vocab_size, "budget_s": budget_s, "clock": chosen.clock,
        "seed": int(os.environ.get("AUTORESEARCH_SEED", "1")), "device": where, "threads": chosen.threads,
        "checkpoint": str(CHECKPOINT.resolve()), "checkpoint_bytes_max": chosen.checkpoint_bytes_max,
        "setup_s": chosen.setup_s, "save_s": min(chosen.save_s, budget_s / 10),
    }  # fmt: skip
    _say(f"by hand on {where}, track {chosen.name}, {budget_s:g} s on the {chosen.clock} clock, no sandbox")
    CHECKPOINT.unlink(missing_ok=True)
    run = Run(facts, HandLink(data, chosen.clock))
    _score_at_exit(run, data)
    return run


class HandLink:
    """The link without a supervisor: data from the cache, the clock of this process, progress printed."""

    def __init__(self, data: track.TrackData, clock: str) -> None:
        self._data = data
        self._clock = clock
        self._printed = -PRINT_INTERVAL_S

    def start(self) -> tuple[NDArray[np.uint16], Callable[[], float]]:
        """Return the training tokens, mapped read-only, and this process's clock."""
        own = used_processor_s if self._clock == "cpu" else time.monotonic
        tokens = np.memmap(self._data.train_path, dtype="<u2", mode="r")
        began = own()
        return tokens, lambda: own() - began

    def report(self, message: dict[str, Any]) -> None:
        """Print progress now and then."""
        now = time.monotonic()
        if now - self._printed >= PRINT_INTERVAL_S:
            self._printed = now
            loss = "" if message["loss"] is None else f"  loss {message['loss']:.3f}"
            tokens = "" if message["tokens"] is None else f"  {message['tokens']:,} tokens"
            _say(f"step {message['step']}  {message['time_left_s']:.0f} s left{loss}{tokens}")


def bits_per_byte(model: answer.Model, data: track.TrackData, run: Run, batch_rows: int = 16) -> float:
    """Return the model's bits per byte on the main validation slice, as the scorer would compute them."""
    rows = data.main_rows
    scores = np.empty((len(rows), run.seq_len))
    for low in range(0, len(rows), batch_rows):
        batch = rows[low : low + batch_rows].astype(np.int64)
        tokens = np.ascontiguousarray(batch[:, :-1])
        logits = answer.ask(model, tokens, (*tokens.shape, run.vocab_size), run.device)
        flat = logits.reshape(-1, run.vocab_size)
        scores[low : low + len(batch)] = likelihood.surprise(flat, batch[:, 1:].ravel()).reshape(len(batch), -1)
    return likelihood.row_scores(scores, rows[:, 1:], data.token_bytes).bits_per_byte


def _score_at_exit(run: Run, data: track.TrackData) -> None:
    """Score when the interpreter ends, unless an exception ended the script."""
    failed: list[bool] = []
    shown = sys.excepthook

    def remember(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        failed.append(True)
        shown(kind, error, trace)

    def score() -> None:
        if failed:
            return
        if not Path(run.checkpoint).is_file():
            _say("the script left no checkpoint at run.checkpoint, so there is nothing to score")
            return
        load_model = getattr(sys.modules["__main__"], "load_model", None)
        if not callable(load_model):
            _say("the script has no load_model(checkpoint, device), which the scorer would call")
            return
        value = bits_per_byte(load_model(run.checkpoint, run.device), data, run)
        print(f"val_bpb: {value:.6f}", flush=True)
        _say("measured by hand, in the script's own process: it counts for nothing; `autoresearch run` measures")

    sys.excepthook = remember
    atexit.register(score)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _say_progress(what: str, done: float) -> None:
    if done in (0.0, 1.0):
        _say(f"{what}: {done:.0%}")
