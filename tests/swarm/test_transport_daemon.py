"""The life of p2pd: started, refused, killed, started again, and never left behind."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from transport_peers import LOCAL, ask, echo, key, nodes, until

from ensue.errors import BadKeyFile
from ensue.identity import Identity
from node.transport import process
from node.transport.addresses import busy_port, nearest_last, settled
from node.transport.daemon import P2pdTransport
from node.transport.faults import DaemonFailed, IdentityInUse, PortInUse
from node.transport.process import Daemon, Options
from node.transport.reach import Reachability, read_reachability

PROTOCOL = "/autoresearch/test/1"
STRANGER = "12D3KooWQHgGKfXxcW5hHcC2jUwVWmvrvDCvGrbFjvwaeunMUA4K"


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob(f"autoresearch-p2p-{os.getpid()}-*"))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def start(path: Path, **options) -> None:
    """Starts a transport that is expected to fail."""

    async def main():
        node = await P2pdTransport.start(path, **{**LOCAL, **options})
        await node.close()

    asyncio.run(main())


def test_the_key_of_the_records_is_the_peer_id_and_nothing_is_left_behind(tmp_path, capfd):
    async def main():
        node = await P2pdTransport.start(key(tmp_path), **LOCAL)
        pid = node.process_id
        assert node.peer_id == Identity.load(key(tmp_path)).peer_id
        assert (await node.addresses())[0].endswith(f"/p2p/{node.peer_id}")
        (folder,) = folders()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        await node.close()
        await node.close()
        assert not alive(pid)

    asyncio.run(main())
    assert folders() == set()
    assert capfd.readouterr() == ("", "")


def test_a_killed_daemon_comes_back_with_key_port_streams_and_peers(tmp_path):
    async def main():
        async with nodes(tmp_path, 2) as (a, b):
            await a.serve(PROTOCOL, echo)
            before, pid = await a.addresses(), a.process_id
            await until(a.peers)
            stream = await b.open(a.peer_id, PROTOCOL)
            calls = []

            async def again():
                calls.append(a.process_id)

            a.on_restart(again)
            os.kill(pid, signal.SIGKILL)
            await until(lambda: a.process_id not in (None, pid), 5)
            await until(lambda: calls, 5)
            assert calls == [a.process_id]
            assert await a.addresses() == before
            assert await a.peers() == [b.peer_id]  # dialed again
            await stream.close()
            stream = await b.open(a.peer_id, PROTOCOL)
            assert await ask(stream, b"again") == b"again"
            await stream.close()
            pid = b.process_id
            await b.restart()
            assert b.process_id not in (None, pid)

    asyncio.run(main())
    assert folders() == set()


def test_a_daemon_that_hangs_is_killed_and_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr("node.transport.daemon.HEALTH_EVERY_S", 0.2)
    monkeypatch.setattr("node.transport.daemon.HEALTH_TIMEOUT_S", 1.0)

    async def main():
        async with nodes(tmp_path, 1) as (a,):
            pid = a.process_id
            os.kill(pid, signal.SIGSTOP)
            await until(lambda: a.process_id not in (None, pid))
            assert not alive(pid)

    asyncio.run(main())


PARENT = """
import asyncio, sys
from node.transport.daemon import P2pdTransport
async def main():
    node = await P2pdTransport.start(sys.argv[1], listen=["/ip4/127.0.0.1/tcp/0"], nat_port_map=False, auto_nat=False)
    print(node.process_id, node.control_socket.parent, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def test_the_daemon_dies_with_its_parent_and_the_next_node_sweeps_up(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(key(tmp_path))], stdout=subprocess.PIPE, text=True)
    try:
        pid, folder = parent.stdout.readline().split()
        assert alive(int(pid))
        assert Path(folder).is_dir()
    finally:
        parent.kill()
        parent.communicate()

    async def main():
        await until(lambda: not alive(int(pid)), 5)
        async with nodes(tmp_path, 1):
            assert not Path(folder).exists()

    asyncio.run(main())


def test_only_folders_of_processes_that_are_gone_are_swept(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = {"gone": f"{gone.pid}-a", "mine": f"{os.getpid()}-a", "odd": "x-a"}
    for name in names.values():
        (tmp_path / f"autoresearch-p2p-{name}").mkdir()
    assert process.sweep(tmp_path) == 1
    left = {each.name for each in tmp_path.iterdir()}
    assert left == {f"autoresearch-p2p-{names[name]}" for name in ("mine", "odd")}


def test_a_long_name_of_the_temporary_folder_does_no_harm(tmp_path, monkeypatch):
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))

    start(key(tmp_path))
    assert list(deep.iterdir()) == []


def test_a_port_in_use_is_refused_whoever_has_it(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"Port {port} is taken by another program; stop that"):
            start(key(tmp_path), listen=[f"/ip4/127.0.0.1/tcp/{port}"])

    async def main():
        async with nodes(tmp_path, 1) as (a,):
            taken = re.search(r"/tcp/(\d+)/", (await a.addresses())[0])[1]
            assert busy_port([f"/ip4/127.0.0.1/tcp/{taken}"]) == int(taken)
            with pytest.raises(PortInUse, match=rf"Port {taken} is taken"):
                await P2pdTransport.start(
                    key(tmp_path, "other"), **{**LOCAL, "listen": [f"/ip4/127.0.0.1/tcp/{taken}"]}
                )

    asyncio.run(main())
    assert folders() == set()


def test_one_key_runs_once(tmp_path):
    async def main():
        async with nodes(tmp_path, 1):
            with pytest.raises(IdentityInUse, match="Another process already runs with the key"):
                await P2pdTransport.start(key(tmp_path, "node0"), **LOCAL)

    asyncio.run(main())


def test_a_missing_or_damaged_key_is_said(tmp_path):
    with pytest.raises(BadKeyFile, match="There is no key file"):
        start(tmp_path / "none.key")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "p2pd is not at .*run `make setup`"),
        ("echo something is wrong >&2; exit 3", r"did not start \(something is wrong\)"),
        ("exit 3", r"did not start \(exit code 3\)"),
        ("exec sleep 60", r"did not start within 1 s"),
        ("yes 2>/dev/null | head -c 300000; exit 3", r"did not start \(y\)"),
    ],
)
def test_a_daemon_that_does_not_start_is_one_sentence(tmp_path, script, words):
    program = tmp_path / "p2pd"
    if script:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)

    limit_s = 1.0 if "sleep" in str(script) else 20.0

    async def main():
        with pytest.raises(DaemonFailed, match=words):
            await Daemon.start(program, key(tmp_path), Options(listen=("/ip4/127.0.0.1/tcp/0",)), None, limit_s)

    asyncio.run(main())
    assert folders() == set()


def test_a_listen_address_that_is_none_is_said(tmp_path):
    with pytest.raises(DaemonFailed, match=r"did not start .*check the addresses to listen on"):
        start(key(tmp_path), listen=["/nonsense/1"])


def test_a_node_starts_alone_when_no_bootstrap_answers(tmp_path):
    async def main():
        silent = f"/ip4/127.0.0.1/tcp/1/p2p/{Identity.generate().peer_id}"
        async with nodes(tmp_path, 1) as (a,):
            liar = (await a.addresses())[0].replace(a.peer_id, STRANGER)
            async with nodes(tmp_path / "b", 1, bootstrap=[silent, liar, "rubbish"], auto_relay=True) as (b,):
                assert await b.peers() == []
                assert "connection refused" in b.unreached[silent]
                assert "it has another key" in b.unreached[liar]
                assert "no address of a peer" in b.unreached["rubbish"]

    (tmp_path / "b").mkdir()
    asyncio.run(main())


def test_reachability_is_unknown_until_somebody_dialed_back(tmp_path):
    async def main():
        async with nodes(tmp_path, 1, auto_nat=True) as (a,):
            assert await a.reachability() is Reachability.UNKNOWN
            assert a._metrics_port is not None

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (b"libp2p_autonat_reachability_status 0\n", Reachability.UNKNOWN),
        (b"# HELP\nlibp2p_autonat_reachability_status 1\n", Reachability.PUBLIC),
        (b"x 1\nlibp2p_autonat_reachability_status 2\n", Reachability.PRIVATE),
        (b"libp2p_autonat_reachability_status 9\n", Reachability.UNKNOWN),
        (b"\xff" * 3_000_000, Reachability.UNKNOWN),
    ],
)
def test_the_verdict_on_reachability_is_read_off_the_metrics(body, verdict):
    async def main():
        async def answer(reader, writer):
            await reader.readline()
            with contextlib.suppress(OSError):
                writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + body)
                await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            assert await read_reachability(server.sockets[0].getsockname()[1]) is verdict
        assert await read_reachability(None) is Reachability.UNKNOWN

    asyncio.run(main())


def test_options_become_arguments(tmp_path):
    options = Options(listen=(), relays=("/ip4/192.0.2.1/tcp/1/p2p/x",), auto_relay=True, client_mode=True, relay=False)
    arguments = options.arguments(tmp_path / "key", tmp_path / "socket", 99)
    assert {"-noListenAddrs=1", "-dhtClient=1", "-autoRelay=1", "-relay=0", "-pubsub=1"} <= set(arguments)
    assert {"-forceReachabilityPrivate=1", "-metricsAddr=127.0.0.1:99"} <= set(arguments)
    alone = Options(auto_relay=True).arguments(tmp_path, tmp_path, None)
    assert not any("autoRelay" in each or "trustedRelays" in each for each in alone)  # never strangers' relays


def test_ports_are_settled_and_addresses_sorted():
    listen = [
        "/ip4/0.0.0.0/tcp/0",
        "/ip6/::/tcp/0",
        "/ip4/0.0.0.0/udp/0/quic-v1",
        "/ip4/1.2.3.4/tcp/5",
        "/dns4/x/tcp/0",
    ]
    actual = ["/ip4/127.0.0.1/udp/7/quic-v1", "/ip4/127.0.0.1/tcp/8", "/ip6/::1/tcp/9"]
    assert settled(listen, actual) == [
        "/ip4/0.0.0.0/tcp/8",
        "/ip6/::/tcp/9",
        "/ip4/0.0.0.0/udp/7/quic-v1",
        "/ip4/1.2.3.4/tcp/5",
        "/dns4/x/tcp/0",
    ]
    mixed = ["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1", "/ip6/fe80::1/tcp/1", "/dns4/x/tcp/1"]
    mixed += ["/ip4/8.8.4.4/tcp/1/p2p/r/p2p-circuit", "/ip4/8.8.8.8/tcp/1"]
    assert nearest_last(mixed) == [mixed[2], mixed[4], mixed[5], mixed[1], mixed[3], mixed[0]]
