"""Who reruns a candidate: seats drawn by a hash that nobody knows when the candidate is published.

The order of accounts is that of SHA-256 over (result, round value, account). The author fixes the result before the
round value exists, so trying many results steers nothing; the account's part is fixed by who it is. All is integers
and hashes: every node draws the same seats. Leaves out where round values come from and which accounts take part; both
must be fixed before the round. Rejected: seats for whoever comes first (friends come first), seats for the least
loaded (everybody can see who is next), and signatures as dice (a signer may sign again until it suits).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction

from ensue.errors import ExperimentError

SEATS = 7
LEAD_MAX = 4
"""Duties that an account may have more than the average before it is passed over."""
SEED_BITS = 31
CHECKED_LEAST = Fraction(1, 10)
_HALF_LIFE = 10  # confirmed results in a row after which half are checked
_HEX = re.compile(r"[0-9a-f]{64}")


def draw(
    result: str,
    *,
    author: str,
    accounts: Iterable[str],
    round_value: str,
    seats: int = SEATS,
    duties: Mapping[str, int] | None = None,
    barred: Collection[str] = (),
) -> tuple[str, ...]:
    """Return the accounts that rerun a result, at most `seats`, in the order of their seats; never the author's.

    `duties` counts the seats that each account got in earlier rounds, taken or not: whoever has LEAD_MAX more than the
    average of those who may be drawn is passed over. More seats only add to the end, which is how a seat that was not
    taken is filled. Raises ExperimentError unless result and round value are 64 hexadecimal digits.
    """
    if seats < 0:
        raise ExperimentError("A draw has no seats or more; correct the number.")
    had = duties or {}
    able = sorted({account for account in accounts if account != author and account not in barred})
    if not able:
        return ()
    most = sum(had.get(account, 0) for account in able) // len(able) + LEAD_MAX
    free = [account for account in able if had.get(account, 0) <= most]
    lots = _lots("seat", result, round_value)
    return tuple(sorted(free, key=lambda account: (_drawn(lots, account), account))[:seats])


def seed(result: str, account: str, round_value: str, number: int) -> int:
    """Return the seed of an account's pair `number` on a result, 0 to 2^31 - 1: its own, and not its to choose."""
    lot = _drawn(_lots("seed", result, round_value), f"{number}\0{account}")
    return int.from_bytes(lot, "big") >> (256 - SEED_BITS)


def checked_share(confirmed_in_a_row: int) -> Fraction:
    """Return which share of an account's results is checked, by how many were confirmed since one was refuted.

    All of a newcomer's, half after ten, never less than a tenth; one refuted result sets the count to nothing.
    """
    if confirmed_in_a_row < 0:
        raise ExperimentError("An account has no confirmed results or more; count them again.")
    return max(CHECKED_LEAST, Fraction(_HALF_LIFE, _HALF_LIFE + confirmed_in_a_row))


def is_checked(result: str, round_value: str, share: Fraction) -> bool:
    """Return whether this result is among the share that is checked; the author cannot know when it publishes."""
    lot = int.from_bytes(_lots("check", result, round_value).digest(), "big")
    return lot * share.denominator < share.numerator << 256


def _lots(purpose: str, result: str, round_value: str) -> hashlib._Hash:
    """Return the hash that decides, before what it decides about; all before that is of one length per purpose."""
    if not _HEX.fullmatch(result) or not _HEX.fullmatch(round_value):
        raise ExperimentError("A draw needs a result's id and a round value, each 64 hexadecimal digits; correct them.")
    return hashlib.sha256(f"autoresearch-lottery-v1\0{purpose}\0{result}{round_value}".encode())


def _drawn(lots: hashlib._Hash, rest: str) -> bytes:
    """Return the lot of one account."""
    lot = lots.copy()
    lot.update(rest.encode())
    return lot.digest()
