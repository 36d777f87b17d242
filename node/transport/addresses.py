"""Multiaddresses as text: which peer one names, what to listen on again, which ports must be free, which come first.

Left out: encoding, which p2pd's binding does. Pure but for `busy_port`.
"""

import errno
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from node.transport.faults import BadAddress

ADDRESS_CHARS_MAX = 400
"""Characters of one multiaddress: two peer ids, a host name and a relay fit."""

_IP_PORT = re.compile(r"^/(?P<family>ip4|ip6)/(?P<host>[^/]+)/(?P<kind>tcp|udp)/(?P<port>\d+)(?P<rest>/.*)?$")


class Endpoint(NamedTuple):
    """The internet address at the beginning of a multiaddress."""

    family: str
    host: str
    kind: str
    port: int
    rest: str


def endpoint(address: str) -> Endpoint | None:
    """Returns the IP address and port that a multiaddress begins with, or None where it begins otherwise."""
    found = _IP_PORT.match(address)
    if found is None:
        return None
    try:
        ipaddress.ip_address(found["host"])
    except ValueError:
        return None
    return Endpoint(found["family"], found["host"], found["kind"], int(found["port"]), found["rest"] or "")


def split_peer(address: str) -> tuple[str, str]:
    """Returns the multiaddress without its last /p2p part, and the peer id in it; raises BadAddress."""
    way, mark, peer = address.strip().rpartition("/p2p/")
    if len(address) > ADDRESS_CHARS_MAX or not way.startswith("/") or not mark or not peer or "/" in peer:
        shown = address if len(address) <= 80 else address[:79] + "…"
        raise BadAddress(
            f"{shown!r} is no address of a peer: it must look like /ip4/192.0.2.7/tcp/4001/p2p/12D3Koo…; "
            "ask for it again."
        )
    return way, peer


def settled(listen: Sequence[str], actual: Iterable[str]) -> list[str]:
    """Returns the listen addresses with each port 0 replaced by the port that was given, to listen on it again."""
    known = [point for point in map(endpoint, actual) if point]
    result = []
    for address in listen:
        wanted = endpoint(address)
        if wanted is None or wanted.port != 0:
            result.append(address)
            continue
        given = [p.port for p in known if (p.family, p.kind, p.rest) == (wanted.family, wanted.kind, wanted.rest)]
        port = given[0] if given else 0
        result.append(f"/{wanted.family}/{wanted.host}/{wanted.kind}/{port}{wanted.rest}")
    return result


def busy_port(listen: Iterable[str]) -> int | None:
    """Returns a TCP port of these that another program listens on, or None.

    p2pd itself would share the port in silence: it binds with SO_REUSEPORT.
    """
    for point in map(endpoint, listen):
        if point is None or point.kind != "tcp" or point.port == 0:
            continue
        family = socket.AF_INET if point.family == "ip4" else socket.AF_INET6
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((point.host, point.port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return point.port
    return None


def nearest_last(addresses: Iterable[str]) -> list[str]:
    """Returns addresses without repetitions, the most widely dialable first and loopback last."""
    return sorted(dict.fromkeys(addresses), key=_nearness)


def is_public(address: str) -> bool:
    """Returns whether anybody on the internet could dial the address, as far as its text tells."""
    return _nearness(address) == 0


def _nearness(address: str) -> int:
    point = endpoint(address)
    if "/p2p-circuit" in address:
        return 1
    if point is None:
        return 0
    host = ipaddress.ip_address(point.host)
    if host.is_loopback:
        return 4
    if host.is_link_local:
        return 3
    return 0 if host.is_global else 2
