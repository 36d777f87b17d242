"""One fresh process that holds a trained model and answers batches of tokens with logits over shared memory.

Two slots: while the scorer reads one, the model fills the other. Leaves out what is asked and what the answers are
worth. Rejected: one process for all questions, which could remember what it answered before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from experiments import job
from experiments.outcome import Failed
from experiments.sandbox import Mount
from experiments.shared import Region

SLOTS = 2
LOOK_S = 0.05
Tokens = NDArray[np.int64]
Logits = NDArray[np.float32]


class Instance:
    """A sandbox with the model in it. Use as a context; closing it kills what is left."""

    def __init__(self, task: job.Task, name: str, weights: Path) -> None:
        track = task.track
        self._shape = (track.batch_rows, track.seq_len)
        positions = SLOTS * track.batch_rows * track.seq_len
        with contextlib.ExitStack() as held:
            self._channel = job.Channel()
            held.callback(self._channel.close)
            tokens = Region("tokens", positions * 8, child_writes=False)
            held.callback(tokens.close)
            logits = Region("logits", positions * track.vocab_size * 4, child_writes=True)
            held.callback(logits.close)
            self._tokens = np.frombuffer(tokens.map, dtype=np.int64).reshape(SLOTS, *self._shape)
            self._logits = np.frombuffer(logits.map, dtype=np.float32).reshape(SLOTS, *self._shape, track.vocab_size)
            self._logits.flags.writeable = False
            fds = [self._channel.their_fd, tokens.fd, logits.fd]
            facts = {
                "seed": 0, "checkpoint": f"{job.WEIGHTS_INSIDE}/{job.CHECKPOINT_NAME}", "slots": SLOTS,
                "batch_rows": track.batch_rows, "control_fd": fds[0], "tokens_fd": fds[1], "logits_fd": fds[2],
            }  # fmt: skip
            folder = job.write_folder(task, name, facts)
            mounts = [Mount(weights, f"{job.WEIGHTS_INSIDE}/{job.CHECKPOINT_NAME}")]
            self.box = held.enter_context(job.start(task, job.ANSWER, folder, fds=fds, mounts=mounts))
            self._channel.started()
            self._held = held.pop_all()

    def __enter__(self) -> Instance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def wait_ready(self, look: Callable[[], None]) -> None:
        """Return when the model is loaded; `look` is called often meanwhile. Raises Failed."""
        self._expect("ready", None, look)

    def answers(self, batches: Sequence[Tokens], look: Callable[[], None]) -> Iterator[Logits]:
        """Yield the logits (R, T, V) of each batch (R, T) in order: memory that the model may change at any time.

        Each is overwritten once the next but one is asked for, so read it before going on. Raises Failed.
        """
        for index in range(min(SLOTS, len(batches))):
            self._ask(index, batches[index])
        for index in range(len(batches)):
            slot = index % SLOTS
            self._expect("done", slot, look)
            yield self._logits[slot]
            if index + SLOTS < len(batches):
                self._ask(slot, batches[index + SLOTS])

    def _ask(self, slot: int, batch: Tokens) -> None:
        slot %= SLOTS
        self._tokens[slot] = batch
        self._channel.send({"op": "answer", "slot": slot})

    def _expect(self, wanted: str, slot: int | None, look: Callable[[], None]) -> None:
        while True:
            look()
            ended = self.box.poll() is not None
            for message in self._channel.messages(at_most=1):
                if message.get("op") == wanted and message.get("slot") == slot:
                    return
                raise self._failed(message)
            if ended:
                words = job.last_words(self.box.output())
                raise Failed("crashed", f"the model's process ended while being scored{': ' + words if words else ''}")
            self._channel.wait(LOOK_S)

    def _failed(self, message: dict[str, object]) -> Failed:
        reason = message.get("reason")
        if message.get("op") not in ("failed", "bad") or not isinstance(reason, str):
            return Failed("refused", "the model's process sent something other than answers to the scorer")
        if message["op"] == "bad":
            return Failed("refused", reason)
        return Failed("crashed", f"the model could not be loaded or asked: {reason}")
