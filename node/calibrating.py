"""How fast and how noisy this machine is on a track, told to all: what lets it be drawn for reruns.

At the first start it tells only that it is there, which costs nothing. Later a few runs of the baseline follow, each
with a seed of its own, one at a time so that none is in the way for long; when all are over their values are signed.
Left out: when a run may be made (duties), and what noise follows from all machines' values (verify).
"""

from __future__ import annotations

import hashlib
import secrets
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ensue.record import Record
from ensue.store import Store
from node import bodies, journal
from node.bench import Place
from node.journal import Series
from node.measuring import Measured, Measuring, clear
from node.text import number
from node.view import Trying

RUNS = 3
"""Runs of the baseline in one calibration."""
VALID_MS = 30 * 86_400_000
"""How long values stand before a machine is measured again."""
RETRY_S = 86_400.0
"""How long after a baseline that had no value it is tried again."""
SEED_BITS = 31


@dataclass(frozen=True, slots=True)
class Known:
    """What a node has told about itself on one track and class: the newest word, and the newest with values."""

    newest: Record | None
    measured: Record | None

    @property
    def available(self) -> bool:
        """Return whether it may be drawn."""
        return self.newest is not None and self.newest.body.get("available") is True

    @property
    def tokens_per_s(self) -> float | None:
        """Return the tokens trained on in a second of the budget."""
        return self.measured.body.get("tokens_per_s") if self.measured else None

    @property
    def sd(self) -> float | None:
        """Return the standard deviation of a run, from this machine's own runs alone."""
        values = self.measured.body.get("values", []) if self.measured else []
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def runs(self) -> int:
        """Return how many runs that is from."""
        return len(self.measured.body.get("values", [])) if self.measured else 0


def known(store: Store, own: str, track: str, hardware_class: str) -> Known:
    """Return what the node `own` has told about itself on a track and class."""
    told = [
        record
        for record in store.trials.by(own, "calibration")
        if (record.body.get("track"), record.body.get("hardware_class")) == (track, hardware_class)
    ]
    with_values = [record for record in told if record.body.get("values")]
    return Known(told[-1] if told else None, with_values[-1] if with_values else None)


class Calibrator:
    """Tells of one place; `trying`, `said` and `spent` as for replicating.Replicator."""

    def __init__(
        self,
        place: Place,
        measuring: Measuring,
        *,
        trying: Callable[[Trying], None],
        said: Callable[[str], None],
        spent: Callable[[float], None],
    ) -> None:
        self._place, self._measuring = place, measuring
        self._trying, self._said, self._spent = trying, said, spent
        self._failed_at = float("-inf")

    def enrol(self) -> Record | None:
        """Tell whether this machine may be drawn, unless that stands already; return what was signed.

        Not for two threads at once (Shared.claiming).
        """
        place = self._place
        available = place.settings.replication_share > 0
        before = self._known()
        if before.available == available:
            return None
        body = bodies.calibration(place, self._source()[1], None, available=available)
        return self._measuring.patience.persist(lambda: place.store.append(place.identity, "calibration", body))

    def run_all(self) -> Record | None:
        """Do all runs now, and return the values signed; None where its owner stopped it, or a run had no value."""
        before = self._known().measured
        for _ in range(RUNS):
            failed_at = self._failed_at
            if not self.run_one() or self._failed_at != failed_at:
                return None
            after = self._known().measured
            if after is not None and (before is None or after.id != before.id):
                return after
        return None

    def due(self) -> bool:
        """Return whether this machine should be measured, for the first time or again."""
        measured = self._known().measured
        if measured is not None and time.time_ns() // 1_000_000 - measured.time_ms < VALID_MS:
            return False
        return time.monotonic() - self._failed_at >= RETRY_S

    def run_one(self) -> bool:
        """Do one of the runs, and sign their values after the last; return False where its owner stopped it.

        A baseline that has no value here ends the calibration; it is said, and tried again a day later.
        """
        source, sha256 = self._source()
        series = self._series(sha256)
        if not self._put(series):
            return False
        total = f"run {len(series.values) + 1} of {RUNS}"
        why = "How fast and how noisy this machine is says how much its reruns of others' results tell."
        self._trying(Trying(None, f"calibrating: the baseline, {total}, seed {series.seed}", why, None, None, None))

        def keep(trained: str) -> None:
            self._write(series.model_copy(update={"trained": trained}))

        measured = self._measuring.measure(source, series.seed, Path(series.run_dir), trained=series.trained, keep=keep)
        if measured is None:
            return False
        self._spent(measured.seconds)
        clear(Path(series.run_dir))
        if measured.outcome.value is None:
            self._failed_at = time.monotonic()
            self._put(None)
            self._said(f"the baseline has no value here, so this machine is not calibrated: {measured.outcome.reason}")
            return True
        self._said(f"calibration, {total}: {number(measured.outcome.value)}")
        return self._go_on(self._with(series, measured))

    def _go_on(self, series: Series) -> bool:
        """Write down what is measured, or sign it if that was the last run; return False where a stop came first."""
        place = self._place
        if len(series.values) < RUNS:
            return self._put(series)
        body = bodies.calibration(place, series.source, series, available=place.settings.replication_share > 0)
        gone: dict[str, str | None] = {journal.series_key(place.hardware.device): None}
        signed = self._measuring.patience.persist(
            lambda: place.store.append(place.identity, "calibration", body, local=gone)
        )
        return signed is not None

    def _with(self, series: Series, measured: Measured) -> Series:
        """Return the series with one more value, and the seed of the next run."""
        trained = measured.trained
        used_s = trained.cpu_s if self._place.track.clock == "cpu" else trained.train_wall_s
        told = trained.tokens_reported is not None
        return series.model_copy(
            update={
                "seeds": [*series.seeds, series.seed],
                "values": [*series.values, measured.outcome.value],
                "seed": _seed((*series.seeds, series.seed)),
                "tokens": series.tokens + (trained.tokens_reported or 0),
                "budget_used_s": series.budget_used_s + (used_s if told else 0.0),
                "trained": None,
            }
        )

    def _series(self, sha256: str) -> Series:
        """Return the series that is going on for this track, class and baseline, else a new one."""
        place = self._place
        before = journal.read_series(place.store, place.hardware.device)
        same = (place.track.id, place.hardware.hardware_class, sha256)
        if before is not None and (before.track, before.hardware_class, before.source) == same:
            return before
        track, hardware_class, source = same
        folder = str(place.runs / f"calibration-{time.time_ns():x}")
        return Series(track=track, hardware_class=hardware_class, source=source, run_dir=folder, seed=_seed(()))

    def _source(self) -> tuple[bytes, str]:
        source = self._place.track.baseline.read_bytes()
        return source, hashlib.sha256(source).hexdigest()

    def _known(self) -> Known:
        place = self._place
        return known(place.store, place.identity.peer_id, place.track.id, place.hardware.hardware_class)

    def _write(self, series: Series | None) -> bool:
        text = None if series is None else series.model_dump_json()
        self._place.store.local_set(journal.series_key(self._place.hardware.device), text)
        return True

    def _put(self, series: Series | None) -> bool:
        return self._measuring.patience.persist(lambda: self._write(series)) is True


def _seed(taken: tuple[int, ...]) -> int:
    """Return a seed of one's own that was not taken yet."""
    while (drawn := secrets.randbits(SEED_BITS)) in taken:
        pass
    return drawn
