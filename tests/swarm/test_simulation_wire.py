"""The simulated wire: streams keep order and end when they must, gossip is lost, late and doubled, all by the seed."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from simulation import clock
from simulation.transport import SimTransport
from simulation.wire import DIAL_TIMEOUT_S, GONE_NOTICED_S, GOSSIP_BYTES_MAX, WINDOW_BYTES, Weather, Wire

from node.transport.ports import Stream, TransportError

ECHO = "/echo/1"


def run(play: Callable[[Wire], Coroutine[Any, Any, Any]], weather: Weather | None = None, seed: int = 1) -> Any:
    async def main() -> Any:
        return await play(Wire(seed, weather or Weather()))

    return clock.run(main())


def host(wire: Wire, name: str) -> SimTransport:
    return SimTransport(wire, name, f"/ip4/10.0.0.{len(wire.hosts) + 1}/tcp/4001")


async def pair(wire: Wire) -> tuple[SimTransport, SimTransport]:
    ann, bob = host(wire, "ann"), host(wire, "bob")
    await ann.connect((await bob.addresses())[0])
    return ann, bob


async def echo(stream: Stream) -> None:
    while True:
        size = int.from_bytes(await stream.receive(4), "big")
        await stream.send(await stream.receive(size))


async def fails(work: Awaitable[Any], match: str) -> None:
    with pytest.raises(TransportError, match=match):
        await work


def now() -> float:
    return asyncio.get_running_loop().time()


def test_bytes_arrive_in_order_however_they_are_cut():
    async def play(wire: Wire) -> None:
        ann, bob = await pair(wire)
        await bob.serve(ECHO, echo)
        assert await ann.peers() == ["bob"]
        assert await bob.peers() == ["ann"]
        stream = await ann.open("bob", ECHO)
        sent = bytes(range(256)) * 40
        for at in range(0, len(sent), 100):
            await stream.send(len(sent[at : at + 100]).to_bytes(4, "big") + sent[at : at + 100])
        assert b"".join([await stream.receive(512) for _ in range(len(sent) // 512)]) == sent
        assert wire.total("out", ["bob"], ECHO) == wire.total("in", ["ann"], ECHO) == len(sent)

    run(play, Weather(spread=2.0))


def test_a_stream_ends_when_the_handler_returns_or_either_side_closes_it():
    async def play(wire: Wire) -> None:
        ann, bob = await pair(wire)

        async def hang_up(stream: Stream) -> None:
            await stream.receive(1)
            await stream.send(b"bye")

        await bob.serve(ECHO, hang_up)
        stream = await ann.open("bob", ECHO)
        await stream.send(b"x")
        assert await stream.receive(3) == b"bye"
        await fails(stream.receive(1), "other side closed")
        await fails(stream.send(b"x"), "other side closed")
        await stream.close()
        other = await ann.open("bob", ECHO)
        await other.close()
        await other.close()
        await fails(other.send(b"x"), "this side closed")
        await asyncio.sleep(1)
        assert not ann.streams
        assert not bob.streams

    run(play)


def test_a_sender_waits_while_nobody_takes_what_it_sends():
    async def play(wire: Wire) -> None:
        ann, bob = await pair(wire)
        taken = asyncio.Event()

        async def late(stream: Stream) -> None:
            await taken.wait()
            await stream.receive(2 * WINDOW_BYTES)
            await stream.send(b"!")

        await bob.serve(ECHO, late)
        stream = await ann.open("bob", ECHO)
        await stream.send(bytes(WINDOW_BYTES))
        waiting = asyncio.ensure_future(stream.send(bytes(WINDOW_BYTES)))
        await asyncio.sleep(3600)
        assert not waiting.done()
        taken.set()
        assert await stream.receive(1) == b"!"
        assert waiting.done()

    run(play)


def test_what_a_node_sends_takes_its_time():
    async def play(wire: Wire) -> float:
        ann, bob = await pair(wire)
        await bob.serve(ECHO, echo)
        stream, begun = await ann.open("bob", ECHO), now()
        for _ in range(10):
            await stream.send((10_000).to_bytes(4, "big") + bytes(10_000))
        await stream.receive(100_000)
        return now() - begun

    took = run(play, Weather(bytes_per_s=10_000.0, latency_s=0.001, spread=0.0))
    assert took == pytest.approx(10 + 1 + 0.002, abs=0.05)  # the last piece is echoed once all have come


def test_who_is_nobody_refuses_after_a_while():
    async def play(wire: Wire) -> None:
        ann, bob = host(wire, "ann"), host(wire, "bob")
        begun = now()
        await fails(ann.connect("/ip4/10.9.9.9/tcp/4001/p2p/bob"), "Nobody answers")
        await fails(ann.connect(f"{bob.address}/p2p/carol"), "Nobody answers")
        await fails(ann.connect("what?"), "Nobody answers")
        assert now() - begun == pytest.approx(3 * DIAL_TIMEOUT_S)
        await fails(ann.open("bob", ECHO), "connect to its address first")
        await ann.connect(f"{bob.address}/p2p/bob")
        await fails(ann.open("bob", ECHO), "does not speak")

    run(play)


def test_islands_hear_nothing_of_each_other_until_they_are_one_again():
    async def play(wire: Wire) -> None:
        ann, bob = await pair(wire)
        await bob.serve(ECHO, echo)
        stream = await ann.open("bob", ECHO)
        heard: list[bytes] = []
        await bob.subscribe("news", lambda _, data: heard.append(data))
        wire.part([["ann"]])
        await stream.send(b"\0\0\0\1x")
        begun = now()
        await fails(stream.receive(1), "out of reach")
        assert GONE_NOTICED_S[0] <= now() - begun <= GONE_NOTICED_S[1]
        await ann.publish("news", b"lost")
        await asyncio.sleep(GONE_NOTICED_S[1])
        assert await ann.peers() == await bob.peers() == []
        await fails(ann.open("bob", ECHO), "Nobody answers")
        wire.heal()
        stream = await ann.open("bob", ECHO)
        await stream.send(b"\0\0\0\1y")
        assert await stream.receive(1) == b"y"
        await ann.publish("news", b"found")
        await asyncio.sleep(1)
        assert heard == [b"found"]

    run(play)


def test_a_node_that_dies_says_nothing_and_another_takes_its_place():
    async def play(wire: Wire) -> None:
        ann, bob = await pair(wire)
        ended: list[str] = []

        async def wait(stream: Stream) -> None:
            try:
                await stream.receive(1)
            except asyncio.CancelledError:
                ended.append("cut short")
                raise

        await bob.serve(ECHO, wait)
        stream = await ann.open("bob", ECHO)
        await asyncio.sleep(1)
        await bob.die()
        await fails(stream.receive(1), "gone")
        assert ended == ["cut short"]
        await asyncio.sleep(GONE_NOTICED_S[1])
        assert await ann.peers() == []
        again = SimTransport(wire, "bob", bob.address)
        await again.serve(ECHO, echo)
        stream = await ann.open("bob", ECHO)
        await stream.send(b"\0\0\0\1z")
        assert await stream.receive(1) == b"z"
        assert not bob.up
        assert again.up
        await again.close()
        await again.close()
        await fails(again.publish("news", b""), "off the wire")

    run(play)


def test_lines_break_and_dials_fail_as_often_as_the_weather_says():
    async def play(wire: Wire) -> tuple[int, int]:
        ann, bob = host(wire, "ann"), host(wire, "bob")
        await bob.serve(ECHO, echo)
        refused = broken = 0
        for _ in range(200):
            try:
                await ann.connect(f"{bob.address}/p2p/bob")
            except TransportError:
                refused += 1
        for _ in range(200):
            stream = await ann.open("bob", ECHO)
            try:
                await stream.send(b"\0\0\0\1x")
                await stream.receive(1)
            except TransportError:
                broken += 1
            await stream.close()
        return refused, broken

    refused, broken = run(play, Weather(stream_breaks=0.2, dial_fails=0.9), seed=3)
    assert 165 <= refused <= 195
    assert 40 <= broken <= 110  # a question and its answer: 36 %


def test_gossip_reaches_those_who_are_connected_through_others_once_each():
    async def play(wire: Wire) -> None:
        hosts = [host(wire, f"h{number}") for number in range(12)]
        heard: dict[str, list[tuple[str, bytes]]] = {one.peer_id: [] for one in hosts}
        for one in hosts:
            mine = heard[one.peer_id]
            await one.subscribe("news", lambda peer, data, mine=mine: mine.append((peer, data)))
        for one, other in pairwise(hosts):
            await one.connect((await other.addresses())[0])
        await hosts[0].publish("news", b"hello")
        await asyncio.sleep(2)
        assert heard["h0"] == []
        assert all(heard[one.peer_id] == [("h0", b"hello")] for one in hosts[1:])
        hosts[6].passes_on = False
        await hosts[0].publish("news", b"cut")
        await asyncio.sleep(2)
        assert ("h0", b"cut") in heard["h6"]
        assert ("h0", b"cut") not in heard["h7"]
        await fails(hosts[0].publish("news", bytes(GOSSIP_BYTES_MAX + 1)), "at most")

    run(play)


def test_gossip_is_lost_doubled_and_out_of_order():
    async def play(wire: Wire) -> list[int]:
        ann, bob = await pair(wire)
        heard: list[int] = []
        await bob.subscribe("news", lambda _, data: heard.append(int(data)))
        for number in range(1000):
            await ann.publish("news", b"%d" % number)
            await asyncio.sleep(0.01)
        await asyncio.sleep(60)
        return heard

    heard = run(play, Weather(gossip_lost=0.3, gossip_twice=0.1, spread=1.0))
    assert 650 <= len(set(heard)) <= 750
    assert 40 <= len(heard) - len(set(heard)) <= 110
    assert heard != sorted(heard)


def babble(seed: int) -> str:
    """Return the trace of some hosts that talk in bad weather."""

    async def play(wire: Wire) -> str:
        hosts = [host(wire, f"h{number}") for number in range(5)]
        for one in hosts:
            await one.serve(ECHO, echo)
            await one.subscribe("news", lambda *_: None)

        async def talk(one: SimTransport) -> None:
            for number in range(20):
                other = wire.chance.choice(hosts)
                try:
                    await one.connect((await other.addresses())[0])
                    await one.publish("news", b"%d" % number)
                    stream = await one.open(other.peer_id, ECHO)
                    await stream.send(b"\0\0\0\1x")
                    await stream.receive(1)
                    await stream.close()
                except TransportError:
                    continue

        async with asyncio.TaskGroup() as group:
            for one in hosts:
                group.create_task(talk(one))
            await asyncio.sleep(3)
            wire.part([["h0", "h1"], ["h2"]])
            await asyncio.sleep(10)
            wire.heal()
        return wire.trace()

    return run(play, Weather(gossip_lost=0.2, gossip_twice=0.2, stream_breaks=0.1, dial_fails=0.2), seed)


def test_a_seed_decides_everything_in_every_process():
    here = [babble(7), babble(7), babble(8)]
    assert here[0] == here[1] != here[2]
    program = "import test_simulation_wire as t; print(t.babble(7))"
    for hash_seed in ("1", "2"):
        paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": paths}
        printed = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert printed.stdout.strip() == here[0]
