"""Draws: which verifiers seal a number for a result, and what follows from their numbers for who reruns it.

The rules T1 to T3 of docs/PROTOCOL.md, pure. A verifier seals its number before it knows the others', and tells it
when all are sealed; so no one of them chooses the draw, and the author, who published before, cannot either. One that
does not tell its number can hold a draw up, not turn it. Left out: who lists what (registrar), and seats by number
(lottery). Rejected: a chain of numbers committed to beforehand; the last verifier to list would know the others', and
could wait for a number that suits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from ensue.people import InForce
from verify import lottery


@dataclass(frozen=True, slots=True)
class Sealing:
    """A verifier's listing of one result."""

    verifier: str
    seq: int
    quorum: str
    draw: int
    commitment: str
    noise_sd: float
    entrants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """A verifier's secret for one result."""

    verifier: str
    seq: int
    quorum: str
    draw: int
    secret: str


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw: its round value, the calibrations in it, the track's noise of a run, and its place among all."""

    number: int
    value: str
    entrants: frozenset[str]
    noise_sd: float
    place: tuple[int, str]


@dataclass(frozen=True, slots=True)
class Seat:
    """Where an account sits: its place over all draws, and the round value of the draw that gave it the seat."""

    place: int
    value: str


def designated(result: str, verifiers: Iterable[str], needed: int) -> tuple[str, ...]:
    """Return the verifiers whose numbers make the draw of a result, as many as are needed."""

    def lot(verifier: str) -> str:
        return hashlib.sha256(f"autoresearch-designate-v1\0{result}{verifier}".encode()).hexdigest()

    return tuple(sorted(verifiers, key=lambda verifier: (lot(verifier), verifier))[:needed])


def secret_of(seed: bytes, quorum: str, result: str, draw: int) -> str:
    """Return a verifier's own secret for a result; it follows from its key, so nothing is to be kept."""
    return hashlib.sha256(b"autoresearch-secret-v1\0" + seed + f"{quorum}{result}{draw}".encode()).hexdigest()


def commitment(secret: str) -> str:
    """Return what seals a secret of 64 hexadecimal digits."""
    return hashlib.sha256(bytes.fromhex(secret)).hexdigest()


def draws(
    result: str, epochs: Sequence[InForce], sealings: Iterable[Sealing], openings: Iterable[Opening]
) -> list[Draw]:
    """Return the draws that were made for a result, in order of number."""
    now = epochs[-1]
    first: dict[tuple[str, int, str], Sealing] = {}
    for one in sorted(sealings, key=lambda one: one.seq):
        if one.seq <= now.limit(one.verifier):
            first.setdefault((one.quorum, one.draw, one.verifier), one)
    told: dict[tuple[str, int, str], set[str]] = {}
    for other in openings:
        if other.seq <= now.limit(other.verifier):
            told.setdefault((other.quorum, other.draw, other.verifier), set()).add(other.secret)
    found: dict[int, Draw] = {}
    numbers = sorted({number for _, number, _ in first})
    for number, epoch in product(numbers, epochs):
        made = None if number in found else _made(result, number, epoch, first, told)
        if made is not None:
            found[number] = made
    return [found[number] for number in sorted(found)]


def _made(
    result: str,
    number: int,
    epoch: InForce,
    first: Mapping[tuple[str, int, str], Sealing],
    told: Mapping[tuple[str, int, str], set[str]],
) -> Draw | None:
    """Return the draw that the designated verifiers of one epoch have made, None where one of them has not yet."""
    names = designated(result, epoch.verifiers, epoch.needed)
    secrets, sealed = [], []
    for name in names:
        place = epoch.statement, number, name
        one = first.get(place)
        good = [secret for secret in told.get(place, ()) if one is not None and commitment(secret) == one.commitment]
        if one is None or not good:
            return None
        sealed.append(one)
        secrets.append(good[0])
    if not sealed:
        return None
    text = f"autoresearch-round-v1\0{result}{number}{''.join(sorted(secrets))}"
    return Draw(
        number,
        hashlib.sha256(text.encode()).hexdigest(),
        frozenset(entrant for one in sealed for entrant in one.entrants),
        max(one.noise_sd for one in sealed),
        (sealed[0].seq, sealed[0].verifier),
    )


def seats(result: str, author: str, drawn: Iterable[tuple[Draw, Iterable[str]]]) -> dict[str, Seat]:
    """Return the seats that draws gave, each with the accounts that were in it in one hardware class, by account."""
    found: dict[str, Seat] = {}
    for draw, accounts in drawn:
        for account in lottery.draw(result, author=author, accounts=accounts, round_value=draw.value):
            found.setdefault(account, Seat(len(found), draw.value))
    return found


def seeds(result: str, account: str, value: str, block: int) -> tuple[int, int]:
    """Return the seeds of the two pairs of an account's block."""
    one, two = (lottery.seed(result, account, value, 2 * block + number) for number in (0, 1))
    return one, two
