"""What the body of each kind of record holds: strict models, with bounds on every text, list and number.

Leaves out what a set of bodies means (fold) and every rule that needs a second record. Refusing unknown fields and
kinds was rejected: a newer node's records must pass through an older one unharmed. Models are built on first use, so
that importing this module stays cheap for queries.
"""

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from ensue.errors import InvalidBody
from ensue.record import INTEGER_MAX

AGENT_CHARS_MAX = 40
LABEL_CHARS_MAX = 100
SOFTWARE_CHARS_MAX = 300
SCALAR_CHARS_MAX = 200
DESCRIPTION_CHARS_MAX = 200
REASON_CHARS_MAX = 500
SCOPE_CHARS_MAX = 200
TEXT_CHARS_MAX = 2000
CHANGES_MAX = 32
EVIDENCE_MAX = 32
CHECKS_MAX = 32
URL_CHARS_MAX = 200
NODES_MAX = 64
"""Node keys that one statement about an account names."""
VERIFIERS_MAX = 64


def _plain(text: str) -> str:
    """Refuse what makes two names look alike or moves a terminal's cursor; free text is escaped on output instead."""
    if not text.isprintable():
        raise ValueError("has a character that does not print")
    if not text.isascii() and not unicodedata.is_normalized("NFC", text):
        raise ValueError("is not in Unicode's normal form C")
    return text


PEER_ID_CHARS_MAX = 64
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
PeerId = Annotated[str, StringConstraints(pattern=r"^12D3Koo[1-9A-HJ-NP-Za-km-z]+$", max_length=PEER_ID_CHARS_MAX)]
Signature = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=LABEL_CHARS_MAX), AfterValidator(_plain)]
Name = Annotated[str, StringConstraints(max_length=AGENT_CHARS_MAX), AfterValidator(_plain)]
Software = Annotated[str, StringConstraints(max_length=SOFTWARE_CHARS_MAX), AfterValidator(_plain)]
Description = Annotated[str, StringConstraints(max_length=DESCRIPTION_CHARS_MAX)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=TEXT_CHARS_MAX)]
Integer = Annotated[int, Field(ge=-INTEGER_MAX, le=INTEGER_MAX)]
Count = Annotated[int, Field(ge=0, le=INTEGER_MAX)]
Seconds = Annotated[float, Field(ge=0)]
Scalar = bool | Integer | float | Annotated[str, StringConstraints(max_length=SCALAR_CHARS_MAX)]

Status = Literal["kept", "discarded", "crashed", "timed_out", "refused"]
MEASURED = frozenset(("kept", "discarded"))
"""Statuses of results that carry a value; the others carry a reason."""


class Body(BaseModel):
    """Base of all bodies: strict types, finite numbers, immutable, unknown fields kept.

    Making one with wrong fields raises InvalidBody, as reading one does.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, allow_inf_nan=False, defer_build=True)

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise _invalid(type(self).__name__.lower(), error) from None

    # Only calls by name come through here; pydantic goes on building bodies that it parses at full speed.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


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

    url: Annotated[str, StringConstraints(max_length=URL_CHARS_MAX), AfterValidator(_plain)]
    name: Label
    contact: Annotated[str, StringConstraints(max_length=URL_CHARS_MAX), AfterValidator(_plain)] = ""


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
        raise _invalid(kind, error) from None


def _invalid(what: str, error: ValidationError) -> InvalidBody:
    """Return the first thing that is wrong as one sentence, without a character of what the peer wrote."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    why = first["msg"].removeprefix("Value error, ")
    return InvalidBody(f"The {what} breaks a rule of its kind at '{where}' ({why}); correct that field.")
