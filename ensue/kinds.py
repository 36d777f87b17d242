"""What the body of each kind of record holds: strict models, with bounds on every text, list and number.

Leaves out what a set of bodies means (fold) and every rule that needs a second record. Refusing unknown fields and
kinds was rejected: a newer node's records must pass through an older one unharmed.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from ensue.body import (
    CHANGES_MAX,
    CHECKS_MAX,
    EVIDENCE_MAX,
    MEASURED,
    NODES_MAX,
    REASON_CHARS_MAX,
    SCOPE_CHARS_MAX,
    URL_CHARS_MAX,
    VERIFIERS_MAX,
    Body,
    Count,
    Description,
    Label,
    Name,
    PeerId,
    Scalar,
    Seconds,
    Sha256,
    Signature,
    Software,
    Status,
    Text,
    invalid,
    plain,
)
from ensue.record import INTEGER_MAX
from ensue.trials import Assessment, Calibration, Drawing, Duty, Listing, Replication


class Change(Body):
    """One knob of a train.py, before and after; None where it is absent."""

    knob: Label
    old: Scalar | None = None
    new: Scalar | None = None


class Expectation(Body):
    """What the metric will be, said before the run; in the metric's unit."""

    mean: float
    sd: Annotated[float, Field(ge=0)]


Changes = Annotated[list[Change], Field(max_length=CHANGES_MAX)]


class Claim(Body):
    """What will be tried, signed before the run; it holds the experiment for `ttl_s` seconds after its receipt."""

    track: Sha256
    experiment: Sha256
    parent: Sha256 | None = None
    source: Sha256
    description: Description
    change: Changes = []
    expectation: Expectation | None = None
    hypothesis: Sha256 | None = None
    ttl_s: Count
    agent: Name = ""
    proposer: Name = ""


class Result(Body):
    """The outcome of one run; a value exactly when it was measured, a reason when it was not."""

    track: Sha256
    experiment: Sha256
    claim: Sha256 | None = None
    parent: Sha256 | None = None
    status: Status
    metric: Label
    direction: Literal["min", "max"]
    value: float | None = None
    holdout: float | None = None
    holdout_gap: float | None = None
    holdout_gap_sd: Annotated[float, Field(ge=0)] | None = None
    seed: Count
    clock: Literal["cpu", "wall"]
    budget_s: Seconds
    setup_s: Seconds
    train_wall_s: Seconds
    cpu_s: Seconds
    score_s: Seconds
    overhead_s: Seconds
    wall_s: Seconds
    cpu_share: Annotated[float, Field(ge=0)] | None = None
    contended: bool
    tokens_reported: Count | None = None
    hardware_class: Label
    device: Label
    sandbox: Label
    software: Software
    source: Sha256
    source_bytes: Count
    log: Sha256 | None = None
    description: Description
    change: Changes = []
    reason: Annotated[str, StringConstraints(max_length=REASON_CHARS_MAX)] | None = None
    checks: Annotated[dict[Label, float], Field(max_length=CHECKS_MAX)] = {}
    agent: Name = ""
    proposer: Name = ""

    @model_validator(mode="after")
    def _value_or_reason(self) -> "Result":
        if (self.status in MEASURED) != (self.value is not None):
            raise ValueError("kept and discarded results have a value, and no others")
        if self.status not in MEASURED and not self.reason:
            raise ValueError("crashed, timed_out and refused results have a reason")
        return self


class Hypothesis(Body):
    """An idea for others to try; with a source it is a ready script."""

    track: Sha256
    text: Text
    change: Changes = []
    source: Sha256 | None = None
    parent: Sha256 | None = None
    agent: Name = ""


class Insight(Body):
    """Something learnt, the results that carry it, where it holds and for how long."""

    track: Sha256
    text: Text
    evidence: Annotated[list[Sha256], Field(max_length=EVIDENCE_MAX)] = []
    scope: Annotated[str, StringConstraints(max_length=SCOPE_CHARS_MAX)] = ""
    valid_days: Annotated[int, Field(ge=1, le=INTEGER_MAX)] | None = None
    agent: Name = ""


class Retraction(Body):
    """The author's withdrawal of a record of its own; descendants of the target are flagged."""

    target: Sha256
    reason: Annotated[str, StringConstraints(max_length=REASON_CHARS_MAX)]


class Delegation(Body):
    """The author, a node key, speaks for an account; the account's signature says that it may (statements)."""

    account: PeerId
    signature: Signature


class Revocation(Body):
    """An account takes its word from a node: what that signed after number `last_seq` is void. Anyone may carry it."""

    account: PeerId
    node: PeerId
    last_seq: Count
    reason: Annotated[str, StringConstraints(max_length=REASON_CHARS_MAX)] = ""
    signature: Signature


class Head(Body):
    """How far the log of a node goes."""

    node: PeerId
    last_seq: Count


class Superseded(Body):
    """The account that held an address before, and up to where its nodes' records still count for it."""

    account: PeerId
    heads: Annotated[list[Head], Field(max_length=NODES_MAX)] = []


class Credential(Body):
    """A verifier's word that an account confirmed an e-mail address, of which only a keyed digest is told."""

    account: PeerId
    address: Sha256
    expires_ms: Count
    nodes: Annotated[list[PeerId], Field(max_length=NODES_MAX)] = []
    request: Sha256
    supersedes: Superseded | None = None


class Verifier(Body):
    """Where a verifier is reached, and who runs it, in its own words."""

    url: Annotated[str, StringConstraints(max_length=URL_CHARS_MAX), AfterValidator(plain)]
    name: Label
    contact: Annotated[str, StringConstraints(max_length=URL_CHARS_MAX), AfterValidator(plain)] = ""


class Ended(Body):
    """A verifier that is no longer asked; its credentials up to number `last_seq` of its log still count."""

    verifier: PeerId
    last_seq: Count


class QuorumSignature(Body):
    """One signature under a quorum's statement."""

    verifier: PeerId
    signature: Signature


class Quorum(Body):
    """The next set of trusted verifiers, signed by more than half of those in force. Anyone may carry it."""

    epoch: Annotated[int, Field(ge=1, le=INTEGER_MAX)]
    previous: Sha256
    verifiers: Annotated[list[PeerId], Field(min_length=1, max_length=VERIFIERS_MAX)]
    needed: Annotated[int, Field(ge=1, le=VERIFIERS_MAX)]
    ended: Annotated[list[Ended], Field(max_length=VERIFIERS_MAX)] = []
    signatures: Annotated[list[QuorumSignature], Field(min_length=1, max_length=VERIFIERS_MAX)]

    @model_validator(mode="after")
    def _each_once(self) -> "Quorum":
        gone = [one.verifier for one in self.ended]
        if len({*self.verifiers, *gone}) != len(self.verifiers) + len(gone):
            raise ValueError("names a verifier twice")
        if self.needed > len(self.verifiers):
            raise ValueError("needs more verifiers than there are")
        return self


KINDS: dict[str, type[Body]] = {
    "claim": Claim,
    "result": Result,
    "hypothesis": Hypothesis,
    "insight": Insight,
    "retraction": Retraction,
    "delegation": Delegation,
    "revocation": Revocation,
    "credential": Credential,
    "verifier": Verifier,
    "quorum": Quorum,
    "calibration": Calibration,
    "duty": Duty,
    "replication": Replication,
    "listing": Listing,
    "drawing": Drawing,
    "assessment": Assessment,
}


def parse_body(kind: str, body: Mapping[str, Any]) -> Body | None:
    """Return the body as the model of its kind, or None if the kind is unknown here.

    Raises InvalidBody, naming the first field that is wrong, if the kind is known and the body breaks its rules.
    """
    model = KINDS.get(kind)
    if model is None:
        return None
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise invalid(kind, error) from None
