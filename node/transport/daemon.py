"""A node's way to the others over p2pd, the libp2p daemon of hivemind: identity, dialing, streams, gossip, restarts.

The key that signs the node's records is p2pd's own, so a stream's other side is an author. When p2pd dies it is
started again with the same key and port, streams are served and topics subscribed as before, peers dialed again, and
whoever builds on the connection (the index) is called. Left out: what is said (sync), where peers come from (swarm).
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from ensue.identity import Identity
from node.transport import process
from node.transport.addresses import nearest_last, settled, split_peer
from node.transport.control import Control
from node.transport.faults import DaemonFailed, DaemonLost, IdentityInUse, Unreachable, WrongPeer, cause
from node.transport.gossip import Gossip
from node.transport.knock import knock
from node.transport.ports import Handler, Listener, Stream, TransportError
from node.transport.process import Daemon, Options
from node.transport.reach import Reachability, read_reachability
from node.transport.streams import Streams
from node.transport.torchless import Library, load

CONNECT_TIMEOUT_S = 10.0
"""How long dialing one address may take."""
HEALTH_EVERY_S = 2.0
"""How often p2pd is asked whether it still answers, and which peers are connected."""
HEALTH_TIMEOUT_S = 20.0
"""How long p2pd may be silent before it is killed and started again."""
RESTART_PAUSE_S = 0.1
RESTART_PAUSE_MAX_S = 30.0
"""Longest pause between two attempts to start p2pd again."""
BOOK_PEERS_MAX = 128
"""Peers whose addresses are remembered, to dial them again after a restart."""
DIALS_MAX = 16
"""Addresses dialed at one time."""

logger = logging.getLogger(__name__)


class P2pdTransport:
    """Implements `Transport`; make one with `start`, end it with `close`."""

    def __init__(
        self, library: Library, key_file: Path, identity: Identity, options: Options, timeout_s: float
    ) -> None:
        self._library = library
        self._key_file = key_file
        self._peer_id = identity.peer_id
        self._options = options
        self._timeout_s = timeout_s
        self._lock = -1
        self._metrics_port: int | None = None
        self._daemon: Daemon | None = None
        self._control: Control | None = None
        self._streams = Streams()
        self._gossip = Gossip(identity.peer_id)
        self._book: dict[str, list[str]] = {}
        self._started = asyncio.Event()
        self._lost_calls: list[Callable[[], None]] = []
        self._restart_calls: list[Callable[[], Awaitable[None]]] = []
        self._supervisor: asyncio.Task[None] | None = None
        self.unreached: dict[str, str] = {}

    @classmethod
    async def start(
        cls,
        identity_path: str | os.PathLike[str],
        *,
        listen: Sequence[str] = ("/ip4/0.0.0.0/tcp/0",),
        announce: Sequence[str] = (),
        bootstrap: Sequence[str] = (),
        relay: bool = True,
        auto_relay: bool = False,
        client_mode: bool = False,
        nat_port_map: bool = True,
        auto_nat: bool = True,
        startup_timeout: float = 30.0,
    ) -> Self:
        """Returns a running transport; see process.Options for the meaning of the options.

        Every bootstrap address is dialed; `unreached` says which did not answer and why, and none has to. Raises
        BadKeyFile, and one of faults' errors: PortInUse, IdentityInUse, DaemonFailed, LibraryMismatch.
        """
        key_file, library = Path(identity_path), load()
        options = Options(
            listen=tuple(listen),
            announce=tuple(announce),
            relays=tuple(each for each in bootstrap if _is_address(library, each)),
            relay=relay,
            auto_relay=auto_relay,
            client_mode=client_mode,
            nat_port_map=nat_port_map,
            auto_nat=auto_nat,
        )
        self = cls(library, key_file, Identity.load(key_file), options, startup_timeout)
        try:
            self._take_identity()
            process.sweep()
            await self._launch()
        except BaseException:
            await self.close()
            raise
        self._supervisor = asyncio.create_task(self._supervise(), name="p2pd supervisor")
        self.unreached = await self.dial(bootstrap)
        return self

    @property
    def peer_id(self) -> str:
        """This node's own peer id."""
        return self._peer_id

    @property
    def process_id(self) -> int | None:
        """The process number of p2pd, None while there is none."""
        return self._daemon.process.pid if self._daemon is not None and self._started.is_set() else None

    @property
    def library(self) -> Library:
        """hivemind's parts, for the index."""
        return self._library

    @property
    def control_socket(self) -> Path:
        """Where p2pd takes requests; raises DaemonLost."""
        if self._daemon is None:
            raise DaemonLost("The network daemon is being restarted; try again in a moment.")
        return self._daemon.socket

    async def addresses(self) -> list[str]:
        """Returns the multiaddresses that others may dial, each ending in /p2p/PEER_ID, loopback last."""
        _, addresses = await self._identify(self._running())
        return nearest_last(_with_peer(address, self._peer_id) for address in addresses)

    async def connect(self, address: str) -> str:
        """Dials a multiaddress and returns the peer id that answered, which is the one in the address.

        Raises BadAddress, Unreachable, and WrongPeer where somebody else answers.
        """
        way, peer = split_peer(address)
        if peer == self._peer_id:
            raise WrongPeer(f"{address} is this node's own address; give the address of another node.")
        control = self._running()
        messages = control.messages
        request = messages.ConnectRequest(
            peer=control.peer_bytes(peer), addrs=[control.address_bytes(way)], timeout=int(CONNECT_TIMEOUT_S)
        )
        try:
            await knock(way)
            await control.ask(CONNECT_TIMEOUT_S + 1, type=messages.Request.CONNECT, connect=request)
        except Unreachable as error:
            said = cause(error, way)
            if "peer id mismatch" in said:
                raise WrongPeer(
                    f"The node at {way} is not {peer}: it has another key; ask for its address again."
                ) from None
            raise Unreachable(f"{address} cannot be reached ({said}); check it, or try another peer.") from None
        self._remember(peer, [address])
        return peer

    async def dial(self, addresses: Iterable[str]) -> dict[str, str]:
        """Dials addresses side by side; returns those that failed, with the sentence why."""
        places = asyncio.Semaphore(DIALS_MAX)
        failed: dict[str, str] = {}

        async def one(address: str) -> None:
            async with places:
                try:
                    await self.connect(address)
                except TransportError as error:
                    failed[address] = str(error)

        await asyncio.gather(*(one(address) for address in dict.fromkeys(addresses)))
        return failed

    async def disconnect(self, peer: str) -> None:
        """Closes every connection to a peer and forgets its addresses; it may come again."""
        control = self._running()
        self._book.pop(peer, None)
        request = control.messages.DisconnectRequest(peer=control.peer_bytes(peer))
        await control.ask(type=control.messages.Request.DISCONNECT, disconnect=request)

    async def peers(self) -> list[str]:
        """Returns the peer ids of those that are connected."""
        return list(await self._connected(self._running()))

    async def peer_addresses(self, peer: str) -> list[str]:
        """Returns the multiaddresses at which a peer is known, loopback last; empty when nothing is known."""
        control = self._running()
        messages = control.messages
        request = messages.DHTRequest(type=messages.DHTRequest.FIND_PEER, peer=control.peer_bytes(peer), timeout=5)
        found: list[str] = []
        with contextlib.suppress(Unreachable):
            answer = await control.ask(type=messages.Request.DHT, dht=request)
            found = control.address_texts(list(answer.dht.peer.addrs))
        found += (await self._connected(control)).get(peer, []) if not found else []
        return nearest_last(_with_peer(address, peer) for address in found)

    async def reachability(self) -> Reachability:
        """Returns what other peers' dialing back told p2pd about this node: public, private or unknown."""
        return await read_reachability(self._metrics_port)

    async def open(self, peer: str, protocol: str) -> Stream:
        """Opens a stream to a peer; raises TransportError."""
        return await self._streams.open(peer, protocol)

    async def serve(self, protocol: str, handler: Handler) -> None:
        """Answers streams that others open; each runs in a task of its own and is closed when the handler returns."""
        await self._streams.serve(protocol, handler)

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossips a small message to all who subscribed; raises TransportError."""
        await self._gossip.publish(topic, data)

    async def subscribe(self, topic: str, listener: Listener) -> None:
        """Calls `listener` with publisher and message for each message of others; it must not block."""
        await self._gossip.subscribe(topic, listener)

    async def neighbours(self, topic: str) -> list[str]:
        """Returns the connected peers that subscribed to a topic."""
        return await self._gossip.neighbours(topic)

    def on_lost(self, call: Callable[[], None]) -> None:
        """Has `call` called as soon as p2pd is found to be gone."""
        self._lost_calls.append(call)

    def on_restart(self, call: Callable[[], Awaitable[None]]) -> None:
        """Has `call` awaited each time p2pd runs again, with streams, topics and peers restored."""
        self._restart_calls.append(call)

    async def restart(self) -> None:
        """Ends p2pd and returns when it runs again."""
        if self._daemon is None:
            return
        self._started.clear()
        with contextlib.suppress(ProcessLookupError):
            self._daemon.process.kill()
        await self._started.wait()

    async def close(self) -> None:
        """Ends p2pd and everything that was answered; calling it again does nothing."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
            self._supervisor = None
        await self._detach()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_identity(self) -> None:
        """Locks the key file for as long as this process lives."""
        self._lock = os.open(self._key_file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise IdentityInUse(
                f"Another process already runs with the key {self._key_file}; stop it first, or use another home."
            ) from None

    def _running(self) -> Control:
        if self._control is None:
            raise DaemonLost("The network daemon is being restarted; try again in a moment.")
        return self._control

    async def _launch(self) -> None:
        """Starts p2pd and attaches streams and topics to it; raises TransportError with nothing left behind."""
        self._metrics_port = _free_port() if self._options.auto_nat else None
        arguments = self._library.daemon, self._key_file.resolve(), self._options, self._metrics_port
        self._daemon = daemon = await Daemon.start(*arguments, self._timeout_s)
        try:
            control = Control(self._library, daemon.socket)
            peer, addresses = await self._identify(control)
            if peer != self._peer_id:
                raise DaemonFailed(f"p2pd runs as {peer}, not as {self._peer_id}; restore the key file.")
            self._options = replace(self._options, listen=tuple(settled(self._options.listen, addresses)))
            self._control = control
            await self._streams.attach(control, daemon.folder)
            await self._gossip.attach(control)
        except BaseException:
            await self._detach()
            raise
        self._started.set()

    async def _detach(self) -> None:
        self._started.clear()
        self._control = None
        await self._streams.detach()
        await self._gossip.detach()
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            await daemon.stop()

    async def _supervise(self) -> None:
        while True:
            assert self._daemon is not None
            words = await self._until_lost(self._daemon)
            logger.warning("the network daemon p2pd ended (%s); it is started again", words)
            self._started.clear()
            for call in self._lost_calls:
                call()
            await self._detach()
            await self._relaunch()
            await self.dial([address for known in self._book.values() for address in known])
            for again in self._restart_calls:
                try:
                    await again()
                except (TransportError, OSError) as error:
                    logger.warning("after the restart of p2pd: %s", error)

    async def _until_lost(self, daemon: Daemon) -> str:
        """Returns p2pd's last words when it has ended; kills it when it no longer answers."""
        ended = asyncio.create_task(daemon.ended())
        try:
            while not (await asyncio.wait([ended], timeout=HEALTH_EVERY_S))[0]:
                try:
                    async with asyncio.timeout(HEALTH_TIMEOUT_S):
                        await self._connected(self._running(), HEALTH_TIMEOUT_S)
                except (TransportError, TimeoutError) as error:
                    logger.warning("the network daemon p2pd does not answer (%s); it is killed", error)
                    with contextlib.suppress(ProcessLookupError):
                        daemon.process.kill()
            return await ended
        finally:
            ended.cancel()
            await asyncio.wait([ended])

    async def _relaunch(self) -> None:
        pause_s = RESTART_PAUSE_S
        while True:
            try:
                return await self._launch()
            except (TransportError, OSError) as error:
                logger.warning("%s Next attempt in %.1f s.", error, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RESTART_PAUSE_MAX_S)

    async def _identify(self, control: Control) -> tuple[str, list[str]]:
        answer = await control.ask(type=control.messages.Request.IDENTIFY)
        return control.peer_text(answer.identify.id), control.address_texts(list(answer.identify.addrs))

    async def _connected(self, control: Control, timeout_s: float = 10.0) -> dict[str, list[str]]:
        answer = await control.ask(timeout_s, type=control.messages.Request.LIST_PEERS)
        found: dict[str, list[str]] = {}
        for each in answer.peers:
            found.setdefault(control.peer_text(each.id), []).extend(control.address_texts(list(each.addrs)))
        for peer, addresses in found.items():
            self._remember(peer, [_with_peer(address, peer) for address in addresses])
        return found

    def _remember(self, peer: str, addresses: list[str]) -> None:
        if peer in self._book or len(self._book) < BOOK_PEERS_MAX:
            self._book[peer] = list(dict.fromkeys([*self._book.get(peer, []), *addresses]))[:4]


def _with_peer(address: str, peer: str) -> str:
    return address if address.endswith(f"/p2p/{peer}") else f"{address}/p2p/{peer}"


def _is_address(library: Library, text: str) -> bool:
    """Returns whether p2pd, which panics at a relay that is no address, can be given the text."""
    with contextlib.suppress(ValueError, LookupError, TransportError):
        split_peer(text)
        library.Multiaddr(text).to_bytes()
        return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
