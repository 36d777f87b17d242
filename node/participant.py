"""Becomes a verified participant: asks as many verifiers as are needed, keeps what is awaited, checks what comes back.

What is awaited is a note in the replica, so the code may be given in another shell or after a reboot; the e-mail
address is in none of them. A credential goes into the memory like any record of others. Left out: HTTP (verifiers),
questions to the owner (cli.verify). Rejected: believing a verifier that it has issued; only its signed record counts.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from ensue import record as records
from ensue.body import NODES_MAX
from ensue.errors import NetworkError, RecordError, UserError
from ensue.kinds import Credential, parse_body
from node import names, text
from node.verifiers import Verifier, VerifierRefused
from verify.request import TAG_DIGITS, challenge_request

if TYPE_CHECKING:
    from ensue.identity import Identity
    from ensue.store import Store

NOTE = "verify awaited"
AWAITED_MAX = 32
"""Codes awaited at once; of more the oldest is forgotten."""
FORGOTTEN_AFTER_MS = 3_600_000
"""A challenge is forgotten so long after it has expired, so that a late code is told why it is none."""

Reach = Callable[[str, str | None], Verifier]
"""Opens the verifier with a peer id, at a URL or, without one, in this process."""


class UntrueVerifier(NetworkError):
    """A verifier that is not the one it should be, or gave something else than a good credential."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a verifier is reached: a URL, or None for the one inside this home; its peer id where that is known."""

    url: str | None
    verifier: str | None


@dataclass(frozen=True, slots=True)
class Awaited:
    """A challenge whose code is on its way; `expires_ms` by this machine's clock."""

    verifier: str
    url: str | None
    challenge: str
    tag: str
    account: str
    expires_ms: int


@dataclass(slots=True)
class Asked:
    """What came of asking: codes on their way, what each verifier said, and sentences about those that failed."""

    awaited: list[Awaited] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def places(store: Store, inside: str | None, urls: Sequence[str]) -> tuple[list[Place], list[str]]:
    """Return where verifiers can be asked, and why others cannot; `inside` is the one that runs in this home.

    With `urls` only those are asked, whoever answers there.
    """
    if urls:
        return [Place(url, None) for url in dict.fromkeys(urls)], []
    found, unreachable = [], []
    for verifier in store.people.in_force().verifiers:
        announced = store.people.announced(verifier)
        if verifier == inside:
            found.append(Place(None, verifier))
        elif announced is not None:
            found.append(Place(announced.url, verifier))
        else:
            unreachable.append(
                f"the verifier {names.key(verifier)} has not said where it is reached: ask its owner for the address "
                "and give it with --verifier URL"
            )
    return found, unreachable


def count_to_ask(store: Store, account: str, now_ms: int) -> int:
    """Return how many verifiers an account must ask: as many as are missing, or all that are needed to renew."""
    standing = store.people.standing(account, now_ms)
    return standing.needed if standing.official else max(1, standing.needed - len(standing.covering))


async def ask(
    store: Store, account: Identity, node: str, email: str, asked: Sequence[Place], wanted: int, reach: Reach
) -> Asked:
    """Ask verifiers for a code to an address, one after the other, until `wanted` have sent one.

    One that is out of reach, refuses, lies or is not trusted costs a sentence, and the next is asked.
    """
    now_ms = _now_ms()
    found, in_force = Asked(), store.people.in_force()
    covering = set(store.people.standing(account.peer_id, now_ms).covering)
    renewing = len(covering) >= in_force.needed
    order = sorted(asked, key=lambda place: (place.verifier in covering) != renewing)
    nodes = _nodes(store, account.peer_id, node)
    for place in order:
        if len(found.awaited) >= wanted:
            break
        try:
            async with reach(place.verifier or "", place.url) as verifier:
                about = await verifier.about()
                _right_one(store, place, about.verifier, about.network, in_force.verifiers, verifier.who)
                request = challenge_request(
                    account, network=store.network, verifier=about.verifier, email=email, nodes=nodes
                )
                answer = await verifier.challenge(request)
        except VerifierRefused as refusal:
            if refusal.code in ("address", "disposable"):  # the next one would say the same
                raise
            found.failed.append(str(refusal))
            continue
        except (NetworkError, UserError) as problem:
            found.failed.append(str(problem))
            continue
        expires_ms = _now_ms() + 1000 * answer.expires_s
        found.awaited.append(
            Awaited(about.verifier, place.url, answer.challenge, answer.tag, account.peer_id, expires_ms)
        )
        late = "; its mail is delayed just now" if about.mail == "delayed" else ""
        found.said.append(f"{verifier.who}: {text.printable(answer.said, 200)}{late}")
    keep(store, [*awaited(store), *found.awaited])
    return found


async def redeem(store: Store, account: str, digits: str, reach: Reach) -> Awaited:
    """Give a code of ten digits to the verifier whose code it is, and take in the credential; return what was awaited.

    Raises UserError where no such code is awaited, VerifierRefused, VerifierUnreachable and UntrueVerifier.
    """
    tag = digits[:TAG_DIGITS]
    mine = [one for one in awaited(store) if one.account == account]
    fitting = [one for one in mine if one.tag == tag]
    if not fitting:
        tags = " or ".join(dict.fromkeys(one.tag for one in mine))
        raise UserError(
            f"this code begins with {tag}, and one that begins with {tags} is awaited: look for the newest letter"
            if mine
            else "no code is awaited here: ask for one with `autoresearch verify you@example.org`"
        )
    problem: VerifierRefused | None = None
    for one in reversed(fitting):  # several with one tag: the newest first
        async with reach(one.verifier, one.url) as verifier:
            try:
                answer = await verifier.confirm(one.challenge, digits)
            except VerifierRefused as refusal:
                problem = problem or refusal
                if refusal.code in ("expired", "used", "too many", "unknown"):
                    forget(store, one)
                continue
            take_in(store, one, answer.credential, verifier.who)
        return one
    assert problem is not None
    raise problem


async def look(store: Store, account: str, reach: Reach) -> tuple[list[Awaited], list[str]]:
    """Ask whether links were used meanwhile; return those that were, with their credentials here, and what failed."""
    done, failed = [], []
    for one in awaited(store):
        if one.account != account:
            continue
        try:
            async with reach(one.verifier, one.url) as verifier:
                answer = await verifier.state(one.challenge)
                if answer.state == "confirmed" and answer.credential is not None:
                    take_in(store, one, answer.credential, verifier.who)
                    done.append(one)
                elif answer.state == "expired":
                    forget(store, one)
        except (NetworkError, UserError) as problem:
            failed.append(str(problem))
    return done, failed


def take_in(store: Store, one: Awaited, credential: str, who: str) -> None:
    """Check a credential and take it into the replica, from where it spreads; raise UntrueVerifier."""
    try:
        raw = base64.b64decode(credential, validate=True)
        record = records.decode(raw, store.network)
        body = parse_body(record.kind, record.body)
    except (ValueError, RecordError) as error:
        raise UntrueVerifier(f"{who} gave something that is no credential of this network: {error}") from None
    why = None
    if not isinstance(body, Credential):
        why = "another record than a credential"
    elif record.author != one.verifier:
        why = "a credential that another key has signed"
    elif body.account != one.account:
        why = "a credential of another account"
    elif body.expires_ms <= _now_ms():
        why = "a credential that has expired already"
    elif record.seq > store.people.in_force().limit(one.verifier):
        why = "a credential that counts for nothing, as the network trusts it no more"
    if why is not None:
        raise UntrueVerifier(f"{who} gave {why}: tell its owner, and ask another verifier")
    report = store.ingest([raw])
    if report.refused:
        raise UntrueVerifier(f"{who} gave a credential that the memory does not take: {report.refused[0]}")
    frozen_from = store.frozen_from(one.verifier)
    if frozen_from is not None and frozen_from <= record.seq:
        raise UntrueVerifier(f"{who} has signed one number of its log twice, so its word counts no more: ask another")
    forget(store, one)


def awaited(store: Store) -> list[Awaited]:
    """Return the challenges whose codes are on their way, the oldest first; nothing where the note is not sound."""
    try:
        found = [Awaited(**one) for one in json.loads(store.local_get(NOTE) or "[]")]
        return [one for one in found if one.expires_ms + FORGOTTEN_AFTER_MS > _now_ms()][-AWAITED_MAX:]
    except (RecursionError, TypeError, ValueError):
        return []


def keep(store: Store, those: Sequence[Awaited]) -> None:
    """Note what is awaited, for another shell and after a reboot."""
    store.local_set(NOTE, json.dumps([asdict(one) for one in those[-AWAITED_MAX:]]) if those else None)


def forget(store: Store, one: Awaited) -> None:
    """Await a code no more."""
    keep(store, [other for other in awaited(store) if other.challenge != one.challenge])


def _right_one(store: Store, place: Place, verifier: str, network: str, trusted: Sequence[str], who: str) -> None:
    if network != store.network:
        raise UntrueVerifier(f"{who} belongs to another network ({text.short(network)}): check its address")
    if verifier not in trusted:
        raise UntrueVerifier(
            f"{who} is {names.key(verifier)}, which this network does not trust: `autoresearch verifier list` names "
            "those it does"
        )
    if place.verifier is not None and place.verifier != verifier:
        raise UntrueVerifier(
            f"{who} says that it is {names.key(verifier)} and not {names.key(place.verifier)}: ask for its address anew"
        )


def _nodes(store: Store, account: str, node: str) -> list[str]:
    """Return the node keys to be named in a request: this node first."""
    others = [row.node for row in store.people.nodes(account) if row.node != node and row.void_from is None]
    return [node, *others][:NODES_MAX]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
