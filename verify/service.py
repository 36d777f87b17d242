"""A verifier's answers to HTTP requests, as plain functions: a request in, an answer out.

Left out: sockets, and reading a body with a bound and a deadline (node.serving). A command asks the verifier in its own
home without any port, and a test asks it a hundred thousand times. Rejected: a web framework, which for six paths would
bring asynchronous code into this layer.
"""

import base64
import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs

from ensue.errors import AutoresearchError, UserError
from ensue.store import Store
from verify.issuing import Issuing
from verify.key import key_of
from verify.ledger import Ledger
from verify.letter import Writer
from verify.mailbox import outlet
from verify.pages import HEADERS, Pages
from verify.pepper import Pepper
from verify.postman import Postman
from verify.refusal import Refused
from verify.request import (
    BODY_BYTES_MAX,
    CODE_CHARS_MAX,
    REFUSALS,
    ChallengeRequest,
    ConfirmationAnswer,
    ConfirmationRequest,
    Message,
    RefusalAnswer,
    VerifierAnswer,
    parsed,
)
from verify.settings import Settings

_M = TypeVar("_M", bound=Message)

PEPPER_NAME, LEDGER_NAME, LETTERS_NAME = "pepper", "ledger.sqlite3", "mail"
FIELDS_MAX = 8
_CHALLENGE = re.compile(r"/(v1/challenges|confirm)/([0-9a-f]{32})")
_JSON = {
    "content-type": "application/json",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}
_GONE = "This link does not work any more: it was used, or is older than ten minutes."
_BUSY = "This verifier cannot do that now: try again later, or another verifier."
_log = logging.getLogger("autoresearch.verifier")


@dataclass(frozen=True, slots=True)
class Question:
    """An HTTP request; `client` is the address on the network that it came from."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    client: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: dict(_JSON))


class Service:
    """One verifier of one network: its ledger, its letters, and what it answers. For several threads.

    `folder` holds the key, the pepper, the ledger and the settings. Opening it issues what was confirmed before a kill.
    Raises BadKeyFile, StoreError, BadSettings, LogInDoubt.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        chosen: Settings,
        *,
        network_name: str,
        software: str = "",
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.settings = chosen
        self.identity = key_of(folder, store)
        self._network, self._software = store.network, software
        pepper = Pepper.load_or_create(folder / PEPPER_NAME)
        out = outlet(chosen, folder / LETTERS_NAME)
        writer = Writer(store.network, network_name, chosen.name, chosen.sender, chosen.url)
        self._ledger = Ledger(folder / LEDGER_NAME)
        try:
            self.postman = Postman(self._ledger, out, writer, pepper, clock_ms)
            self.issuing = Issuing(
                chosen,
                identity=self.identity,
                store=store,
                ledger=self._ledger,
                pepper=pepper,
                postman=self.postman,
                clock_ms=clock_ms,
            )
            self._pages = Pages(network_name, store.network, chosen.name, chosen.contact)
            self.issuing.recover()
        except BaseException:
            self._ledger.close()
            raise

    def close(self) -> None:
        """End the delivery of letters, and close the ledger; what waits stays there."""
        self.postman.stop()
        self._ledger.close()

    def answer(self, question: Question) -> Answer:
        """Return the answer to a request; never raises for anything that a request holds."""
        try:
            return self._routed(question)
        except Refused as refusal:
            return _refusal(refusal)
        except AutoresearchError as error:  # the disk, or a log in doubt: the owner's to mend
            _log.error("a request could not be met: %s", error)
            return _refusal(Refused("busy", _BUSY))

    def _routed(self, question: Question) -> Answer:
        method = "GET" if question.method == "HEAD" else question.method
        if len(question.body) > BODY_BYTES_MAX:
            return _plain(413, "malformed", f"A request has at most {BODY_BYTES_MAX} bytes.")
        if (method, question.path) == ("GET", "/v1/verifier"):
            return _message(200, self.about())
        if (method, question.path) == ("POST", "/v1/challenges"):
            answer = self.issuing.challenge(_read(ChallengeRequest, question.body), question.client)
            if not self.postman.started:
                self.postman.deliver()
            return _message(202, answer)
        if (method, question.path) == ("POST", "/v1/confirmations"):
            asked = _read(ConfirmationRequest, question.body)
            raw = self.issuing.confirm(asked.challenge, asked.code, question.client)
            return _message(200, ConfirmationAnswer(credential=base64.b64encode(raw).decode()))
        if found := _CHALLENGE.fullmatch(question.path):
            if found[1] == "confirm":
                return self._page(method, question, found[2])
            if method == "GET":
                return _message(200, self.issuing.state(found[2])[0])
        known = found or question.path in ("/v1/verifier", "/v1/challenges", "/v1/confirmations")
        return _plain(405 if known else 404, "malformed", "There is nothing here: see PROTOCOL.md for what there is.")

    def about(self) -> VerifierAnswer:
        """Return who this verifier is."""
        return VerifierAnswer(
            network=self._network,
            verifier=self.identity.peer_id,
            name=self.settings.name,
            contact=self.settings.contact,
            software=self._software,
            mail="ready" if self.postman.told is None else "delayed",
        )

    def _page(self, method: str, question: Question, challenge: str) -> Answer:
        if method not in ("GET", "POST"):
            return Answer(
                405, self._pages.refused("This page can be opened and confirmed, nothing else."), dict(HEADERS)
            )
        given = _fields(question.query if method == "GET" else question.body.decode("utf-8", "replace"))
        state, one = self.issuing.state(challenge)
        if method == "GET":
            if one is not None and state.state == "confirmed":
                return Answer(200, self._pages.confirmed(one.account), dict(HEADERS))
            if one is None or state.state == "expired":
                return Answer(410, self._pages.refused(_GONE), dict(HEADERS))
            return Answer(200, self._pages.ask(one.account, challenge, given), dict(HEADERS))
        try:
            self.issuing.confirm(challenge, given, question.client)
        except Refused as refusal:
            said = _GONE if refusal.code in ("used", "expired") else str(refusal)
            return Answer(REFUSALS[refusal.code], self._pages.refused(said), dict(HEADERS))
        assert one is not None
        return Answer(200, self._pages.confirmed(one.account), dict(HEADERS))


def _read(model: type[_M], body: bytes) -> _M:
    try:
        return parsed(model, body)
    except UserError as error:
        raise Refused("malformed", str(error)) from None


def _fields(text: str) -> str:
    """Return the code in a query or a form, as it would be typed; "" where there is none."""
    try:
        code = parse_qs(text, max_num_fields=FIELDS_MAX).get("code", [""])[0]
    except ValueError:
        return ""
    return code[:CODE_CHARS_MAX]


def _message(status: int, message: Message) -> Answer:
    return Answer(status, message.model_dump_json(exclude_none=True).encode())


def _refusal(refusal: Refused) -> Answer:
    return _message(
        REFUSALS[refusal.code], RefusalAnswer(error=refusal.code, said=str(refusal)[:500], left=refusal.left)
    )


def _plain(status: int, error: str, said: str) -> Answer:
    return Answer(status, json.dumps({"error": error, "said": said}).encode())
