"""What a device does for others between its own experiments: reruns that it was drawn for, and its calibration.

A bounded share of its time: every second of research earns a part of a second for reruns, which they spend. The account
is kept in the replica's notes, so a restart changes nothing. An own experiment always comes first; a block once begun
is finished, whatever the account says, since others count on the word that was given. Left out: how a block is run
(replicating), and which blocks there are (verify.trust). Rejected: a quota in blocks, as a block takes a minute on one
track and hours on another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from node import journal, replicating
from node.balance import Balance, balance_key
from node.bench import Place
from node.calibrating import Calibrator
from node.control import Control
from node.journal import Block
from node.measuring import Measuring
from node.patience import Patience
from node.replicating import Replicator
from node.report import Report
from verify.ruling import Task
from verify.trust import Judge

LOOK_AGAIN_S = 30.0
"""How long an answer that there is nothing to rerun stands in a replica that does not grow: scripts come later."""


class Duties:
    """Does what a device owes to others; `turn` is called between experiments."""

    def __init__(
        self,
        place: Place,
        judge: Judge,
        control: Control,
        patience: Patience,
        report: Report,
        note: Callable[[str], None],
    ) -> None:
        self._place, self._judge, self._patience = place, judge, patience
        self._share = place.settings.replication_share
        measuring = Measuring(place, control, patience, report.event)
        self._replicator = Replicator(place, measuring, trying=report.trying, said=report.reran, spent=self._spent)
        self._calibrator = Calibrator(place, measuring, trying=report.trying, said=report.reran, spent=self._spent)
        self._note = note
        self._open: list[Block] = []
        self._nothing_at: tuple[int, float] | None = None
        self.balance = Balance.read(place.store, place.hardware.device)

    def recover(self) -> None:
        """Find the blocks that were begun before, and take them for this device; before any loop begins."""
        for block in replicating.unfinished(self._place):
            if block.seat is not None:
                taken = self._replicator.adopt(block)
                if taken is not None:
                    self._open.append(taken)
                    self._note(f"a rerun of {block.result[:10]} was left unfinished: it goes on")

    def folders(self) -> set[str]:
        """Return the folders of runs that go on after a restart."""
        series = journal.read_series(self._place.store, self._place.hardware.device)
        return {block.run_dir for block in self._open} | ({series.run_dir} if series else set())

    def enrol(self) -> None:
        """Tell others that this machine may be drawn for reruns, or no more; nothing is asked or awaited."""
        if self._account() is not None:
            with self._place.shared.claiming:
                self._calibrator.enrol()

    def turn(self) -> bool:
        """Do one block or one run of a calibration, if it is time for one; return whether anything was done.

        Verdicts are brought up to date first, which the next plan builds on too.
        """
        self._patience.persist(self._judge.settle)
        begun = next((one for one in self._open if not self._missing(one)), None)
        if begun is not None:
            return self._finish(begun)
        if not self.balance.free(self._share) or self._account() is None:
            return False
        task = self._chosen()
        if task is not None:
            with self._place.shared.claiming:
                block = self._replicator.begin(task)
            if block is not None:
                self._open.append(block)
                return self._finish(block)
        # Others wait for a rerun, which may be made on credit; for a calibration nobody does.
        return self._calibrator.due() and self.balance.paid_for(self._share) and self._calibrator.run_one()

    def researched(self, seconds: float, *, experiments: int = 1) -> None:
        """Count seconds of an experiment, or of waiting for others."""
        self._keep(self.balance.researched(seconds, self._share, experiments))

    def _finish(self, block: Block) -> bool:
        if self._replicator.finish(block) is None:
            self._open[self._open.index(block)] = journal.read_block(self._place.store, block.duty) or block
            return True
        self._open.remove(block)
        self._keep(replace(self.balance, blocks=self.balance.blocks + 1))
        return True

    def _chosen(self) -> Task | None:
        """Return the most wanted block that this device can run now; asked again when the replica grew, or later."""
        place = self._place
        state = (place.store.count(), time.monotonic() // LOOK_AGAIN_S)
        if state == self._nothing_at:
            return None
        found = next(filter(self._possible, self._tasks()), None)
        self._nothing_at = state if found is None else None
        return found

    def _tasks(self) -> list[Task]:
        place, account = self._place, self._account()
        return [] if account is None else self._judge.work(account, place.track.id, place.hardware.hardware_class)

    def _possible(self, task: Task) -> bool:
        """Return whether a task can be run as it was, was not run here before, and is in nobody else's hands."""
        place = self._place
        if replicating.unfit(place.store, place.track, task) is not None:
            return False
        return replicating.told(place, task) is None and not replicating.taken(place, task)

    def _missing(self, block: Block) -> bool:
        return replicating.missing(self._place.store, (block.source, block.parent_source))

    def _account(self) -> str | None:
        return self._place.store.people.account_of(self._place.identity.peer_id)

    def _spent(self, seconds: float) -> None:
        self._keep(self.balance.reran(seconds, self._share))

    def _keep(self, balance: Balance) -> None:
        self.balance = balance
        place = self._place
        name = balance_key(place.hardware.device)
        self._patience.persist(lambda: place.store.local_set(name, balance.text(), durable=False))
