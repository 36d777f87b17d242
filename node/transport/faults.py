"""What can go wrong between nodes, each said in one sentence with what to do.

::

    TransportError            (ports) a peer or the network: another peer, or a later try, may do better
    ├── Unreachable           nobody answered at an address
    ├── WrongPeer             somebody else answered than the address names
    ├── BadAddress            a text that is no multiaddress of a peer
    ├── MessageTooLarge       more bytes than one message may have
    ├── DaemonLost            p2pd is not running just now; it is being restarted
    ├── DaemonFailed          p2pd is missing, or did not start
    ├── PortInUse             another program has the port
    ├── IdentityInUse         another process runs with this key
    └── LibraryMismatch       hivemind is missing or of another version
"""

import re

from node.transport.ports import TransportError

REASON_CHARS_MAX = 160
"""Characters quoted of what p2pd says; it quotes strangers."""


class Unreachable(TransportError):
    """Nobody answered at an address, or does not speak the protocol."""


class WrongPeer(TransportError):
    """The peer that answered has another key than the address says."""


class BadAddress(TransportError):
    """A text that is no multiaddress of a peer."""


class MessageTooLarge(TransportError):
    """More bytes than one message may have."""


class DaemonLost(TransportError):
    """The libp2p daemon is not running just now."""


class DaemonFailed(TransportError):
    """The libp2p daemon is missing, or did not start."""


class PortInUse(TransportError):
    """Another program listens on the port."""


class IdentityInUse(TransportError):
    """Another process of this machine runs with this key."""


class LibraryMismatch(TransportError):
    """hivemind is missing, of another version, or was loaded whole."""


def reason(text: str, chars_max: int = REASON_CHARS_MAX) -> str:
    """Returns what p2pd said as one short printable line."""
    plain = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).strip()
    return plain if len(plain) <= chars_max else plain[: chars_max - 1] + "…"


def cause(error: Exception, about: str = "") -> str:
    """Returns the last cause in p2pd's nested report, of the address `about` where it names that."""
    causes = str(error).split("* ")
    last = next((each for each in causes if about and each.startswith(f"[{about}]")), causes[-1])
    return reason(re.sub(r"^\[[^\]]*\] ", "", last))
