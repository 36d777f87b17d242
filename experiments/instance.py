"""One fresh process that holds a trained model and answers arrays with arrays over shared memory.

Two slots: while the scorer reads one, the model fills the other. Leaves out what is asked and what answers are worth:
tokens and logits for a language model, observations and actions for a policy. Rejected: one process for all questions,
which could remember what it answered before.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from experiments import job
from experiments.outcome import Failed
from experiments.sandbox import Mount
from experiments.shared import Region

SLOTS = 2
LOOK_S = 0.05
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Form:
    """What one question or one answer looks like, a whole batch at a time."""

    dtype: Literal["int64", "float32"]
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Return how much memory one takes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Instance:
    """A sandbox with the model in it. Use as a context; closing it kills what is left."""

    def __init__(self, task: job.Task, name: str, weights: Path, *, question: Form, answer: Form) -> None:
        with contextlib.ExitStack() as held:
            self._channel = job.Channel()
            held.callback(self._channel.close)
            asked = Region("questions", SLOTS * question.size_bytes, child_writes=False)
            held.callback(asked.close)
            answered = Region("answers", SLOTS * answer.size_bytes, child_writes=True)
            held.callback(answered.close)
            self._questions = np.frombuffer(asked.map, question.dtype).reshape(SLOTS, *question.shape)
            self._answers = np.frombuffer(answered.map, answer.dtype).reshape(SLOTS, *answer.shape)
            self._answers.flags.writeable = False
            fds = [self._channel.their_fd, asked.fd, answered.fd]
            facts = {
                "seed": 0, "checkpoint": f"{job.WEIGHTS_INSIDE}/{job.CHECKPOINT_NAME}", "slots": SLOTS,
                "question": asdict(question), "answer": asdict(answer),
                "control_fd": fds[0], "question_fd": fds[1], "answer_fd": fds[2],
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

    def answers(self, questions: Sequence[Array], look: Callable[[], None]) -> Iterator[Array]:
        """Yield the answer to each question in order: memory that the model may change at any time.

        Each is overwritten once the next but one is asked for, so read it before going on. Raises Failed.
        """
        for index in range(min(SLOTS, len(questions))):
            self._ask(index, questions[index])
        for index in range(len(questions)):
            slot = index % SLOTS
            self._expect("done", slot, look)
            yield self._answers[slot]
            if index + SLOTS < len(questions):
                self._ask(slot, questions[index + SLOTS])

    def _ask(self, slot: int, question: Array) -> None:
        slot %= SLOTS
        self._questions[slot] = question
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
