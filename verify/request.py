"""What a participant and a verifier say to each other: one model for each message, with a bound on every field.

Both sides import this, so they cannot drift apart. Left out: HTTP itself, what an address is (address), and what the
verifier does about it (issuing). Rejected: the models of records, which keep unknown fields because others' signatures
hang on them; here an unknown field is dropped, so either side may be the newer one.
"""

import secrets
import time
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from ensue.body import LABEL_CHARS_MAX, NODES_MAX, URL_CHARS_MAX, Count, PeerId, Sha256, Signature
from ensue.errors import RecordError, UserError
from ensue.identity import Identity, verify

BODY_BYTES_MAX = 16 * 1024
"""The body of a request."""
ANSWER_BYTES_MAX = 256 * 1024
"""The body of an answer: a record in base64, and room for what a later version says."""
EMAIL_CHARS_MAX = 254
"""The longest address that SMTP can carry (RFC 5321, 4.5.3.1.3)."""
SAID_CHARS_MAX = 500
CREDENTIAL_CHARS_MAX = 96 * 1024
"""A record of 64 KiB in base64."""
ERROR_CHARS_MAX = 40
CODE_CHARS_MAX = 40
"""A code as a person types it, with dashes and blanks."""
CLOCK_MS_MAX = 600_000
"""How far the clock of a participant may be from the verifier's."""
TRIES_MAX = 5
"""Codes that may be tried for one challenge."""
CODE_LIFE_S = 600
"""How long a mailed code may be used."""

TAG_DIGITS = 2
SECRET_DIGITS = 8
CODE_DIGITS = TAG_DIGITS + SECRET_DIGITS
HEX_CHARS = 32
_DOMAIN = b"autoresearch-challenge-v1\0"

Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Said = Annotated[str, StringConstraints(max_length=SAID_CHARS_MAX)]
State = Literal["waiting", "confirmed", "expired"]
_Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]+={0,2}$", max_length=CREDENTIAL_CHARS_MAX)]

REFUSALS: dict[str, int] = {
    "malformed": 400,
    "signature": 403,
    "network": 409,
    "verifier": 409,
    "stale": 409,
    "address": 422,
    "disposable": 422,
    "domain full": 429,
    "too many": 429,
    "busy": 503,
    "wrong": 403,
    "unknown": 404,
    "expired": 410,
    "used": 410,
}
"""Every reason for which a verifier refuses, and its status. An unknown challenge is answered like a wrong code."""


class Message(BaseModel):
    """Base of the messages: strict types, immutable, unknown fields dropped."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False, defer_build=True)


class VerifierAnswer(Message):
    """GET /v1/verifier: who answers here. `mail` is "delayed" while letters wait for a mail server that fails."""

    network: Sha256
    verifier: PeerId
    name: Annotated[str, StringConstraints(max_length=LABEL_CHARS_MAX)]
    contact: Annotated[str, StringConstraints(max_length=URL_CHARS_MAX)] = ""
    software: Annotated[str, StringConstraints(max_length=LABEL_CHARS_MAX)] = ""
    mail: Literal["ready", "delayed"] = "ready"


class ChallengeRequest(Message):
    """POST /v1/challenges: an account asks for a code to an address; `signature` is over `challenge_bytes`."""

    network: Sha256
    verifier: PeerId
    account: PeerId
    email: Annotated[str, StringConstraints(min_length=1, max_length=EMAIL_CHARS_MAX)]
    nodes: Annotated[list[PeerId], Field(max_length=NODES_MAX)]
    time_ms: Count
    nonce: Hex32
    signature: Signature


class ChallengeAnswer(Message):
    """The answer to every request that is in order, whether or not the address is known or a letter goes out."""

    challenge: Hex32
    tag: Annotated[str, StringConstraints(pattern=r"^[0-9]{2}$")]
    expires_s: Annotated[int, Field(ge=0, le=86_400)]
    said: Said


class ConfirmationRequest(Message):
    """POST /v1/confirmations: the code, as it was typed."""

    challenge: Hex32
    code: Annotated[str, StringConstraints(max_length=CODE_CHARS_MAX)]


class ConfirmationAnswer(Message):
    """The credential, a record in base64."""

    credential: _Base64


class StateAnswer(Message):
    """GET /v1/challenges/{challenge}: whether it was confirmed, as by the link in the letter."""

    state: State
    credential: _Base64 | None = None


class RefusalAnswer(Message):
    """Why a verifier does not do what was asked: a word of REFUSALS, and a sentence; `left` is the number of tries."""

    error: Annotated[str, StringConstraints(max_length=ERROR_CHARS_MAX)]
    said: Said
    left: Annotated[int, Field(ge=0, le=TRIES_MAX)] | None = None


_M = TypeVar("_M", bound=Message)


def parsed(model: type[_M], body: bytes) -> _M:
    """Return a message from JSON; raise UserError, which names the field and repeats nothing of it."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise UserError(f"This message is not in order at {where} ({first['msg']}): correct it.") from None


def challenge_bytes(
    network: str, verifier: str, account: str, email: str, nodes: Sequence[str], time_ms: int, nonce: str
) -> bytes:
    """Return what an account signs to ask a verifier for a code; it names the verifier, so no other can use it."""
    lines = [network, verifier, account, email, ",".join(nodes), str(time_ms), nonce]
    return _DOMAIN + "\n".join(lines).encode()


def challenge_request(
    account: Identity, *, network: str, verifier: str, email: str, nodes: Sequence[str], time_ms: int | None = None
) -> ChallengeRequest:
    """Return a signed request for a code, fresh from now on; raises UserError where an address is too long."""
    asked_ms = time.time_ns() // 1_000_000 if time_ms is None else time_ms
    nonce = secrets.token_hex(HEX_CHARS // 2)
    try:
        said = challenge_bytes(network, verifier, account.peer_id, email, nodes, asked_ms, nonce)
        return ChallengeRequest(
            network=network,
            verifier=verifier,
            account=account.peer_id,
            email=email,
            nodes=list(nodes),
            time_ms=asked_ms,
            nonce=nonce,
            signature=account.sign(said).hex(),
        )
    except (ValidationError, UnicodeEncodeError):  # half a surrogate pair, as from a terminal
        raise UserError(f"An e-mail address has 1 to {EMAIL_CHARS_MAX} characters: check what you typed.") from None


def signed_by_account(request: ChallengeRequest) -> bool:
    """Return whether the account that a request names has signed it."""
    said = challenge_bytes(
        request.network,
        request.verifier,
        request.account,
        request.email,
        request.nodes,
        request.time_ms,
        request.nonce,
    )
    try:
        verify(request.account, bytes.fromhex(request.signature), said)
    except RecordError:
        return False
    return True


def code_digits(typed: str) -> str | None:
    """Return the ten digits of a code as a person typed it, without dashes and blanks; None where it is no code."""
    digits = "".join(typed.replace("-", "").split())
    return digits if len(digits) == CODE_DIGITS and digits.isascii() and digits.isdigit() else None


def shown(code: str) -> str:
    """Return ten digits as a letter shows them: NN-DDDD-DDDD."""
    return f"{code[:TAG_DIGITS]}-{code[TAG_DIGITS:-4]}-{code[-4:]}"
