"""Peers on the local network: two nodes that hear each other over real multicast, and announcements made of lies."""

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest
import zeroconf.asyncio
from hypothesis import given
from hypothesis import strategies as st

from ensue.identity import Identity
from node.swarm import lan
from node.swarm.address import parse
from node.swarm.lan import Lan, addresses_in, announcement

A, B, C = (Identity(bytes([number]) * 32).peer_id for number in (1, 2, 3))
NETWORK, OTHER_NETWORK = "ab" * 32, "cd" * 32
LOOPBACK = ["127.0.0.1"]
WAIT_S = 20.0


def multicast_works() -> bool:
    """Try it: a socket that hears what another one sends to a group over the loopback interface."""
    group, port = "224.0.0.251", 0
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hears,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as says,
    ):
        try:
            hears.bind(("", port))
            here = socket.inet_aton(group) + socket.inet_aton(LOOPBACK[0])
            hears.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, here)
            hears.settimeout(2.0)
            says.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK[0]))
            says.sendto(b"heard", (group, hears.getsockname()[1]))
            return hears.recv(16) == b"heard"
        except OSError:
            return False


needs_multicast = pytest.mark.skipif(not multicast_works(), reason="the loopback interface carries no multicast here")


def listening(peer_id: str, port: int = 4001) -> list[str]:
    return [f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id}"]


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.02)


@needs_multicast
def test_nodes_of_one_network_hear_each_other_and_no_others():
    async def scene() -> None:
        heard: dict[str, list[list[str]]] = {A: [], B: [], C: []}
        nodes = [
            Lan(network, peer_id, heard[peer_id].append, interfaces=LOOPBACK)
            for peer_id, network in ((A, NETWORK), (C, OTHER_NETWORK), (B, NETWORK))
        ]
        places = [listening(A, 4001), listening(C, 4002), listening(B, 4003)]
        assert all(await asyncio.gather(*(node.start(place) for node, place in zip(nodes, places, strict=True))))
        assert [node.problem for node in nodes] == [None] * 3
        await until(lambda: heard[A] and heard[B])
        assert heard[A][0] == listening(B, 4003)
        assert heard[B][0] == listening(A, 4001)
        assert await nodes[0].refresh(listening(A, 5001))
        await until(lambda: listening(A, 5001) in heard[B])
        assert await nodes[0].refresh(listening(A, 5001))
        assert heard[C] == []
        for _ in range(2):
            await asyncio.gather(*(node.close() for node in nodes))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scene())


@needs_multicast
def test_one_who_ends_in_the_middle_of_asking_leaves_nothing_behind():
    async def scene() -> None:
        first = Lan(NETWORK, A, lambda _: None, interfaces=LOOPBACK)
        second = Lan(NETWORK, B, lambda _: None, interfaces=LOOPBACK)
        assert await first.start(listening(A))
        starting = asyncio.create_task(second.start(listening(B)))
        await until(lambda: second._tasks or starting.done())
        await second.close()
        await asyncio.wait([starting])
        await second.close()
        await first.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scene())


@needs_multicast
def test_a_node_that_listens_nowhere_still_hears():
    async def scene() -> None:
        heard: list[list[str]] = []
        deaf, first = Lan(NETWORK, B, heard.append, interfaces=LOOPBACK), Lan(NETWORK, A, print, interfaces=LOOPBACK)
        assert not await deaf.start([])
        assert "listens at no address" in (deaf.problem or "")
        assert await first.start(listening(A))
        await until(lambda: heard)
        await deaf.close()
        await first.close()

    asyncio.run(scene())


def test_without_an_interface_there_is_a_reason_and_no_noise(caplog: pytest.LogCaptureFixture):
    async def scene() -> None:
        node = Lan(NETWORK, A, print, interfaces=["203.0.113.1"])
        with caplog.at_level(logging.DEBUG):
            assert not await node.start(listening(A))
        assert (node.problem or "").startswith("multicast does not work on this network: ")
        await node.close()

    asyncio.run(scene())
    assert caplog.records == []


def test_without_any_network_there_is_a_reason(capfd: pytest.CaptureFixture[str]):
    """In a network namespace of its own, whose only interface is down and has no address."""
    code = (
        "import asyncio, ifaddr\n"
        "from node.swarm.lan import Lan\n"
        "node = Lan('ab' * 32, 'x', print)\n"
        "print(asyncio.run(node.start([])), node.problem)\n"
    )
    done = subprocess.run(["unshare", "--net", sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip("no network namespace can be made here")
    assert done.stderr == ""
    assert done.stdout.startswith("False ")


# What is announced, and what is believed of announcements


def test_an_announcement_says_where_a_node_is():
    info = announcement(NETWORK, A, [f"/ip4/192.168.1.7/tcp/4001/p2p/{A}", f"/ip6/fd00::7/tcp/4001/p2p/{A}"])
    assert info is not None
    assert info.name == f"{NETWORK[:16]}-{A[-12:]}._autoresearch._tcp.local."
    hosts = info.parsed_addresses()
    told = [f"/ip4/192.168.1.7/tcp/4001/p2p/{A}", f"/ip6/fd00::7/tcp/4001/p2p/{A}"]
    assert addresses_in(NETWORK, info.properties, hosts, info.port) == told
    assert addresses_in(OTHER_NETWORK, info.properties, hosts, info.port) == []


def test_addresses_of_this_machine_are_told_where_there_are_no_others():
    info = announcement(NETWORK, A, [*listening(A), f"/ip4/10.0.0.5/tcp/4001/p2p/{A}"])
    assert info is not None
    assert info.parsed_addresses() == ["10.0.0.5"]
    alone = announcement(NETWORK, A, listening(A))
    assert alone is not None
    assert alone.parsed_addresses() == ["127.0.0.1"]


def test_one_way_is_announced_tcp_before_quic():
    quic = f"/ip4/10.0.0.5/udp/5001/quic-v1/p2p/{A}"
    both = announcement(NETWORK, A, [quic, f"/ip4/10.0.0.5/tcp/4001/p2p/{A}"])
    only = announcement(NETWORK, A, [quic])
    assert both is not None
    assert only is not None
    assert (both.port, both.properties[b"transport"]) == (4001, b"tcp")
    assert addresses_in(NETWORK, only.properties, ["10.0.0.5"], only.port) == [quic]
    assert announcement(NETWORK, A, ["x", f"/dns/a.org/tcp/1/p2p/{A}", f"{quic}/p2p-circuit/p2p/{B}"]) is None


GOOD = {b"v": b"1", b"network": NETWORK[:16].encode(), b"peer": A.encode(), b"transport": b"tcp"}


@pytest.mark.parametrize(
    "changed",
    [
        {b"v": b"2"},
        {b"v": None},
        {b"network": NETWORK.encode()},
        {b"network": b""},
        {b"network": None},
        {b"peer": None},
        {b"peer": b""},
        {b"peer": b"\xff\xfe"},
        {b"peer": A.encode() + b"\n"},
        {b"peer": A[:-1].encode()},
        {b"peer": b"/p2p-circuit/p2p/" + A.encode()},
        {b"peer": b"1" * 100_000},
        {b"transport": b"udp"},
        {b"transport": b"tcp/1/p2p"},
        {b"transport": None},
    ],
)
def test_a_lying_service_tells_nothing(changed: dict[bytes, bytes | None]):
    assert addresses_in(NETWORK, GOOD, ["10.0.0.5"], 4001) == [f"/ip4/10.0.0.5/tcp/4001/p2p/{A}"]
    assert addresses_in(NETWORK, GOOD | changed, ["10.0.0.5"], 4001) == []


def test_wrong_hosts_and_ports_are_left_out():
    hosts = ["0.0.0.0", "224.0.0.251", "fe80::1", "x", "10.0.0.5/tcp/1", "10.0.0.5", "10.0.0.5"]
    assert addresses_in(NETWORK, GOOD, hosts, 4001) == [f"/ip4/10.0.0.5/tcp/4001/p2p/{A}"]
    for port in (None, 0, -1, 65536):
        assert addresses_in(NETWORK, GOOD, ["10.0.0.5"], port) == []
    many = [f"10.0.{number}.1" for number in range(1000)]
    assert len(addresses_in(NETWORK, GOOD, many, 4001)) == lan.LAN_ADDRESSES_MAX


@given(
    st.dictionaries(st.sampled_from(sorted(GOOD)) | st.binary(max_size=5), st.binary(max_size=60) | st.none()),
    st.lists(st.text(max_size=20)),
    st.integers() | st.none(),
)
def test_any_service_is_read_or_tells_nothing(told: dict[bytes, bytes | None], hosts: list[str], port: int | None):
    for address in addresses_in(NETWORK, GOOD | told, ["10.0.0.5", *hosts], port):
        assert parse(address).text == address


def test_a_flood_of_services_is_asked_about_in_turn(monkeypatch: pytest.MonkeyPatch):
    """Only names of this network count, and of those no more than the bounds; all of these are asked about."""

    class Added:
        name = "Added"

    asked: set[str] = set()
    at_once: list[int] = [0]

    class Asking(zeroconf.asyncio.AsyncServiceInfo):
        async def async_request(self, *_: object, **__: object) -> bool:
            asked.add(self.name)
            at_once.append(at_once[-1] + 1)
            await asyncio.sleep(0.001)
            at_once.append(at_once[-1] - 1)
            return False

    async def scene() -> None:
        node = Lan(NETWORK, A, print)
        node._zeroconf = object()  # type: ignore[assignment]
        for number in range(2000):
            for network in (NETWORK, OTHER_NETWORK, NETWORK):
                name = f"{network[:16]}-{number:012}.{lan.SERVICE}"
                node._changed(None, lan.SERVICE, name, Added)  # type: ignore[arg-type]
        await until(lambda: not node._tasks)

    monkeypatch.setattr(zeroconf.asyncio, "AsyncServiceInfo", Asking)
    asyncio.run(scene())
    assert len(asked) == lan.LAN_NAMES_MAX
    assert all(name.startswith(NETWORK[:16]) for name in asked)
    assert max(at_once) == lan.ASKED_AT_ONCE_MAX
