"""A multiaddress that a node may dial: strictly read, spelled in one way, grouped by the network it lies in.

Only what this program's transport speaks is taken: IPv4, IPv6 or a name; TCP or QUIC; the peer id of whoever must
answer; and the same through a relay. Left out: dialing. Rejected: the daemon's own parser, which takes a hundred
protocols, and whose texts of any length would then be kept, sent on and shown.
"""

import ipaddress
import re
from typing import Literal, NamedTuple

from ensue.errors import RecordError, UserError
from ensue.identity import public_key_from_peer_id

ADDRESS_CHARS_MAX = 320
"""A long name, a relay and a peer id; every address is measured before it is read."""
PORT_MAX = 65_535

Scope = Literal["loopback", "private", "public", "name"]

_READERS: dict[str, type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]] = {
    "ip4": ipaddress.IPv4Address,
    "ip6": ipaddress.IPv6Address,
}
_NAME = re.compile(r"(?=.{1,120}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[1-9][0-9]{0,4}")
_QUIC = ("quic-v1", "quic")
_CIRCUIT = "p2p-circuit"
_LINK_LOCAL = ipaddress.ip_network("fe80::/10")  # of no use without the name of an interface
_MAPPED = ipaddress.ip_network("::ffff:0:0/96")  # IPv4 in a second spelling


class BadAddress(UserError):
    """A text that is no multiaddress of a peer."""


class Address(NamedTuple):
    """A multiaddress in its one spelling; `relay` is the peer id of the relay in between, None without one."""

    text: str
    peer_id: str
    host: str
    port: int
    transport: Literal["tcp", "quic"]
    scope: Scope
    relay: str | None

    @property
    def group(self) -> str:
        """Returns the neighbourhood of the host: a /16 of IPv4, a /32 of IPv6, the last two words of a name."""
        if self.scope == "name":
            return ".".join(self.host.split(".")[-2:])
        if ":" in self.host:
            return f"{ipaddress.IPv6Address(self.host).exploded[:9]}::/32"
        return ".".join([*self.host.split(".")[:2], "0.0/16"])


def parse(text: str) -> Address:
    """Returns the address in a text such as /ip4/192.0.2.7/tcp/4001/p2p/12D3Koo…; raises BadAddress."""
    if len(text) > ADDRESS_CHARS_MAX or not text.isascii() or not text.isprintable() or not text.startswith("/"):
        raise BadAddress(_wanted(text))
    parts = text[1:].split("/")
    kind, name, *rest = parts if len(parts) >= 2 else ["", ""]
    host, scope = _host(kind, name, text)
    if kind.startswith("dns"):
        kind = kind if kind in ("dns4", "dns6") else "dns"
    way, ids = _way(rest, text)
    peer_id, relay = _ids(ids, text)
    spelled = "/".join(["", kind, host, *way, *ids])
    return Address(spelled, peer_id, host, int(way[1]), "tcp" if way[0] == "tcp" else "quic", scope, relay)


def parsed(text: object) -> Address | None:
    """Returns the address in whatever a stranger sent, None where it is none."""
    try:
        return parse(text) if isinstance(text, str) else None
    except BadAddress:
        return None


def _host(kind: str, name: str, text: str) -> tuple[str, Scope]:
    """Returns the host in its one spelling, and how far it can be reached from."""
    if kind in ("dns", "dns4", "dns6"):
        lowered = name.lower()
        if not _NAME.fullmatch(lowered) or lowered.replace(".", "").isdigit():
            raise BadAddress(_wanted(text))
        return lowered, "name"
    try:
        address = _READERS[kind](name)
    except (KeyError, ValueError):
        raise BadAddress(_wanted(text)) from None
    nowhere = address.is_unspecified or address.is_multicast or name == "255.255.255.255"
    if nowhere or (kind == "ip6" and (address in _LINK_LOCAL or address in _MAPPED or "%" in name)):
        raise BadAddress(_wanted(text))
    scope: Scope = "loopback" if address.is_loopback else "public" if address.is_global else "private"
    return str(address), scope


def _way(rest: list[str], text: str) -> tuple[list[str], list[str]]:
    """Returns the parts that say how to get to the host, and those that name peers."""
    length = 2 if rest[:1] == ["tcp"] else 3
    way, ids = rest[:length], rest[length:]
    fits = way[:1] == ["tcp"] or (way[:1] == ["udp"] and way[2:] and way[2] in _QUIC)
    if len(way) != length or not fits or not _NUMBER.fullmatch(way[1]) or int(way[1]) > PORT_MAX:
        raise BadAddress(_wanted(text))
    return way, ids


def _ids(ids: list[str], text: str) -> tuple[str, str | None]:
    """Returns the peer id at the end, and that of the relay before it."""
    direct, relayed = len(ids) == 2, len(ids) == 5 and ids[2] == _CIRCUIT
    names = ids[1:2] if direct else [ids[1], ids[4]] if relayed else []
    marks = ids[0:1] if direct else [ids[0], ids[3]] if relayed else ["none"]
    if set(marks) != {"p2p"}:
        raise BadAddress(_wanted(text))
    try:
        for name in names:
            public_key_from_peer_id(name)
    except RecordError:
        raise BadAddress(_wanted(text)) from None
    return names[-1], names[0] if relayed else None


def _wanted(text: str) -> str:
    return (
        f"{text[:60]!r} is no address of a peer: give one such as /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW…, "
        "as `autoresearch peers` shows them"
    )
