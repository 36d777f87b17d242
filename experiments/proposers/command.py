"""A proposer that is a program of the owner's: the context as JSON on its input, a proposal as JSON on its output.

It has the owner's rights and environment, for it is the owner's own; what it answers is checked like a stranger's.
A plug-in loaded into the node was rejected: a crash, a leak or a hang in it would be the node's.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import signal
import subprocess
import tempfile
import time
from typing import IO, Any

from ensue.errors import BadScript, BadSettings, ExperimentError
from experiments import knobs
from experiments.experiment import changes, describe
from experiments.proposers.base import SOURCE_BYTES_MAX, Context, Proposal

TIMEOUT_S = 300.0
ANSWER_BYTES_MAX = 1_048_576
ATTEMPTS = 3  # answers that were tried before, or are no experiment, before giving up
TRIALS_MAX = 500  # the latest, told to the program
TEXT_CHARS_MAX = 500
_POLL_S = 0.02


class CommandProposer:
    """Asks `program` (a command line, split as a shell would) for each proposal."""

    def __init__(self, program: str, *, timeout_s: float = TIMEOUT_S) -> None:
        try:
            self.argv = shlex.split(program)
        except ValueError as error:
            raise BadSettings(f"The proposer's command cannot be read ({error}): quote it as for a shell.") from None
        if not self.argv:
            raise BadSettings("The proposer's command is empty: write command: followed by a program.")
        self.name = f"command:{os.path.basename(self.argv[0])}"[:40]
        self.timeout_s = timeout_s

    def propose(self, ctx: Context) -> Proposal:
        """Return the program's proposal; raises ExperimentError if it fails, takes too long or only repeats."""
        complaint = ""
        for _ in range(ATTEMPTS):
            answer = self._ask(_told(ctx, complaint))
            try:
                proposal = _read(ctx, answer)
            except BadScript as error:
                complaint = str(error)
                continue
            if ctx.free(proposal.source):
                return proposal
            complaint = "This experiment was tried or claimed before; propose another."
        raise ExperimentError(f"The proposer {self.name} gave no new experiment in {ATTEMPTS} answers: {complaint}")

    def _ask(self, message: bytes) -> dict[str, Any]:
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as taken:
            given.write(message)
            given.seek(0)
            try:
                process = subprocess.Popen(self.argv, stdin=given, stdout=taken, start_new_session=True)
            except OSError as error:
                raise ExperimentError(f"The proposer {self.argv[0]} cannot be started: {error.strerror}.") from None
            try:
                code = self._finish(process, taken)
            finally:
                _end(process)
            if code != 0:
                raise ExperimentError(f"The proposer {self.name} ended with exit code {code}; see what it wrote above.")
            taken.seek(0)
            return _object(self.name, taken.read(ANSWER_BYTES_MAX))

    def _finish(self, process: subprocess.Popen[bytes], taken: IO[bytes]) -> int:
        deadline = time.monotonic() + self.timeout_s
        while True:
            try:
                code: int | None = process.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                code = None
            if os.fstat(taken.fileno()).st_size > ANSWER_BYTES_MAX:
                raise ExperimentError(f"The proposer {self.name} wrote more than {ANSWER_BYTES_MAX} bytes; write less.")
            if code is not None:
                return code
            if time.monotonic() > deadline:
                raise ExperimentError(f"The proposer {self.name} took more than {self.timeout_s:g} s and was stopped.")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop the program and what it started in its session; an answer is whole by then."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _told(ctx: Context, complaint: str) -> bytes:
    space = knobs.read(ctx.parent_source)
    trials = [
        {"change": changes(ctx.parent_source, trial.source), "value": trial.value, "status": trial.status}
        for trial in ctx.trials[-TRIALS_MAX:]
    ]
    message = {
        "version": 1,
        "track": ctx.track_id,
        "direction": ctx.direction,
        "parent": {"source": ctx.parent_source, "value": ctx.parent_value},
        "knobs": {
            knob.name: {
                "value": knob.value,
                "kind": knob.kind,
                **({"choices": list(knob.choices)} if knob.kind == "choice" else {"low": knob.low, "high": knob.high}),
                "log": knob.log,
            }
            for knob in space.values()
        },
        "trials": trials,
        "ideas": [
            {"id": idea.id, "text": idea.text, "change": [dict(one) for one in idea.change], "source": idea.source}
            for idea in ctx.ideas
        ],
        "noise_sd": ctx.noise_sd,
        "seed": ctx.seed,
        "complaint": complaint,
    }
    return json.dumps(message, ensure_ascii=True).encode()


def _object(name: str, data: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        raise ExperimentError(
            f"The proposer {name} did not answer with one JSON object; correct the program."
        ) from None
    if not isinstance(answer, dict):
        raise ExperimentError(f"The proposer {name} did not answer with one JSON object; correct the program.")
    return answer


def _read(ctx: Context, answer: dict[str, Any]) -> Proposal:
    """Return the proposal in an answer that has `source`, or `change` as an object of knob names and values."""
    source, change = answer.get("source"), answer.get("change")
    if isinstance(source, str):
        knobs.parse(source)
    elif isinstance(change, dict):
        source = knobs.apply(ctx.parent_source, change, bounded=False)
    else:
        raise BadScript("The answer has neither source, a text, nor change, an object of knob names and values.")
    if len(source.encode()) > SOURCE_BYTES_MAX:
        raise BadScript(f"The proposed script has more than {SOURCE_BYTES_MAX} bytes; propose a smaller one.")
    made = changes(ctx.parent_source, source)[:32]
    mean, sd = _number(answer.get("mean")), _number(answer.get("sd"))
    if mean is None or sd is None or sd < 0:
        mean, sd = None, None
    hypothesis = answer.get("hypothesis")
    known = {idea.id for idea in ctx.ideas}
    return Proposal(
        source=source,
        description=_text(answer.get("description"))[:200] or describe(made) or "changed code",
        change=made,
        mean=mean,
        sd=sd,
        hypothesis=hypothesis if isinstance(hypothesis, str) and hypothesis in known else None,
        why=_text(answer.get("why")),
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 and math.isfinite(value) else None


def _text(value: object) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(c if c.isprintable() else " " for c in value)[:TEXT_CHARS_MAX].strip()
