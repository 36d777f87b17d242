"""What every body of a record is built of: a strict model, and types with a bound on every text, list and number.

Leaves out the kinds themselves (kinds). Models are built on first use, so that importing this module stays cheap for
queries. Rejected: bounds at each field, of which one is forgotten.
"""

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

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
RUNS_MAX = 32
"""Runs told by one calibration."""
BLOCKS_MAX = 32
"""Blocks of one account on one result."""
PAIRS_MAX = 8
"""Pairs of runs in one block."""
LISTED_MAX = 64
"""Results that one record of a verifier puts to the test."""
ENTRANTS_MAX = 256
"""Machines among which one draw is made."""
DRAWS_MAX = 4
"""Draws of seats for one result."""


def plain(text: str) -> str:
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
Label = Annotated[str, StringConstraints(min_length=1, max_length=LABEL_CHARS_MAX), AfterValidator(plain)]
Name = Annotated[str, StringConstraints(max_length=AGENT_CHARS_MAX), AfterValidator(plain)]
Software = Annotated[str, StringConstraints(max_length=SOFTWARE_CHARS_MAX), AfterValidator(plain)]
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
            raise invalid(type(self).__name__.lower(), error) from None

    # Only calls by name come through here; pydantic goes on building bodies that it parses at full speed.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


def invalid(what: str, error: ValidationError) -> InvalidBody:
    """Return the first thing that is wrong as one sentence, without a character of what the peer wrote."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    why = first["msg"].removeprefix("Value error, ")
    return InvalidBody(f"The {what} breaks a rule of its kind at '{where}' ({why}); correct that field.")
