"""Puts a question to one peer after the other until one has an answer, from a program that comes and goes.

It has a key in a folder that its caller throws away, and a daemon that listens nowhere and serves nobody. Left out:
what is asked, and what becomes of the answer (query, outputs). Rejected: asking by way of the node's own swarm process,
which need not run, and would need a protocol of its own for it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Generic, TypeVar

from ensue.errors import AutoresearchError, UserError
from ensue.identity import Identity
from node.swarm.address import parsed
from node.sync import wire
from node.sync.ask import Asker
from node.sync.budget import Budgets
from node.transport.daemon import P2pdTransport
from node.transport.faults import Unreachable
from node.transport.index import Index
from node.transport.ports import Stream, TransportError

DEADLINE_TIMEOUT_S = 20.0
"""Seconds from the start of the network daemon until the whole answer is here."""
HELLO_TIMEOUT_S = 6.0
"""Seconds in which a peer that is connected must say what it has, before another one is asked."""
BUSY_S = 60
"""When a node may ask again that asks us in turn, who have nothing."""
OTHERS_MAX = 8
"""Peers from the index that are asked where those named do not answer."""
OTHER_ADDRESSES_MAX = 2
"""Addresses of each that are tried."""

_SOFTWARE = f"autoresearch {version('autoresearch')}"
_NO_NETWORK = bytes(wire.HASH_BYTES)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Place:
    """Where to ask: multiaddresses, each with a peer id, and the network that must answer; None: whichever does."""

    addresses: tuple[str, ...]
    network: str | None = None


class NothingThere(UserError):
    """A peer that has nothing of what was asked for."""


Reading = Callable[[Asker, str], Awaitable[_Answer]]
"""Asks a peer that has answered the hello, in a network, and returns its answer, not None; raises NothingThere."""


async def inquire(place: Place, folder: Path, read: Reading[_Answer]) -> _Answer:
    """Returns the answer of the first of some peers that has one; `folder` is the caller's to remove.

    Raises TransportError, NetworkError or UserError, each a sentence for whoever asked.
    """
    Identity.load_or_create(folder / "key")
    try:
        async with asyncio.timeout(DEADLINE_TIMEOUT_S):
            transport = await P2pdTransport.start(
                folder / "key",
                listen=(),
                relay=any("/p2p-circuit/" in address for address in place.addresses),
                client_mode=True,
                nat_port_map=False,
                auto_nat=False,
            )
            inquiry = _Inquiry(transport, place, folder, read)
            try:
                await transport.serve(wire.PROTOCOL, _turn_away)  # a node lets go of whoever does not answer
                return await inquiry.answer()
            finally:
                await inquiry.close()
                await transport.close()
    except TimeoutError:
        raise TransportError(
            f"There was no whole answer within {DEADLINE_TIMEOUT_S:.0f} s: try again, or ask another peer."
        ) from None


async def _turn_away(stream: Stream) -> None:
    """Answers what a node asks us."""
    await wire.receive_request(stream)
    await stream.send(wire.frame(wire.Refused("busy", BUSY_S)))


class _Inquiry(Generic[_Answer]):
    """One question, put to one peer after the other until one has an answer."""

    def __init__(self, transport: P2pdTransport, place: Place, folder: Path, read: Reading[_Answer]) -> None:
        self._transport, self._place, self._read = transport, place, read
        self._budgets = Budgets(time.monotonic)
        self._identity = Identity.load(folder / "key")
        self._asked: set[str] = set()
        self._failed: list[AutoresearchError] = []
        self._index: Index | None = None

    async def close(self) -> None:
        """Leaves the index, when nothing more is asked: p2pd ends with the index's connection to it."""
        if self._index is not None:
            await self._index.close()

    async def answer(self) -> _Answer:
        """Asks the peers that are named, and if they will not answer those that the index knows."""
        found = await self._of_any(self._place.addresses)
        if found is None and not any(isinstance(error, NothingThere) for error in self._failed):
            found = await self._of_any(await self._others())
        if found is None:
            raise self._failure()
        return found

    async def _of_any(self, addresses: Iterable[str]) -> _Answer | None:
        """Dials all addresses at once, and asks the peers in the order in which they are reached."""
        dials = {asyncio.create_task(self._transport.connect(address)) for address in addresses}
        waiting = dials
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    try:
                        peer = one.result()
                        if peer not in self._asked:
                            self._asked.add(peer)
                            return await self._of(peer)
                    except AutoresearchError as error:
                        self._failed.append(error)
        finally:
            for one in waiting:
                one.cancel()
            await asyncio.gather(*dials, return_exceptions=True)
        return None

    async def _others(self) -> list[str]:
        """Returns addresses of peers that the index knows by way of those which are connected and did not answer."""
        network = self._place.network
        if network is None or not await self._transport.peers():
            return []
        try:
            self._index = await Index.start(self._transport, self._identity, network, client_mode=True)
            found = [one for one in await self._index.find_peers() if one.peer not in self._asked]
        except TransportError:
            return []
        addresses = [address for one in found[:OTHERS_MAX] for address in one.addresses[:OTHER_ADDRESSES_MAX]]
        return [address.text for one in addresses if (address := parsed(one)) is not None]

    def _failure(self) -> AutoresearchError:
        """Returns the failure that says most: of a peer that was reached, before that of one that was not."""
        told = min(self._failed, key=lambda error: (isinstance(error, TransportError), isinstance(error, Unreachable)))
        count = len(self._failed)
        return told if count == 1 else UserError(f"None of {count} addresses led to an answer; of one: {told}")

    async def _of(self, peer: str) -> _Answer:
        network = self._place.network or await self._network_of(peer)
        async with await self._asker(peer, bytes.fromhex(network)) as asker:
            await _begin(asker)
            return await self._read(asker, network)

    async def _network_of(self, peer: str) -> str:
        """Returns which network a peer belongs to, as it says when it refuses to speak of another one."""
        async with await self._asker(peer, _NO_NETWORK) as asker:
            try:
                await _begin(asker)
            except wire.PeerRefused as refused:
                if refused.code != "network":
                    raise
                if refused.network is None:
                    raise UserError(
                        "The peer does not say which network it belongs to, as it runs an older version: ask it with an"
                        " invite in place of its address."
                    ) from None
                return refused.network.hex()
            raise asker.fault("a network that is none", "garbage")

    async def _asker(self, peer: str, network: bytes) -> Asker:
        return Asker(await self._transport.open(peer, wire.PROTOCOL), network, self._budgets.of(peer), _SOFTWARE)


async def _begin(asker: Asker) -> None:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            await asker.begin()
    except TimeoutError:
        raise TransportError(
            f"The peer said nothing within {HELLO_TIMEOUT_S:.0f} s: ask another peer, or try later."
        ) from None
