"""Follows a network over one of its nodes: fetches what is new when gossip says so, and comes back when the node does.

Gossip is a hint only: whatever it says, the node is asked what it has. Left out: how things are shown (the caller's
screen), and the bytes (carrier, wire). Rejected: asking for the leaderboard's rows alone, which a node could pick from
what it likes; with all records here, the ranking is this machine's own.
"""

import importlib.metadata
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import trio

from ensue.errors import NetworkError, UserError
from ensue.record import is_hex64
from ensue.store import Store
from node.light import wire
from node.light.carrier import Carrier, alone, connected
from node.light.catchup import Catchup, handed
from node.transport.ports import TransportError

NETWORK_TIMEOUT_S = 15.0
"""How long a node may take to say which network it is in."""
LOOK_EVERY_S = 30.0
"""How often a node is asked when gossip says nothing."""
CALM_S = 0.3
"""Heads that come within this time are one reason to ask."""
AGAIN_S = 1.0
AGAIN_S_MAX = 30.0
"""Seconds between two tries to reach a node: the first, doubled up to the last."""


class Screen(Protocol):
    """What shows a person what happens."""

    def arrived(self, store: Store, upto: int) -> None:
        """Takes the store and its last row, after the first round and whenever there are more rows than before."""

    def note(self, words: str) -> None:
        """Takes a sentence about the connection."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a network is found: addresses of its nodes, its id or None, and the folder for what comes."""

    addresses: Sequence[str]
    network: str | None
    folder: Path

    def open(self, network: str) -> Store:
        """Returns the store of a network's records in the folder."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Store(self.folder / f"{network}.sqlite3", network)


def look(place: Place, screen: Screen) -> None:
    """Fetches what is new from the first node that answers, and shows it once."""
    trio.run(_once, place, partial(_shown, screen))


def publish(place: Place, draft: Callable[[Store], Any]) -> Any:
    """Fetches what is new, lets `draft` append to the store, hands what waits there to the node; returns its answer.

    Raises NetworkError if the node does not take it; then it stays in the store and goes with the next.
    """

    async def make(store: Store, carrier: Carrier, _: int) -> Any:
        made = await off(draft, store)
        await _hand_over(store, carrier)
        return made

    return trio.run(_once, place, make)


def follow(place: Place, screen: Screen) -> int:
    """Shows what is there and what comes until a signal asks to end, and returns the signal's number.

    Raises what hinders the first connection; later ones are tried until they succeed.
    """
    return int(trio.run(_until_signal, place, screen))


async def off(call: Callable[..., Any], *values: Any) -> Any:
    """Calls what blocks in a thread."""
    return await trio.to_thread.run_sync(partial(call, *values))


async def _shown(screen: Screen, store: Store, _: Carrier, upto: int) -> None:
    screen.arrived(store, upto)


async def _once(place: Place, use: Callable[[Store, Carrier, int], Awaitable[Any]]) -> Any:
    """Uses the store, given its last row, after one round with the first node that answers."""
    failed: Exception = UserError("This invite names no address: ask for one that does, or give the address itself.")
    for address in place.addresses:
        try:
            async with _met(address) as carrier, _store(place, carrier) as store:
                catchup = Catchup(store, off)
                await _round(carrier, store, catchup)
                return await use(store, carrier, catchup.upto)
        except (NetworkError, TransportError) as error:
            failed = error
    raise failed


@asynccontextmanager
async def _met(address: str) -> AsyncIterator[Carrier]:
    async with connected(address) as carrier:
        carrier.serve(wire.PROTOCOL, wire.turn_away)  # a node lets go of whoever does not answer
        yield carrier


@asynccontextmanager
async def _store(place: Place, carrier: Carrier) -> AsyncIterator[Store]:
    with await off(place.open, place.network or await _network(carrier)) as store:
        yield store


async def _network(carrier: Carrier) -> str:
    """Returns the network that a node gossips about: each has a topic of its own."""
    topic = await carrier.topic(wire.TOPIC_BEGINNING, NETWORK_TIMEOUT_S)
    if topic is None:
        raise TransportError("The node does not say which network it is in: try again, or another node.")
    network = topic.removeprefix(wire.TOPIC_BEGINNING)
    if not is_hex64(network):
        raise wire.BadAnswer("a network without an id")
    return network


async def _round(carrier: Carrier, store: Store, catchup: Catchup) -> None:
    stream = await carrier.open(wire.PROTOCOL)
    try:
        await catchup.round(stream, store.network, software())
    finally:
        await stream.close()


async def _hand_over(store: Store, carrier: Carrier) -> None:
    stream = await carrier.open(wire.PROTOCOL)
    try:
        await wire.hello(stream, store.network, software())
        while waiting := await off(store.outbox):
            for author in {record.author for record in waiting}:
                await off(store.own_log.seal, author)
            for batch in handed([record.raw for record in waiting]):
                _, _, refused = await wire.give(stream, batch)
                if refused:
                    raise NetworkError("The node refuses a record of this key: try another node of the network.")
            await off(store.outbox_done, [record.id for record in waiting])
    finally:
        await stream.close()


async def _until_signal(place: Place, screen: Screen) -> int:
    number = 0
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        try:
            async with trio.open_nursery() as nursery:

                async def end() -> None:
                    nonlocal number
                    async for number in signals:  # noqa: B007 - its number is the result
                        nursery.cancel_scope.cancel()

                nursery.start_soon(end)
                await _following(place, screen)
        except BaseExceptionGroup as group:
            raise alone(group) from None
    return number


async def _following(place: Place, screen: Screen) -> None:
    wait_s, met = AGAIN_S, False
    while True:
        for address in place.addresses:
            session = _Session(place, screen)
            try:
                await session.run(address)
            except (wire.Refusal, wire.BadAnswer, TransportError) as error:
                if not met and not session.met and address == place.addresses[-1]:
                    raise
                screen.note(str(error))
            met = met or session.met
            wait_s = AGAIN_S if session.met else min(AGAIN_S_MAX, 2 * wait_s)
        await trio.sleep(wait_s)


class _Session:
    """One connection, as long as it holds; `met` once a round with the node went through."""

    def __init__(self, place: Place, screen: Screen) -> None:
        self._place, self._screen = place, screen
        self._send, self._receive = trio.open_memory_channel(1)
        self.met = False

    async def run(self, address: str) -> None:
        """Follows until the connection ends, which it says by TransportError."""
        async with _met(address) as carrier, _store(self._place, carrier) as store:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, carrier, wire.TOPIC_BEGINNING + store.network)
                    nursery.start_soon(self._until_gone, carrier)
                    await self._rounds(carrier, store)
            except BaseExceptionGroup as group:
                raise alone(group) from None

    async def _rounds(self, carrier: Carrier, store: Store) -> None:
        catchup, shown = Catchup(store, off), -1
        while True:
            wait_s = LOOK_EVERY_S
            try:
                await _round(carrier, store, catchup)
                if catchup.upto > shown:
                    shown = catchup.upto
                    await off(self._screen.arrived, store, shown)
                self.met = True
            except wire.Refusal as refusal:
                if refusal.code != "busy":
                    raise
                wait_s = max(AGAIN_S, float(refusal.retry_s))
                await trio.sleep(min(wait_s, AGAIN_S_MAX))
            with trio.move_on_after(wait_s):
                await self._receive.receive()
                await trio.sleep(CALM_S)

    async def _listen(self, carrier: Carrier, topic: str) -> None:
        async for _ in carrier.messages(topic):
            with suppress(trio.WouldBlock):
                self._send.send_nowait(None)

    async def _until_gone(self, carrier: Carrier) -> None:
        await carrier.gone()
        raise TransportError("The node went away: trying to reach it again.")


def software() -> str:
    """Returns what this program calls itself to a node."""
    return f"autoresearch-light {importlib.metadata.version('autoresearch')}"
