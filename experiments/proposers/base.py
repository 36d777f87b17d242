"""What a proposer is: from what was tried to what to try next.

Leaves out running, claiming and judging. A proposer with memory of its own was rejected: everything it may know is in
the context, so that a restarted node proposes as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ensue.errors import BadScript, BadSettings, ExperimentError
from experiments import knobs
from experiments.experiment import changes, describe, experiment_key, normal_hash

SOURCE_BYTES_MAX = 131_072
IDEA_WHY_CHARS_MAX = 160
IDEAS_MAX = 32  # looked at for one proposal


@dataclass(frozen=True, slots=True)
class Proposal:
    """One experiment to run; `mean` and `sd` say what value is expected, both None when nothing was ever measured."""

    source: str
    description: str
    change: list[dict[str, object]]
    mean: float | None
    sd: float | None
    hypothesis: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One finished experiment: its source, its value (None unless kept or discarded), its status."""

    source: str
    value: float | None
    status: str


@dataclass(frozen=True, slots=True)
class Idea:
    """An open hypothesis of someone: a change to knobs, or a whole script."""

    id: str
    text: str
    change: Sequence[Mapping[str, object]] = ()
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """All that a proposer may know.

    `noise_sd` is in the metric's unit; `taken` answers for experiment keys. `ideas` are tried before anything of the
    proposer's own: whoever fills them in bounds their share, by leaving them out.
    """

    track_id: str
    direction: str
    parent_source: str
    parent_value: float | None
    trials: Sequence[Trial]
    taken: Callable[[str], bool]
    ideas: Sequence[Idea] = ()
    seed: int = 0
    noise_sd: float = 0.0

    def free(self, source: str) -> bool:
        """Return whether `source` as a change to the parent is neither the parent itself nor claimed nor finished."""
        if normal_hash(source) == normal_hash(self.parent_source):
            return False
        return not self.taken(experiment_key(self.track_id, self.parent_source, source))


class Proposer(Protocol):
    """Anything that turns a context into a proposal; raises ExperimentError when it has nothing left to propose."""

    name: str

    def propose(self, ctx: Context) -> Proposal:
        """Return the next experiment, whose key is not taken."""
        ...


def load(spec: str, *, timeout_s: float | None = None) -> Proposer:
    """Return the proposer that `spec` names: `optuna`, or `command:PROGRAM` for a program of the owner's.

    `timeout_s` bounds one answer of a program, in real seconds; default: five minutes.
    """
    kind, _, rest = spec.partition(":")
    if kind == "optuna" and not rest:
        from experiments.proposers.optuna_proposer import OptunaProposer

        return OptunaProposer()
    if kind == "command" and rest.strip():
        from experiments.proposers.command import CommandProposer

        return CommandProposer(rest) if timeout_s is None else CommandProposer(rest, timeout_s=timeout_s)
    raise BadSettings(f"There is no proposer {spec[:80]!a}: use optuna, or command: followed by a program.")


def from_idea(ctx: Context) -> tuple[Idea, str] | None:
    """Return the first idea that can be tried as it stands and the script it makes; None if no idea can be."""
    for idea in ctx.ideas[:IDEAS_MAX]:
        try:
            source = idea.source if idea.source is not None else _changed(ctx.parent_source, idea.change)
            knobs.parse(source)
        except BadScript:
            continue
        if len(source.encode()) <= SOURCE_BYTES_MAX and ctx.free(source):
            return idea, source
    return None


def idea_texts(ctx: Context, idea: Idea, source: str) -> tuple[str, list[dict[str, object]], str]:
    """Return description, change and reason for trying an idea; its text is cut and made printable."""
    change = changes(ctx.parent_source, source)[:32]
    text = "".join(c if c.isprintable() else " " for c in idea.text)[:IDEA_WHY_CHARS_MAX].strip()
    description = describe(change) if change else text or f"script of hypothesis {idea.id[:8]}"
    return description, change, f"hypothesis {idea.id[:8]}: {text}"


def _changed(source: str, change: Sequence[Mapping[str, object]]) -> str:
    values = {str(one.get("knob")): one.get("new") for one in change}
    if not values:
        raise BadScript("An idea without a change or a script cannot be tried; give one of them.")
    return knobs.apply(source, values, bounded=False)


def nothing_left(count: int) -> ExperimentError:
    """Return the error for a search space in which every setting was tried."""
    if count == 0:
        return ExperimentError("The script has no knobs: add top-level UPPER_CASE constants, or submit a script.")
    return ExperimentError(
        f"Every setting of the script's {count} knobs was tried: widen the ranges in their comments or submit a script."
    )
