"""Streams between real p2pds on loopback."""

import asyncio
import hashlib

import pytest
from transport_peers import ask, echo, nodes, until

from node.transport import streams
from node.transport.faults import BadAddress, Unreachable, WrongPeer
from node.transport.ports import TransportError

PROTOCOL = "/autoresearch/test/1"
STRANGER = "12D3KooWQHgGKfXxcW5hHcC2jUwVWmvrvDCvGrbFjvwaeunMUA4K"


def test_a_stream_carries_bytes_both_ways_and_names_the_other_side(tmp_path):
    async def main():
        async with nodes(tmp_path, 2) as (a, b):
            seen = []

            async def handler(stream):
                seen.append(stream.peer)
                await echo(stream)

            await a.serve(PROTOCOL, handler)
            stream = await b.open(a.peer_id, PROTOCOL)
            assert await ask(stream, b"hello") == b"hello"
            assert await ask(stream, b"x" * 3_000_000) == b"x" * 3_000_000
            assert (stream.peer, seen) == (a.peer_id, [b.peer_id])
            await stream.close()
            await stream.close()
            with pytest.raises(TransportError, match="closed already"):
                await stream.send(b"late")

    asyncio.run(main())


def test_all_that_was_sent_before_closing_arrives(tmp_path):
    async def main():
        async with nodes(tmp_path, 2) as (a, b):
            data = bytes(range(256)) * 8_192

            async def handler(stream):
                await stream.receive(1)
                await stream.send(data)

            await a.serve(PROTOCOL, handler)
            for _ in range(5):
                stream = await b.open(a.peer_id, PROTOCOL)
                await stream.send(b"?")
                assert hashlib.sha256(await stream.receive(len(data))).digest() == hashlib.sha256(data).digest()
                with pytest.raises(TransportError, match="ended before"):
                    await stream.receive(1)
                await stream.close()

    asyncio.run(main())


def test_a_stream_that_ends_early_is_an_error_on_both_sides(tmp_path):
    async def main():
        async with nodes(tmp_path, 2) as (a, b):
            failed = asyncio.Event()

            async def handler(stream):
                try:
                    if await stream.receive(1) == b"!":
                        await stream.send(b"half")
                        raise RuntimeError("a handler's own fault")
                    await stream.receive(100)
                except TransportError:
                    failed.set()
                    raise

            await a.serve(PROTOCOL, handler)
            stream = await b.open(a.peer_id, PROTOCOL)
            await stream.send(b"!")
            with pytest.raises(TransportError, match="ended before"):
                await stream.receive(8)
            await stream.close()
            stream = await b.open(a.peer_id, PROTOCOL)
            await stream.send(b".12")
            await stream.close()
            await asyncio.wait_for(failed.wait(), 5)

    asyncio.run(main())


def test_no_more_streams_than_allowed_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "STREAMS_OPENED_MAX", 4)
    monkeypatch.setattr(streams, "OPEN_TIMEOUT_S", 0.5)
    monkeypatch.setattr(streams, "STREAMS_OF_PEER_MAX", 3)

    async def main():
        async with nodes(tmp_path, 2) as (a, b):
            await a.serve(PROTOCOL, echo)
            kept = [await b.open(a.peer_id, PROTOCOL) for _ in range(3)]
            assert [await ask(stream, b"x") for stream in kept] == [b"x"] * 3
            fourth = await b.open(a.peer_id, PROTOCOL)
            with pytest.raises(TransportError, match="ended before"):
                await ask(fourth, b"x")  # the answering side takes three of one peer
            with pytest.raises(TransportError, match="All 4 streams are in use"):
                await b.open(a.peer_id, PROTOCOL)
            await kept[0].close()
            await fourth.close()
            await until(lambda: len(a._streams._answering) < 3)
            again = await b.open(a.peer_id, PROTOCOL)
            assert await ask(again, b"x") == b"x"
            for stream in (*kept, again):
                await stream.close()

    asyncio.run(main())


def test_two_hundred_exchanges_at_once_all_succeed(tmp_path):
    async def main():
        async with nodes(tmp_path, 4) as (a, *others):
            await a.serve(PROTOCOL, echo)

            async def one(number):
                stream = await others[number % 3].open(a.peer_id, PROTOCOL)
                try:
                    return await ask(stream, bytes([number % 256]) * 2_000)
                except TransportError:
                    return None  # refused: more than the answering side takes
                finally:
                    await stream.close()

            # Who answers notices a little later that a stream was closed, and counts it until then.
            places = [asyncio.Semaphore(streams.STREAMS_OF_PEER_MAX // 2) for _ in range(3)]

            async def in_turn(number):
                async with places[number % 3]:
                    return await one(number)

            answers = await asyncio.gather(*(in_turn(number) for number in range(201)))
            assert [n for n, answer in enumerate(answers) if answer != bytes([n % 256]) * 2_000] == []

    asyncio.run(main())


def test_who_cannot_be_reached_is_said_in_one_sentence(tmp_path):
    async def main():
        async with nodes(tmp_path, 2) as (a, b):
            with pytest.raises(Unreachable, match=r"cannot be reached for /nobody \(.*not supported"):
                await b.open(a.peer_id, "/nobody")
            with pytest.raises(Unreachable, match="cannot be reached"):
                await b.open(STRANGER, PROTOCOL)
            with pytest.raises(Unreachable, match="connection refused"):
                await b.connect(f"/ip4/127.0.0.1/tcp/1/p2p/{STRANGER}")
            address = (await a.addresses())[0]
            with pytest.raises(WrongPeer, match=f"is not {STRANGER}: it has another key"):
                await b.connect(address.replace(a.peer_id, STRANGER))
            with pytest.raises(WrongPeer, match="own address"):
                await a.connect(address)
            for text in ("", "foo", address.replace("/p2p/", "/"), "/ip4/1.2.3/tcp/1/p2p/" + STRANGER, "/" * 500):
                with pytest.raises(BadAddress, match="ask for it again"):
                    await b.connect(text)

    asyncio.run(main())


def test_peers_and_their_addresses_are_known(tmp_path):
    async def main():
        async with nodes(tmp_path, 3) as (a, b, c):
            await until(lambda: a.peers())
            assert set(await a.peers()) == {b.peer_id, c.peer_id}
            assert await b.peers() == [a.peer_id] or set(await b.peers()) == {a.peer_id, c.peer_id}
            assert await b.peer_addresses(c.peer_id) == await c.addresses()
            assert await b.connect((await c.addresses())[0]) == c.peer_id
            await b.disconnect(c.peer_id)
            assert c.peer_id not in await b.peers()

    asyncio.run(main())


def test_every_interface_is_announced_with_loopback_last(tmp_path):
    async def main():
        async with nodes(tmp_path, 1, listen=["/ip4/0.0.0.0/tcp/0"]) as (a,):
            addresses = await a.addresses()
            assert all(address.endswith(f"/p2p/{a.peer_id}") for address in addresses)
            assert addresses[-1].startswith("/ip4/127.0.0.1/")
            assert not any("/0.0.0.0/" in address or "/tcp/0/" in address for address in addresses)
        told = "/dns4/node.example/tcp/4001"
        async with nodes(tmp_path, 1, announce=[told]) as (a,):
            assert await a.addresses() == [f"{told}/p2p/{a.peer_id}"]

    asyncio.run(main())
