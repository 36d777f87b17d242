"""Many agents on cheap experiments: how often one is run twice, on a good wire and on one that loses messages."""

import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from swarm_homes import ROOT, STOP_S, Peer, founded, quantiles, running, wait_for

HERE = Path(__file__).resolve().parent
WORKS_S, AGREES_S = 600.0, 90.0


def crowd(folder: Path, count: int, claims: int, loss: float, trains_s: tuple[float, float]) -> dict[str, Any]:
    """Let `count` agents research until there are so many claims; return how many experiments have two results."""
    peers = founded(folder, count)
    os.environ["AUTORESEARCH_BENCH_LOSS"] = str(loss)
    os.environ["AUTORESEARCH_BENCH_TRAINS"] = f"{trains_s[0]} {trains_s[1]}"
    agents: list[subprocess.Popen[bytes]] = []
    with running(peers, (str(HERE / "swarm_lossy.py"),), wanted=count // 2):
        began = time.monotonic()
        try:
            for number, peer in enumerate(peers):
                with (peer.home.path / "agent.log").open("wb") as log:
                    command = [sys.executable, str(HERE / "swarm_agent.py"), str(peer.home.path), f"agent{number}"]
                    environment = {**peer.environment, "PYTHONPATH": str(ROOT)}
                    agents.append(subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log, stdout=log))
            first = peers[0]
            wait_for(lambda: _claims(first) >= claims or any(agent.poll() is not None for agent in agents), "claims",
                     WORKS_S)  # fmt: skip
            seconds = time.monotonic() - began
            wrong = [_said(peers[at]) for at, agent in enumerate(agents) if agent.poll() is not None]
            assert not wrong, wrong
        finally:
            for agent in agents:
                agent.terminate()
            for agent in agents:
                try:
                    agent.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    agent.kill()
                    agent.wait()
        healed = time.monotonic()
        wait_for(lambda: len({peer.store.digest() for peer in peers}) == 1, "one digest", AGREES_S)
        agreed_s = time.monotonic() - healed
        return _counted(first) | {"seconds": seconds, "agreed_s": agreed_s, "spread": quantiles(list(_spread(peers)))}


def _claims(peer: Peer) -> int:
    return sum(1 for _ in peer.store.records(kind="claim"))


def _spread(peers: Sequence[Peer]) -> Iterator[float]:
    """Yield for each claim and node the seconds from its signing until it was received, by the machine's clock."""
    for claim in peers[0].store.records(kind="claim"):
        for peer in peers:
            if peer.identity.peer_id != claim.author:
                yield (peer.store.received_ms(claim.id) - claim.time_ms) / 1_000


def _said(peer: Peer) -> str:
    return (peer.home.path / "agent.log").read_text()[-2000:]


def _counted(peer: Peer) -> dict[str, Any]:
    claimed = defaultdict(set)
    for claim in peer.store.records(kind="claim"):
        claimed[claim.body["experiment"]].add(claim.author)
    finished = Counter(result.body["experiment"] for result in peer.store.records(kind="result"))
    return {
        "claims": _claims(peer), "experiments": len(claimed),
        "contested": sum(len(authors) > 1 for authors in claimed.values()), "results": sum(finished.values()),
        "finished": len(finished), "twice": sum(number > 1 for number in finished.values()),
        "parents": len({result.body["parent"] for result in peer.store.records(kind="result")}),
    }  # fmt: skip
