"""A change of the trusted verifiers on its way: one JSON file that is proposed, signed by each in turn, and published.

Left out: what a quorum means (ensue.people). Rejected: collecting signatures over the network, which would need
everyone to be there at once; a file can be sent by any mail and read by any eye.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensue import statements
from ensue.body import VERIFIERS_MAX
from ensue.errors import InvalidBody, RecordError, UserError
from ensue.identity import Identity, public_key_from_peer_id
from ensue.kinds import Quorum
from ensue.people import quorum
from ensue.wholefile import Replacing

if TYPE_CHECKING:
    from ensue.people import InForce
    from ensue.store import Store

FILE_BYTES_MAX = 65_536
_PLACEHOLDER = "0" * 128


def proposed(store: Store, *, add: Sequence[str], remove: Sequence[str], needed: int | None) -> dict[str, Any]:
    """Return the proposal of the next set of verifiers, without a signature; `remove` holds PEER or PEER:SEQ.

    Raises UserError where it is no change, names what is no verifier, or needs more verifiers than there are.
    """
    now = store.people.in_force()
    gone = dict(_ended(store, text) for text in remove)
    strangers = [peer_id for peer_id in gone if peer_id not in now.verifiers]
    if strangers:
        raise UserError(f"{strangers[0][:64]} is no trusted verifier: `autoresearch verifier list` names them")
    for peer_id in add:
        _checked(peer_id)
    left = [peer_id for peer_id in now.verifiers if peer_id not in gone]
    verifiers = list(dict.fromkeys([*left, *add]))
    if not verifiers or len(verifiers) > VERIFIERS_MAX:
        raise UserError(f"a network trusts 1 to {VERIFIERS_MAX} verifiers: this proposal leaves {len(verifiers)}")
    enough = now.needed if needed is None else needed
    if not 1 <= enough <= len(verifiers):
        raise UserError(
            f"of {len(verifiers)} verifiers 1 to {len(verifiers)} can be needed, not {enough}: give --needed"
        )
    if tuple(verifiers) == now.verifiers and enough == now.needed:
        raise UserError("this proposal changes nothing: give --add, --remove or --needed")
    return {
        "network": store.network,
        "epoch": now.epoch + 1,
        "previous": now.statement,
        "verifiers": verifiers,
        "needed": enough,
        "ended": [{"verifier": peer_id, "last_seq": seq} for peer_id, seq in gone.items()],
        "signatures": [],
    }


def signed(store: Store, proposal: dict[str, Any], identities: Iterable[Identity]) -> dict[str, Any]:
    """Return a proposal with the signatures of those keys that may sign it; raise UserError where none may."""
    body = checked(store, proposal)
    may = voters(store.people.in_force())
    statement = statements.statement_of(store.network, body)
    mine = [one for one in identities if one.peer_id in may]
    if not mine:
        raise UserError("no key in this home may sign this: only the verifiers that are trusted now, or the founder")
    made = [statements.sign_quorum(one, statement).model_dump() for one in mine]
    others = [one for one in proposal["signatures"] if one["verifier"] not in {new["verifier"] for new in made}]
    return {**proposal, "signatures": [*others, *made]}


def published(store: Store, proposal: dict[str, Any]) -> Quorum:
    """Return the body of the record that puts a proposal in force; raise UserError where signatures are missing."""
    body = checked(store, proposal)
    have, need = standing(store, body)
    if len(have) < need:
        raise UserError(f"{len(have)} of {need} signatures are there: let others run `autoresearch verifier sign`")
    return body


def standing(store: Store, body: Quorum) -> tuple[frozenset[str], int]:
    """Return who of those that may has signed a proposal, and how many must."""
    may = voters(store.people.in_force())
    return statements.signers(store.network, body) & set(may), quorum(may)


def voters(now: InForce) -> tuple[str, ...]:
    """Return who may sign a change: the verifiers in force, the founder where there are none."""
    return now.verifiers or (now.founder,)


def checked(store: Store, proposal: dict[str, Any]) -> Quorum:
    """Return a proposal as the body of a record; raise UserError where it is none, or not the next change here."""
    if proposal.get("network") != store.network:
        raise UserError("this proposal is for another network: check the file")
    given = proposal.get("signatures")
    unsigned = [{"verifier": store.people.in_force().founder, "signature": _PLACEHOLDER}]
    try:
        body = Quorum(**{**proposal, "signatures": given or unsigned})
        for peer_id in (*body.verifiers, *(one.verifier for one in body.ended)):
            public_key_from_peer_id(peer_id)
    except (InvalidBody, RecordError) as error:
        raise UserError(f"this file is no proposal ({error}): make one with `autoresearch verifier propose`") from None
    now = store.people.in_force()
    if (body.epoch, body.previous) != (now.epoch + 1, now.statement):
        raise UserError("the trusted verifiers have changed since this was proposed: propose anew")
    return body


def read(path: Path) -> dict[str, Any]:
    """Return the proposal in a file; raise UserError where it cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        found = json.loads(text) if len(text) <= FILE_BYTES_MAX else None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check the name") from None
    except (ValueError, RecursionError):
        found = None
    signatures = found.get("signatures") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(signatures, list) or not all(map(_is_signature, signatures)):
        raise UserError(f"{path} is no proposal: make one with `autoresearch verifier propose`")
    return found


def _is_signature(one: object) -> bool:
    return isinstance(one, dict) and isinstance(one.get("verifier"), str)


def write(path: Path, proposal: dict[str, Any]) -> None:
    """Put a proposal in the place of a file, whole or not at all."""
    with Replacing(path, force=True) as stream:
        stream.write(spelled(proposal).encode())


def spelled(proposal: dict[str, Any]) -> str:
    """Return a proposal as the text of a file."""
    return json.dumps(proposal, indent=2) + "\n"


def _ended(store: Store, text: str) -> tuple[str, int]:
    """Return a verifier that goes, and up to which number of its log its credentials go on counting."""
    peer_id, colon, number = text.partition(":")
    _checked(peer_id)
    if colon and not (number.isascii() and number.isdigit() and len(number) < 16):
        raise UserError(f"{text[:80]!r} wants PEER, or PEER:SEQ with the last number of its log that counts")
    if colon:
        return peer_id, int(number)
    head = store.head(peer_id)
    return peer_id, head.seq if head else 0


def _checked(peer_id: str) -> None:
    try:
        public_key_from_peer_id(peer_id)
    except RecordError:
        raise UserError(
            f"{peer_id[:64]!r} is no peer id: give one that begins with 12D3Koo, letter for letter"
        ) from None
