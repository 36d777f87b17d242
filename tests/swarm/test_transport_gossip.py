"""GossipSub between real p2pds on loopback."""

import asyncio
import os

import pytest
from transport_peers import nodes, until

from node.transport.faults import DaemonLost, MessageTooLarge
from node.transport.gossip import GOSSIP_BYTES_MAX

TOPIC = "autoresearch/1/test"


async def listening(members, heard):
    """Subscribes everybody, and returns when each knows another subscriber."""
    for node in members:
        await node.subscribe(TOPIC, lambda peer, data, at=node.peer_id: heard.append((at, peer, bytes(data))))
    for node in members:
        await until(lambda node=node: node.neighbours(TOPIC))


async def until_heard(heard, sender, receivers, data):
    """Publishes until everybody has heard: a mesh that is just forming may miss the first message."""
    wanted = {(node.peer_id, sender.peer_id, data) for node in receivers}
    for _ in range(50):
        await sender.publish(TOPIC, data)
        for _ in range(10):
            if wanted <= set(heard):
                return
            await asyncio.sleep(0.02)
    raise AssertionError(f"not heard: {wanted - set(heard)}")


def test_everybody_else_hears_who_published_what(tmp_path):
    async def main():
        async with nodes(tmp_path, 3) as members:
            heard = []
            await listening(members, heard)
            for sender in members:
                others = [node for node in members if node is not sender]
                await until_heard(heard, sender, others, b"from " + sender.peer_id.encode())
            assert all(data == b"from " + peer.encode() for _, peer, data in heard)
            assert all(at != peer for at, peer, _ in heard)

    asyncio.run(main())


def test_too_large_messages_are_refused_before_sending_and_the_largest_arrives(tmp_path):
    async def main():
        async with nodes(tmp_path, 2) as (a, b):
            heard = []
            await listening((a, b), heard)
            with pytest.raises(MessageTooLarge, match="at most 65,536 bytes"):
                await a.publish(TOPIC, b"x" * (GOSSIP_BYTES_MAX + 1))
            await until_heard(heard, a, [b], b"x" * GOSSIP_BYTES_MAX)

    asyncio.run(main())


def test_a_listener_that_fails_silences_nobody(tmp_path):
    async def main():
        async with nodes(tmp_path, 2) as (a, b):
            heard = []

            def broken(peer, data):
                raise RuntimeError("a listener's own fault")

            await b.subscribe(TOPIC, broken)
            await listening((a, b), heard)
            await until_heard(heard, a, [b], b"one")
            await until_heard(heard, a, [b], b"two")

    asyncio.run(main())


def test_subscriptions_outlive_a_killed_daemon(tmp_path):
    async def main():
        async with nodes(tmp_path, 2) as (a, b):
            heard = []
            await listening((a, b), heard)
            await until_heard(heard, a, [b], b"before")
            lost = asyncio.Event()
            b.on_lost(lost.set)
            os.kill(b.process_id, 9)
            await asyncio.wait_for(lost.wait(), 2)
            with pytest.raises(DaemonLost, match="try again in a moment"):
                await b.publish(TOPIC, b"nobody runs")
            await until(lambda: b.process_id)
            await until_heard(heard, a, [b], b"after")
            await until_heard(heard, b, [a], b"back")

    asyncio.run(main())
