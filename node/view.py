"""What the owner sees while a node researches: the words common to both views, and the plain one.

The live view for a terminal stands in `live`; this one prints a line for each thing that happens, for logs, pipes and
services. The loop calls a view, and never prints anything itself.
"""

import sys
import time
from dataclasses import dataclass
from typing import Protocol, TextIO

from ensue.store import ResultRow
from node.text import printable

PROGRESS_EVERY_S = 15.0
SAID_PHASES = ("set-up", "training", "scoring")


@dataclass(frozen=True)
class Facts:
    """Who and where this node is; fixed for one start."""

    name: str
    peer_id: str
    network: str
    network_name: str
    track: str
    track_title: str
    metric: str
    clock: str
    budget_s: float
    device: str
    hardware_class: str
    sandbox: str
    home: str
    founded: bool


@dataclass(frozen=True)
class Trying:
    """What is in hand: what is tried, on what, why, and what is expected of it.

    `number` is None for a rerun, which is no experiment; `base` says in words what it builds on.
    """

    number: int | None
    description: str
    why: str
    parent_value: float | None
    mean: float | None
    sd: float | None
    base: str = ""


@dataclass(frozen=True)
class Moment:
    """How far a run is: `fraction` of the budget, `left_s` of it left (on the track's clock), the last loss it told."""

    fraction: float
    left_s: float
    loss: float | None
    step: int | None
    tokens_per_s: float | None


@dataclass(frozen=True)
class Standing:
    """The best so far, the first value it is compared with, and how many experiments there are."""

    best: ResultRow | None
    baseline: ResultRow | None
    experiments: int
    kept: int


class View(Protocol):
    """What the loop tells whoever watches."""

    def of(self, device: str) -> "View":
        """Return what one of several devices' loops tells; `opened` and `closed` are called on the whole alone."""

    def opened(self, facts: Facts, standing: Standing, recent: list[ResultRow]) -> None:
        """Begin."""

    def trying(self, trying: Trying) -> None:
        """A new experiment was chosen."""

    def phase(self, name: str) -> None:
        """The experiment entered a phase: setting up, training, scoring…"""

    def progress(self, moment: Moment) -> None:
        """The training went on."""

    def finished(self, row: ResultRow, verdict: str, standing: Standing) -> None:
        """A result was signed and stored; `verdict` says in words why it was kept or not."""

    def reran(self, text: str) -> None:
        """A rerun or a calibration run is over; `text` says what came of it."""

    def waiting(self, reason: str | None) -> None:
        """Nothing runs, for this reason; None ends the wait."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def closed(self) -> None:
        """The end."""


def budget_words(clock: str, budget_s: float) -> str:
    """Return a budget in words: "120 processor seconds" or "300 seconds"."""
    return f"{budget_s:g} processor seconds" if clock == "cpu" else f"{budget_s:g} seconds"


def outcome_words(row: ResultRow) -> str:
    """Return a result's number and fate in a few words."""
    if row.value is None:
        return f"{row.status.replace('_', ' ')}: {printable(row.reason or 'no reason given')}"
    return f"{row.status} · {printable(row.metric)} {row.value:.4f}"


def standing_words(standing: Standing) -> str:
    """Return the best so far, and by how much it beats the first value."""
    best, baseline = standing.best, standing.baseline
    if best is None or best.value is None:
        return "no best yet"
    words = f"best {best.value:.4f}"
    if baseline is not None and baseline.value is not None and baseline.id != best.id:
        words += f", better by {abs(best.value - baseline.value):.4f} than the baseline's {baseline.value:.4f}"
    return words


class PlainView:
    """One line for each event, with the time of day."""

    def __init__(self, stream: TextIO | None = None, prefix: str = "") -> None:
        self._stream = stream or sys.stdout
        self._prefix = prefix
        self._tag = ""
        self._last_progress = 0.0
        self._waiting: str | None = None

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {self._prefix}{printable(text)}", file=self._stream, flush=True)

    def of(self, device: str) -> "PlainView":
        """Begin each line with the device."""
        return PlainView(self._stream, f"{device}  ")

    def opened(self, facts: Facts, standing: Standing, recent: list[ResultRow]) -> None:
        """Say who we are and what is known."""
        if facts.founded:
            self._say(
                f"founded the network {printable(facts.network_name)} ({facts.network[:10]}); this is its first node"
            )
        self._say(f"{printable(facts.name)} · {facts.peer_id} · network {facts.network[:10]} · home {facts.home}")
        self._say(
            f"track {facts.track} ({facts.track_title}) · {budget_words(facts.clock, facts.budget_s)} an experiment · "
            f"{facts.hardware_class} · sandbox {facts.sandbox}"
        )
        if standing.experiments:
            self._say(f"{standing.experiments} experiments so far, {standing.kept} kept · {standing_words(standing)}")

    def trying(self, trying: Trying) -> None:
        """Say what comes next and why."""
        self._tag = "rerun" if trying.number is None else f"#{trying.number}"
        expected = "" if trying.mean is None else f" · expecting {trying.mean:.4f} ± {trying.sd or 0.0:.4f}"
        self._say(f"{self._tag} {printable(trying.description)}{expected}")
        if trying.base:
            self._say(f"{self._tag} {printable(trying.base)}")
        if trying.why:
            self._say(f"{self._tag} why: {printable(trying.why)}")

    def phase(self, name: str) -> None:
        """Say which phase began."""
        self._last_progress = time.monotonic()
        if name in SAID_PHASES:
            self._say(f"{self._tag} {name}")

    def progress(self, moment: Moment) -> None:
        """Say now and then how far the training is."""
        if time.monotonic() - self._last_progress < PROGRESS_EVERY_S:
            return
        self._last_progress = time.monotonic()
        loss = "" if moment.loss is None else f" · loss {moment.loss:.3f}"
        speed = "" if moment.tokens_per_s is None else f" · {moment.tokens_per_s:,.0f} tokens/s"
        self._say(f"{self._tag} {moment.fraction:.0%} · {moment.left_s:.0f} s of the budget left{loss}{speed}")

    def finished(self, row: ResultRow, verdict: str, standing: Standing) -> None:
        """Say what came out."""
        self._say(f"{self._tag} {outcome_words(row)} · {printable(verdict)} · {standing_words(standing)}")

    def reran(self, text: str) -> None:
        """Say it."""
        self._say(f"{self._tag} {printable(text)}")

    def waiting(self, reason: str | None) -> None:
        """Say once why nothing happens."""
        if reason != self._waiting and reason is not None:
            self._say(f"waiting: {reason}")
        self._waiting = reason

    def note(self, text: str) -> None:
        """Say it."""
        self._say(printable(text))

    def closed(self) -> None:
        """Say nothing: the last line was the last event."""
