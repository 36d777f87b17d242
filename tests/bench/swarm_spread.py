"""How fast a result is everywhere: through real swarm processes, and the plain way, through hivemind's DHT.

Both are measured by one process beside them that publishes at one node after the other and looks at all others. What
follows from the figures is said by test_swarm.
"""

import base64
import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import world
from swarm_homes import ROOT, STOP_S, Peer, founded, quantiles, running

from ensue.blobs import Blob

HERE = Path(__file__).resolve().parent
PUBLISHED_WITHIN_S = 20.0
LOOK_S = 0.001
PAUSES_S = (0.05, 0.15)
DHT_LOOKS_S = (0.005, 0.02)
"""How long a reader of the DHT waits between two questions: the better figure of both is given."""
FIRST = 16
"""Results before the measured ones, two of each node with eight."""
LINES = 640


class Scripts:
    """Scripts of 25 kB, each the one before with one line changed."""

    def __init__(self) -> None:
        self._dice = random.Random(1)
        number = self._dice.randrange
        self._lines = [f"    line_{n} = {number(10**6)} * width + offset_{number(99)}" for n in range(LINES)]
        self._last: str | None = None

    def next(self) -> Blob:
        """Return the next script, which names the one that it was made from."""
        self._lines[self._dice.randrange(LINES)] = f"    edited = {self._dice.randrange(10**6)} * depth + 1"
        made = Blob("\n".join(self._lines).encode(), self._last)
        self._last = made.sha256
        return made


def spread(folder: Path, count: int, results: int) -> dict[str, Any]:
    """Publish results at `count` nodes in turn; return when each was queryable on all others, and its script there."""
    peers = founded(folder, count)
    world.NETWORK = peers[0].genesis.network_id
    maker, scripts, dice = world.World(authors=1), Scripts(), random.Random(2)
    all_s: list[float] = []
    each_s: list[float] = []
    scripts_s: list[float] = []
    parent: str | None = None
    with running(peers):
        for number in range(FIRST + results):
            time.sleep(dice.uniform(*PAUSES_S))
            blob = scripts.next()
            body = maker.result(0, None, blob.sha256).body | {"claim": None, "parent": parent}
            author = peers[number % count]
            began = time.perf_counter()
            parent = author.store.append(author.identity, "result", body, [blob]).id
            seen, last_script = _everywhere(peers, author, parent, blob.sha256, began)
            if number >= FIRST:
                all_s.append(max(seen))
                each_s += seen
                scripts_s.append(last_script)
    return {"all": quantiles(all_s), "each": quantiles(each_s), "scripts": quantiles(scripts_s)}


def _everywhere(
    peers: Sequence[Peer], author: Peer, record: str, script: str, began: float
) -> tuple[list[float], float]:
    """Wait until a result is answered by every other node, and its script is there; return the seconds."""
    left = [peer for peer in peers if peer is not author]
    scripts_left, seen, last = list(left), list[float](), 0.0
    while left or scripts_left:
        time.sleep(LOOK_S)
        for peer in [peer for peer in left if peer.store.has(record)]:
            assert peer.store.result(record).id == record
            seen.append(time.perf_counter() - began)
            left.remove(peer)
        for peer in [peer for peer in scripts_left if peer not in left and peer.store.has_blob(script)]:
            scripts_left.remove(peer)
            last = time.perf_counter() - began
        assert time.perf_counter() - began < PUBLISHED_WITHIN_S, f"{len(left)} nodes lack {record}"
    return seen, last


# The plain way


def plain(count: int, results: int, looks_s: float, *, listed: bool) -> dict[str, Any]:
    """Store the same records in a DHT of `count` nodes, and read them at all others.

    `listed`: each as an entry of one list, so that readers can find out what there is; else each under a key of its
    own, which readers are told by other means.
    """
    maker, scripts, dice = world.World(authors=1), Scripts(), random.Random(2)
    all_s: list[float] = []
    lost = 0
    with _dht(count, looks_s) as nodes:
        for number in range(FIRST + results):
            time.sleep(dice.uniform(*PAUSES_S))
            record = maker.result(0, None, scripts.next().sha256)
            key, subkey = ("results", record.id) if listed else (record.id, None)
            author = number % count
            others = [node for at, node in enumerate(nodes) if at != author]
            for node in others:
                _ask(node, ["await", key, subkey])
            began = time.monotonic()
            _ask(nodes[author], ["store", key, subkey, base64.b64encode(record.raw).decode()])
            _answer(nodes[author])
            at_s = [_answer(node)["at_s"] for node in others]
            if number >= FIRST:
                lost += None in at_s
                all_s += [max(at_s) - began] if None not in at_s else []
    return {"all": quantiles(all_s), "lost": lost}


@contextlib.contextmanager
def _dht(count: int, looks_s: float) -> Iterator[list[subprocess.Popen[str]]]:
    nodes: list[subprocess.Popen[str]] = []
    addresses: list[str] = []
    try:
        for _ in range(count):
            nodes.append(
                subprocess.Popen(
                    [sys.executable, str(HERE / "swarm_dht.py"), str(looks_s), *addresses],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
                )
            )  # fmt: skip
            addresses = addresses or _answer(nodes[0])[:1]
        for node in nodes[1:]:
            _answer(node)
        yield nodes
    finally:
        for node in nodes:
            assert node.stdin is not None
            node.stdin.close()
        for node in nodes:
            try:
                node.wait(STOP_S)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()
            assert node.stdout is not None
            node.stdout.close()


def _ask(node: "subprocess.Popen[str]", request: list[str | None]) -> None:
    assert node.stdin is not None
    node.stdin.write(json.dumps(request) + "\n")
    node.stdin.flush()


def _answer(node: "subprocess.Popen[str]") -> Any:
    assert node.stdout is not None
    return json.loads(node.stdout.readline())


def best_plain(count: int, results: int, *, listed: bool) -> dict[str, Any]:
    """Return the figures of the readers' pace that does better."""
    found = [plain(count, results, looks_s, listed=listed) for looks_s in DHT_LOOKS_S]
    return min(found, key=lambda one: (one["lost"], one["all"]["p50"]))
