"""What the transport costs on this machine: start, streams, gossip, memory, and the traffic of idle nodes."""

import asyncio
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transport_peers import LOCAL, ask, echo, key, nodes, until

from node.transport.daemon import P2pdTransport
from node.transport.index import PEER_TTL_S

pytestmark = pytest.mark.bench
PROTOCOL = "/autoresearch/bench/1"
RENEWAL_S = PEER_TTL_S * 2 / 3
HERE = Path(__file__).resolve().parent


def quantiles(times: list[float]) -> str:
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return f"p50 {cuts[49] * 1e3:.2f} ms, p99 {cuts[98] * 1e3:.2f} ms ({len(times)})"


def test_start_and_memory(tmp_path):
    async def main():
        times = []
        for number in range(10):
            start = time.perf_counter()
            node = await P2pdTransport.start(key(tmp_path, str(number)), **LOCAL)
            times.append(time.perf_counter() - start)
            status = Path(f"/proc/{node.process_id}/status").read_text()
            await node.close()
        resident = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024
        print(f"start of a node: {quantiles(times)}; p2pd {resident:.0f} MiB")
        assert statistics.median(times) < 5

    asyncio.run(main())


def test_streams(tmp_path):
    async def main():
        async with nodes(tmp_path, 2) as (a, b):
            size = 100 * 1024 * 1024

            async def sink(stream):
                while size:
                    await stream.receive(1024 * 1024)
                    sink.count += 1
                    if sink.count == 100:
                        await stream.send(b".")
                        return

            sink.count = 0
            await a.serve(PROTOCOL, echo)
            await a.serve(PROTOCOL + "/sink", sink)
            opened, asked = [], []
            for _ in range(500):
                start = time.perf_counter()
                stream = await b.open(a.peer_id, PROTOCOL)
                assert await ask(stream, b"x" * 96) == b"x" * 96
                opened.append(time.perf_counter() - start)
                start = time.perf_counter()
                await ask(stream, b"x" * 96)
                asked.append(time.perf_counter() - start)
                await stream.close()
            print(f"open a stream and exchange 100 bytes: {quantiles(opened)}; exchange alone: {quantiles(asked)}")
            block, start = bytes(1024 * 1024), time.perf_counter()
            stream = await b.open(a.peer_id, PROTOCOL + "/sink")
            for _ in range(100):
                await stream.send(block)
            await stream.receive(1)
            await stream.close()
            print(f"one stream of 100 MiB: {100 / (time.perf_counter() - start):.0f} MiB/s")
            assert sink.count == 100

    asyncio.run(main())


@pytest.mark.parametrize("count", [3, 8])
def test_gossip(tmp_path, count):
    async def main():
        async with nodes(tmp_path, count) as members:
            topic, times, sent = "bench", [], {}

            def hear(peer, data):
                times.append(time.perf_counter() - sent[bytes(data[:8])])

            for node in members:
                await node.subscribe(topic, hear)
            for node in members:
                await until(lambda node=node: node.neighbours(topic))
            await asyncio.sleep(3)  # heartbeats that form the mesh
            for number in range(300):
                tag = number.to_bytes(8, "big")
                sent[tag] = time.perf_counter()
                await members[number % count].publish(topic, tag + bytes(302))
                await asyncio.sleep(0.02)
            await until(lambda: len(times) >= 300 * (count - 1))
            print(f"gossip of 310 bytes to {count - 1} others: {quantiles(times)}, none lost or doubled")
            assert len(times) == 300 * (count - 1)

    asyncio.run(main())


IDLE = """
import asyncio, json, resource, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from transport_peers import key, nodes
from ensue.identity import Identity
from node.transport.index import Index

def sent():
    lines = Path("/proc/net/dev").read_text().splitlines()
    fields = next(line.split(":")[1].split() for line in lines if line.strip().startswith("lo:"))
    return int(fields[8]), int(fields[9])

async def main():
    folder, count, settle, measure = Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
    async with nodes(folder, count) as members:
        addresses = [(await node.addresses())[0] for node in members]
        for number, node in enumerate(members):
            await node.dial(addresses[number + 1 :])
            await node.subscribe("idle", lambda peer, data: None)
        indexes = []
        for number, node in enumerate(members):
            index = await Index.start(node, Identity.load(key(folder, f"node{number}")), "ab" * 32)
            indexes.append(index)
            await index.announce([addresses[number]], version="0.1")
            await index.announce_head(node.peer_id, seq=1, records=1, digest="00")
        await asyncio.sleep(settle)
        bytes_before, _ = sent()
        for number, index in enumerate(indexes):
            await index.announce([addresses[number]], version="0.1")
            await index.announce_head(members[number].peer_id, seq=2, records=2, digest="00")
        await asyncio.sleep(2)
        renewal = (sent()[0] - bytes_before) / count
        bytes_before, packets_before = sent()
        start = time.monotonic()
        marks = []
        while time.monotonic() - start < measure:
            await asyncio.sleep(10)
            marks.append(sent()[0])
        bytes_after, packets_after = sent()
        elapsed = time.monotonic() - start
        print(json.dumps({
            "bytes_s": (bytes_after - bytes_before) / elapsed / count,
            "packets_s": (packets_after - packets_before) / elapsed / count,
            "by_ten_seconds": [round((b - a) / count) for a, b in zip([bytes_before, *marks], marks)],
            "renewal": renewal,
            "python_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "peers": sum([len(await node.peers()) for node in members]) / count,
        }))
        for index in indexes:
            await index.close()
asyncio.run(main())
"""


@pytest.mark.parametrize("count", [8, 16])
def test_idle_traffic(tmp_path, count):
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        pytest.skip("a network namespace of its own cannot be made here")
    (tmp_path / "idle.py").write_text(IDLE)
    command = f"ip link set lo up && exec {sys.executable} {tmp_path}/idle.py {HERE} {tmp_path} {count} 20 120"
    done = subprocess.run(["unshare", "-n", "sh", "-c", command], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(
        f"idle, {count} nodes with {found['peers']:.0f} peers each: {found['bytes_s']:,.0f} bytes/s and"
        f" {found['packets_s']:.1f} packets/s sent by each ({found['by_ten_seconds']});"
        f" saying announcement and head again: {found['renewal']:,.0f} bytes, every {RENEWAL_S:.0f} s;"
        f" Python of all together {found['python_mib']:.0f} MiB"
    )
    assert found["bytes_s"] + found["renewal"] / RENEWAL_S < 2_000
