"""Speaks to verifiers over HTTP as one who asks: bounded answers, checked models, and no trust in what comes back.

TLS certificates are verified, and plain HTTP is for this machine only. Redirects are not followed: a verifier has one
address, and a request names the verifier that it is for. Left out: whom to ask, and what a credential must be
(participant). Rejected: a deadline for each read alone, which a server that drips one byte a second would stretch.
"""

from __future__ import annotations

import asyncio
import ipaddress
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from ensue.errors import NetworkError, UserError
from node import names, text
from verify.request import (
    ANSWER_BYTES_MAX,
    ChallengeAnswer,
    ChallengeRequest,
    ConfirmationAnswer,
    ConfirmationRequest,
    Message,
    RefusalAnswer,
    StateAnswer,
    VerifierAnswer,
    parsed,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEADLINE_S = 20.0
"""For one question, from the first packet to the last byte of the answer."""
CONNECT_TIMEOUT_S = 6.0
URL_CHARS_MAX = 400
SAID_COLUMNS = 300

_M = TypeVar("_M", bound=Message)


class VerifierUnreachable(NetworkError):
    """A verifier did not answer, or with something else than an answer of a verifier."""


class VerifierRefused(NetworkError):
    """A verifier will not do what was asked; `code` is its word for the reason, `left` the tries that are left."""

    def __init__(self, who: str, refusal: RefusalAnswer) -> None:
        said = text.printable(refusal.said, SAID_COLUMNS) or text.printable(refusal.error)
        tries = "" if refusal.left is None else f" ({text.plural(refusal.left, 'try')} left)"
        super().__init__(f"{who} refuses: {said}{tries}")
        self.code = refusal.error
        self.left = refusal.left


class Verifier:
    """One verifier, at a URL or inside this process; use as an asynchronous context."""

    def __init__(self, client: httpx.AsyncClient, who: str) -> None:
        self._client = client
        self.who = who

    @classmethod
    def at(cls, url: str, *, insecure_http: bool = False) -> Verifier:
        """Return the verifier at a URL; raise UserError where that is none, or not private on its way."""
        base = checked_url(url, insecure_http=insecure_http)
        timeout = httpx.Timeout(DEADLINE_S, connect=CONNECT_TIMEOUT_S)
        try:
            client = httpx.AsyncClient(base_url=base, timeout=timeout, follow_redirects=False)
        except (httpx.InvalidURL, UnicodeError):
            raise UserError(f"{text.printable(url, 80)!r} is no address of a verifier: check it") from None
        return cls(client, f"the verifier at {text.printable(url, 80)}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def about(self) -> VerifierAnswer:
        """Return who answers here; raise VerifierUnreachable, VerifierRefused."""
        return await self._asked("GET", "/v1/verifier", None, VerifierAnswer)

    async def challenge(self, request: ChallengeRequest) -> ChallengeAnswer:
        """Ask for a code to an address; raise VerifierUnreachable, VerifierRefused."""
        return await self._asked("POST", "/v1/challenges", request, ChallengeAnswer)

    async def confirm(self, challenge: str, code: str) -> ConfirmationAnswer:
        """Give the code that was mailed, for the credential; raise VerifierUnreachable, VerifierRefused."""
        message = ConfirmationRequest(challenge=challenge, code=code)
        return await self._asked("POST", "/v1/confirmations", message, ConfirmationAnswer)

    async def state(self, challenge: str) -> StateAnswer:
        """Ask whether the link of a letter was used; raise VerifierUnreachable, VerifierRefused."""
        return await self._asked("GET", f"/v1/challenges/{challenge}", None, StateAnswer)

    async def _asked(self, method: str, path: str, message: Message | None, model: type[_M]) -> _M:
        content = None if message is None else message.model_dump_json().encode()
        headers = {"accept-encoding": "identity"} | ({"content-type": "application/json"} if content else {})
        try:
            async with asyncio.timeout(DEADLINE_S):
                async with self._client.stream(method, path, content=content, headers=headers) as answer:
                    body = await self._body(answer.aiter_raw())
        except TimeoutError:
            raise VerifierUnreachable(
                f"{self.who} did not answer within {DEADLINE_S:.0f} s: try again later, or ask another one"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise VerifierUnreachable(f"{self.who} cannot be reached ({_why(error)}): try again later") from None
        if answer.is_success:
            return self._parsed(model, body)
        if answer.is_redirect:
            raise VerifierUnreachable(f"{self.who} points elsewhere: ask for its own address")
        raise VerifierRefused(self.who, self._parsed(RefusalAnswer, body))

    async def _body(self, pieces: AsyncIterator[bytes]) -> bytes:
        body = bytearray()
        async for piece in pieces:
            body += piece
            if len(body) > ANSWER_BYTES_MAX:
                raise VerifierUnreachable(f"{self.who} answers with more than a verifier says: ask another one")
        return bytes(body)

    def _parsed(self, model: type[_M], body: bytes) -> _M:
        try:
            return parsed(model, body)
        except UserError:
            raise VerifierUnreachable(
                f"{self.who} answers with something that no verifier says: check the address, or ask another one"
            ) from None


def inside(client: httpx.AsyncClient, verifier: str) -> Verifier:
    """Return the verifier of this home, which runs in this process."""
    return Verifier(client, f"this home's own verifier {names.key(verifier)}")


def checked_url(url: str, *, insecure_http: bool = False) -> str:
    """Return a verifier's URL if it may be used; raise UserError with the reason otherwise."""
    shown = text.printable(url, 80)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        sound = (
            len(url) <= URL_CHARS_MAX and url.isprintable() and not (parts.username or parts.query or parts.fragment)
        )
    except ValueError:
        sound, host = False, ""
    if not sound or not host or parts.scheme not in ("http", "https"):
        raise UserError(f"{shown!r} is no address of a verifier: it looks like https://verifier.example.org")
    if parts.scheme == "http" and not insecure_http and not _is_loopback(host):
        raise UserError(
            f"{shown} is not encrypted, so your e-mail address could be read on its way: use https, or --insecure-http "
            "where you know the way"
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _why(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    """Return in a few words why nothing came."""
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.ConnectError):
        said = str(error)
        return "its certificate is not valid" if "CERTIFICATE" in said.upper() else "no connection"
    return text.printable(str(error), 80) or type(error).__name__
