"""Three people's nodes in one network whose founder verifies: what is real about results from publishing to verdict.

Everything runs as for users: node processes on loopback, sandboxes, mail (into the verifier's folder), draws by the
founder's registrar, reruns by the agents between their own experiments. Those change nothing about a script, so that
no find of theirs is in the way of what a test has published.
"""

import re
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path
from typing import Any, Self

import measured
from nodes import Found, Node, wait_for

from ensue.identity import Identity
from ensue.store import Blob, Store
from experiments import runner
from experiments import track as tracks
from experiments.experiment import experiment_key
from experiments.runner import Outcome
from node import settings, tryout
from node.home import Home, open_replica
from verify.ruling import Ruling
from verify.trust import Judge

PROPOSER = Path(__file__).with_name("idle_proposer.py")
CODE = re.compile(r"^\s+(\d\d-\d{4}-\d{4})\r?$", re.MULTILINE)
SEEDS = 20
"""With which luck is sought."""
LOOK_EVERY_S = 0.25


class Hunt:
    """Runs a change that changes nothing with one seed after the other, as who hopes for luck would; a context.

    With `beforehand` all runs are over when it is entered, so that they do not share the processors with nodes.
    """

    def __init__(self, folder: Path, track: str, source: str, *, at_once: int, beforehand: bool = False) -> None:
        self._beforehand = beforehand
        self.source, self.lucky = source, f"{source}LUCK = 1\n"
        self._folder, self._track, self._at_once = folder, track, at_once
        self._runs: list[Future[tuple[int, Outcome]]] = []

    def __enter__(self) -> Self:
        chosen = settings.Settings(track=self._track, disk_free_bytes=0)
        track, home = tracks.load(self._track), Home(self._folder)
        measured.put(self._folder)
        self._bench = tryout.set_up(home, chosen, track, tracks.prepare(track, home.data))
        self._pool = ThreadPoolExecutor(self._at_once)
        self._seek(SEEDS)
        if self._beforehand:
            wait(self._runs)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _seek(self, seeds: int) -> None:
        self._runs += [self._pool.submit(self._run, len(self._runs) + number) for number in range(seeds)]

    def _run(self, seed: int) -> tuple[int, Outcome]:
        """Return the seed, and what the change came to with it, exactly as a node finds it."""
        bench, source = self._bench, self.lucky.encode()
        facts: dict[str, Any] = {"device": bench.hardware.device, "level": bench.level}
        facts |= {"run_dir": self._folder / f"seed-{seed}", "on_event": lambda _: None, "control": lambda: "run"}
        trained = runner.train(source, bench.track, bench.data, seed=seed, **facts)
        outcome = runner.score(trained, source, bench.track, bench.data, **facts)
        assert outcome.value is not None, outcome
        return seed, outcome

    def best(self, to_beat: float) -> dict[str, Any]:
        """Return what is told of the best of all seeds; more are tried where none of them beats a value."""
        while True:
            seed, outcome = min((one.result() for one in self._runs), key=lambda one: one[1].value)
            if outcome.value < to_beat:
                break
            self._seek(1)
        told = {
            name: getattr(outcome, name) for name in ("value", "holdout", "holdout_gap", "holdout_gap_sd", "checks")
        }
        return told | {"seed": seed, "description": f"the best of {len(self._runs)} seeds"}


class Three:
    """Three nodes, the first of which founded the network; close it.

    `within_s` bounds each wait; `idle_s` is how much longer a node's own experiments take than they compute.
    """

    def __init__(self, folder: Path, track: str, *, within_s: float, idle_s: float) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
        environment = {
            "AUTORESEARCH_TRACK": track,
            "AUTORESEARCH_REPLICATION_SHARE": "1.0",
            "AUTORESEARCH_KEEP_ALPHA": "1e-6",
            "AUTORESEARCH_PROPOSER": f"command:{sys.executable} {PROPOSER} {idle_s}",
        }
        self.url = f"http://127.0.0.1:{port}"
        verifier = {"LISTEN": f"127.0.0.1:{port}", "URL": self.url, "TRIAL": "true"}
        more = {f"AUTORESEARCH_VERIFIER_{key}": value for key, value in verifier.items()}
        names = ("ada", "bob", "cyd")
        self.nodes = [Node(folder / name, environment=environment | (more if name == "ada" else {})) for name in names]
        self.track = tracks.load(track).id
        self._within_s = within_s
        self._open = ExitStack()
        self._stores: dict[Path, Store] = {}

    def start(self) -> None:
        """Let all three research in one network, and wait until all have the first result."""
        ada, *others = self.nodes
        ada.join("--name", "ada")
        line = ada.invite()
        for node in others:
            node.join(line, "--name", node.home.name)
        self.everywhere(lambda node: node.addresses() and self.store(node).best(self.track), "a first result")

    def children(self, node: Node, parent: str) -> list[str]:
        """Return the results that build on one, as a node has them."""
        return [row.id for row in self.store(node).results(self.track) if row.parent == parent]

    def wait(self, what: Callable[[], Found], why: str) -> Found:
        """Return what a question answers once that is true."""
        end = time.monotonic() + self._within_s
        while time.monotonic() < end:
            for node in self.nodes:
                ended = node.process is not None and node.process.poll() is not None
                assert not ended, f"{node.home.name} ended: {node.process.communicate()}"  # type: ignore[union-attr]
            if found := what():
                return found
            time.sleep(LOOK_EVERY_S)
        raise AssertionError(f"{why}: not within {self._within_s:.0f} s")

    def everywhere(self, what: Callable[[Node], Found], why: str) -> list[Found]:
        """Return what all nodes answer to a question, each once that is true."""
        return [self.wait(partial(what, node), f"{why} at {node.home.name}") for node in self.nodes]

    def store(self, node: Node) -> Store:
        """Return the replica of a node, open beside it until all ends."""
        if node.home not in self._stores:
            self._stores[node.home] = self._open.enter_context(open_replica(Home(node.home)))
        return self._stores[node.home]

    def owner(self, author: str) -> Node:
        """Return the node with a peer id."""
        return next(node for node in self.nodes if key(node).peer_id == author)

    def publish(self, node: Node, body: dict[str, Any], source: str, parent_source: str) -> str:
        """Sign a result with a node's own key, as whoever owns the machine can; return its id."""
        store, identity = self.store(node), key(node)
        store.own_log.require(identity.peer_id)
        blob = Blob(source.encode(), parent=body["source"])
        changed = {
            "source": blob.sha256,
            "source_bytes": len(source.encode()),
            "experiment": experiment_key(self.track, parent_source, source),
            "claim": None,
            "log": None,
            "change": [],
            "agent": node.home.name,
            "status": "kept",
        }
        return store.append(identity, "result", body | changed, [blob]).id

    def verify(self) -> None:
        """Let the founder's verifier vouch for all three, each with an address of its own."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(self._verify, self.nodes))

    def _verify(self, node: Node) -> None:
        address = f"{node.home.name}@example.org"
        node.run("verify", address, "--verifier", self.url)
        node.run("verify", "--code", self._code(address))

    def _code(self, to: str) -> str:
        """Return the code in the letter to an address."""

        def found() -> str | None:
            for path in (self.nodes[0].home / "verifier" / "mail").glob("*.eml"):
                letter = message_from_bytes(path.read_bytes(), policy=policy.default)
                if to in str(letter["to"]):
                    return CODE.findall(letter.get_content())[0]
            return None

        return wait_for(found, f"a letter to {to}")

    def standing(self, node: Node, result: str) -> str:
        """Return the level of a result at a node, with what is said against it."""
        row = self.store(node).result(result)
        return ", ".join((row.level, *row.flags))

    def ruling(self, node: Node, result: str) -> Ruling | None:
        """Return what a node has found about a result when it judged it last."""
        return Judge(self.store(node)).ruling(result)

    def rest(self) -> list[list[tuple[str, str]]]:
        """Hold all research; return what each replica says of all results, once all have the same records."""
        for node in self.nodes:
            node.run("pause")

        def agreed() -> list[list[tuple[str, str]]] | None:
            before = [self.store(node).digest() for node in self.nodes]
            said = []
            for node in self.nodes:
                Judge(self.store(node)).settle()
                said.append(self.store(node).trials.all_said())
            after = [self.store(node).digest() for node in self.nodes]
            return said if before == after and len(set(after)) == 1 else None

        return self.wait(agreed, "one digest")

    def close(self) -> None:
        """End all that runs."""
        self._open.close()
        for node in self.nodes:
            node.kill()


def key(node: Node) -> Identity:
    """Return the key of a node."""
    return Identity.load(node.home / "node.key")
