"""From what the loop knows to the bodies of records, as strangers will read them.

Texts are cut to the lengths that records allow here, so that a proposer's long description never costs a finished run.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from ensue.body import AGENT_CHARS_MAX, DESCRIPTION_CHARS_MAX, REASON_CHARS_MAX
from ensue.kinds import Change, Claim, Expectation, Result
from ensue.trials import Calibration, Duty, Replication, Rerun, RerunPair
from experiments.device import Hardware
from experiments.runner import Outcome, Trained
from experiments.track import Track
from node.bench import Place
from node.journal import Block, Entry, Series
from node.think import Plan
from verify.ruling import Task

CONTENDED_BELOW = 0.85  # share of the promised processors that a run must have had not to count as contended


def cut(text: str, chars_max: int) -> str:
    """Return the text in NFC, on one line and at most `chars_max` characters long."""
    line = " ".join(unicodedata.normalize("NFC", text).split())
    return line if len(line) <= chars_max else line[: chars_max - 1] + "…"


def claim(plan: Plan, track: Track, source_sha256: str, *, ttl_s: int, agent: str, proposer: str) -> Claim:
    """Return the body that announces a plan before it runs."""
    proposal = plan.proposal
    expected = proposal.mean is not None
    return Claim(
        track=track.id,
        experiment=plan.experiment,
        parent=plan.parent.id if plan.parent else None,
        source=source_sha256,
        description=cut(proposal.description, DESCRIPTION_CHARS_MAX),
        change=_changes(proposal.change),
        expectation=Expectation(mean=proposal.mean or 0.0, sd=proposal.sd or 0.0) if expected else None,
        hypothesis=proposal.hypothesis,
        ttl_s=ttl_s,
        agent=cut(agent, AGENT_CHARS_MAX),
        proposer=cut(proposer, AGENT_CHARS_MAX),
    )


def result(
    entry: Entry,
    track: Track,
    hardware: Hardware,
    trained: Trained,
    outcome: Outcome,
    times: Mapping[str, float],
    facts: Mapping[str, Any],
) -> Result:
    """Return the body of a finished experiment.

    `times` holds overhead_s and wall_s; `facts` holds status, reason, sandbox, log and source_bytes.
    """
    status = facts["status"]
    measured = status in ("kept", "discarded")
    reason = facts["reason"]
    share = trained.cpu_share
    return Result(
        track=track.id,
        experiment=entry.experiment,
        claim=entry.claim,
        parent=entry.parent,
        status=status,
        metric=track.metric,
        direction=track.direction,
        value=outcome.value if measured else None,
        holdout=outcome.holdout,
        holdout_gap=outcome.holdout_gap,
        holdout_gap_sd=outcome.holdout_gap_sd,
        seed=entry.seed,
        clock=track.clock,
        budget_s=track.budget_s,
        setup_s=trained.setup_s,
        train_wall_s=trained.train_wall_s,
        cpu_s=trained.cpu_s,
        score_s=outcome.score_s,
        overhead_s=times["overhead_s"],
        wall_s=times["wall_s"],
        cpu_share=share,
        contended=share is not None and share < CONTENDED_BELOW,
        tokens_reported=trained.tokens_reported,
        hardware_class=hardware.hardware_class,
        device=hardware.device,
        sandbox=facts["sandbox"],
        software=hardware.software,
        source=entry.source,
        source_bytes=facts["source_bytes"],
        log=facts["log"],
        description=entry.description,
        change=_changes(entry.change),
        reason=cut(reason, REASON_CHARS_MAX) if reason else None,
        checks=outcome.checks,
        agent=entry.agent,
        proposer=entry.proposer,
    )


def duty(task: Task) -> Duty:
    """Return the word that a block will be run."""
    return Duty(
        track=task.track,
        result=task.result,
        parent=task.parent,
        hardware_class=task.hardware_class,
        block=task.block,
    )


def rerun(trained: Trained, outcome: Outcome) -> Rerun:
    """Return one run of a block."""
    measured = outcome.value is not None
    share = trained.cpu_share
    return Rerun.model_validate(
        {
            "status": "measured" if measured else outcome.status,
            "value": outcome.value,
            "holdout": outcome.holdout if measured else None,
            "train_wall_s": trained.train_wall_s,
            "cpu_s": trained.cpu_s,
            "cpu_share": share,
            "contended": share is not None and share < CONTENDED_BELOW,
            "reason": None if measured else cut(outcome.reason or "no reason given", REASON_CHARS_MAX),
        }
    )


def replication(block: Block, place: Place) -> Replication:
    """Return what a duty came to, from a block whose four runs are over."""
    track, hardware = place.track, place.hardware
    parent_0, child_0, child_1, parent_1 = (Rerun.model_validate(run) for run in block.runs)
    return Replication(
        duty=block.duty,
        track=block.track,
        result=block.result,
        parent=block.parent,
        block=block.block,
        metric=track.metric,
        direction=track.direction,
        clock=track.clock,
        budget_s=track.budget_s,
        pairs=[
            RerunPair(seed=block.seeds[0], child_first=False, parent=parent_0, child=child_0),
            RerunPair(seed=block.seeds[1], child_first=True, parent=parent_1, child=child_1),
        ],
        hardware_class=hardware.hardware_class,
        device=hardware.device,
        sandbox=place.level.label,
        software=hardware.software,
        agent=cut(place.name, AGENT_CHARS_MAX),
    )


def calibration(place: Place, source_sha256: str, series: Series | None, *, available: bool) -> Calibration:
    """Return what this machine measured in a series of runs, or without one only whether it may be drawn."""
    timed = series is not None and series.tokens > 0 and series.budget_used_s > 0
    return Calibration(
        track=place.track.id,
        hardware_class=place.hardware.hardware_class,
        device=place.hardware.device,
        source=source_sha256,
        seeds=series.seeds if series else [],
        values=series.values if series else [],
        tokens_per_s=series.tokens / series.budget_used_s if series and timed else None,
        available=available,
        software=place.hardware.software,
        agent=cut(place.name, AGENT_CHARS_MAX),
    )


def _changes(change: Iterable[Mapping[str, Any]]) -> list[Change]:
    return [Change(**one) for one in change]
