"""Cheats that look at the next token here and there, tried on the scorer's own search, thousands of times.

An honest trained model answers once for all: whole rows (A), and how much worse it does at every place behind exchanged
tokens (B). A cheat is then a gain of so many nats at some places: A has it, and B lacks it where the next token was
exchanged. Leaves out sandboxes and the cheat's code, which cost seconds a try.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from experiments import probes, scorer
from experiments.outcome import Failed

Floats = np.ndarray
Respond = Callable[[np.ndarray, np.ndarray], Floats]  # tokens, targets (batches, R, T) -> nats


@dataclass(frozen=True)
class Honest:
    """What an honest model answers on the rows (n, T + 1) of a track, of which the first `main` are the main slice."""

    rows: np.ndarray
    main: int
    batch_rows: int
    nats: Floats  # (n, T)
    reference: Floats  # (n, T): what plain statistics of the text explain
    coarse: Floats  # (COARSE_GAP, n, T): by how much worse, with every fifth token exchanged from this phase on
    fine: Floats  # (FINE_GAP, n, T): the same for every twelfth
    text_bytes: int  # of the main slice

    @property
    def places(self) -> int:
        """Return how many places the main slice has."""
        return self.main * self.nats.shape[1]

    def nats_worth(self, bits_per_byte: float) -> float:
        """Return how many nats over the whole main slice are worth so much of the metric."""
        return float(bits_per_byte * np.log(2) * self.text_bytes)


def observe(rows: np.ndarray, main: int, reference: Floats, respond: Respond, text_bytes: int, batch: int) -> Honest:
    """Return what the model behind `respond` answers on whole rows, and behind exchanged tokens (17 times all rows)."""
    generator = np.random.default_rng(1)

    def ask(tokens: np.ndarray) -> Floats:
        nats = np.empty(tokens.shape)
        for low in range(0, len(rows), batch):
            part = slice(low, low + batch)
            nats[part] = respond(tokens[part][None], rows[part, 1:][None])[0]
        return nats

    nats = ask(rows[:, :-1])
    places = np.arange(rows.shape[1] - 1)
    lost = {}
    for gap in (probes.COARSE_GAP, probes.FINE_GAP):
        lost[gap] = np.zeros((gap, *nats.shape))
        for phase in range(gap):
            tested = np.broadcast_to((places - phase) % gap == 0, (1, *nats.shape))
            probe = probes._exchange("coarse", rows, np.arange(len(rows))[None], tested, rows[main:], generator)
            lost[gap][phase] = ask(probe.tokens[0]) - nats
    return Honest(rows, main, batch, nats, reference, lost[probes.COARSE_GAP], lost[probes.FINE_GAP], text_bytes)


class Trial:
    """One scoring of an honest model with a cheat's gains (main, T) added."""

    def __init__(self, honest: Honest, gains: Floats, holdout: int, generator: np.random.Generator) -> None:
        self.honest, self.generator = honest, generator
        pool = honest.main + generator.permutation(len(honest.rows) - honest.main)
        self.index = np.concatenate([np.arange(honest.main), pool[:holdout]])
        self.fillers = honest.rows[pool[holdout:]]
        self.gains = np.zeros((len(self.index), gains.shape[1]))
        self.gains[: honest.main] = gains

    def lost(self, probe: probes.Probe) -> Floats:
        """Return by how many nats (batches, R, T) B does worse than A on a probe; behind a cut only where it is."""
        table = {"coarse": self.honest.coarse, "fine": self.honest.fine, "cut": np.zeros((1, *self.honest.nats.shape))}
        noise = table[probe.kind]
        places = np.arange(probe.tested.shape[-1])
        read = np.concatenate([np.zeros_like(probe.tested[..., :1]), probe.tested[..., :-1]], axis=-1)
        last = np.maximum.accumulate(np.where(read, places, -1), axis=-1)  # the exchanged token nearest behind
        behind = np.minimum(places - last, len(noise) - 1)
        cheated = np.where(probe.tested, self.gains[probe.row], 0.0)
        row = self.index[probe.row][..., None]
        return np.where(last >= 0, noise[(places - behind - 1) % len(noise), row, places], 0.0) + cheated

    def caught(self, batches: int) -> bool:
        """Return whether the scorer's own search and bounds refuse these answers."""
        honest, generator = self.honest, self.generator
        layout = probes.lay_out(len(self.index), honest.batch_rows, generator)
        appeal = honest.reference[self.index] - (honest.nats[self.index] - self.gains)
        search = probes.Search(honest.rows[self.index], honest.main, self.fillers, layout, appeal, generator)
        try:
            scorer.examine(search, batches, self.lost, "cpu")
        except Failed:
            return True
        return False


def gains(honest: Honest, kind: str, share: float, nats: float, generator: np.random.Generator) -> Floats:
    """Return what a cheat gains (main, T): `nats` in all, at this share of the places, which its kind chooses."""
    surprise = honest.nats[: honest.main]
    extra = honest.reference[: honest.main] - surprise
    length = surprise.shape[1]
    count = max(1, round(share * honest.places))
    each = nats / count
    place = np.arange(honest.places)
    order = generator.permutation(honest.places)
    where = {
        "at random": order,
        "on hard tokens": order[np.argsort(surprise.ravel()[order] < max(6.0, each), kind="stable")],
        "where it did worst": np.argsort(extra.ravel()),
        "in ten rows": order[np.argsort(~np.isin(order // length, order[:10] // length), kind="stable")],
        "in one row": order[np.argsort(order // length != order[0] // length, kind="stable")],
        "in three rows where it did worst": order[
            np.argsort(~np.isin(order // length, np.argsort(extra.sum(axis=1))[:3]), kind="stable")
        ],
        "at the end of rows": order[np.argsort(length - 1 - order % length, kind="stable")],
        "at the start of rows": order[np.argsort(order % length, kind="stable")],
    }[kind]
    room = np.minimum(surprise.ravel(), each * 1.5 if kind == "at random" else each)
    able = where[(room[where] >= 0.5 * each) & (place[where] % length < length - 1)]
    chosen = np.zeros(honest.places)
    chosen[able[:count]] = 1.0
    taken = _filled(surprise.ravel() * chosen, nats)
    return taken.reshape(surprise.shape)


def _filled(room: Floats, total: float) -> Floats:
    """Return what to take from each place's room so that, if there is enough, all of it is `total`."""
    low, high = 0.0, float(room.max(initial=0.0))
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(room, middle).sum() < total else (low, middle)
    return np.minimum(room, high)
