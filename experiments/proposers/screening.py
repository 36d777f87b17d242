"""The first looks around a script: one step of each knob that usually matters most, before any model is believed.

A model fitted to two or three values knows nothing of knobs that nobody moved, and would stay with the one it knows.
Learning rates come first, then what the script has switched off. Rejected: going through all knobs in turn, which for
a script of twenty takes a night.
"""

import re

import numpy as np

from experiments.knobs import Knob
from experiments.proposers.space import SAME_POINT, Seen, Setting, Space

STEP = 0.22  # of a knob's range; on two decades, a factor of not quite three
LEARNING_RATE = re.compile(r"(^|_)(LR|LEARNING_RATE)(_|$)")


def screening_moves(space: Space, seen: Seen, rng: np.random.Generator) -> list[Setting]:
    """Return a move for each knob worth a first look that no trial has moved yet, in random order.

    The move goes towards the wider side of the knob's range: its hint is what the script's author holds possible, and
    the middle of it the best guess there is.
    """
    moved = np.abs(seen.points - space.origin).max(0, initial=0.0) > SAME_POINT
    moves = []
    for i in rng.permutation(len(space)):
        knob = space.knobs[i]
        if moved[i] or not (LEARNING_RATE.search(knob.name) or _is_switched_off(knob)):
            continue
        move = _middle_choice(knob) if knob.kind == "choice" else space.move(i, _step(float(space.origin[i]), rng))
        if move is not None:
            moves.append(move)
    return moves


def _is_switched_off(knob: Knob) -> bool:
    """Return whether a knob stands at nothing: a part of the script that is there and not used."""
    return knob.kind in ("bool", "int", "choice") and knob.value in (0, False)


def _step(at: float, rng: np.random.Generator) -> float:
    if abs(at - 0.5) < SAME_POINT:
        return at + STEP * float(rng.choice((-1, 1)))
    return at + STEP if at < 0.5 else at - STEP


def _middle_choice(knob: Knob) -> Setting | None:
    others = [choice for choice in knob.choices if choice != knob.value]
    return {knob.name: others[len(others) // 2]} if others else None
