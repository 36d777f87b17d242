"""One DHTNode of hivemind in this event loop, on the p2pd that runs already, hardened against the nodes it asks.

What is added: a validator for every key (entry), bounded storage (shelf), a bound on what others may have checked,
and answers rebuilt from the entries that verify. As hivemind has it, one bad entry spoils the whole list that a
node answers with, the list's claimed expiry ends the search, and a list of the wrong shape hangs it.
"""

import asyncio
import contextlib
import hashlib
import itertools
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from node.transport import entry
from node.transport.faults import Unreachable
from node.transport.ports import TransportError
from node.transport.shelf import ENTRIES_OF_KEY_MAX, Shelf
from node.transport.torchless import Library

REPLICAS = 5
NEIGHBOURS_MAX = 20
"""Nodes that one answer may name; Kademlia's k."""
CALL_TIMEOUT_S = 5.0
"""How long one node of the DHT may take to answer."""
LOOKUP_TIMEOUT_S = 20.0
"""How long a search or a store in the DHT may take."""
CALLS_MAX = 16
"""Calls to other nodes of the DHT at one time."""
CHECKS_PER_S_MAX = 400
"""Signatures a second that others may have checked by storing entries here; what comes faster is refused."""
CHECKS_BURST_MAX = 2_000
"""Signatures that others may have checked at once after a quiet time."""


class Validator:
    """Lets through what `entry.read` lets through; has the methods of hivemind's RecordValidatorBase."""

    def __init__(self, network: str) -> None:
        self._network = network

    def validate(self, record: Any) -> bool:
        """Returns whether a DHT record is an entry of this network, signed by its subkey."""
        return self.read(record.key, entry.wrapped(record.subkey), record.value, record.expiration_time) is not None

    def read(self, key: bytes, peer: Any, value: bytes, expires: float) -> entry.Entry | None:
        """Returns the entry in a record's value."""
        packed = entry.wrapped(value)
        if not isinstance(packed, bytes) or not isinstance(peer, str):
            return None
        return entry.read(self._network, peer, key, packed, expires, time.time())

    def sign_value(self, record: Any) -> bytes:
        """Returns the value, which is signed already."""
        value: bytes = record.value
        return value

    def strip_value(self, record: Any) -> bytes:
        """Returns the value with its signature, so that the reader checks again."""
        value: bytes = record.value
        return value


class Kademlia:
    """A node of the DHT; `attach` begins with a p2pd, and again after its restart."""

    def __init__(self, library: Library, peer_id: str, network: str, client_mode: bool) -> None:
        self._library = library
        self._network = network
        self._client_mode = client_mode
        self._id = library.node_module.DHTID(int.from_bytes(hashlib.sha1(peer_id.encode()).digest(), "big"))
        self._validator = Validator(network)
        self._shelf = Shelf(self._packed, library.ValueWithExpiration)
        self._checks = float(CHECKS_BURST_MAX)
        self._checked_at = time.monotonic()
        self._known_before: list[str] = []
        self._p2p: Any = None
        self._node: Any = None

    @property
    def kept(self) -> int:
        """How many entries are kept here for others."""
        return len(self._shelf)

    def known(self) -> list[str]:
        """Returns the peers in the routing table; while p2pd is away, those that were in it."""
        if self._node is None:
            return self._known_before
        table = self._node.protocol.routing_table
        return [peer.to_base58() for bucket in table.buckets for peer in bucket.nodes_to_peer_id.values()]

    def lost(self) -> None:
        """Gives up what p2pd was asked, which hivemind would wait for; called when p2pd is gone."""
        self._known_before, self._node = self.known(), None
        if self._p2p is not None:
            for call in self._p2p._client.control._pending_calls.values():
                if not call.done():
                    call.set_exception(ConnectionResetError("p2pd is gone"))

    async def attach(self, socket: Path) -> None:
        """Begins to work with a p2pd; raises TransportError."""
        await self.detach(alive=False)
        library = self._library
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                self._p2p = await library.P2P.replicate(library.Multiaddr(f"/unix{socket}"))
                control = self._p2p._client.control
                for task in (control._read_task, control._write_task):
                    task.add_done_callback(lambda done: done.cancelled() or done.exception())
                self._node = await library.DHTNode.create(
                    p2p=self._p2p,
                    node_id=self._id,
                    bucket_size=NEIGHBOURS_MAX,
                    num_replicas=REPLICAS,
                    parallel_rpc=CALLS_MAX,
                    wait_timeout=CALL_TIMEOUT_S,
                    cache_locally=False,
                    cache_nearest=0,
                    cache_on_store=False,
                    cache_refresh_before_expiry=0,
                    client_mode=self._client_mode,
                    record_validator=self._validator,
                )
        except (OSError, EOFError, TimeoutError) as error:
            await self.detach(alive=False)
            raise TransportError(f"The DHT cannot be joined ({error or 'no answer'}); it is tried again.") from error
        self._harden(self._node.protocol)

    async def detach(self, alive: bool = True) -> None:
        """Leaves p2pd; entries kept for others stay for the next `attach`."""
        node, p2p, self._node, self._p2p = self._node, self._p2p, None, None
        if node is not None and alive:
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(1.0):
                    await node.shutdown()
        if p2p is not None:
            control = p2p._client.control
            tasks = [task for task in (control._read_task, control._write_task) if task is not None]
            await p2p.shutdown()
            tasks += control._handler_tasks.values()
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=1.0)

    async def join(self, peers: Iterable[str]) -> int:
        """Makes peers known to the DHT, and asks them for the nodes nearest to this one; returns how many answered."""
        node = self._running()
        ids = [self._library.PeerID.from_base58(peer) for peer in peers]
        answers = await asyncio.gather(*(node.protocol.call_ping(each, validate=False) for each in ids))
        found = sum(answer is not None for answer in answers)
        if found:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                    await node.find_nearest_nodes([self._id])
        return found

    async def store(self, entries: Collection[tuple[bytes, str, bytes, float]]) -> list[bool]:
        """Stores (key, subkey, signed entry, expiry), and returns which of them somebody took."""
        if not entries:
            return []
        node = self._running()
        keys, subkeys, values, expiries = map(list, zip(*entries, strict=True))
        async with self._deadline("stored in"):
            stored = await node.store_many(keys, values, expiries, subkeys, exclude_self=self._client_mode)
        return [bool(stored.get((key, subkey))) for key, subkey in zip(keys, subkeys, strict=True)]

    async def find(self, kind: str, subject: str) -> list[entry.Entry]:
        """Returns the verified entries under a key, of all replicas together; raises TransportError."""
        node = self._running()
        key = entry.key_of(self._network, kind, subject)
        async with self._deadline("searched in"):
            found = await node.get(key, latest=True, beam_size=2 * REPLICAS)
        if found is None or not isinstance(found.value, dict):
            return []
        digest = hashlib.sha1(key).digest()
        now = time.time()
        read = [
            entry.read(self._network, peer, digest, item.value, item.expiration_time, now)
            for peer, item in found.value.items()
            if isinstance(peer, str) and isinstance(item.value, bytes)
        ]
        return [one for one in read if one is not None]

    @contextlib.asynccontextmanager
    async def _deadline(self, what: str) -> Any:
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                yield
        except TimeoutError:
            raise Unreachable(f"Nothing could be {what} the DHT within {LOOKUP_TIMEOUT_S:.0f} s; try later.") from None

    def _running(self) -> Any:
        if self._node is None:
            raise TransportError("The DHT is being joined again; try in a moment.")
        return self._node

    def _packed(self, values: dict[str, tuple[bytes, float]]) -> Any:
        packed = self._library.DictionaryDHTValue()
        for peer, (value, expires) in values.items():
            packed.store(peer, value, expires)
        return packed

    def _harden(self, protocol: Any) -> None:
        """Puts our storage and checks into one DHTProtocol; other instances keep theirs."""
        find, validate = protocol.call_find, protocol._validate_record

        async def call_find(peer: Any, keys: Any) -> Any:
            answer = await find(peer, keys)
            if answer is None:
                return None
            return {key: (self._rebuilt(key, value), _first(nearest)) for key, (value, nearest) in answer.items()}

        def validate_record(key: bytes, subkey: bytes, value: bytes, expires: float) -> bool:
            return self._may_check() and bool(validate(key, subkey, value, expires))

        protocol.storage = protocol.cache = self._shelf
        protocol.call_find = call_find
        protocol._validate_record = validate_record
        protocol._validate_dictionary = self._prune

    def _prune(self, key: bytes, dictionary: Any) -> bool:
        """Takes out of a list what does not verify, in place; refuses only lists that nobody honest has."""
        if not isinstance(dictionary, self._library.DictionaryDHTValue) or len(dictionary.data) > ENTRIES_OF_KEY_MAX:
            return False
        for peer, (value, expires) in list(dictionary.data.items()):
            if not isinstance(value, bytes) or self._validator.read(key, peer, value, expires) is None:
                del dictionary[peer]
        return True

    def _rebuilt(self, key: Any, answer: Any) -> Any:
        """Returns an answer with what verifies and its true expiry, None where nothing does."""
        if answer is None or not isinstance(answer.value, self._library.DictionaryDHTValue):
            return None
        self._prune(key.to_bytes(), answer.value)
        values = {peer: (value, expires) for peer, (value, expires) in answer.value.data.items()}
        if not values:
            return None
        return self._library.ValueWithExpiration(self._packed(values), max(expires for _, expires in values.values()))

    def _may_check(self) -> bool:
        now = time.monotonic()
        self._checks = min(CHECKS_BURST_MAX, self._checks + (now - self._checked_at) * CHECKS_PER_S_MAX)
        self._checked_at = now
        if self._checks < 1:
            return False
        self._checks -= 1
        return True


def _first(nearest: dict[Any, Any]) -> dict[Any, Any]:
    return dict(itertools.islice(nearest.items(), NEIGHBOURS_MAX))
