"""The simulated wire: who can reach whom, how long a piece takes, what is lost, and a trace of all of it.

Every choice comes from one seeded generator, so a seed decides a run. Streams are ordered and reliable until they
break, as TCP is; gossip may be lost, late, out of order or twice. Left out: what is sent (transport carries bytes).
Rejected: packets and retransmissions, which only decide how late a piece comes.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.transport import SimTransport

WINDOW_BYTES = 256 * 1024
"""Bytes of one direction of a stream that were sent and not yet taken: a sender waits beyond that."""
GOSSIP_BYTES_MAX = 1024 * 1024
GOSSIP_DEGREE = 6
"""Peers to whom a node passes a gossiped message on: GossipSub's mesh."""
GOSSIP_DIALLED = 2
"""How many of those are peers that it dialled itself, if there are: GossipSub 1.1 keeps strangers from taking all."""
GOSSIP_FACTOR, HEARTBEAT_S, HEARTBEATS, OFFER_BYTES = 0.25, 1.0, 3, 60
"""Which part of all others is offered a message at each heartbeat after it, for how many, and what an offer costs."""
DIAL_TIMEOUT_S = 5.0
GONE_NOTICED_S = (0.05, 30.0)
"""How soon one notices that the other side is cut off or dead."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What the wire does; chances are for each piece of a stream, each hop of a message, each dial."""

    latency_s: float = 0.02
    """The middle of the time that a piece takes one way."""
    spread: float = 0.5
    """The standard deviation of that time's logarithm; more of it puts more messages out of order."""
    bytes_per_s: float = 12.5e6
    """What one node can send."""
    gossip_lost: float = 0.0
    gossip_twice: float = 0.0
    stream_breaks: float = 0.0
    dial_fails: float = 0.0


FAIR = Weather()


class Wire:
    """The network between the transports of one simulation."""

    def __init__(self, seed: int | str, weather: Weather = FAIR) -> None:
        self.chance = Random(f"wire {seed}")
        self.weather = weather
        self.hosts: dict[str, SimTransport] = {}
        self.homes: dict[str, SimTransport] = {}
        """Whoever is up, by peer id, and the same by address without the peer id."""
        self.bytes: Counter[tuple[str, str, str]] = Counter()
        """(peer id, "in" or "out", protocol or topic) to bytes."""
        self.messages = 0
        self._islands: dict[str, int] = {}
        self._trace = hashlib.blake2b(digest_size=16)
        self.log: list[str] | None = None
        """Lines of the trace, if somebody set a list here to read them."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that all of it runs on."""
        return asyncio.get_running_loop()

    def note(self, *what: str | int, data: bytes = b"") -> None:
        """Adds an event to the trace."""
        line = f"{self.loop.time():.9f} " + " ".join(map(str, what))
        self._trace.update(line.encode())
        self._trace.update(data)
        if self.log is not None:
            self.log.append(f"{line} {data[:48].hex()}")

    def trace(self) -> str:
        """Returns the hash of everything that has happened so far, times and contents included."""
        return self._trace.hexdigest()

    def count(self, peer: str, way: str, what: str, size: int) -> None:
        """Counts bytes that a node sent ("out") or got ("in")."""
        self.bytes[peer, way, what] += size
        self.messages += 1

    def total(self, way: str, peers: Iterable[str] | None = None, what: str | None = None) -> int:
        """Returns bytes sent or got, of all or some peers and protocols."""
        wanted = None if peers is None else set(peers)
        return sum(
            size
            for (peer, direction, protocol), size in self.bytes.items()
            if direction == way and (wanted is None or peer in wanted) and what in (None, protocol)
        )

    def happens(self, chance: float) -> bool:
        """Returns whether something of a chance happens now; draws nothing where it cannot."""
        return chance > 0 and self.chance.random() < chance

    def delay_s(self) -> float:
        """Returns how long one piece takes one way."""
        return self.weather.latency_s * self.chance.lognormvariate(0.0, self.weather.spread)

    def notice_s(self) -> float:
        """Returns after how long a peer that is gone is noticed."""
        low, high = GONE_NOTICED_S
        return float(low * (high / low) ** self.chance.random())

    def later(self, after_s: float, what: Callable[..., object], *args: Any) -> None:
        """Calls something after some time."""
        self.loop.call_later(after_s, what, *args)

    # Who can reach whom

    def reachable(self, one: str, other: str) -> bool:
        """Returns whether two peers are up and on one island."""
        both_up = one in self.hosts and other in self.hosts
        return both_up and self._islands.get(one, 0) == self._islands.get(other, 0)

    def part(self, islands: Iterable[Iterable[str]]) -> None:
        """Cuts the network into islands; peers that are in none are together on one of their own."""
        self._islands = {peer: number for number, island in enumerate(islands, 1) for peer in island}
        self.note("part", *(f"{peer}={number}" for peer, number in sorted(self._islands.items())))
        for host in list(self.hosts.values()):
            for other in [peer for peer in host.linked if not self.reachable(host.peer_id, peer)]:
                host.cut(other, self.notice_s())

    def heal(self) -> None:
        """Makes one network of the islands; what was cut has to be dialled again."""
        self._islands = {}
        self.note("heal")

    def join(self, host: "SimTransport") -> None:
        """Brings a node up."""
        self.hosts[host.peer_id] = self.homes[host.address] = host
        self.note("up", host.peer_id)

    def leave(self, host: "SimTransport") -> None:
        """Takes a node down."""
        if self.hosts.get(host.peer_id) is host:
            del self.hosts[host.peer_id], self.homes[host.address]
            self.note("down", host.peer_id)
