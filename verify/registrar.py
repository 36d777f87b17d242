"""What a trusted verifier does for reruns: it lists what is to be tested, seals a number for each, and tells it later.

It tests the best results of each hardware class that reruns have said nothing final about, a few at a time; where
there is nothing of the kind, now and then one that is not the best, more often the less its author's results were
tested. Everything here is a verifier's own policy: the rules that others judge by are elsewhere (seating, trust). Left
out: credentials (issuing), and when this is done (node.verifying). Rejected: every node may list; whoever lists what
suits it would choose what is tested.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ensue.body import DRAWS_MAX, ENTRANTS_MAX, LISTED_MAX
from verify import lottery, seating
from verify.hearing import Hearing, Machine
from verify.trust import Judge

if TYPE_CHECKING:
    from ensue.identity import Identity
    from ensue.people import InForce
    from ensue.record import Record
    from ensue.store import ResultRow, Store

AT_ONCE = 2
"""Results of one hardware class that are under test at a time."""
LOOKED_AT_MAX = 50
"""Best results of a class that are looked at for the next one to test."""
OTHERS_MIN = 2
"""Accounts besides the author's that must be there before a draw makes sense."""
ASLEEP_MS = 14 * 86_400_000
"""A machine that has published nothing for so long is not drawn."""
REDRAWN_MS = 6 * 3_600_000
"""A result of which nothing was heard for so long gets seven more seats."""


class Registrar:
    """The registrar of one verifier, whose key signs; `noises` gives the tracks it knows with their noise of a run."""

    def __init__(self, store: Store, identity: Identity, noises: Mapping[str, float]) -> None:
        self._store, self._identity, self._noises = store, identity, dict(noises)
        self._judge = Judge(store)
        self._sealed: set[tuple[str, int, str]] = set()
        self._seen = 0

    def step(self, now_ms: int) -> int:
        """List what is to be tested and tell what may be told; return how many records were signed.

        Does nothing where this verifier is not trusted. Raises DiskFull, or LogInDoubt for its log.
        """
        self._judge.settle()
        now = self._store.people.in_force()
        if self._identity.peer_id not in now.verifiers:
            return 0
        hearing = Hearing(self._store)
        signed = self._tell(now)
        for track, noise_sd in sorted(self._noises.items()):
            signed += self._list(hearing, now, track, noise_sd, now_ms)
        return signed

    # Listing

    def _list(self, hearing: Hearing, now: InForce, track: str, noise_sd: float, now_ms: int) -> int:
        """List what is next on a track, at most one record for each draw number; return how many were signed."""
        machines = self._awake(hearing.machines(track).values(), now_ms)
        if not machines:
            return 0
        chosen: dict[int, list[str]] = {}
        for hardware_class in sorted({row.hardware_class for row in self._store.leaderboard(track, by="class")}):
            for row in self._wanted(hearing, now, track, hardware_class, now_ms):
                draw = self._next_draw(hearing, now, row, now_ms)
                if draw is not None and self._enough(hearing, machines, row):
                    chosen.setdefault(draw, []).append(row.id)
        for draw, results in sorted(chosen.items()):
            sealed = [
                {"result": one, "noise_sd": noise_sd, "commitment": seating.commitment(self._secret(now, one, draw))}
                for one in results[:LISTED_MAX]
            ]
            names = sorted(one.id for one in machines)
            body = {"quorum": now.statement, "draw": draw, "results": sealed, "entrants": names}
            self._store.append(self._identity, "listing", body)
        return len(chosen)

    def _wanted(self, hearing: Hearing, now: InForce, track: str, hardware_class: str, now_ms: int) -> list[ResultRow]:
        """Return the results of a class that should be under test, the best first."""
        confirmed = self._store.best(track, hardware_class=hardware_class, level="confirmed")
        found: list[ResultRow] = []
        spare: list[ResultRow] = []
        for identifier in self._store.trials.untested(track, hardware_class, LOOKED_AT_MAX):
            row = hearing.result(identifier)
            if row is None or not self._testable(hearing, row) or self._is_given_up(hearing, row, now_ms):
                continue
            if confirmed is None or _better(row, confirmed):
                found.append(row)
            elif row.parent is not None and self._is_checked(hearing, now, row):
                spare.append(row)
            if len(found) == AT_ONCE:
                break
        return found or spare[:1]

    def _testable(self, hearing: Hearing, row: ResultRow) -> bool:
        """Return whether there is something to run a result beside: its parent, or, without one, itself.

        That says nothing about a gain, and much about a value that nobody else can reach.
        """
        return row.parent is None or hearing.result(row.parent) is not None

    def _is_checked(self, hearing: Hearing, now: InForce, row: ResultRow) -> bool:
        """Return whether a result that is not the best is among those of its author's that are tested all the same."""
        account = hearing.account_of(row.author, row.seq)
        lot = self._secret(now, row.id, DRAWS_MAX)  # known to nobody, and so are those that will be chosen
        return account is not None and lottery.is_checked(row.id, lot, lottery.checked_share(self._in_a_row(account)))

    def _in_a_row(self, account: str) -> int:
        """Return how many results of an account were confirmed since one was refuted."""
        mine = [one for one in self._judge.rulings() if one.account == account and one.number is not None]
        count = 0
        for one in sorted(mine, key=lambda one: one.number or 0):
            count = 0 if one.refuted else count + one.confirmed
        return count

    def _next_draw(self, hearing: Hearing, now: InForce, row: ResultRow, now_ms: int) -> int | None:
        """Return the number of the draw that this verifier should list a result for, None if there is nothing to do."""
        own = [one for one in self._store.trials.about(row.id, "listing") if one.author == self._identity.peer_id]
        drawn = len(hearing.draws(row.id))
        if drawn == 0:
            mine = self._identity.peer_id in seating.designated(row.id, now.verifiers, now.needed)
            return 0 if mine and not any(one.body["quorum"] == now.statement for one in own) else None
        if drawn >= DRAWS_MAX or any(one.body.get("draw", 0) >= drawn for one in own):
            return None
        mine = self._identity.peer_id in seating.designated(row.id, now.verifiers, now.needed)
        return drawn if mine and self._is_quiet(row, now_ms) else None

    def _is_given_up(self, hearing: Hearing, row: ResultRow, now_ms: int) -> bool:
        """Return whether a result had all its draws, and nobody reruns it."""
        return len(hearing.draws(row.id)) >= DRAWS_MAX and self._is_quiet(row, now_ms)

    def _is_quiet(self, row: ResultRow, now_ms: int) -> bool:
        about = [one for kind in ("listing", "duty", "replication") for one in self._store.trials.about(row.id, kind)]
        return now_ms - max((one.time_ms for one in about), default=0) > REDRAWN_MS

    def _enough(self, hearing: Hearing, machines: Iterable[Machine], row: ResultRow) -> bool:
        """Return whether enough others are there, in any one class, to rerun a result."""
        author = hearing.account_of(row.author, row.seq)
        others: dict[str, set[str]] = {}
        for one in machines:
            if one.account != author:
                others.setdefault(one.hardware_class, set()).add(one.account)
        return any(len(accounts) >= OTHERS_MIN for accounts in others.values())

    def _awake(self, machines: Iterable[Machine], now_ms: int) -> list[Machine]:
        """Return the newest calibration of each machine that may be drawn, of nodes that have been heard of lately."""
        newest: dict[tuple[str, str], Machine] = {}
        for one in sorted(machines, key=lambda one: one.seq):
            newest[one.node, one.hardware_class] = one
        found = []
        for one in newest.values():
            head = self._store.head(one.node)
            if one.available and head is not None and now_ms - head.time_ms < ASLEEP_MS:
                found.append(one)
        if len(found) > ENTRANTS_MAX:
            found = random.SystemRandom().sample(found, ENTRANTS_MAX)
        return found

    # Telling

    def _tell(self, now: InForce) -> int:
        """Tell the secrets of results that all designated verifiers have sealed; return how many records that took."""
        self._look_back()
        epochs = {epoch.statement: epoch for epoch in self._store.people.epochs()}
        ready: dict[tuple[str, int], list[str]] = {}
        for place in sorted(self._sealed):
            quorum, draw, result = place
            epoch = epochs.get(quorum)
            if epoch is not None and self._all_sealed(epoch, *place):
                ready.setdefault((quorum, draw), []).append(result)
        signed = 0
        for (quorum, draw), results in sorted(ready.items()):
            for start in range(0, len(results), LISTED_MAX):
                some = results[start : start + LISTED_MAX]
                secrets = [seating.secret_of(self._identity.seed(), quorum, one, draw) for one in some]
                opened = [{"result": one, "secret": secret} for one, secret in zip(some, secrets, strict=True)]
                body = {"quorum": quorum, "draw": draw, "results": opened}
                self._store.append(self._identity, "drawing", body)
                self._sealed.difference_update((quorum, draw, one) for one in some)
                signed += 1
        return signed

    def _look_back(self) -> None:
        """Take in what this verifier has sealed and told since it looked last, whichever process did."""
        me, trials = self._identity.peer_id, self._store.trials
        sealed, told = trials.by(me, "listing", self._seen), trials.by(me, "drawing", self._seen)
        self._sealed |= {place for one in sealed for place in _places(one)}
        self._sealed -= {place for one in told for place in _places(one)}
        self._seen = max([self._seen, *(one.seq for one in (*sealed, *told))])

    def _all_sealed(self, epoch: InForce, quorum: str, draw: int, result: str) -> bool:
        names = set(seating.designated(result, epoch.verifiers, epoch.needed))
        sealed = {
            one.author
            for one in self._store.trials.about(result, "listing")
            if (one.body["quorum"], one.body.get("draw", 0)) == (quorum, draw)
        }
        return self._identity.peer_id in names and names <= sealed

    def _secret(self, now: InForce, result: str, draw: int) -> str:
        return seating.secret_of(self._identity.seed(), now.statement, result, draw)


def _places(record: Record) -> list[tuple[str, int, str]]:
    """Return the quorum, draw and result of everything in a listing or drawing."""
    body = record.body
    return [(body["quorum"], body.get("draw", 0), one["result"]) for one in body["results"]]


def _better(row: ResultRow, other: ResultRow) -> bool:
    if row.value is None or other.value is None:
        return False
    return row.value < other.value if row.direction == "min" else row.value > other.value
