"""The loop of one device: think, claim, edit, run, sign, and again.

Every change of state is written before the next step begins, in one transaction with the record it belongs to, so the
loop can be killed anywhere and goes on at the next start (`recover`). It runs in the thread that it is called from:
sandboxes die with the thread that started them. What it knows it shows through a view; it prints nothing.
"""

import contextlib
import secrets
import time
from pathlib import Path

from ensue.errors import DiskFull, ExperimentError
from ensue.kinds import Retraction
from ensue.record import Record
from ensue.store import Blob, ResultRow
from experiments import runner
from node import bodies, journal, measuring
from node.bench import Bench
from node.control import Control
from node.duties import Duties
from node.finish import head_and_tail, verdict_words
from node.patience import Patience
from node.report import Report
from node.think import Memory, Plan, Wait
from node.turns import Turns
from node.view import Standing, Trying, View
from verify.evidence import Verdict, judge
from verify.trust import Judge

SEED_BITS = 31
FAILURES_IN_A_ROW_MAX = 10


class Agent:
    """Goes round the loop until `control` says stop or the number of experiments is reached."""

    def __init__(self, bench: Bench, control: Control, view: View) -> None:
        self.bench = bench
        self._control = control
        self._view = view
        self._report = Report(bench.store, view, bench.hardware.device, alone=len(bench.shared.devices) < 2)
        self._memory = Memory(
            *(bench.store, bench.track, bench.hardware.hardware_class),
            ideas_share=bench.settings.ideas_share,
            own=bench.identity.peer_id,
        )
        self._turns = Turns(bench.store)
        self._patience = Patience(bench.runs, bench.settings.disk_free_bytes, control, self._report.waiting)
        self._persist = self._patience.persist
        trust = Judge(bench.store)
        self._duties = Duties(bench, trust, control, self._patience, self._report, view.note)
        self._lost: Record | None = None  # another node's claim that counts more than that of the run in progress
        self._mark = time.monotonic()

    # ------------------------------------------------------------------ the loop

    def run(self) -> None:
        """Research until stopped or until the quota is reached; `recover` comes first."""
        quota, failures = self.bench.shared.quota, 0
        if self._patience.until_allowed():
            self._duties.enrol()
        while not self._control.stopping and not quota.over:
            if not self._patience.until_allowed():
                break
            if self._duties.turn():
                self._mark = time.monotonic()
                continue
            with quota.one() as free:
                row = self._one() if free else None
            if not free:
                self._wait("the other devices are at the last experiments")
            if row is None:
                continue
            self._duties.researched(row.wall_s)
            failures = failures + 1 if row.status == "crashed" else 0
            if failures >= FAILURES_IN_A_ROW_MAX:
                raise ExperimentError(
                    f"{failures} experiments in a row crashed, the last with: {row.reason}: "
                    "run `autoresearch doctor`, then `autoresearch run FILE` on the track's baseline"
                )

    def recover(self) -> None:
        """Bring to its end what the last process was in the middle of, and clear away what it left."""
        entry = journal.read(self.bench.store, self._device)
        if entry is not None:
            if entry.trained is not None and entry.track == self.bench.track.id:
                self._view.note(f"going on where the last run stopped: {entry.description}")
                why = "It was trained before the last stop; only the scoring was missing."
                self._report.trying(Trying(self._next_number(), entry.description, why, None, entry.mean, entry.sd))
                self._mark = time.monotonic()
                self._score_and_sign(entry, runner.Trained.from_json(entry.trained))
            else:
                self._abandon(entry, "the node stopped while it was running")
        self._withdraw_forgotten()
        self._duties.recover()
        going_on = self._duties.folders()
        if self.bench.runs.is_dir():
            for left in self.bench.runs.iterdir():
                if str(left) not in going_on:
                    measuring.clear(left)

    def _one(self) -> ResultRow | None:
        """Do one experiment; return its result, or None if it was abandoned."""
        self._report.phase("thinking")
        plan = self._memory.plan(self.bench.proposer, seed=secrets.randbits(SEED_BITS))
        if isinstance(plan, Wait):
            self._wait(plan.reason)
            return None
        self._report.trying(self._words(plan))
        with self.bench.shared.claiming:
            if self._tried_meanwhile(plan.experiment):
                return None
            entry = self._persist(lambda: self._claim(plan))
        if entry is None:
            return None
        trained = self._train(entry)
        # A stop that reaches the whole process group, as a service manager's does, ends the sandbox before we look.
        if trained is None or trained.status == "abandoned" or (trained.status == "crashed" and self._control.stopping):
            self._abandon(entry, "stopped by its owner" if self._lost is None else "another node was first")
            return None
        entry = entry.model_copy(update={"trained": trained.to_json()})
        # Written before scoring: a crash from here on costs the scoring, never the training.
        self._persist(lambda: self.bench.store.local_set(journal.key(self._device), entry.model_dump_json()))
        return self._score_and_sign(entry, trained)

    def _words(self, plan: Plan) -> Trying:
        """Return what is said of a plan, with what it builds on and how well that is established."""
        parent, proposal = plan.parent, plan.proposal
        base = ""
        if parent is not None:
            best = self._memory.best()
            name = "best" if best is not None and best.id == parent.id else "result"
            base = f"building on the {parent.level} {name} {parent.id[:10]}"
        expected = (proposal.mean, proposal.sd)
        value = parent.value if parent else None
        return Trying(self._next_number(), proposal.description, proposal.why, value, *expected, base)

    def _tried_meanwhile(self, experiment: str) -> bool:
        """Return whether another device of this node tries an experiment, or has, since this one began to think."""
        bench, claims = self.bench, self.bench.store.claims
        if claims.held(experiment) in claims.in_progress(bench.identity.peer_id):
            return True
        rows = (bench.store.result(key) for key in claims.results_of(experiment))
        return any(
            row.author == bench.identity.peer_id and row.hardware_class == bench.hardware.hardware_class for row in rows
        )

    # ------------------------------------------------------------------ the steps

    def _claim(self, plan: Plan) -> journal.Entry:
        """Commit the script, sign and store the claim with it, and open the journal's entry, all or nothing."""
        bench, proposal = self.bench, plan.proposal
        data = proposal.source.encode("utf-8")
        blob = Blob(data, parent=plan.parent.source if plan.parent else None)
        parent_commit = bench.workspace.find(plan.parent.experiment) if plan.parent else None
        body = bodies.claim(
            plan,
            bench.track,
            blob.sha256,
            ttl_s=bench.settings.claim_ttl_s,
            agent=bench.name,
            proposer=bench.proposer.name,
        )
        commit = bench.workspace.commit(
            proposal.source, f"{body.description}\n\n{proposal.why}\n", parent_commit, experiment=plan.experiment
        )
        run_dir = bench.runs / f"{time.time_ns():x}"

        def entry_of(record: Record) -> dict[str, str | None]:
            self._entry = journal.Entry(
                claim=record.id,
                track=bench.track.id,
                experiment=plan.experiment,
                parent=body.parent,
                commit=commit,
                source=blob.sha256,
                description=body.description,
                change=[change.model_dump(include={"knob", "old", "new"}) for change in body.change],
                mean=proposal.mean,
                sd=proposal.sd,
                hypothesis=proposal.hypothesis,
                agent=body.agent,
                proposer=body.proposer,
                seed=secrets.randbits(SEED_BITS),
                device=self._device,
                run_dir=str(run_dir),
            )
            return {journal.key(self._device): self._entry.model_dump_json()}

        bench.store.append(bench.identity, "claim", body, blobs=[blob], local=entry_of)
        return self._entry

    def _train(self, entry: journal.Entry) -> runner.Trained | None:
        bench = self.bench
        source = bench.store.blob(entry.source)
        self._lost = None

        def control() -> str:
            self._lost = self._lost or self._turns.lost(entry.claim)
            return "stop" if self._lost is not None else self._control()

        run_dir, on_event = Path(entry.run_dir), self._report.event
        trained = self._persist(lambda: measuring.train(bench, source, entry.seed, run_dir, on_event, control))
        if self._lost is not None and trained is not None and trained.status == "abandoned":
            self._turns.give_way(self._lost)
        return trained

    def _score_and_sign(self, entry: journal.Entry, trained: runner.Trained) -> ResultRow | None:
        """Measure what was trained, sign the result, keep or discard; None if a stop came while the disk was full."""
        bench = self.bench
        source = bench.store.blob(entry.source)

        run_dir, on_event = Path(entry.run_dir), self._report.event
        outcome = self._persist(lambda: measuring.score(bench, trained, source, run_dir, on_event))
        if outcome is None:
            return None
        verdict = self._judge(outcome)
        row = self._persist(lambda: self._sign(entry, trained, outcome, verdict, source))
        if row is None:
            return None
        if row.status == "kept" and entry.commit is not None:
            bench.workspace.advance(entry.commit)
        measuring.clear(Path(entry.run_dir))
        bench.shared.quota.count()
        self._view.finished(row, verdict_words(row, verdict, entry), self.standing())
        self._report.phase("between experiments")
        return row

    def _judge(self, outcome: runner.Outcome) -> Verdict | None:
        """Compare with the best of this class as it stands now; None if there is no value."""
        if outcome.value is None:
            return None
        bench = self.bench
        best = self._memory.best_of_class()
        return judge(
            outcome.value,
            best.value if best else None,
            direction=bench.track.direction,
            noise_sd=self._memory.noise_sd(),
            alpha=bench.settings.keep_alpha,
        )

    def _sign(
        self,
        entry: journal.Entry,
        trained: runner.Trained,
        outcome: runner.Outcome,
        verdict: Verdict | None,
        source: bytes,
    ) -> ResultRow:
        """Store the signed result with its log and close the journal's entry, in one transaction."""
        bench = self.bench
        log = head_and_tail(Path(trained.log), bench.settings.log_bytes_max) if trained.log else b""
        blobs = [Blob(log)] if log else []
        status = ("kept" if verdict.kept else "discarded") if verdict else outcome.status
        facts = {
            "status": status,
            "reason": None if verdict else outcome.reason,
            "sandbox": bench.level.label,
            "log": blobs[0].sha256 if blobs else None,
            "source_bytes": len(source),
        }
        wall_s = time.monotonic() - max(self._mark, self._patience.over_at)
        measured_s = trained.setup_s + trained.train_wall_s + outcome.score_s
        # A run that was trained before a crash has its training outside this process's stop watch.
        times = {"wall_s": max(wall_s, measured_s), "overhead_s": max(0.0, wall_s - measured_s)}
        body = bodies.result(entry, bench.track, bench.hardware, trained, outcome, times, facts)
        record = bench.store.append(
            bench.identity, "result", body, blobs=blobs, local={journal.key(self._device): None}
        )
        # What follows until the next result counts as that one's overhead: no second goes unaccounted.
        self._mark = time.monotonic()
        return bench.store.result(record.id)

    def _abandon(self, entry: journal.Entry, why: str) -> None:
        """Withdraw a claim that will have no result; the experiment is free for others."""
        bench = self.bench
        body = Retraction(target=entry.claim, reason=f"abandoned: {why}")
        with contextlib.suppress(DiskFull):  # then the next start does it
            bench.store.append(bench.identity, "retraction", body, local={journal.key(self._device): None})
        measuring.clear(Path(entry.run_dir))
        self._view.note(f"abandoned: {entry.description} ({why})")

    def _withdraw_forgotten(self) -> None:
        """Withdraw one's own open claims that no journal knows, as after the loss of a damaged page."""
        bench = self.bench
        entries = [journal.read(bench.store, device) for device in {self._device, *bench.shared.devices}]
        known = {entry.claim for entry in entries if entry is not None}
        for claim in bench.store.claims.open(bench.track.id, author=bench.identity.peer_id):
            if claim.id not in known:
                body = Retraction(target=claim.id, reason="abandoned: the node lost its note of it")
                with contextlib.suppress(DiskFull):  # then the next start does it
                    bench.store.append(bench.identity, "retraction", body)

    # ------------------------------------------------------------------ waiting

    def _wait(self, reason: str) -> None:
        """Let others find out what is needed first; that time is time of research."""
        began = time.monotonic()
        self._patience.a_moment(reason)
        self._duties.researched(time.monotonic() - began, experiments=0)

    @property
    def _device(self) -> str:
        return self.bench.hardware.device

    def _next_number(self) -> int:
        return self.bench.store.stats(self.bench.track.id).results + 1

    def standing(self) -> Standing:
        """Return the best so far and the first value it is compared with."""
        bench = self.bench
        stats = bench.store.stats(bench.track.id)
        return Standing(
            best=self._memory.best(),
            baseline=self._memory.baseline(),
            experiments=stats.results,
            kept=stats.by_status.get("kept", 0),
        )
