"""Knocks at a TCP address before p2pd dials it, so that p2pd dials only where somebody listens.

An address that failed is left alone by p2pd for 5 s + tries² s, up to five minutes, whoever asks it to dial; after a
partition nodes would find each other only then. A knock has no such memory. Addresses without TCP, or through a relay,
are left to p2pd. Rejected: restarting p2pd, which cuts off those who are connected.
"""

import asyncio
import os
import re

from node.transport.addresses import endpoint
from node.transport.faults import Unreachable

KNOCK_TIMEOUT_S = 4.0
"""How long an address may take to answer: its first packet is sent again after 1 s and 3 s."""

_NAME_PORT = re.compile(r"/dns[46]?/(?P<host>[^/]+)/tcp/(?P<port>\d{1,5})")


async def knock(way: str) -> None:
    """Returns where somebody listens at a multiaddress without its peer id, or none can tell; raises Unreachable."""
    point, name = endpoint(way), _NAME_PORT.fullmatch(way)
    if point is not None and point.kind == "tcp" and point.rest == "":
        host, port = point.host, point.port
    elif name is not None:
        host, port = name["host"], int(name["port"])
    else:
        return
    try:
        async with asyncio.timeout(KNOCK_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        raise Unreachable(f"no answer within {KNOCK_TIMEOUT_S:.0f} s") from None
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        raise Unreachable(os.strerror(number).lower() if number and number > 0 else "no such host") from None
    writer.transport.abort()
