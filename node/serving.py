"""Serves plain functions over HTTP: a verifier's answers, on a port, in a thread of its own.

Starlette takes requests apart and puts answers together, uvicorn speaks HTTP; bodies are read with a bound and a
deadline, so that slow or endless ones hold nothing up. Left out: what is answered (verify.service, which has the table
of paths), and TLS, which a reverse proxy in front ends. Rejected: believing X-Forwarded-For as it comes, with which
everybody would choose the address that is counted.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ensue.errors import UserError
from verify.request import BODY_BYTES_MAX
from verify.service import Answer, Question, Service

if TYPE_CHECKING:
    import uvicorn
    from starlette.requests import Request
    from starlette.responses import Response

THREADS = 4
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
"""What is answered by the service, which takes three of them; anything else is refused before it."""
PENDING_MAX = 64
"""Requests that are answered or wait at once; more are told to come back."""
CONNECTIONS_MAX = 512
BODY_TIMEOUT_S = 10
"""How long the body of a request may take to arrive."""
CONNECTION_TIMEOUT_S = 60
"""How long a connection is kept, whatever goes on in it."""
IDLE_TIMEOUT_S = 5
START_TIMEOUT_S = 20
HEADER_BYTES_MAX = 16 * 1024
_BUSY = Answer(503, b'{"error":"busy","said":"Too many ask at once: try again in a moment."}')
_SLOW = Answer(408, b'{"error":"malformed","said":"The request took too long to arrive: send it again."}')
_FAILED = Answer(500, b'{"error":"busy","said":"This verifier failed: try again later, or another verifier."}')

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_log = logging.getLogger("autoresearch.verifier")


class Application:
    """The ASGI application of one service."""

    def __init__(self, service: Service) -> None:
        from starlette.applications import Starlette
        from starlette.routing import Route

        self._routed = Starlette(routes=[Route("/{path:path}", self._respond, methods=METHODS)])
        self._service = service
        self._proxies = service.settings.trusted_proxies
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="verifier")
        self._pending = 0
        self._warned = False

    def close(self) -> None:
        """End the threads that answer."""
        self._pool.shutdown()

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one request."""
        await self._routed(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        from starlette.responses import Response

        answer = await self._answered(request)
        headers = {**answer.headers, "content-length": str(len(answer.body))}
        return Response(b"" if request.method == "HEAD" else answer.body, answer.status, headers)

    async def _answered(self, request: Request) -> Answer:
        from starlette.requests import ClientDisconnect

        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _body(request)
        except (TimeoutError, ClientDisconnect):
            return _SLOW
        if self._pending >= PENDING_MAX:
            return _BUSY
        question = Question(
            method=request.method,
            path=request.scope["path"],
            query=request.scope.get("query_string", b"").decode("latin-1"),
            body=body,
            client=self._client(request),
        )
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._service.answer, question)
        except Exception:  # noqa: BLE001 - logged with its traceback; one request must not end the service
            _log.exception("a request failed")
            return _FAILED
        finally:
            self._pending -= 1

    def _client(self, request: Request) -> str:
        """Return the address that a request came from: the socket's, or what the outermost proxy of one's own saw."""
        peer = request.client.host if request.client else ""
        forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
        if self._proxies == 0:
            if forwarded and not self._warned:
                self._warned = True
                _log.warning("requests come through a proxy: set trusted_proxies, else all of them count as one client")
            return str(peer)
        seen = [part.strip() for part in forwarded.split(",") if part.strip()]
        return seen[-min(self._proxies, len(seen))] if seen else str(peer)


async def _body(request: Request) -> bytes:
    """Return the body of a request, of one that is too long a byte more than it may have.

    Raises ClientDisconnect where it broke off.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES_MAX:
            break
    return body[: BODY_BYTES_MAX + 1]


def bound(listen: str) -> socket.socket:
    """Return a socket that is bound to HOST:PORT; raise UserError where that cannot be had."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
        except BaseException:
            made.close()
            raise
    except (OSError, ValueError, OverflowError) as error:
        why = getattr(error, "strerror", None) or "no such address"
        raise UserError(f"nothing can listen at {listen} ({why}): choose another HOST:PORT with --listen") from None
    return made


def url_of(listening: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Serving:
    """A service at a bound socket, from entering to leaving the context; letters go out meanwhile."""

    def __init__(self, service: Service, listening: socket.socket) -> None:
        self._application = Application(service)
        self._service, self._socket = service, listening
        self._began = threading.Event()
        self._server = _server(self._application, self._began)
        self._thread = threading.Thread(target=self._run, name="verifier", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._began.wait(START_TIMEOUT_S) or not self._thread.is_alive():
            self.__exit__(None, None, None)
            raise UserError("the verifier's service did not start: look at what it logs")
        self._service.postman.start()
        return self

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._began.set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._application.close()
        self._socket.close()


def _server(application: Application, began: threading.Event) -> uvicorn.Server:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Hurried(H11Protocol):
        """Ends every connection after a while, so that headers that come byte by byte hold none for long."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._end = self.loop.call_later(CONNECTION_TIMEOUT_S, transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            self._end.cancel()
            super().connection_lost(exc)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            began.set()

    return Server(
        uvicorn.Config(
            application,
            http=Hurried,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,  # a link has its code in the path
            proxy_headers=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=IDLE_TIMEOUT_S,
            timeout_graceful_shutdown=2,
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        )
    )
