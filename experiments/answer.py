"""The program inside a scoring sandbox: loads the trained model once, then answers arrays with arrays.

What they mean is between scorer and script: tokens and logits, or observations and actions. It shares its process with
a script that nobody trusts, so every check here only gives an honest author a clear sentence; the scorer repeats what
matters on its own copy. Rejected: pickled arrays over a pipe, slower than shared memory and an invitation to run the
script's bytes in the scorer.
"""

from __future__ import annotations

import importlib.util
import json
import math
import mmap
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

JOB = Path(__file__).resolve().parents[1]
REQUEST_BYTES_MAX = 4096
REASON_CHARS_MAX = 400

Model = Callable[[Any], Any]


class BadAnswer(ValueError):
    """An answer that breaks the contract of load_model; the message says how."""


def load_script(path: Path) -> ModuleType:
    """Return train.py imported as the module `train`, its training left alone by the guard on `__main__`."""
    spec = importlib.util.spec_from_file_location("train", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["train"] = module
    spec.loader.exec_module(module)
    return module


def ask(
    model: Model, question: NDArray[Any], wanted: tuple[int, ...], device: str, dtype: str = "float32"
) -> NDArray[Any]:
    """Return the model's answer to a question; BadAnswer when it is not of the wanted shape and dtype.

    A script that has imported torch gets a tensor on `device`, any other an array.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        found = model(question)
    else:
        with torch.inference_mode():
            found = model(torch.from_numpy(question).to(device))
            if isinstance(found, torch.Tensor):
                found = found.detach().cpu()
    kind, shape = str(getattr(found, "dtype", type(found).__name__)), tuple(getattr(found, "shape", ()))
    if kind.removeprefix("torch.") != dtype or shape != wanted:
        raise BadAnswer(f"the model answered {kind} of shape {shape}; it must answer {dtype} of shape {wanted}")
    return np.ascontiguousarray(found, dtype=dtype)


class Slots:
    """The shared memory of one instance: `slots` slots of one question and its answer each, of the shapes in facts."""

    def __init__(self, facts: dict[str, Any]) -> None:
        count = int(facts["slots"])
        self.questions = _mapped(facts["question"], int(facts["question_fd"]), count, mmap.PROT_READ)
        self.answers = _mapped(facts["answer"], int(facts["answer_fd"]), count, mmap.PROT_READ | mmap.PROT_WRITE)


def _mapped(form: dict[str, Any], fd: int, count: int, protection: int) -> NDArray[Any]:
    dtype, shape = np.dtype(form["dtype"]), (count, *form["shape"])
    return np.frombuffer(mmap.mmap(fd, math.prod(shape) * dtype.itemsize, prot=protection), dtype).reshape(shape)


def serve(model: Model, slots: Slots, control: socket.socket, device: str) -> None:
    """Answer one question a request until the scorer hangs up."""
    wanted, dtype = slots.answers.shape[1:], str(slots.answers.dtype)
    while request := control.recv(REQUEST_BYTES_MAX):
        slot = int(json.loads(request)["slot"])
        slots.answers[slot] = ask(model, slots.questions[slot].copy(), wanted, device, dtype)
        control.send(json.dumps({"op": "done", "slot": slot}).encode())


def main() -> None:
    """Load the checkpoint through the script, say so, serve; say why instead when that fails."""
    sys.path[0] = str(JOB)
    facts = json.loads((JOB / "run.json").read_text())
    checkpoint = os.environ.get("SANDBOX_ROOT", "") + facts["checkpoint"]  # set where no mount could be made
    control = socket.socket(fileno=int(facts["control_fd"]))
    try:
        slots = Slots(facts)
        load_model = getattr(load_script(JOB / "train.py"), "load_model", None)
        if not callable(load_model):
            raise AttributeError("train.py has no load_model(checkpoint, device)")
        model = load_model(checkpoint, facts["device"])
        control.send(b'{"op":"ready"}')
        serve(model, slots, control, facts["device"])
    except BaseException as error:
        bad = isinstance(error, BadAnswer)
        reason = str(error) if bad else f"{type(error).__name__}: {error}"
        control.send(json.dumps({"op": "bad" if bad else "failed", "reason": reason[:REASON_CHARS_MAX]}).encode())
        raise


if __name__ == "__main__":
    main()
