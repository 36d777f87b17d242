"""A verifier in a folder with a real replica, a clock that a test turns, and people who ask it."""

from __future__ import annotations

import base64
import re
import secrets
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

from ensue.genesis import Genesis, found
from ensue.identity import Identity
from ensue.people import Trust
from ensue.record import Record, decode
from ensue.store import Store, ownlog
from verify.request import (
    ChallengeAnswer,
    ConfirmationAnswer,
    ConfirmationRequest,
    RefusalAnswer,
    challenge_request,
    parsed,
)
from verify.service import Answer, Question, Service
from verify.settings import Settings, load

BEGINNING_MS = 1_800_000_000_000
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
CODE = re.compile(r"^    (\d\d-\d{4}-\d{4})$", re.M)
ROOMY = {
    name: "1000000"
    for name in Settings.model_fields
    if name.endswith(("_an_hour", "_a_day")) or name == "domain_accounts"
}
"""Settings without limits, for tests of something else."""


@dataclass
class Office:
    """One verifier; `now_ms` is its clock."""

    home: Path
    options: dict[str, str] = field(default_factory=dict)
    now_ms: int = BEGINNING_MS
    clients: int = 0

    def __post_init__(self) -> None:
        self.folder = self.home / "verifier"
        self.founder = Identity.load_or_create(self.home / "node.key")
        path = self.home / "genesis.json"
        if not path.exists():
            verifier = Identity.load_or_create(self.folder / "verifier.key")
            genesis = found(self.founder, "trial", [], created_ms=1, verifiers=[verifier.peer_id])
            for identity in (verifier, self.founder):
                ownlog.begin(self.home / "replica.sqlite3", genesis.network_id, identity.peer_id)
            genesis.save(path)
        self.genesis = Genesis.load(path)
        self.store = Store(self.home / "replica.sqlite3", self.genesis.network_id, Trust.of(self.genesis))
        self.open()

    def open(self) -> None:
        chosen = load(self.folder, flags=self.options, environ={})
        self.service = Service(
            self.folder, self.store, chosen, network_name=self.genesis.name, clock_ms=lambda: self.now_ms
        )
        self.verifier = self.service.identity

    def restart(self) -> None:
        self.service.close()
        self.open()

    def close(self) -> None:
        self.service.close()
        self.store.close()

    # Asking

    def request(self, address: str, by: Identity, **changed: Any) -> bytes:
        made = challenge_request(
            by,
            network=self.genesis.network_id,
            verifier=self.verifier.peer_id,
            email=address,
            nodes=[],
            time_ms=self.now_ms,
        )
        return made.model_copy(update=changed).model_dump_json().encode()

    def post(self, path: str, body: bytes, client: str | None = None) -> Answer:
        return self.service.answer(Question("POST", path, body=body, client=client or self.stranger()))

    def stranger(self) -> str:
        """Return an address on the network that nobody had before."""
        self.clients += 1
        return f"10.{self.clients >> 16 & 255}.{self.clients >> 8 & 255}.{self.clients & 255}"

    def ask(self, email: str, account: Identity, client: str | None = None) -> ChallengeAnswer:
        answer = self.post("/v1/challenges", self.request(email, account), client)
        assert answer.status == 202, answer.body
        return parsed(ChallengeAnswer, answer.body)

    def refused(self, address: str, by: Identity | None = None, client: str | None = None, **changed: Any) -> str:
        body = self.request(address, by or Identity.generate(), **changed)
        return refusal(self.post("/v1/challenges", body, client)).error

    def confirm(self, challenge: str, code: str, client: str | None = None) -> Answer:
        body = ConfirmationRequest(challenge=challenge, code=code).model_dump_json().encode()
        return self.post("/v1/confirmations", body, client)

    def get(self, path: str, query: str = "") -> Answer:
        return self.service.answer(Question("GET", path, query, client=self.stranger()))

    def verified(self, email: str, account: Identity) -> Record:
        """Go all the way from an address to a credential."""
        answer = self.confirm(self.ask(email, account).challenge, self.code())
        return credential(answer)

    # Letters

    def letters(self) -> list[EmailMessage]:
        return [_letter(path) for path in self._files()]

    def code(self) -> str:
        """Return the code in the newest letter."""
        return code_in(_letter(self._files()[-1]))

    def _files(self) -> list[Path]:
        folder = self.folder / "mail"
        return sorted(folder.glob("*.eml")) if folder.exists() else []


def _letter(path: Path) -> EmailMessage:
    return message_from_bytes(path.read_bytes(), policy=SMTP)  # type: ignore[arg-type]


def code_in(letter: EmailMessage) -> str:
    found = CODE.search(letter.get_content().replace("\r\n", "\n"))
    assert found
    return found[1]


def other_code(code: str) -> str:
    """Return a code that is wrong, with the same tag."""
    return code[:3] + f"{(int(code[3:].replace('-', '')) + 1) % 10**8:08d}"


def credential(answer: Answer) -> Record:
    assert answer.status == 200, answer.body
    return decode(base64.b64decode(parsed(ConfirmationAnswer, answer.body).credential))


def refusal(answer: Answer) -> RefusalAnswer:
    assert answer.status >= 400, answer.body
    return parsed(RefusalAnswer, answer.body)


def someone() -> str:
    """Return an address at a domain of its own."""
    return f"me@{secrets.token_hex(6)}.org"
