"""The program inside a scoring sandbox: loads the trained model once, then answers token batches with logits.

It shares its process with a script that nobody trusts, so every check here only gives an honest author a clear
sentence; the scorer repeats what matters on its own copy. Rejected: pickled arrays over a pipe, slower than shared
memory and an invitation to run the script's bytes in the scorer.
"""

from __future__ import annotations

import importlib.util
import json
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
    """Logits that break the contract of load_model; the message says how."""


def load_script(path: Path) -> ModuleType:
    """Return train.py imported as the module `train`, its training left alone by the guard on `__main__`."""
    spec = importlib.util.spec_from_file_location("train", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["train"] = module
    spec.loader.exec_module(module)
    return module


def ask(model: Model, tokens: NDArray[np.int64], vocab_size: int, device: str) -> NDArray[np.float32]:
    """Return the model's logits (B, T, V) for tokens (B, T); BadAnswer when they are not float32 of that shape.

    A script that has imported torch gets an int64 tensor on `device`, any other an int64 array.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        logits = model(tokens)
    else:
        with torch.inference_mode():
            logits = model(torch.from_numpy(tokens).to(device))
            if isinstance(logits, torch.Tensor):
                logits = logits.detach().cpu()
    kind, shape = str(getattr(logits, "dtype", type(logits).__name__)), tuple(getattr(logits, "shape", ()))
    wanted = (*tokens.shape, vocab_size)
    if kind.removeprefix("torch.") != "float32" or shape != wanted:
        raise BadAnswer(f"the model answered {kind} of shape {shape}; it must answer float32 of shape {wanted}")
    return np.ascontiguousarray(logits, dtype=np.float32)


class Slots:
    """The shared memory of one instance: `count` slots of one batch of tokens and its logits each."""

    def __init__(self, facts: dict[str, Any]) -> None:
        count, rows, length = int(facts["slots"]), int(facts["batch_rows"]), int(facts["seq_len"])
        vocab = int(facts["vocab_size"])
        incoming = mmap.mmap(int(facts["tokens_fd"]), count * rows * length * 8, prot=mmap.PROT_READ)
        outgoing = mmap.mmap(int(facts["logits_fd"]), count * rows * length * vocab * 4)
        self.tokens = np.frombuffer(incoming, dtype=np.int64).reshape(count, rows, length)
        self.logits = np.frombuffer(outgoing, dtype=np.float32).reshape(count, rows, length, vocab)


def serve(model: Model, slots: Slots, control: socket.socket, device: str) -> None:
    """Answer one batch a request until the scorer hangs up."""
    vocab = slots.logits.shape[-1]
    while request := control.recv(REQUEST_BYTES_MAX):
        slot = int(json.loads(request)["slot"])
        slots.logits[slot] = ask(model, slots.tokens[slot].copy(), vocab, device)
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
