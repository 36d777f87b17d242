"""From a request to a credential: who may have a code, whether a code is right, and the record that follows, once.

The steps, each on the disk before the next: (1) the challenge with its letter; (2) the right code, which ends it;
(3) the credential and the note "issued …" in one transaction of the replica; (4) the ledger says so. A kill between
any two is mended by `recover`, or by whoever asks next. Left out: HTTP (service), sending (postman). Rejected: looking
up an address before its owner has shown the code: by what followed from it anybody could find out who takes part.
"""

import base64
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace

from ensue.body import NODES_MAX
from ensue.identity import Identity
from ensue.kinds import Credential, Head, Superseded
from ensue.record import Record
from ensue.store import Store
from verify import address as addresses
from verify.ledger import Challenge, Ledger
from verify.pepper import Pepper
from verify.postman import Postman
from verify.rates import ByAddress, an_hour
from verify.refusal import Refused
from verify.request import (
    CLOCK_MS_MAX,
    CODE_LIFE_S,
    HEX_CHARS,
    TAG_DIGITS,
    TRIES_MAX,
    ChallengeAnswer,
    ChallengeRequest,
    StateAnswer,
    code_digits,
    signed_by_account,
)
from verify.settings import Settings

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MOVE_MS = 7 * DAY_MS
"""How long after an address went to another account it may not go on to a third."""
SAID = "A letter with a code is on its way, if letters to this address are not too many already."
SAID_IN_FOLDER = "No mail server is named here, so the letter lies in verifier/mail in the home of this verifier."
_WRONG = "This code is not right: look at it again."
_log = logging.getLogger("autoresearch.verifier")


class Issuing:
    """Decides for one verifier; for several threads, and with several processes on one ledger."""

    def __init__(
        self,
        chosen: Settings,
        *,
        identity: Identity,
        store: Store,
        ledger: Ledger,
        pepper: Pepper,
        postman: Postman,
        clock_ms: Callable[[], int],
    ) -> None:
        self.identity = identity
        self._chosen, self._store, self._ledger = chosen, store, ledger
        self._pepper, self._postman, self._clock_ms = pepper, postman, clock_ms
        self._said = SAID if chosen.smtp_host else SAID_IN_FOLDER
        self._clients, self._guessers = (
            ByAddress(count, clock=lambda: clock_ms() / 1000)
            for count in (chosen.client_challenges_an_hour, chosen.client_guesses_an_hour)
        )
        self._accounts, self._domains, self._providers = (
            an_hour(count, clock=lambda: clock_ms() / 1000)
            for count in (
                chosen.account_challenges_an_hour,
                chosen.domain_letters_an_hour,
                chosen.provider_letters_an_hour,
            )
        )

    # A code is asked for

    def challenge(self, request: ChallengeRequest, client: str) -> ChallengeAnswer:
        """Take a request for a code; `client` is the address on the network that it came from. Raises Refused."""
        now_ms = self._clock_ms()
        self._proper(request, now_ms, client)
        asked = addresses.read(request.email, trial=self._chosen.tries_addresses)
        if not (self._providers if asked.at_provider else self._domains).allows(asked.domain):
            raise Refused("too many", "Too many codes were asked for at this domain: try again in an hour.")
        one, code = self._drawn(request, asked, now_ms)
        with self._ledger.write():
            if self._ledger.full() or self._ledger.issued(now_ms - DAY_MS) >= self._chosen.accounts_a_day:
                raise Refused("busy", "This verifier has as much to do as it takes on: try again tomorrow, or another.")
            used = hashlib.sha256(f"{request.account} {request.nonce}".encode()).digest()
            if not self._ledger.first_use(used, request.time_ms + 2 * CLOCK_MS_MAX):
                raise Refused("stale", "This very request came before: make a new one.")
            silent = self._silent(one.address, now_ms)
            self._ledger.add(replace(one, silent=silent, code=None if silent else one.code), asked.mailbox)
        self._postman.remember(one.id, code)
        return ChallengeAnswer(challenge=one.id, tag=one.tag, expires_s=CODE_LIFE_S, said=self._said)

    def _proper(self, request: ChallengeRequest, now_ms: int, client: str) -> None:
        if request.network != self._store.network:
            raise Refused("network", "This verifier serves another network: check which one you joined.")
        if request.verifier != self.identity.peer_id:
            raise Refused("verifier", "This request is meant for another verifier: ask that one.")
        if not self._clients.allows(client):
            raise Refused("too many", "Too many codes were asked for from here: try again in an hour.")
        if not signed_by_account(request):
            raise Refused("signature", "The account that is named did not sign this request.")
        if abs(request.time_ms - now_ms) > CLOCK_MS_MAX:
            raise Refused("stale", "The clocks here and there differ by more than ten minutes: set yours.")
        if not self._accounts.allows(request.account):
            raise Refused("too many", "This account asked for too many codes: try again in an hour.")

    def _drawn(self, request: ChallengeRequest, asked: addresses.Address, now_ms: int) -> tuple[Challenge, str]:
        challenge = secrets.token_hex(HEX_CHARS // 2)
        tag = f"{secrets.randbelow(10**TAG_DIGITS):0{TAG_DIGITS}d}"
        code, digest = self._postman.draw(challenge, tag)
        one = Challenge(
            id=challenge,
            account=request.account,
            nodes=tuple(dict.fromkeys(request.nodes)),
            address=self._pepper.address(asked.canonical),
            domain=self._pepper.domain(asked.domain),
            at_provider=asked.at_provider,
            tag=tag,
            code=digest,
            created_ms=now_ms,
            expires_ms=now_ms + CODE_LIFE_S * 1000,
        )
        return one, code

    def _silent(self, address: bytes, now_ms: int) -> bool:
        """Return whether an address has had its letters; the answer is the same, and no code of it is ever right."""
        hour, day = self._chosen.address_letters_an_hour, self._chosen.address_letters_a_day
        had_hour = self._ledger.letters(address, now_ms - HOUR_MS, hour)
        return self._ledger.letters(address, now_ms - DAY_MS, day) >= day or had_hour >= hour

    # A code comes back

    def confirm(self, challenge: str, typed: str, client: str) -> bytes:
        """Return the credential's record for the right code; raises Refused for every other, each time as fast."""
        if not self._guessers.allows(client):
            raise Refused("too many", "Too many codes were tried from here: try again in an hour.")
        code = code_digits(typed)
        if code is None:  # not a try: everybody can tell that it is none
            raise Refused("wrong", "A code has ten digits, such as 12-3456-7890: look at it again.")
        refusal = self._tried(challenge, code)
        if refusal is not None:
            raise refusal
        return self._issue(challenge)

    def _tried(self, challenge: str, code: str) -> Refused | None:
        """Compare a code and note the outcome durably; return why it is not right, None where it is."""
        now_ms = self._clock_ms()
        got = self._pepper.code(challenge, code)
        with self._ledger.write():
            one = self._ledger.challenge(challenge)
            nobodys = secrets.token_bytes(len(got))  # drawn in any case, as it takes its time
            kept = one.code if one is not None and one.code is not None else nobodys
            same = hmac.compare_digest(kept, got)
            if one is None or one.state == "waiting":
                if one is not None and one.expires_ms <= now_ms:
                    self._ledger.change(challenge, "expired")
                    return Refused("expired", "This code is older than ten minutes: ask for a new one.")
                if one is not None and one.tries >= TRIES_MAX:
                    return Refused("too many", "This code was tried too often: ask for a new one.")
                if one is not None and same:
                    self._ledger.change(challenge, "right")
                    return None
                self._ledger.guessed(challenge)
                return Refused("wrong", _WRONG, TRIES_MAX - 1 - (one.tries if one is not None else 0))
        if one.state == "expired":
            return Refused("expired", "This code is older than ten minutes: ask for a new one.")
        if one.state == "refused":
            return Refused("too many", one.said or "This address may not have an account now.")
        return Refused("used", "This code was used already.")

    def recover(self) -> int:
        """Issue what was confirmed before a kill; return how many credentials that were."""
        left = self._ledger.right()
        for challenge in left:
            try:
                self._issue(challenge)
            except Refused as refusal:
                _log.info("a confirmed request is refused: %s", refusal.code)
        return len(left)

    def state(self, challenge: str) -> tuple[StateAnswer, Challenge | None]:
        """Return what became of a challenge; one that is unknown has expired."""
        one = self._ledger.challenge(challenge)
        if one is not None and one.state == "right":
            try:
                self._issue(challenge)
            except Refused:
                return StateAnswer(state="expired"), one
            one = self._ledger.challenge(challenge)
        if one is not None and one.state == "done" and one.credential is not None:
            return StateAnswer(state="confirmed", credential=base64.b64encode(one.credential).decode()), one
        waiting = one is not None and one.state == "waiting" and one.expires_ms > self._clock_ms()
        return StateAnswer(state="waiting" if waiting else "expired"), one

    # A credential is signed

    def _issue(self, challenge: str) -> bytes:
        """Sign the credential of a challenge whose code came, unless it is there already; return the record's bytes."""
        with self._ledger.write():  # over all processes: nobody else changes who has an address
            one = self._ledger.challenge(challenge)
            assert one is not None
            if one.credential is not None:
                return one.credential
            mark = _mark(self.identity.peer_id, one.id)
            noted = self._store.local_get(f"issued {mark}")
            refusal = None if noted else self._against(one)
            if refusal is None:
                record = self._store.get(noted) if noted else self._signed(one, mark)
                self._note(one, record)
            else:
                self._ledger.change(one.id, "refused", said=str(refusal))
        if refusal is not None:
            raise refusal
        _log.info("a credential was issued to the account %s", one.account)
        return record.raw

    def _against(self, one: Challenge) -> Refused | None:
        """Return why an address may not have a credential, by quotas that count accounts; None where it may."""
        now_ms, chosen = self._clock_ms(), self._chosen
        holder = self._ledger.holder(one.address)
        if holder is not None:
            if holder.account != one.account and holder.moved_ms > now_ms - MOVE_MS:
                return Refused("too many", "This address went to another account in the last seven days: wait a week.")
            return None
        a_day = chosen.provider_accounts_a_day if one.at_provider else chosen.domain_accounts_a_day
        if self._ledger.accounts(one.domain, now_ms - DAY_MS) >= a_day:
            return Refused("domain full", "Enough addresses of this domain had an account today: try again tomorrow.")
        if not one.at_provider and self._ledger.accounts(one.domain) >= chosen.domain_accounts:
            return Refused("domain full", "This domain has as many accounts as one may have: give another address.")
        return None

    def _signed(self, one: Challenge, mark: str) -> Record:
        holder = self._store.people.holder(self.identity.peer_id, one.address.hex())
        body = Credential(
            account=one.account,
            address=one.address.hex(),
            expires_ms=self._clock_ms() + self._chosen.credential_days * DAY_MS,
            nodes=list(one.nodes),
            request=mark,
            supersedes=None if holder in (None, one.account) else self._superseded(str(holder)),
        )
        return self._store.append(self.identity, "credential", body, local=lambda record: {f"issued {mark}": record.id})

    def _superseded(self, account: str) -> Superseded:
        """Return the account that loses an address, and how far its nodes' logs are known here; the longest of many."""
        ends = [
            (node.head_seq if node.void_from is None else min(node.head_seq, node.void_from - 1), node.node)
            for node in self._store.people.nodes(account)
        ]
        heads = [Head(node=node, last_seq=max(0, seq)) for seq, node in sorted(ends, reverse=True)[:NODES_MAX]]
        return Superseded(account=account, heads=heads)

    def _note(self, one: Challenge, record: Record) -> None:
        before = self._ledger.holder(one.address)
        moved = before is not None and before.account != one.account
        self._ledger.hold(one.address, one.account, one.domain, self._clock_ms(), moved=moved)
        self._ledger.change(one.id, "done", credential=record.raw)


def _mark(verifier: str, challenge: str) -> str:
    """Return what makes an issuance unique; it tells nobody the challenge."""
    return hashlib.sha256(f"autoresearch-request-v1\0{verifier} {challenge}".encode()).hexdigest()
