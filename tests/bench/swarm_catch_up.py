"""Catching up over real p2pd: a fresh node's swarm process fetches all that another has, each on a host of its own.

The world is that of test_sync: every eighth record brings a script of 25 kB in a chain of edits. Where no network
namespaces can be made, both are on loopback and only the bytes of the protocol are counted.
"""

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parents[1] / "swarm"))

import test_sync
import world
from namespaces import Network, NoNamespaces
from swarm_homes import DEADLINE_S, Peer, memory_mib, processes, wait_for

from ensue.genesis import Genesis
from ensue.store import Store
from node.home import Home
from node.swarm.child import SYNCED_NOTE
from node.sync.budget import Budgets
from node.sync.pull import pull
from node.sync.replica import Replica
from node.sync.wire import PROTOCOL
from node.transport.daemon import P2pdTransport

FILL_S, CATCH_UP_S = 900, 600.0
VISITS = 20
SETTLES_S = 3.0
"""Until what belongs to the beginning of a connection is over."""


def catch_up(folder: Path) -> dict[str, Any]:
    """Return seconds, bytes and memory of a fresh node that fetches a full one, and of two equal nodes that meet."""
    with _hosts() as network:
        places = [("127.0.0.1", [])] * 3 if network is None else [
            (network.address(host), network.on(host)) for host in network.hosts
        ]  # fmt: skip
        full = Peer(folder / "full", None, host=places[0][0], before=places[0][1])
        fresh = Peer(folder / "fresh", full.genesis, host=places[1][0], before=places[1][1])
        visitor = Peer(folder / "visitor", full.genesis, host=places[2][0], before=places[2][1])
        world.NETWORK = full.genesis.network_id
        subprocess.run([sys.executable, __file__, "fill", str(full.home.path)], check=True, timeout=FILL_S)
        size = test_sync.packed_bytes(full.home.database)
        try:
            full.start()
            wait_for(full.status, "the full node")
            fresh.knows([full])
            found = size | _fetched(fresh, size, network)
            full.stop()
            for peer in (fresh, visitor):
                peer.store.close()  # which folds the write-ahead log into the file
            shutil.copy(fresh.home.database, visitor.home.database)
            full.start()
            wait_for(full.status, "the full node again")
            return found | _visited(visitor, full, network)
        finally:
            for peer in (full, fresh, visitor):
                peer.stop()
                peer.store.close()


@contextlib.contextmanager
def _hosts() -> Iterator[Network | None]:
    try:
        with Network(3) as network:
            yield network
    except NoNamespaces as problem:
        print(f"  {problem}: on loopback instead", file=sys.stderr)
        yield None


def _fetched(fresh: Peer, size: dict[str, Any], network: Network | None) -> dict[str, Any]:
    before = (0, 0) if network is None else network.traffic(network.hosts[1])
    began, peak = time.monotonic(), 0.0
    fresh.start()
    assert fresh.process is not None
    end = began + CATCH_UP_S
    while fresh.store.local_get(SYNCED_NOTE) is None:
        assert time.monotonic() < end, fresh.log()[-2000:]
        assert fresh.process.poll() is None, fresh.log()[-2000:]
        peak = max(peak, sum(memory_mib(pid)["pss"] for pid in processes(fresh.process.pid)))
        time.sleep(0.1)
    seconds = time.monotonic() - began
    after = (0, 0) if network is None else network.traffic(network.hosts[1])
    wait_for(lambda: (now := fresh.status()) and now.counters.records_in, "its own counters")
    status = fresh.status()
    assert status is not None
    held = {name: round(memory_mib(pid)["pss"]) for pid, name in processes(fresh.process.pid).items()}
    fresh.stop()
    here = test_sync.packed_bytes(fresh.home.database)
    assert here["digest"] == size["digest"]
    assert (here["records"], here["scripts"]) == (size["records"], size["scripts"])
    counters = status.counters
    return {
        "seconds": seconds, "protocol": counters.bytes_in + counters.bytes_out, "wire": sum(after) - sum(before),
        "peak_mib": peak, "held": held,
    }  # fmt: skip


def _visited(visitor: Peer, full: Peer, network: Network | None) -> dict[str, Any]:
    """Compare two equal replicas again and again over one connection."""
    address = f"{full.address}/p2p/{full.identity.peer_id}"
    done = subprocess.Popen(
        [*visitor.before, sys.executable, __file__, "visit", str(visitor.home.path), visitor.address, address],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with done:
        assert done.stdin is not None
        assert done.stdout is not None
        json.loads(done.stdout.readline())
        before = (0, 0) if network is None else network.traffic(network.hosts[2])
        done.stdin.write("\n")
        done.stdin.flush()
        found = json.loads(done.stdout.readline())
        after = (0, 0) if network is None else network.traffic(network.hosts[2])
        done.stdin.close()
    return {"equal": max(found["bytes"]), "equal_wire": (sum(after) - sum(before)) / VISITS, "equal_s": found["s"]}


# Programs


def fill(home: Home) -> None:
    """Fill the replica of a home with the world of test_sync, signed for its network."""
    world.NETWORK = Genesis.load(home.genesis).network_id
    test_sync.fill(home.database)


async def visit(home: Home, listen: str, address: str) -> None:
    """Pull from a node that has the same, VISITS times; say once what it cost."""
    transport = await P2pdTransport.start(home.key, listen=[listen], relay=False, nat_port_map=False, auto_nat=False)
    with Store(home.database, Genesis.load(home.genesis).network_id) as store:
        replica, budgets = Replica(store), Budgets(time.monotonic)
        await replica.current()
        peer = await transport.connect(address)
        counts, seconds = [], []
        end = time.monotonic() + DEADLINE_S  # the node serves once it has summed up what it has
        while not (await pull(await transport.open(peer, PROTOCOL), replica, budgets.of(peer))).equal:
            assert time.monotonic() < end
            await asyncio.sleep(0.2)
        await asyncio.sleep(SETTLES_S)
        print("{}", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for _ in range(VISITS):
            began = time.perf_counter()
            report = await pull(await transport.open(peer, PROTOCOL), replica, budgets.of(peer))
            assert report.equal, report
            assert report.problem is None, report
            counts.append(report.bytes_in + report.bytes_out)
            seconds.append(time.perf_counter() - began)
        print(json.dumps({"bytes": counts, "s": sorted(seconds)[len(seconds) // 2]}), flush=True)
    await transport.close()


if __name__ == "__main__":
    name, folder, *rest = sys.argv[1:]
    if name == "fill":
        fill(Home(Path(folder)))
    else:
        asyncio.run(visit(Home(Path(folder)), *rest))
