"""Reads what one pass of judging needs from a replica, once: people, calibrations, draws, duties and replications.

Everything is asked for when first needed and kept for the pass, in which nothing else is written. Left out: the rules
(seating, blocks, noise, verdict). Rejected: reading all records of these kinds at once, of which a pass needs few.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ensue.errors import UnknownId
from ensue.people import Cover, InForce, is_official
from verify import noise, seating
from verify.blocks import Started, Told

if TYPE_CHECKING:
    from ensue.record import Record
    from ensue.store import ResultRow, Store


@dataclass(frozen=True, slots=True)
class Machine:
    """An official calibration: whose, in which class, whether it may be drawn, and the values it tells."""

    id: str
    node: str
    seq: int
    account: str
    hardware_class: str
    available: bool
    values: tuple[tuple[str, float], ...]


class Hearing:
    """The facts of one pass over one replica."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._covers: dict[str, tuple[Cover, ...]] = {}
        self._machines: dict[str, dict[str, Machine]] = {}
        self._noise: dict[tuple[str, str, float], tuple[float, float]] = {}
        self._rows: dict[str, ResultRow | None] = {}
        self._draws: dict[str, tuple[seating.Draw, ...]] = {}

    @cached_property
    def epochs(self) -> list[InForce]:
        """Return whom the network trusted from its genesis on; the last is now."""
        return self._store.people.epochs()

    def result(self, identifier: str) -> ResultRow | None:
        """Return a result that is here, None for anything else."""
        if identifier not in self._rows:
            try:
                self._rows[identifier] = self._store.result(identifier)
            except UnknownId:
                self._rows[identifier] = None
        return self._rows[identifier]

    def vouched(self, record: Record) -> str | None:
        """Return the account whose official record this is, None where it is not; it is taken not to be void."""
        return self.vouched_for(record.author, record.seq, record.time_ms)

    def vouched_for(self, node: str, seq: int, time_ms: int) -> str | None:
        """Return the account for which a node spoke officially in a record, None where it did not."""
        account = self._store.people.account_of(node, seq)
        if account is None:
            return None
        covers = self._covers.get(account)
        if covers is None:
            covers = self._covers[account] = self._store.people.covers(account)
        return account if is_official(covers, self.epochs[-1].needed, node, seq, time_ms) else None

    def account_of(self, node: str, seq: int) -> str | None:
        """Return the account for which a node spoke in a record, vouched for or not."""
        return self._store.people.account_of(node, seq)

    def machines(self, track: str) -> Mapping[str, Machine]:
        """Return the official calibrations of a track, by id."""
        found = self._machines.get(track)
        if found is None:
            found = self._machines[track] = {}
            for one in self._store.trials.about(track, "calibration"):
                account, body = self.vouched(one), one.body
                if account is not None:
                    values = tuple((body["source"], float(value)) for value in body["values"])
                    place = (one.id, one.author, one.seq, account, body["hardware_class"])
                    found[one.id] = Machine(*place, body.get("available", True), values)
        return found

    def run_noise(self, track: str, hardware_class: str, prior_sd: float) -> tuple[float, float]:
        """Return the standard deviation of one run in a class, and its degrees of freedom."""
        key = track, hardware_class, prior_sd
        if key not in self._noise:
            told: dict[str, list[tuple[str, float]]] = {}
            for one in self.machines(track).values():
                if one.hardware_class == hardware_class:
                    told.setdefault(one.account, []).extend(one.values)
            self._noise[key] = noise.run_noise(prior_sd, told)
        return self._noise[key]

    def draws(self, result: str) -> tuple[seating.Draw, ...]:
        """Return the draws that were made for a result."""
        found = self._draws.get(result)
        if found is None:
            sealings, openings = [], []
            for one in self._store.trials.about(result, "listing"):
                for each in one.body["results"]:
                    if each["result"] == result:
                        place = one.author, one.seq, one.body["quorum"], one.body.get("draw", 0)
                        sealed = each["commitment"], float(each["noise_sd"]), tuple(one.body["entrants"])
                        sealings.append(seating.Sealing(*place, *sealed))
            for one in self._store.trials.about(result, "drawing"):
                for each in one.body["results"]:
                    if each["result"] == result:
                        place = one.author, one.seq, one.body["quorum"], one.body.get("draw", 0)
                        openings.append(seating.Opening(*place, each["secret"]))
            found = self._draws[result] = tuple(seating.draws(result, self.epochs, sealings, openings))
        return found

    def seats(self, row: ResultRow, author: str) -> dict[str, dict[str, seating.Seat]]:
        """Return the seats of a result of an account, by hardware class."""
        machines = self.machines(row.track)
        draws = self.draws(row.id)
        classes = {machines[one].hardware_class for draw in draws for one in draw.entrants if one in machines}
        return {
            name: seating.seats(row.id, author, ((draw, self._in_class(row.track, draw, name)) for draw in draws))
            for name in sorted(classes)
        }

    def in_draw(self, row: ResultRow, author: str, hardware_class: str) -> int:
        """Return how many accounts, besides the author's, were in any draw of a result in a class."""
        accounts = {name for draw in self.draws(row.id) for name in self._in_class(row.track, draw, hardware_class)}
        return len(accounts - {author})

    def duties(self, row: ResultRow) -> dict[str, Started]:
        """Return the duties about a result, by id."""
        return {
            one.id: Started(one.id, one.author, self.vouched(one), one.body["block"], one.body["hardware_class"])
            for one in self._store.trials.about(row.id, "duty")
            if one.body["result"] == row.id
        }

    def told(self, row: ResultRow) -> list[Told]:
        """Return the replications of a result, in order of author and number."""
        return [
            Told(one.id, one.author, self.vouched(one), one.body)
            for one in self._store.trials.about(row.id, "replication")
            if one.body["result"] == row.id
        ]

    def _in_class(self, track: str, draw: seating.Draw, hardware_class: str) -> set[str]:
        machines = self.machines(track)
        mine = (machines[one] for one in draw.entrants if one in machines)
        return {one.account for one in mine if one.hardware_class == hardware_class and one.available}
