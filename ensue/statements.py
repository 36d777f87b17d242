"""What a key says outside its own log: an account of its nodes, verifiers of who comes after them.

A statement is signed on its own and stands inside a record that some node's log carries, so a key that makes statements
only needs no log: it may be used on several machines, or lie in a drawer, and can never fork. Left out: what statements
amount to (people). Rejected: a log for each account, which two machines of one person would fork; and signatures over
JSON, which has many spellings for one meaning. Here each statement is a domain and numbers of fixed length.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

from ensue.body import Body
from ensue.errors import RecordError
from ensue.identity import Identity, public_key_from_peer_id, verify
from ensue.kinds import Delegation, Quorum, QuorumSignature, Revocation
from ensue.record import Record

_DELEGATION = b"ensue-delegation-v1\0"
_REVOCATION = b"ensue-revocation-v1\0"
_QUORUM = b"ensue-quorum-v1\0"


def delegation(account: Identity, network: str, node: str) -> Delegation:
    """Returns the body with which the node whose peer id is `node` says that it speaks for an account."""
    said = _delegated(network, account.peer_id, node)
    return Delegation(account=account.peer_id, signature=account.sign(said).hex())


def revocation(account: Identity, network: str, node: str, last_seq: int, reason: str = "") -> Revocation:
    """Returns the body with which an account takes its word from a node: records after `last_seq` are void."""
    said = _revoked(network, account.peer_id, node, last_seq, reason)
    return Revocation(
        account=account.peer_id, node=node, last_seq=last_seq, reason=reason, signature=account.sign(said).hex()
    )


def quorum_statement(
    network: str,
    *,
    epoch: int,
    previous: str,
    verifiers: Sequence[str],
    needed: int,
    ended: Iterable[tuple[str, int]] = (),
) -> bytes:
    """Returns what those in force sign to name their successors.

    `previous` is the hash of the statement before, the network's id at epoch 1; `ended` names verifiers that are no
    longer asked, each with the last number of its log that still counts. Raises RecordError on a wrong peer id.
    """
    gone = list(ended)
    return b"".join(
        (
            *(_QUORUM, bytes.fromhex(network), _number(epoch), bytes.fromhex(previous), _number(needed)),
            *(_number(len(verifiers)), *map(public_key_from_peer_id, verifiers), _number(len(gone))),
            *(public_key_from_peer_id(peer_id) + _number(seq) for peer_id, seq in gone),
        )
    )


def sign_quorum(identity: Identity, statement: bytes) -> QuorumSignature:
    """Returns one signature under a statement of `quorum_statement`."""
    return QuorumSignature(verifier=identity.peer_id, signature=identity.sign(statement).hex())


def statement_of(network: str, body: Quorum) -> bytes:
    """Returns the statement that a quorum record carries signatures of."""
    return quorum_statement(
        network,
        epoch=body.epoch,
        previous=body.previous,
        verifiers=body.verifiers,
        needed=body.needed,
        ended=[(one.verifier, one.last_seq) for one in body.ended],
    )


def statement_hash(statement: bytes) -> str:
    """Returns the hash by which the next statement names this one."""
    return hashlib.sha256(statement).hexdigest()


def signers(network: str, body: Quorum) -> frozenset[str]:
    """Returns those whose signatures under a quorum's statement are good."""
    statement = statement_of(network, body)
    return frozenset(one.verifier for one in body.signatures if _signed(one.verifier, one.signature, statement))


def holds(record: Record, body: Body) -> bool:
    """Returns whether the statement in a record is signed by who is said to; True for bodies without one."""
    check = _CHECKS.get(type(body))
    try:
        return check is None or check(record, body)
    except RecordError:  # a peer id that is none
        return False


def _delegation_holds(record: Record, body: Body) -> bool:
    assert isinstance(body, Delegation)
    return _signed(body.account, body.signature, _delegated(record.network, body.account, record.author))


def _revocation_holds(record: Record, body: Body) -> bool:
    assert isinstance(body, Revocation)
    said = _revoked(record.network, body.account, body.node, body.last_seq, body.reason)
    return _signed(body.account, body.signature, said)


def _quorum_holds(record: Record, body: Body) -> bool:
    assert isinstance(body, Quorum)
    return bool(signers(record.network, body))


_CHECKS: dict[type[Body], Callable[[Record, Body], bool]] = {
    Delegation: _delegation_holds,
    Revocation: _revocation_holds,
    Quorum: _quorum_holds,
}


def _delegated(network: str, account: str, node: str) -> bytes:
    return b"".join((_DELEGATION, bytes.fromhex(network), *map(public_key_from_peer_id, (account, node))))


def _revoked(network: str, account: str, node: str, last_seq: int, reason: str) -> bytes:
    keys = map(public_key_from_peer_id, (account, node))
    return b"".join((_REVOCATION, bytes.fromhex(network), *keys, _number(last_seq), reason.encode()))


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _signed(peer_id: str, signature: str, statement: bytes) -> bool:
    try:
        verify(peer_id, bytes.fromhex(signature), statement)
    except RecordError:
        return False
    return True
