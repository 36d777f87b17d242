"""A second kind of track: a policy that balances a pole, scored by a scorer of its own over the same protocol.

The physics are those of Barto, Sutton and Anderson (1983). The scorer steps the poles outside the sandbox, with starts
that it draws itself, and asks the sandboxed policy for actions; a policy that remembers fails the second asking.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from experiments import job
from experiments.instance import Form, Instance
from experiments.outcome import Control, Failed, Outcome
from experiments.supervisor import Watch

POLES, STEPS = 16, 120
STATE, STEP_S = 4, 0.02  # cart's place and speed, pole's angle and speed
ANGLE_MAX, PLACE_MAX, FORCE = 0.2095, 2.4, 10.0

SCRIPT = '''
import numpy as np
from safetensors.numpy import load_file, save_file

from experiments import harness


def load_model(checkpoint, device):
    """Return f: float32 observations (B, 4) -> float32 forces (B, 1), of which the sign counts."""
    weights = load_file(checkpoint)["weights"]
    return lambda seen: np.asarray(seen) @ weights


def main():
    run = harness.connect()
    run.start()
    save_file({"weights": np.array(WEIGHTS, np.float32)[:, None]}, run.checkpoint)


if __name__ == "__main__":
    main()
'''


def script(weights: list[float]) -> bytes:
    """Return a script whose policy pushes by the sign of a weighted sum of the state."""
    return SCRIPT.replace("WEIGHTS", str(weights)).encode()


def step(state: np.ndarray, force: np.ndarray) -> np.ndarray:
    """Return the states (B, 4) a moment later under forces (B,)."""
    _, speed, angle, turn = state.T
    sine, cosine = np.sin(angle), np.cos(angle)
    pushed = (force + 0.05 * turn**2 * sine) / 1.1
    bent = (9.8 * sine - cosine * pushed) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
    gained = pushed - 0.05 * bent * cosine / 1.1
    return state + STEP_S * np.stack([speed, gained, turn, bent], axis=1)


def score(task: job.Task, weights: Path, seed: int, control: Control = lambda: "run") -> Outcome:
    """Return for how large a share of the time the policy keeps poles up, or why it is worth nothing."""
    forms = {"question": Form("float32", (POLES, STATE)), "answer": Form("float32", (POLES, 1))}
    generator = np.random.default_rng(seed)
    state = generator.uniform(-0.05, 0.05, (POLES, STATE))
    up = np.ones(POLES, dtype=bool)
    kept = 0
    with contextlib.ExitStack() as held:
        first = held.enter_context(Instance(task, "score-a", weights, **forms))
        second = held.enter_context(Instance(task, "score-b", weights, **forms))
        watch = Watch([first.box, second.box], control, may_freeze=True)
        first.wait_ready(watch.look)
        second.wait_ready(watch.look)
        asked, answered = [], []
        for _ in range(STEPS):
            asked.append(state.astype(np.float32))
            (action,) = (answer.copy() for answer in first.answers([asked[-1]], watch.look))
            if not np.isfinite(action).all():
                raise Failed("refused", "the policy answered actions that are not finite")
            answered.append(action)
            state = step(state, np.where(action[:, 0] > 0, FORCE, -FORCE))
            up &= (np.abs(state[:, 0]) < PLACE_MAX) & (np.abs(state[:, 2]) < ANGLE_MAX)
            kept += int(up.sum())
        order = generator.permutation(POLES * STEPS)
        asked_again = np.concatenate(asked)[order].reshape(STEPS, POLES, STATE)
        again = [answer.copy() for answer in second.answers(list(asked_again), watch.look)]
        if np.abs(np.concatenate(again) - np.concatenate(answered)[order]).max() > 1e-4:
            raise Failed("refused", "the policy acts differently on what it saw before: it remembers or mixes rows")
    return Outcome("scored", value=kept / (POLES * STEPS))
