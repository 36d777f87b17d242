"""Why a verifier does not do what was asked: a word that programs read, and a sentence for people.

Left out: HTTP; the status that goes with each word stands in request.REFUSALS.
"""

from ensue.errors import UserError
from verify.request import REFUSALS


class Refused(UserError):
    """A request that a verifier refuses; `code` is a word of REFUSALS, `left` how many codes may still be tried."""

    def __init__(self, code: str, said: str, left: int | None = None) -> None:
        assert code in REFUSALS
        super().__init__(said)
        self.code = code
        self.left = left
