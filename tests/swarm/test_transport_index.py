"""The DHT as an index between real nodes, and what a hostile node of the DHT achieves: nothing that is read."""

import asyncio
import contextlib
import hashlib
import os
import time

import pytest
from transport_peers import LOCAL, key, nodes, until

from ensue.identity import Identity
from node.transport import entry
from node.transport import index as index_module
from node.transport.daemon import P2pdTransport
from node.transport.index import Index
from node.transport.ports import TransportError
from node.transport.reach import Reachability

NETWORK, OTHER_NETWORK = "ab" * 32, "cd" * 32
EXPERIMENT, BLOB = "12" * 32, "34" * 32


@contextlib.asynccontextmanager
async def swarm(folder, count, network=NETWORK):
    """Starts nodes with their indexes, each of which knows all others."""
    async with nodes(folder, count) as transports:
        indexes = []
        try:
            for number, transport in enumerate(transports):
                identity = Identity.load(key(folder, f"node{number}"))
                indexes.append(await Index.start(transport, identity, network))
            for one in indexes:
                await until(lambda one=one: len(one.neighbours) == count - 1)
            yield transports, indexes
        finally:
            for one in indexes:
                await one.close()


def test_what_one_node_says_every_other_finds(tmp_path):
    async def main():
        async with swarm(tmp_path, 3) as (transports, (a, b, c)):
            me = transports[0].peer_id
            addresses = await transports[0].addresses()
            assert await a.announce(addresses, version="0.1", reachable=Reachability.PUBLIC, records=7, digest="ef")
            for reader in (b, c):
                (found,) = await reader.find_peers()
                assert (found.peer, found.addresses, found.version) == (me, tuple(addresses), "0.1")
                assert (found.reachable, found.records, found.digest) == (Reachability.PUBLIC, 7, "ef")
                assert 0 < found.expires - time.time() <= index_module.PEER_TTL_S
            assert await a.find_peers() == []  # not itself
            assert await a.announce(addresses, version="0.1", records=8)
            assert [one.records for one in await b.find_peers()] == [8]
            assert await b.announce_head(me, seq=9, records=10, digest="aa")
            assert await a.announce_head(me, seq=5, records=6, digest="bb")
            heads = await c.head(me)
            assert [(h.holder, h.seq, h.records, h.digest) for h in heads] == [
                (me, 5, 6, "bb"),  # the author's own word first
                (transports[1].peer_id, 9, 10, "aa"),
            ]
            assert await b.provide(BLOB)
            assert await c.providers(BLOB) == [transports[1].peer_id]
            assert await c.providers("56" * 32) == []

    asyncio.run(main())


def test_claims_live_as_long_as_they_say_and_can_be_released(tmp_path):
    async def main():
        async with swarm(tmp_path, 3) as (transports, (a, b, c)):
            assert await a.claim(EXPERIMENT, "ff" * 32, 30)
            assert await b.claim(EXPERIMENT, "00" * 32, 30)
            claims = await c.claims(EXPERIMENT)
            assert [(one.record, one.peer) for one in claims] == [
                ("00" * 32, transports[1].peer_id),
                ("ff" * 32, transports[0].peer_id),
            ]
            await b.release(EXPERIMENT)
            assert [one.record for one in await c.claims(EXPERIMENT)] == ["ff" * 32]
            assert await c.claim(EXPERIMENT, "11" * 32, 0.4)
            assert len(await b.claims(EXPERIMENT)) == 2
            await until(lambda: two_less(b))
            assert await a.claim("78" * 32, "ff" * 32, 30)
            assert await a.announce([], version="0.1")
            await a.leave()
            assert await b.claims(EXPERIMENT) == await b.claims("78" * 32) == await b.find_peers() == []

    async def two_less(reader):
        return len(await reader.claims(EXPERIMENT)) == 1

    asyncio.run(main())


def test_entries_are_said_again_before_they_expire(tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "TICK_S", 0.1)
    monkeypatch.setattr(index_module, "PEER_TTL_S", 1.5)
    monkeypatch.setattr(index_module, "BLOB_TTL_S", 1.5)

    async def main():
        async with swarm(tmp_path, 2) as (transports, (a, b)):
            await a.announce([], version="0.1")
            await a.provide(BLOB)
            (first,) = await b.find_peers()

            async def later():
                found = await b.find_peers()
                assert found, "the announcement lapsed"
                assert await b.providers(BLOB) == [transports[0].peer_id]
                return found[0].expires > first.expires + 1.5

            await until(later)

    asyncio.run(main())


def test_the_index_is_there_again_after_the_daemon_was_killed(tmp_path):
    async def main():
        async with swarm(tmp_path, 2) as (transports, (a, b)):
            await a.announce([], version="0.1")
            await a.claim(EXPERIMENT, "ff" * 32, 60)
            for transport, killed, other in ((transports[0], a, b), (transports[1], b, a)):
                os.kill(transport.process_id, 9)
                await until(lambda transport=transport: transport.process_id is None)
                with contextlib.suppress(TransportError):
                    await killed.find_peers()  # not much is to be had, but nothing hangs
                await until(lambda killed=killed: killed.neighbours)
                await until(lambda other=other: other.claims(EXPERIMENT))
            assert [one.version for one in await b.find_peers()] == ["0.1"]

    asyncio.run(main())


def test_newcomers_are_found_without_being_told(tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "TICK_S", 0.1)

    async def main():
        async with swarm(tmp_path, 1) as ((first,), (a,)):
            await a.provide(BLOB)
            late = await P2pdTransport.start(
                key(tmp_path, "late"), **{**LOCAL, "bootstrap": [(await first.addresses())[0]]}
            )
            b = await Index.start(late, Identity.load(key(tmp_path, "late")), NETWORK, client_mode=True)
            try:
                assert b.neighbours == [first.peer_id]
                assert await b.providers(BLOB) == [first.peer_id]
                assert await b.provide("56" * 32)
                assert await a.providers("56" * 32) == [late.peer_id]
                assert (b.kept, a.neighbours) == (0, [])  # a client is asked nothing, and keeps nothing
            finally:
                await b.close()
                await late.close()

    asyncio.run(main())


def test_a_second_node_with_the_same_key_is_noticed(tmp_path, monkeypatch):
    """The lock on the key file cannot see another machine: here a copied key announces itself from another place."""

    async def main():
        async with swarm(tmp_path, 2) as (_, (a, b)):
            await a.announce(["/ip4/192.0.2.1/tcp/1"], version="0.1")
            await a.find_peers()
            assert a.twin is None
            copy = entry.sign(
                Identity.load(key(tmp_path, "node0")),
                *(NETWORK, "peers", "", [["/ip4/192.0.2.2/tcp/1"], "0.1", "unknown", 0, "", "another session"]),
                expires := time.time() + index_module.PEER_TTL_S + 5,
            )
            peer = Identity.load(key(tmp_path, "node0")).peer_id
            assert await b._dht.store([(entry.key_of(NETWORK, "peers", ""), peer, copy, expires)]) == [True]
            await a.find_peers()
            assert a.twin is not None
            assert a.twin.addresses == ("/ip4/192.0.2.2/tcp/1",)

    asyncio.run(main())


class Poisoner:
    """A plain node of hivemind's DHT, without a validator, that stores whatever it likes wherever it can."""

    def __init__(self, transport, node, identity):
        self.transport, self.node, self.identity = transport, node, identity
        self.library = transport.library

    @classmethod
    async def start(cls, transport, identity, victims):
        library = transport.library
        p2p = await library.P2P.replicate(library.Multiaddr(f"/unix{transport.control_socket}"))
        node = await library.DHTNode.create(p2p=p2p)
        for victim in victims:
            assert await node.protocol.call_ping(library.PeerID.from_base58(victim), validate=False) is not None
        return cls(transport, node, identity)

    async def push(self, victim, key, subkey, value, expires):
        """Asks one node to store a value; returns what it answers, None where it refused to answer at all."""
        protocol, library = self.node.protocol, self.library
        id_ = library.node_module.DHTID.generate(source=key)
        packed = value if isinstance(value, library.DictionaryDHTValue) else protocol.serializer.dumps(value)
        peer = library.PeerID.from_base58(victim)
        return await protocol.call_store(peer, [id_], [packed], [expires], None if subkey is None else [subkey])

    def keep(self, key, values, claimed=float("inf"), maxsize=float("inf")):
        """Keeps values itself, to hand them to whoever asks, and claims any expiry for the whole."""
        id_ = self.library.node_module.DHTID.generate(source=key)
        packed = self.library.DictionaryDHTValue()
        for subkey, (value, expires) in values.items():
            packed.store(subkey, self.node.protocol.serializer.dumps(value), expires)
        packed.frozen, packed.maxsize = True, maxsize
        storage = self.node.protocol.storage
        storage.data[id_] = self.library.ValueWithExpiration(packed, claimed)
        storage.frozen = True

    async def close(self):
        await self.node.shutdown()
        await self.node.p2p.shutdown()


def rubbish(honest: str, evil: Identity, now: float):
    """Yields subkey, value and expiry of everything that must not be read as a claim of EXPERIMENT."""
    good = entry.sign(evil, NETWORK, "claim", EXPERIMENT, "ee" * 32, now + 60)
    yield evil.peer_id, b"rubbish", now + 60
    yield evil.peer_id, "not even bytes", now + 60
    yield evil.peer_id, {"a": [1, 2, {}]}, now + 60
    yield honest, good, now + 60  # forged subkey
    yield honest, b"rubbish", now + 60
    yield evil.peer_id, entry.sign(evil, OTHER_NETWORK, "claim", EXPERIMENT, "ee" * 32, now + 60), now + 60
    yield evil.peer_id, entry.sign(evil, NETWORK, "claim", "99" * 32, "ee" * 32, now + 60), now + 60  # another key's
    yield evil.peer_id, good, now + 61  # prolonged
    yield evil.peer_id, good + b"\0" * 12_000, now + 60  # oversized
    yield 17, good, now + 60
    yield "x" * 3_000, good, now + 60
    far = now + 10 * 365 * 86_400
    yield evil.peer_id, entry.sign(evil, NETWORK, "claim", EXPERIMENT, "ee" * 32, far), far


def test_a_poisoned_dht_shows_nothing_of_the_poison_and_all_that_is_honest(tmp_path):
    async def main():
        async with swarm(tmp_path, 3) as (transports, (a, b, c)), nodes(tmp_path / "evil", 1) as (last,):
            await last.dial([(await one.addresses())[0] for one in transports])
            evil = Identity.load(key(tmp_path / "evil", "node0"))
            victims = [one.peer_id for one in transports]
            poisoner = await Poisoner.start(last, evil, victims)
            try:
                for reader in (a, b, c):
                    await until(lambda reader=reader: last.peer_id in reader.neighbours)
                assert await a.claim(EXPERIMENT, "aa" * 32, 60)
                honest = [("aa" * 32, transports[0].peer_id)]
                now = time.time()
                place = entry.key_of(NETWORK, "claim", EXPERIMENT)
                kept = [one.kept for one in (a, b, c)]
                for subkey, value, expires in rubbish(transports[0].peer_id, evil, now):
                    for victim in victims:
                        assert await poisoner.push(victim, place, subkey, value, expires) in ([False], None)
                for victim in victims:  # values without a subkey, and keys that nobody knows
                    assert await poisoner.push(victim, place, None, b"plain", now + 60) == [False]
                    assert await poisoner.push(victim, b"unknown key", evil.peer_id, b"x", now + 60) == [False]
                assert [one.kept for one in (a, b, c)] == kept
                for claimed in (float("inf"), now + 1e9, float("nan")):
                    for subkey, value, expires in rubbish(transports[0].peer_id, evil, now):
                        poisoner.keep(place, {subkey: (value, expires)}, claimed)
                        for reader in (b, c):
                            found = [(one.record, one.peer) for one in await reader.claims(EXPERIMENT)]
                            assert found == honest
            finally:
                await poisoner.close()

    (tmp_path / "evil").mkdir()
    asyncio.run(main())


def test_one_liar_neither_ends_a_search_nor_hangs_it(tmp_path):
    """A list with a true entry of the liar, an endless expiry and a nonsensical size hides nothing of the others."""

    async def main():
        async with swarm(tmp_path, 2) as (transports, (a, b)), nodes(tmp_path / "evil", 1) as (last,):
            await last.dial([(await one.addresses())[0] for one in transports])
            evil = Identity.load(key(tmp_path / "evil", "node0"))
            poisoner = await Poisoner.start(last, evil, [one.peer_id for one in transports])
            try:
                await until(lambda: last.peer_id in b.neighbours)
                assert await a.claim(EXPERIMENT, "aa" * 32, 60)
                expires = time.time() + 60
                own = entry.sign(evil, NETWORK, "claim", EXPERIMENT, "ee" * 32, expires)
                for size in (float("inf"), 1, "nonsense", None, -5):
                    poisoner.keep(
                        entry.key_of(NETWORK, "claim", EXPERIMENT), {evil.peer_id: (own, expires)}, maxsize=size
                    )
                    start = time.monotonic()
                    found = {one.record for one in await b.claims(EXPERIMENT)}
                    assert "aa" * 32 in found
                    assert found <= {"aa" * 32, "ee" * 32}  # the liar's own claim is well signed
                    assert time.monotonic() - start < 5
            finally:
                await poisoner.close()

    (tmp_path / "evil").mkdir()
    asyncio.run(main())


def test_a_flood_of_entries_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("node.transport.kademlia.CHECKS_BURST_MAX", 50)
    monkeypatch.setattr("node.transport.kademlia.CHECKS_PER_S_MAX", 10)

    async def main():
        async with swarm(tmp_path, 1) as (transports, (a,)), nodes(tmp_path / "evil", 1) as (last,):
            await last.dial([(await transports[0].addresses())[0]])
            poisoner = await Poisoner.start(last, Identity(b"\7" * 32), [transports[0].peer_id])
            try:
                expires = time.time() + 60
                accepted = 0
                start = time.monotonic()
                for number in range(200):
                    sybil = Identity(hashlib.sha256(str(number).encode()).digest())
                    value = entry.sign(sybil, NETWORK, "claim", EXPERIMENT, "ee" * 32, expires)
                    where = entry.key_of(NETWORK, "claim", EXPERIMENT)
                    answer = await poisoner.push(transports[0].peer_id, where, sybil.peer_id, value, expires)
                    accepted += answer == [True]
                assert 40 <= accepted <= 50 + 10 * (time.monotonic() - start) + 2
                assert a.kept == accepted
            finally:
                await poisoner.close()

    (tmp_path / "evil").mkdir()
    asyncio.run(main())


def test_what_no_reader_would_take_is_refused_before_it_is_said(tmp_path):
    async def main():
        async with swarm(tmp_path, 1) as (_, (a,)):
            with pytest.raises(ValueError, match="no entry of kind claim"):
                await a.claim("not an experiment", "ff" * 32, 60)
            with pytest.raises(ValueError, match="no entry of kind blob"):
                await a.provide("X" * 64)

    asyncio.run(main())
