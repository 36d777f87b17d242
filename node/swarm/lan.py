"""Peers on the local network, by multicast DNS (RFC 6762, RFC 6763): no address has to be known to find them.

Each node announces one service `_autoresearch._tcp.local.` with the beginning of its network's id, its peer id and its
port, and looks for those of its own network. What is heard is a hint: whoever answers at an address has to prove the
peer id. Where multicast does not work there is nobody to be heard, which `problem` says, and nothing fails.
Left out: dialing; multicast over IPv6 (addresses of IPv6 are announced, over IPv4). Rejected: the daemon's own mDNS,
which this version of it lacks; broadcasts of our own, which firewalls do not know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ensue.errors import RecordError
from ensue.identity import public_key_from_peer_id
from node.swarm.address import Address, parsed

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

SERVICE: Final = "_autoresearch._tcp.local."
NETWORK_CHARS: Final = 16
"""How much of the network id is told to the local network: enough to tell networks apart."""
TAG_CHARS: Final = 12
LAN_NAMES_MAX = 256
"""Services of one network that are listened to; whoever announces more is not heard."""
ASKED_AT_ONCE_MAX = 16
"""Services whose addresses are asked for at the same time."""
LAN_ADDRESSES_MAX = 8
"""Addresses announced, and taken from one service."""
ASKED_TIMEOUT_S = 3.0
CLOSE_TIMEOUT_S = 5.0

Found = Callable[[list[str]], None]
"""Takes the addresses of one peer, as multiaddresses; must not block."""


class Lan:
    """Announces this node on the local network and calls `found` for each peer of the same network that is heard."""

    def __init__(self, network: str, peer_id: str, found: Found, *, interfaces: Sequence[str] | None = None) -> None:
        self._network = network[:NETWORK_CHARS]
        self._peer_id = peer_id
        self._found = found
        self._interfaces = interfaces  # addresses of interfaces to use, all if None
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}  # names that are asked about, or wait for it
        self._turns = asyncio.Semaphore(ASKED_AT_ONCE_MAX)
        self._heard: set[str] = set()
        self._announced: tuple[str, ...] = ()
        self.problem: str | None = None

    async def start(self, addresses: Iterable[str]) -> bool:
        """Announces where this node listens and begins to look; returns whether that works, else `problem` says why."""
        from zeroconf import Error, InterfaceChoice
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf

        logging.getLogger("zeroconf").setLevel(logging.CRITICAL + 1)  # others' broken packets are no news to an owner
        self._announced = tuple(addresses)
        self.problem = None
        try:
            self._zeroconf = AsyncZeroconf(interfaces=self._interfaces or InterfaceChoice.All)
            await self._zeroconf.zeroconf.async_wait_for_start()
            self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE, handlers=[self._changed])
            info = announcement(self._network, self._peer_id, self._announced)
            if info is None:
                self.problem = "nothing is announced, as this node listens at no address"
            else:
                await (await self._zeroconf.async_register_service(info, allow_name_change=True))
        except (OSError, RuntimeError, Error) as error:  # RuntimeError: no interface at all
            await self.close()
            self.problem = f"multicast does not work on this network: {str(error) or type(error).__name__}"
        return self.problem is None

    async def refresh(self, addresses: Iterable[str]) -> bool:
        """Starts anew if the addresses are others than before, as in another Wi-Fi; returns what `start` does."""
        if self._zeroconf is not None and tuple(addresses) == self._announced:
            return self.problem is None
        await self.close()
        return await self.start(addresses)

    async def close(self) -> None:
        """Says good-bye and ends; calling it again does nothing."""
        from zeroconf import Error

        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        browser, zeroconf = self._browser, self._zeroconf
        self._browser = self._zeroconf = None
        self._heard.clear()
        with suppress(OSError, Error):
            if browser is not None:
                await asyncio.wait_for(browser.async_cancel(), CLOSE_TIMEOUT_S)
        with suppress(OSError, Error):
            if zeroconf is not None:
                await asyncio.wait_for(zeroconf.async_close(), CLOSE_TIMEOUT_S)

    def _changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        """Takes news of a service; what is not of this network, or too much, is not even asked about."""
        if state_change.name == "Removed":
            self._heard.discard(name)
            return
        ours = name.startswith(f"{self._network}-") and name != _name(self._network, self._peer_id)
        if self._zeroconf is None or not ours or name in self._tasks:
            return
        if name not in self._heard and len(self._heard) >= LAN_NAMES_MAX:
            return
        self._heard.add(name)
        self._tasks[name] = asyncio.get_running_loop().create_task(self._ask(zeroconf, name))
        self._tasks[name].add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _ask(self, zeroconf: Zeroconf, name: str) -> None:
        from zeroconf import Error
        from zeroconf.asyncio import AsyncServiceInfo

        with suppress(OSError, Error):
            info = AsyncServiceInfo(SERVICE, name)
            async with self._turns:
                answered = await info.async_request(zeroconf, ASKED_TIMEOUT_S * 1000)
            if answered:
                hosts = info.parsed_addresses()
                heard = addresses_in(self._network, info.properties, hosts, info.port)
                if heard and not heard[0].endswith(f"/{self._peer_id}"):
                    self._found(heard)


def announcement(network: str, peer_id: str, addresses: Iterable[str]) -> AsyncServiceInfo | None:
    """Returns the service that tells others of a node, None where it listens at no address of an interface.

    Addresses of this very machine are told only where there are no others.
    """
    from zeroconf.asyncio import AsyncServiceInfo

    read = [address for text in addresses if (address := parsed(text)) is not None]
    direct = [address for address in read if address.relay is None and address.scope != "name"]
    told = [address for address in direct if address.scope != "loopback"] or direct
    if not told:
        return None
    told.sort(key=lambda address: address.transport != "tcp")
    same = [address for address in told if _way(address) == _way(told[0])]
    return AsyncServiceInfo(
        SERVICE,
        _name(network[:NETWORK_CHARS], peer_id),
        port=told[0].port,
        properties={"v": "1", "network": network[:NETWORK_CHARS], "peer": peer_id, "transport": told[0].transport},
        server=f"autoresearch-{peer_id[-TAG_CHARS:]}.local.",
        parsed_addresses=list(dict.fromkeys(address.host for address in same))[:LAN_ADDRESSES_MAX],
    )


def addresses_in(
    network: str, properties: Mapping[bytes, bytes | None], hosts: Sequence[str], port: int | None
) -> list[str]:
    """Returns the multiaddresses that a service of this network tells; none where anything about it is wrong."""
    told = {key: value for key, value in properties.items() if value is not None}
    try:
        peer_id = told.get(b"peer", b"").decode("ascii")
        public_key_from_peer_id(peer_id)
    except (UnicodeDecodeError, RecordError):
        return []
    way = {b"tcp": f"tcp/{port}", b"quic": f"udp/{port}/quic-v1"}.get(told.get(b"transport", b""))
    if told.get(b"v") != b"1" or told.get(b"network") != network[:NETWORK_CHARS].encode("ascii") or way is None:
        return []
    texts = [f"/{'ip6' if ':' in host else 'ip4'}/{host}/{way}/p2p/{peer_id}" for host in hosts[:LAN_ADDRESSES_MAX]]
    read = [address for text in texts if (address := parsed(text)) is not None]
    return list(dict.fromkeys(address.text for address in read))


def _name(network: str, peer_id: str) -> str:
    return f"{network}-{peer_id[-TAG_CHARS:]}.{SERVICE}"


def _way(address: Address) -> tuple[str, int]:
    return address.transport, address.port
