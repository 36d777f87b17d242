"""What the rules of the fold need of one record, read off its body once.

Left out: what a set of facts amounts to (fold). Here too is which bodies are understood at all: one of an unknown kind,
one that breaks its rules and one whose statement bears a false signature are alike kept and mean nothing. Rejected:
handing bodies to the rules, which take ten times the memory.
"""

from dataclasses import dataclass

from ensue import statements
from ensue.body import Body
from ensue.errors import BadSignature, InvalidBody
from ensue.kinds import Claim, Credential, Delegation, Quorum, Result, Retraction, Revocation, parse_body
from ensue.people import Says, Successors, Vouch, Withdrawal
from ensue.record import Record


def score(result: Result) -> float | None:
    """Returns the value so that less is better, or None when nothing was measured."""
    if result.value is None:
        return None
    return (-result.value if result.direction == "max" else result.value) + 0.0  # no -0.0


@dataclass(frozen=True, slots=True)
class Fact:
    """What the rules need of a record; `role` is None where the kind is unknown or the body breaks its rules."""

    author: str
    seq: int
    kind: str
    role: type[Body] | None
    track: str = ""
    status: str = ""
    score: float | None = None
    hardware_class: str = ""
    claim: str | None = None
    parent: str | None = None
    hypothesis: str | None = None
    target: str | None = None
    time_ms: int = 0
    says: Says = None
    """What a record about people says, signatures checked; a delegation is the account's name."""


def said(record: Record, body: Body | None) -> Says:
    """Returns what a record about people says, None where it is about something else."""
    if isinstance(body, Delegation):
        return body.account
    if isinstance(body, Revocation):
        return Withdrawal(body.account, body.node, body.last_seq)
    if isinstance(body, Credential):
        older = body.supersedes
        heads = {one.node: one.last_seq for one in older.heads} if older else {}
        return Vouch(
            *(record.author, record.seq, body.account, body.address, body.expires_ms),
            *(older.account if older else None, heads, tuple(body.nodes)),
        )
    if isinstance(body, Quorum):
        statement = statements.statement_of(record.network, body)
        return Successors(
            *(body.epoch, body.previous, statements.statement_hash(statement), tuple(body.verifiers), body.needed),
            *({one.verifier: one.last_seq for one in body.ended}, statements.signers(record.network, body)),
        )
    return None


def strict_body(record: Record) -> Body | None:
    """Returns a record's body, None for an unknown kind; raises InvalidBody, or BadSignature for a false statement."""
    body = parse_body(record.kind, record.body)
    if body is not None:
        checked(record, body)
    return body


def checked(record: Record, body: Body) -> None:
    """Raises BadSignature where the statement in a record is not signed by who is said to."""
    if not statements.holds(record, body):
        raise BadSignature(f"The statement in this {record.kind} is not signed by who is said to; refuse it.")


def understood(record: Record) -> Body | None:
    """Returns a record's body; None where its kind is unknown, or it breaks its rules or bears a false signature."""
    try:
        return strict_body(record)
    except (InvalidBody, BadSignature):
        return None


def fact_of(record: Record, pool: dict[str, str]) -> Fact:
    """Returns the fact of a record; `pool` keeps one copy of each text that comes again and again."""

    def shared(text: str) -> str:
        return pool.setdefault(text, text)

    body = understood(record)  # None is kept like a kind that is unknown
    author, kind = shared(record.author), shared(record.kind)
    if isinstance(body, Result):
        return Fact(
            *(author, record.seq, kind, Result, shared(body.track), shared(body.status), score(body)),
            *(shared(body.hardware_class), body.claim, body.parent),
            time_ms=record.time_ms,
        )
    if isinstance(body, Claim):
        return Fact(author, record.seq, kind, Claim, hypothesis=body.hypothesis)
    if isinstance(body, Retraction):
        return Fact(author, record.seq, kind, Retraction, target=body.target)
    return Fact(author, record.seq, kind, None if body is None else type(body), says=said(record, body))
