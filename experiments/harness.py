"""The side of a run that train.py imports: its facts, its training data, its clock.

Runs inside the sandbox, beside a script that nobody trusts, so nothing here decides anything: the supervisor on the
other end of a socket holds the data until `start` and kills at the deadline whatever `time_left` says here.
A leaf: the standard library and numpy only. Rejected: handing facts over in environment variables, which every child
process of the script inherits and every log prints.
"""

from __future__ import annotations

import ast
import atexit
import json
import math
import mmap
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

JOB = Path(__file__).resolve().parents[1]
FACTS = JOB / "run.json"
MESSAGE_BYTES_MAX = 4096
PROGRESS_INTERVAL_S = 0.05
START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Data:
    """What the script may learn from: `tokens` is uint16 (N,), read-only, documents one after another."""

    tokens: NDArray[np.uint16]


class Link(Protocol):
    """How a run reaches what supervises it: a socket inside the sandbox, plain calls by hand."""

    def start(self) -> tuple[NDArray[np.uint16], Callable[[], float]]:
        """Return the training tokens and a function that tells the budget seconds used so far."""

    def report(self, message: dict[str, Any]) -> None:
        """Show a message to people; may drop it."""


class Run:
    """One run as its script sees it; the attributes are facts, the methods talk to the supervisor.

    seq_len, vocab_size: shape of the rows that will be scored. budget_s: seconds of training on `clock`
    ("cpu": processor seconds of all threads and processes, "wall": real seconds). save_s: the part of the budget kept
    back for writing the checkpoint. setup_s: real seconds allowed before `start`. seed: source of all randomness.
    device, threads: what to compute on. checkpoint: path to write, at most checkpoint_bytes_max bytes of safetensors.
    """

    def __init__(self, facts: dict[str, Any], link: Link) -> None:
        self.seq_len = int(facts["seq_len"])
        self.vocab_size = int(facts["vocab_size"])
        self.budget_s = float(facts["budget_s"])
        self.clock = str(facts["clock"])
        self.seed = int(facts["seed"])
        self.device = str(facts["device"])
        self.threads = int(facts["threads"])
        self.checkpoint = str(facts["checkpoint"])
        self.checkpoint_bytes_max = int(facts["checkpoint_bytes_max"])
        self.setup_s = float(facts["setup_s"])
        self.save_s = float(facts["save_s"])
        self._link = link
        self._used: Callable[[], float] | None = None
        self._reported = -math.inf

    def start(self) -> Data:
        """Return the training data; from here on the clock runs. Call it once, after everything is built and warm."""
        if self._used is not None:
            raise RuntimeError("start() was called twice: the clock already runs")
        tokens, self._used = self._link.start()
        return Data(tokens)

    def time_left(self) -> float:
        """Return the budget seconds left for training; the whole before `start`, never below zero.

        What is kept back for writing the checkpoint is already taken off.
        """
        whole = self.budget_s - self.save_s
        return whole if self._used is None else max(0.0, whole - self._used())

    def progress(self, *, step: int | None = None, loss: Any = None, tokens: int | None = None) -> None:
        """Show people how far training is; cheap to call every step, and never believed.

        loss may be a tensor: it is only read when a message is due.
        """
        now = time.monotonic()
        if now - self._reported < PROGRESS_INTERVAL_S:
            return
        self._reported = now
        number = math.nan if loss is None else float(loss.detach() if hasattr(loss, "detach") else loss)
        self._link.report({
            "op": "progress", "time_left_s": self.time_left(), "step": step,
            "loss": number if math.isfinite(number) else None, "tokens": tokens,
        })  # fmt: skip


def used_processor_s() -> float:
    """Return the processor seconds of this process, its threads and its children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


class SocketLink:
    """The link inside the sandbox: one datagram a message, descriptors of data and clock come with the answer."""

    def __init__(self, control_fd: int, clock: str) -> None:
        self._socket = socket.socket(fileno=control_fd)
        self._clock = clock
        self._pid = os.getpid()  # a forked child ends without ending the run

    def start(self) -> tuple[NDArray[np.uint16], Callable[[], float]]:
        """Ask for the data; return it mapped read-only, and the clock (the later of our own and the supervisor's)."""
        own = used_processor_s if self._clock == "cpu" else time.monotonic
        began = own()
        self._socket.settimeout(START_TIMEOUT_S)
        self._socket.send(b'{"op":"start"}')
        _, descriptors, _, _ = socket.recv_fds(self._socket, MESSAGE_BYTES_MAX, 2)
        if len(descriptors) != 2:
            raise RuntimeError("the supervisor did not send the training data: the run is being stopped")
        atexit.register(self._done)
        data = mmap.mmap(descriptors[0], 0, prot=mmap.PROT_READ)
        page = mmap.mmap(descriptors[1], 0, prot=mmap.PROT_READ)
        for descriptor in descriptors:
            os.close(descriptor)

        def used() -> float:
            return max(own() - began, float(struct.unpack_from("=d", page)[0]))

        return np.frombuffer(data, dtype="<u2"), used

    def _done(self) -> None:
        """Stop the clock before the interpreter takes itself apart, which costs torch a third of a second."""
        if os.getpid() == self._pid and getattr(sys, "last_value", None) is None:
            self.report({"op": "done"})

    def report(self, message: dict[str, Any]) -> None:
        """Send if there is room; a full socket drops the message."""
        try:
            self._socket.send(json.dumps(message).encode()[:MESSAGE_BYTES_MAX], socket.MSG_DONTWAIT)
        except OSError:
            return


class NoLink:
    """The link while answering for the scorer: nothing can be started there."""

    def start(self) -> tuple[NDArray[np.uint16], Callable[[], float]]:
        """Refuse: scoring has no training data."""
        raise RuntimeError("start() was called while scoring: guard the training with if __name__ == '__main__'")

    def report(self, message: dict[str, Any]) -> None:
        """Drop it."""


def connect() -> Run:
    """Return this script's run: supervised inside the sandbox, by hand anywhere else.

    By hand it trains on the track's data, scores itself when the script ends, and says that this counts for nothing.
    """
    if not FACTS.is_file():
        from experiments.byhand import connect as connect_by_hand

        return connect_by_hand()
    facts = json.loads(FACTS.read_text())
    facts["checkpoint"] = os.environ.get("SANDBOX_ROOT", "") + facts["checkpoint"]  # where no mount could be made
    if facts["role"] != "train":
        return Run(facts, NoLink())
    _require_load_model((JOB / "train.py").read_bytes())
    return Run(facts, SocketLink(int(facts["control_fd"]), str(facts["clock"])))


def names_load_model(tree: ast.AST) -> bool:
    """Return whether a script gives the name load_model to anything at its top level, also inside `if` or `try`."""
    waiting = [tree]
    while waiting:
        match node := waiting.pop():
            case ast.FunctionDef(name="load_model") | ast.ClassDef(name="load_model"):
                return True
            case ast.Name(id="load_model", ctx=ast.Store()) | ast.alias(name="load_model") | ast.alias("*"):
                return True
            case ast.alias(asname="load_model"):
                return True
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                continue  # what is named in there is not the script's
        waiting += ast.iter_child_nodes(node)
    return False


def _require_load_model(source: bytes) -> None:
    """End the script at once, before it spends its budget, if the scorer could never load what it trains."""
    if not names_load_model(ast.parse(source)):
        raise SystemExit(
            "train.py has no load_model(checkpoint, device), which the scorer calls: add it at the top level"
        )
