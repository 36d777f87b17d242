"""What is signed about reruns: machines that may do them, results put to the test, draws, duties and what came of them.

Bodies like those of kinds, which gives each its name. Leaves out who may do what, and what a set of reruns says about a
result (verify). Rejected: a claim for a rerun, since claims keep others away.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from ensue.body import (
    BLOCKS_MAX,
    DRAWS_MAX,
    ENTRANTS_MAX,
    EVIDENCE_MAX,
    LISTED_MAX,
    PAIRS_MAX,
    REASON_CHARS_MAX,
    RUNS_MAX,
    Body,
    Count,
    Label,
    Name,
    Seconds,
    Sha256,
    Software,
)


class Calibration(Body):
    """How fast and how noisy a machine is on a track: the values of one script with several seeds.

    Without any values it is only the word that this machine may be drawn for reruns, unless it is not `available`.
    """

    track: Sha256
    hardware_class: Label
    device: Label
    source: Sha256
    seeds: Annotated[list[Count], Field(max_length=RUNS_MAX)]
    values: Annotated[list[float], Field(max_length=RUNS_MAX)]
    tokens_per_s: Seconds | None = None
    available: bool = True
    software: Software
    agent: Name = ""

    @model_validator(mode="after")
    def _one_each(self) -> "Calibration":
        if len(self.seeds) != len(self.values) or len(set(self.seeds)) != len(self.seeds):
            raise ValueError("has not one value for each of different seeds")
        return self


class Duty(Body):
    """The word, before it begins, that the author reruns a result and its parent; a block is two pairs of runs."""

    track: Sha256
    result: Sha256
    parent: Sha256
    hardware_class: Label
    block: Annotated[int, Field(ge=0, le=BLOCKS_MAX - 1)]


class Rerun(Body):
    """One run within a replication; a value exactly when it was measured, a reason when it was not."""

    status: Literal["measured", "crashed", "timed_out", "refused"]
    value: float | None = None
    holdout: float | None = None
    train_wall_s: Seconds
    cpu_s: Seconds
    cpu_share: Annotated[float, Field(ge=0)] | None = None
    contended: bool = False
    reason: Annotated[str, StringConstraints(max_length=REASON_CHARS_MAX)] | None = None

    @model_validator(mode="after")
    def _value_or_reason(self) -> "Rerun":
        if (self.status == "measured") != (self.value is not None):
            raise ValueError("measured runs have a value, and no others")
        if self.status != "measured" and not self.reason:
            raise ValueError("runs without a value have a reason")
        return self


class RerunPair(Body):
    """Parent and child with one seed, in the order in which they ran."""

    seed: Count
    child_first: bool
    parent: Rerun
    child: Rerun


class Replication(Body):
    """What a duty came to: pairs of runs of a result and its parent, on one machine."""

    duty: Sha256
    track: Sha256
    result: Sha256
    parent: Sha256
    block: Annotated[int, Field(ge=0, le=BLOCKS_MAX - 1)]
    metric: Label
    direction: Literal["min", "max"]
    clock: Literal["cpu", "wall"]
    budget_s: Seconds
    pairs: Annotated[list[RerunPair], Field(min_length=1, max_length=PAIRS_MAX)]
    hardware_class: Label
    device: Label
    sandbox: Label
    software: Software
    agent: Name = ""


class Sealed(Body):
    """A result to be tested, the noise of a run by its track, and the hash of what its verifier adds to the draw."""

    result: Sha256
    noise_sd: Annotated[float, Field(gt=0)]
    commitment: Sha256


class Listing(Body):
    """A verifier's word which results are tested next, and which calibrations are in the draw of who reruns them."""

    quorum: Sha256
    draw: Annotated[int, Field(ge=0, le=DRAWS_MAX - 1)] = 0
    results: Annotated[list[Sealed], Field(min_length=1, max_length=LISTED_MAX)]
    entrants: Annotated[list[Sha256], Field(max_length=ENTRANTS_MAX)]


class Opened(Body):
    """The number that a verifier had sealed for a result."""

    result: Sha256
    secret: Sha256


class Drawing(Body):
    """A verifier's sealed numbers, told once everyone whose number is in the draw has sealed theirs."""

    quorum: Sha256
    draw: Annotated[int, Field(ge=0, le=DRAWS_MAX - 1)] = 0
    results: Annotated[list[Opened], Field(min_length=1, max_length=LISTED_MAX)]


class Assessment(Body):
    """What somebody else found about an insight, with the results that show it."""

    track: Sha256
    insight: Sha256
    says: Literal["confirms", "contradicts"]
    evidence: Annotated[list[Sha256], Field(min_length=1, max_length=EVIDENCE_MAX)]
    text: Annotated[str, StringConstraints(max_length=REASON_CHARS_MAX)] = ""
    agent: Name = ""


def about(body: Body) -> tuple[str, ...]:
    """Returns what a body of these kinds is about: ids of results, of an insight or of a track; () for other kinds."""
    if isinstance(body, Duty | Replication):
        return body.result, body.parent
    if isinstance(body, Listing | Drawing):
        return tuple(one.result for one in body.results)
    if isinstance(body, Assessment):
        return (body.insight,)
    return (body.track,) if isinstance(body, Calibration) else ()
