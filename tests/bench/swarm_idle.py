"""What a node costs that does nothing: memory of all its processes, and its traffic, with 16 peers around it.

The node is `autoresearch join` itself, which has finished an experiment and was paused; it is alone on a host of its
own, so that all that passes its cable is its traffic. The peers are swarm processes on another host.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parents[1] / "swarm"))

from namespaces import Network, NoNamespaces
from swarm_homes import ROOT, STOP_S, Peer, founded, memory_mib, processes, running, wait_for

from node.cli.control import CONTROL_KEY

TINY = ROOT / "tests/tracks/tiny"
SETTLES_S = 200.0
"""Until every node has met the others; nodes look for new ones after one, three and seven minutes, and so on."""
LONG_S = 300.0
EXPERIMENTS = 2
OF_A_NODE = ("p2pd", "node.swarm.main", "node.cli.main", "ensue.store.verification")


def idle(folder: Path, count: int, watched_s: float) -> dict[str, Any]:
    """Return memory (MiB, of each process) and bytes a second of an idle node with `count` peers."""
    try:
        network = Network(2)
        network.__enter__()
    except NoNamespaces as problem:
        return {"problem": str(problem)}
    with network:
        crowd, alone = network.hosts
        peers = founded(folder, count, network.address(crowd))
        for peer in peers:
            peer.before = network.on(crowd)
        node = Peer(folder / "alone", peers[0].genesis, host=network.address(alone), before=network.on(alone))
        node.knows(peers)
        with running(peers):
            return _watched(node, count, network, alone, watched_s)


def _watched(node: Peer, count: int, network: Network, host: str, watched_s: float) -> dict[str, Any]:
    command = [*node.before, sys.executable, "-m", "node.cli.main", "join", "--plain", "--track", str(TINY)]
    with (node.home.path / "join.log").open("wb") as log:
        process = subprocess.Popen(command, env=node.environment, cwd=ROOT, stdout=log, stderr=log)
    try:
        own = node.identity.peer_id
        wait_for(lambda: sum(one.author == own for one in node.store.records(kind="result")) >= EXPERIMENTS, "results")
        node.store.local_set(CONTROL_KEY, "pause")
        wait_for(lambda: node.connected() >= count, f"{count} peers")
        time.sleep(SETTLES_S)
        before, began = network.traffic(host), time.monotonic()
        time.sleep(watched_s)
        after, seconds = network.traffic(host), time.monotonic() - began
        time.sleep(max(0.0, LONG_S - seconds))
        long_s = (sum(network.traffic(host)) - sum(before)) / (time.monotonic() - began)
        assert node.connected() >= count
        # The training that the pause holds still is left out.
        found = {pid: _short(name) for pid, name in processes(process.pid).items()}
        held = [(name, memory_mib(pid)) for pid, name in found.items() if name]
        return {
            "in_s": (after[0] - before[0]) / seconds, "out_s": (after[1] - before[1]) / seconds, "long_s": long_s,
            "rss": sum(sizes["rss"] for _, sizes in held), "pss": sum(sizes["pss"] for _, sizes in held),
            "held": [(name, round(sizes["rss"]), round(sizes["pss"])) for name, sizes in held],
        }  # fmt: skip
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        node.store.close()


def _short(command: str) -> str:
    """Return what a process of a node is called, nothing for those of a training."""
    return next((name for name in OF_A_NODE if name in command), "")
