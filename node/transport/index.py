"""The memory's index in the DHT: who is there, who has which author's log and which blob, which experiments are taken.

All of it are hints, signed by who gives them and checked on every reading; work goes on when they are wrong or gone.
What this node says is said again before it expires; after a restart of p2pd it is said at once. A clock that is off
by more than an entry lives keeps a node out of the index, and out of nothing else.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from ensue.identity import Identity
from node.transport import entry
from node.transport.daemon import P2pdTransport
from node.transport.kademlia import Kademlia
from node.transport.ports import TransportError
from node.transport.reach import Reachability

PEER_TTL_S = 1_800
HEAD_TTL_S = 1_800
BLOB_TTL_S = 7_200
"""How long what this node says holds; it is said again when a third of that is left."""
TICK_S = 15.0
"""How often the index looks for what to say again and for peers it does not know yet."""
HEADS_MAX = 256
"""Authors whose heads this node announces; the latest ones stay."""
BLOBS_MAX = 1_024
"""Blobs that this node announces; the latest ones stay."""
CLAIMS_MAX = 256
"""Claims of this node that may be live at one time."""
STRANGERS_MAX = 256
"""Connected peers that did not answer as nodes of the DHT, and are asked again only after a while."""
STRANGER_S = 300.0
"""How long a peer that is no node of the DHT is left alone."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a peer says of itself: `expires` in Unix seconds; `session` differs between runs of one key."""

    peer: str
    addresses: tuple[str, ...]
    version: str
    reachable: Reachability
    records: int
    digest: str
    session: str = ""
    expires: float = 0.0


@dataclass(frozen=True, slots=True)
class Head:
    """How far `holder` has the log of `author`: highest sequence number, number of records, digest."""

    author: str
    seq: int
    records: int
    digest: str
    holder: str
    expires: float


@dataclass(frozen=True, slots=True)
class LiveClaim:
    """That `peer` works on an experiment, by its claim record, until `expires` (Unix seconds)."""

    experiment: str
    record: str
    peer: str
    expires: float


@dataclass(slots=True)
class _Said:
    """One entry of this node, which is said again before it expires if it is `renewed`."""

    value: object
    ttl_s: float
    expires: float
    renewed: bool
    stored: bool = False


class Index:
    """This node's part of the index, and its view of the rest; make one with `start`, end it with `close`."""

    def __init__(self, transport: P2pdTransport, identity: Identity, network: str, client_mode: bool) -> None:
        self._transport = transport
        self._identity = identity
        self._network = network
        self._dht = Kademlia(transport.library, transport.peer_id, network, client_mode)
        self._said: dict[tuple[str, str], _Said] = {}
        self._session = secrets.token_hex(8)
        self._begun = time.time()
        self._strangers: dict[str, float] = {}
        self._keeper: asyncio.Task[None] | None = None
        self.twin: Announcement | None = None

    @classmethod
    async def start(
        cls, transport: P2pdTransport, identity: Identity, network: str, *, client_mode: bool = False
    ) -> Self:
        """Returns an index on a running transport that has joined the DHT of the connected peers.

        A node that cannot be dialed sets `client_mode`: it asks, and keeps nothing for others. Raises TransportError.
        """
        self = cls(transport, identity, network, client_mode)
        await self._dht.attach(transport.control_socket)
        transport.on_lost(self._dht.lost)
        transport.on_restart(self._again)
        await self.join(await transport.peers())
        self._keeper = asyncio.create_task(self._keep(), name="index")
        return self

    @property
    def neighbours(self) -> list[str]:
        """The peers that are known as nodes of the DHT."""
        return self._dht.known()

    @property
    def kept(self) -> int:
        """How many entries this node keeps for others."""
        return self._dht.kept

    async def join(self, peers: Iterable[str]) -> int:
        """Makes connected peers known to the DHT at once, and returns how many of them answered as its nodes."""
        wanted = list(dict.fromkeys(peers))
        found = await self._dht.join(wanted)
        known = set(self._dht.known())
        for peer in wanted:
            self._strangers.pop(peer, None)
            if peer not in known and len(self._strangers) < STRANGERS_MAX:
                self._strangers[peer] = time.monotonic() + STRANGER_S
        return found

    async def announce(
        self,
        addresses: Iterable[str],
        *,
        version: str,
        reachable: Reachability = Reachability.UNKNOWN,
        records: int = 0,
        digest: str = "",
    ) -> bool:
        """Tells where this node is and what it has, from now on; returns whether somebody keeps it already."""
        dialable = [a for a in addresses if len(a) <= entry.ENTRY_TEXT_CHARS_MAX][: entry.ENTRY_ADDRESSES_MAX]
        value = [dialable, version[: entry.ENTRY_TEXT_CHARS_MAX], str(reachable), records, digest, self._session]
        return await self._say("peers", "", value, PEER_TTL_S)

    async def find_peers(self) -> list[Announcement]:
        """Returns what other peers say of themselves, the one that was heard last first; raises TransportError."""
        found = sorted(map(_announcement, await self._find("peers", "")), key=lambda a: -a.expires)
        for one in found:
            if one.peer == self._identity.peer_id:
                self._compare(one)
        return [one for one in found if one.peer != self._identity.peer_id]

    async def announce_head(self, author: str, *, seq: int, records: int, digest: str) -> bool:
        """Tells how far this node has an author's log."""
        return await self._say("head", author, [seq, records, digest], HEAD_TTL_S, HEADS_MAX)

    async def head(self, author: str) -> list[Head]:
        """Returns who has how much of an author's log: the author's own word first, then the highest."""
        heads = [
            Head(author, e.value[0], e.value[1], e.value[2], e.peer, e.expires)
            for e in await self._find("head", author)
        ]
        return sorted(heads, key=lambda h: (h.holder != author, -h.seq, h.holder))

    async def provide(self, sha256: str) -> bool:
        """Tells that this node has a blob."""
        return await self._say("blob", sha256, True, BLOB_TTL_S, BLOBS_MAX)

    async def providers(self, sha256: str) -> list[str]:
        """Returns the peers that say they have a blob."""
        return sorted(e.peer for e in await self._find("blob", sha256))

    async def claim(self, experiment: str, record: str, ttl_s: float) -> bool:
        """Tells that this node works on an experiment, for `ttl_s` seconds; said again it holds for longer."""
        return await self._say("claim", experiment, record, ttl_s, CLAIMS_MAX, renewed=False)

    async def claims(self, experiment: str) -> list[LiveClaim]:
        """Returns the live claims of an experiment, own ones included, the lowest record id first."""
        found = [LiveClaim(experiment, e.value, e.peer, e.expires) for e in await self._find("claim", experiment)]
        return sorted(found, key=lambda c: (c.record, c.peer))

    async def release(self, experiment: str) -> None:
        """Takes this node's claim of an experiment back."""
        await self._take_back("claim", experiment)

    async def leave(self) -> None:
        """Takes this node's announcement and its claims back, so that nobody waits for it."""
        for kind, subject in [key for key in self._said if key[0] in ("peers", "claim")]:
            with contextlib.suppress(TransportError):
                await self._take_back(kind, subject)

    async def close(self) -> None:
        """Leaves the DHT; what was said expires by itself. Calling it again does nothing."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        await self._dht.detach()

    async def _find(self, kind: str, subject: str) -> list[entry.Entry]:
        """Returns the entries that still hold, those taken back left out."""
        return [one for one in await self._dht.find(kind, subject) if one.value is not None]

    async def _say(
        self, kind: str, subject: str, value: object, ttl_s: float, limit: int = 1, renewed: bool = True
    ) -> bool:
        """Says something from now on, in place of what was said under this key; returns whether somebody keeps it."""
        ttl_s = min(ttl_s, entry.KINDS[kind].ttl_s_max)
        before = self._said.pop((kind, subject), None)
        mine = [key for key in self._said if key[0] == kind]
        for oldest in mine[: max(0, len(mine) - limit + 1)]:
            del self._said[oldest]
        expires = max(time.time() + ttl_s, before.expires + 0.001 if before else 0.0)
        self._said[kind, subject] = _Said(value, ttl_s, expires, renewed)
        try:
            await self._store([(kind, subject)])
        except TransportError as error:
            logger.debug("not in the index yet: %s", error)
        said = self._said.get((kind, subject))
        return said is not None and said.stored

    async def _take_back(self, kind: str, subject: str) -> None:
        before = self._said.pop((kind, subject), None)
        if before is None:
            return
        self._said[kind, subject] = _Said(None, before.ttl_s, before.expires + 0.001, renewed=False)
        await self._store([(kind, subject)])

    async def _store(self, keys: list[tuple[str, str]]) -> None:
        """Signs and stores what this node says under these keys."""
        said = [self._said[key] for key in keys]
        signed = [
            (
                entry.key_of(self._network, kind, subject),
                self._identity.peer_id,
                entry.sign(self._identity, self._network, kind, subject, one.value, one.expires),
                one.expires,
            )
            for (kind, subject), one in zip(keys, said, strict=True)
        ]
        for one, stored in zip(said, await self._dht.store(signed), strict=True):
            one.stored = stored

    async def _keep(self) -> None:
        """Says again what is about to expire, and makes new peers known, as long as the index lives."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self._join_newcomers()
                await self._renew(everything=False)
            except TransportError as error:
                logger.debug("the index waits: %s", error)

    async def _join_newcomers(self) -> None:
        now = time.monotonic()
        self._strangers = {peer: until for peer, until in self._strangers.items() if until > now}
        known = {*self._dht.known(), *self._strangers}
        newcomers = [peer for peer in await self._transport.peers() if peer not in known]
        if newcomers:
            await self.join(newcomers)

    async def _renew(self, everything: bool) -> None:
        now = time.time()
        for key in [key for key, one in self._said.items() if not one.renewed and one.expires <= now]:
            del self._said[key]
        due = [
            key
            for key, one in self._said.items()
            if everything or not one.stored or (one.renewed and one.expires - now < one.ttl_s / 3)
        ]
        if ("peers", "") in due:
            await self.find_peers()  # finds another process that runs with this key
        for key in due:
            one = self._said[key]
            one.expires = max(now + one.ttl_s if one.renewed else 0.0, one.expires + 0.001)
        if due:
            await self._store(due)

    async def _again(self) -> None:
        """Joins again after a restart of p2pd, and says everything again."""
        known = self._dht.known()
        await self._dht.attach(self._transport.control_socket)
        await self.join([*await self._transport.peers(), *known])
        await self._renew(everything=True)

    def _compare(self, found: Announcement) -> None:
        """Notes another process that announces itself with this node's key since this one runs."""
        said_at = found.expires - PEER_TTL_S
        if found.session != self._session and said_at > self._begun + 1.0:
            if self.twin is None:
                logger.error(
                    "another node runs with this node's key, at %s: stop one of the two, or give it a new key",
                    ", ".join(found.addresses) or "an unknown address",
                )
            self.twin = found


def _announcement(one: entry.Entry) -> Announcement:
    addresses, version, reachable, records, digest, session = one.value
    return Announcement(
        one.peer, tuple(addresses), version, Reachability(reachable), records, digest, session, one.expires
    )
