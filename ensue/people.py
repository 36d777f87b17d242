"""Who speaks for whom, and whose word makes a result official: pure rules, shared by the fold and the live tables.

Rules: (1) a node speaks for the account of its last delegation so far, before the first one for that of the first. (2)
What a node signed after the number that a revocation of its account names is void; a revocation reaches back no further
than the account's own time. (3) Trusted verifiers are those of the genesis, then those of each quorum's statement that
more than half of those in force signed, the founder where none are; of two the lower hash counts. (4) A credential
covers a record until the credential expires by the record's own time; a later one of the same verifier for the same
address and another account leaves the older account only what lies within the heads that it names. (5) A result is
official when it counts and enough trusted verifiers cover it.
Left out: signatures (statements, checked when a record comes). Rejected: an order by clocks, which nobody can check; a
place in a log is what both sides signed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ensue.genesis import Genesis

NEVER = 2**62
"""Beyond every sequence number."""
NEEDED_POLICY = "verifiers_needed"
NEEDED_MAX = 64


@dataclass(frozen=True, slots=True)
class Trust:
    """What a genesis says about trust; without one nobody is trusted."""

    network: str = ""
    founder: str = ""
    verifiers: tuple[str, ...] = ()
    needed: int = 1

    @classmethod
    def of(cls, genesis: Genesis) -> Trust:
        """Returns the trust that a network was founded with."""
        needed = genesis.policy.get(NEEDED_POLICY, 1)
        sound = type(needed) is int and 1 <= needed <= NEEDED_MAX
        verifiers = tuple(dict.fromkeys(genesis.verifiers))
        return cls(genesis.network_id, genesis.founder, verifiers, needed if sound else 1)


@dataclass(frozen=True, slots=True)
class Successors:
    """One quorum's statement, with everyone who signed it."""

    epoch: int
    previous: str
    statement: str
    verifiers: tuple[str, ...]
    needed: int
    ended: Mapping[str, int]
    signers: frozenset[str]


@dataclass(frozen=True, slots=True)
class InForce:
    """Whom the network trusts: at epoch 0 by its genesis, later by the statement with this hash."""

    epoch: int
    statement: str
    needed: int
    verifiers: tuple[str, ...]
    founder: str
    limits: Mapping[str, int] = field(default_factory=dict)
    """Verifier to the last number of its log that counts, for all that were ever in force."""

    def limit(self, verifier: str) -> int:
        """Returns the last number of a verifier's log that counts; 0 for one that is not trusted."""
        return self.limits.get(verifier, 0)


class Vouch(NamedTuple):
    """One credential that counts. `leaves`: what it leaves to an older account of the address, node to last number."""

    verifier: str
    seq: int
    account: str
    address: str
    expires_ms: int
    superseded: str | None = None
    leaves: Mapping[str, int] = {}
    nodes: tuple[str, ...] = ()
    """Node keys that the account named when it asked; they are known by it before their logs are here."""


class Withdrawal(NamedTuple):
    """An account's word that a node's records after a number are void."""

    account: str
    node: str
    last_seq: int


Says = str | Withdrawal | Vouch | Successors | None
Plain = str | tuple[Any, ...] | None

_SAYS: dict[str, Callable[..., Says]] = {one.__name__: one for one in (Withdrawal, Vouch, Successors)}


class Cover(NamedTuple):
    """How far one verifier's word for an account reaches; `heads` is None where nothing has superseded it."""

    verifier: str
    expires_ms: int
    heads: Mapping[str, int] | None = None

    def covers(self, node: str, seq: int, time_ms: int) -> bool:
        """Returns whether a record is covered."""
        return time_ms < self.expires_ms and (self.heads is None or seq <= self.heads.get(node, 0))


Span = tuple[int, str]
"""From which number on a node speaks for an account, and which."""


def spans(
    delegations: Iterable[Span], forked_from: int, revoked_after: Callable[[str], int]
) -> tuple[tuple[Span, ...], int]:
    """Returns for whom a node speaks, in order, and from which number on its records are void.

    `delegations` are the numbers and accounts of its delegations, `revoked_after` gives the lowest number that an
    account's revocations of this node name, NEVER without one.
    """
    found: list[Span] = []
    first: dict[str, int] = {}
    void_from = forked_from
    for seq, account in sorted(delegations):
        if seq >= void_from:
            break
        start = seq if found else 1
        found.append((start, account))
        begin = first.setdefault(account, start)
        void_from = min(void_from, max(revoked_after(account) + 1, begin))
    return tuple(found), void_from


def account_at(speaks: Sequence[Span], seq: int) -> str | None:
    """Returns the account for which a node speaks in a record, None for none."""
    account = None
    for start, name in speaks:
        if start > seq:
            break
        account = name
    return account


def in_force(trust: Trust, changes: Iterable[Successors]) -> InForce:
    """Returns who is trusted after all changes that a quorum stands behind."""
    *_, last = _succession(trust, changes)
    return last


def epochs(trust: Trust, changes: Iterable[Successors]) -> list[InForce]:
    """Returns who was trusted, from the genesis to now."""
    return list(_succession(trust, changes))


def voters(trust: Trust, changes: Iterable[Successors]) -> set[str]:
    """Returns everybody who could ever sign a change: those who were in force, the founder where none were."""
    return {name for now in _succession(trust, changes) for name in now.verifiers or (now.founder,)}


def _succession(trust: Trust, changes: Iterable[Successors]) -> Iterator[InForce]:
    by_place: dict[tuple[int, str], dict[str, Successors]] = defaultdict(dict)
    for change in changes:
        twins = by_place[change.epoch, change.previous]
        known = twins.get(change.statement)
        signers = change.signers | (known.signers if known else frozenset())
        twins[change.statement] = _signed_by(change, signers)
    now = InForce(0, trust.network, trust.needed, trust.verifiers, trust.founder, dict.fromkeys(trust.verifiers, NEVER))
    while True:
        yield now
        passed = [one for one in by_place[now.epoch + 1, now.statement].values() if _passes(one, now)]
        if not passed:
            return
        now = _after(now, min(passed, key=lambda one: one.statement))


def quorum(verifiers: Sequence[str]) -> int:
    """Returns how many of those in force must sign a change: more than half."""
    return len(verifiers) // 2 + 1


def _passes(change: Successors, now: InForce) -> bool:
    voters = now.verifiers or (now.founder,)
    return len(change.signers & set(voters)) >= quorum(voters)


def _after(now: InForce, change: Successors) -> InForce:
    limits = {name: limit for name, limit in now.limits.items() if name not in now.verifiers}
    limits |= {**change.ended, **dict.fromkeys(change.verifiers, NEVER)}
    return InForce(change.epoch, change.statement, change.needed, change.verifiers, now.founder, limits)


def _signed_by(change: Successors, signers: frozenset[str]) -> Successors:
    return Successors(
        change.epoch, change.previous, change.statement, change.verifiers, change.needed, change.ended, signers
    )


def covers_of(account: str, vouches: Iterable[Vouch], trusted: InForce) -> tuple[Cover, ...]:
    """Returns what covers an account's records.

    `vouches`: all counting credentials for any address that the account was ever vouched for, each once.
    """
    by_address: dict[tuple[str, str], list[Vouch]] = defaultdict(list)
    for one in vouches:
        if one.seq <= trusted.limit(one.verifier):
            by_address[one.verifier, one.address].append(one)
    found = []
    for (verifier, _), held in sorted(by_address.items()):
        held.sort(key=lambda one: one.seq)
        for place, one in enumerate(held):
            if one.account != account:
                continue
            later = next((other for other in held[place + 1 :] if other.account != account), None)
            heads = None if later is None else later.leaves if later.superseded == account else {}
            found.append(Cover(verifier, one.expires_ms, heads))
    return tuple(found)


def is_official(covers: Iterable[Cover], needed: int, node: str, seq: int, time_ms: int) -> bool:
    """Returns whether enough verifiers cover a record that counts."""
    return len({one.verifier for one in covers if one.covers(node, seq, time_ms)}) >= needed


def is_known(covers: Iterable[Cover], needed: int, node: str) -> bool:
    """Returns whether enough verifiers vouch, for any time, for an account that a node is known by."""
    return len({one.verifier for one in covers if one.heads is None or node in one.heads}) >= needed


def plain(says: Says) -> Plain:
    """Returns what a record says as values that any serialiser takes; `meant` takes them back."""
    if says is None or isinstance(says, str):
        return says
    fields = says if isinstance(says, tuple) else tuple(getattr(says, name) for name in Successors.__slots__)
    return (type(says).__name__, *(dict(one) if isinstance(one, Mapping) else one for one in fields))


def meant(said: Plain) -> Says:
    """Returns what `plain` made plain."""
    if said is None or isinstance(said, str):
        return said
    return _SAYS[said[0]](*said[1:])
