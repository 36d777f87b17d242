"""Real nodes of the transport on loopback, and waiting for conditions with a deadline."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from ensue.identity import Identity
from node.transport.daemon import P2pdTransport

LOCAL: dict[str, Any] = {"listen": ["/ip4/127.0.0.1/tcp/0"], "nat_port_map": False, "auto_nat": False}


def key(folder: Path, name: str = "node") -> Path:
    """Makes a key file, or finds the one made before."""
    path = folder / f"{name}.key"
    Identity.load_or_create(path)
    return path


@contextlib.asynccontextmanager
async def nodes(folder: Path, count: int, **options: Any) -> AsyncIterator[list[P2pdTransport]]:
    """Starts nodes side by side, each of which dials the first, and closes them in the end."""
    started: list[P2pdTransport] = []
    try:
        started.append(await P2pdTransport.start(key(folder, "node0"), **{**LOCAL, **options}))
        first = (await started[0].addresses())[0]
        rest = [
            P2pdTransport.start(key(folder, f"node{number}"), **{**LOCAL, "bootstrap": [first], **options})
            for number in range(1, count)
        ]
        outcomes = await asyncio.gather(*rest, return_exceptions=True)
        started += [one for one in outcomes if isinstance(one, P2pdTransport)]
        for one in outcomes:
            if isinstance(one, BaseException):
                raise one
        yield started
    finally:
        await asyncio.gather(*(node.close() for node in started))


async def until(condition: Callable[[], Any] | Callable[[], Awaitable[Any]], deadline_s: float = 10.0) -> Any:
    """Returns the first true value of a condition; fails when there is none in time."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < end, f"{condition} did not become true within {deadline_s} s"
        await asyncio.sleep(0.02)


async def echo(stream: Any) -> None:
    """Answers each message, a 4-byte length and the bytes, with itself."""
    while True:
        size = int.from_bytes(await stream.receive(4), "big")
        data = await stream.receive(size)
        await stream.send(size.to_bytes(4, "big") + data)


async def ask(stream: Any, data: bytes) -> bytes:
    """Sends a message to `echo` and returns what comes back."""
    await stream.send(len(data).to_bytes(4, "big") + data)
    answer: bytes = await stream.receive(int.from_bytes(await stream.receive(4), "big"))
    return answer
