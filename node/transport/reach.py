"""Whether this node can be dialed, as p2pd's AutoNAT knows it.

p2pd's control protocol does not tell; its metrics do, on a loopback port of which one line is read. Rejected: dialing
back in a protocol of our own, which is what AutoNAT does already.
"""

import asyncio
import contextlib
import re
from enum import StrEnum

METRICS_BYTES_MAX = 1024 * 1024
"""Bytes read of p2pd's metrics."""
METRICS_TIMEOUT_S = 3.0
"""How long reading the metrics may take."""

_LINE = re.compile(rb"^libp2p_autonat_reachability_status (\d)", re.MULTILINE)


class Reachability(StrEnum):
    """What others found when they dialed back."""

    UNKNOWN = "unknown"
    PUBLIC = "public"
    PRIVATE = "private"


_VERDICTS = {b"1": Reachability.PUBLIC, b"2": Reachability.PRIVATE}


async def read_reachability(port: int | None) -> Reachability:
    """Returns the verdict in the metrics at a loopback port, UNKNOWN where there are none."""
    if port is None:
        return Reachability.UNKNOWN
    body = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(METRICS_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
                while len(body) < METRICS_BYTES_MAX and (chunk := await reader.read(65_536)):
                    body += chunk
            finally:
                writer.transport.abort()
    found = _LINE.search(body)
    return _VERDICTS.get(found[1], Reachability.UNKNOWN) if found else Reachability.UNKNOWN
