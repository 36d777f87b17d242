"""Three people's nodes in one network whose founder verifies: what is real about results from publishing to verdict.

Everything runs as for users: node processes on loopback, sandboxes, mail (into the verifier's folder), draws by the
founder's registrar, reruns by the agents between their own experiments. Those change nothing about a script, so that
no find of theirs is in the way of what a test has published.
"""

import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path
from typing import Any

from nodes import TINY, Found, Node, wait_for

from ensue.genesis import Genesis
from ensue.identity import Identity
from ensue.store import Blob, Store
from experiments import track as tracks
from experiments.experiment import experiment_key
from node import settings, tryout
from node.home import Home, open_replica
from node.tryout import Tryout
from verify.ruling import Ruling
from verify.trust import Judge

PROPOSER = Path(__file__).with_name("idle_proposer.py")
CODE = re.compile(r"^\s+(\d\d-\d{4}-\d{4})\r?$", re.MULTILINE)
LOOK_EVERY_S = 0.25

SHORT_NOISE_SD = 0.004
"""Of one run on the short track: twelve seeds each gave 0.0030 with the baseline and 0.0042 with the better script."""
SHORT = '''"""Counts pairs of bytes at places that the seed draws, so that a run scatters, as all real ones do."""

import numpy as np
from safetensors.numpy import load_file, save_file

SMOOTHING = 20.0  # fixed; counts added to every pair
PLACES = 6000  # fixed; pairs that are counted


def load_model(checkpoint, device):
    """Return f: int64 tokens (B, T) -> float32 logits (B, T, V)."""
    table = load_file(checkpoint)["log_probability"]
    return lambda tokens: table[np.asarray(tokens)]


def main():
    from experiments import harness

    run = harness.connect()
    vocab = run.vocab_size
    tokens = np.asarray(run.start().tokens, dtype=np.int64)
    places = np.random.default_rng(run.seed).integers(0, len(tokens) - 1, PLACES)
    pairs = tokens[places] * vocab + tokens[places + 1]
    counts = np.full(vocab * vocab, SMOOTHING) + np.bincount(pairs, minlength=vocab * vocab)
    table = np.log(counts.reshape(vocab, vocab))
    table -= np.logaddexp.reduce(table, axis=1, keepdims=True)
    run.progress(step=1, loss=-float(table[tokens[:-1], tokens[1:]].mean()), tokens=PLACES)
    save_file({"log_probability": table.astype(np.float32)}, run.checkpoint)


if __name__ == "__main__":
    main()
'''


def short_track(folder: Path) -> Path:
    """Make a track of runs that take half a second, on the tests' text."""
    shutil.copytree(TINY, folder)
    (folder / "baseline.py").write_text(SHORT)
    definition = (TINY / "track.toml").read_text().replace("noise_sd = 0.01\n", f"noise_sd = {SHORT_NOISE_SD}\n")
    assert str(SHORT_NOISE_SD) in definition
    (folder / "track.toml").write_text(definition)
    return folder


@dataclass(frozen=True)
class Hunt:
    """A script with one seed after the other, as who hopes for luck would run it."""

    home: Home
    track: str

    def values(self, source: str) -> Iterator[Tryout]:
        """Yield what the script came to with seed after seed, exactly as a node would find."""
        chosen = settings.Settings(track=self.track, disk_free_bytes=0)
        found = tracks.load(self.track)
        bench = tryout.set_up(self.home, chosen, found, tracks.prepare(found, self.home.data))
        for seed in range(10**6):
            done = tryout.run(bench, source.encode(), seed=seed, on_event=lambda _: None, control=lambda: "run")
            assert done.outcome.value is not None, (done.outcome, done.output)
            yield done


class Three:
    """Three nodes, the first of which founded the network; close it."""

    def __init__(self, folder: Path, track: str, within_s: float) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
        environment = {
            "AUTORESEARCH_TRACK": track,
            "AUTORESEARCH_REPLICATION_SHARE": "1.0",
            "AUTORESEARCH_KEEP_ALPHA": "1e-6",
            "AUTORESEARCH_PROPOSER": f"command:{sys.executable} {PROPOSER}",
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
        for node in self.nodes:
            address = f"{node.home.name}@example.org"
            node.run("verify", address, *([] if node is self.nodes[0] else ["--verifier", self.url]))
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
                Judge(self.store(node), Genesis.load(node.home / "genesis.json").policy).settle()
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
