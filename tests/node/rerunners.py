"""A home on the tiny track with results of somebody else's to rerun: real keys, real records, a real draw of seats."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import measured

from ensue import statements
from ensue.genesis import Genesis, TrackRef, found
from ensue.identity import Identity
from ensue.people import Trust
from ensue.record import Record
from ensue.store import Blob, Store, ownlog
from experiments import track as tracks
from experiments.track import Track
from node import machine
from node.bench import Place
from node.control import Control
from node.home import Home
from node.measuring import Measuring
from node.patience import Patience
from node.replicating import Replicator
from node.settings import Settings
from node.view import Trying
from verify.registrar import Registrar
from verify.ruling import Task

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/tracks/tiny"
PLAIN = (TINY / "baseline.py").read_text()
BASELINE = PLAIN.replace(
    "np.full(vocab * vocab, SMOOTHING)", "SMOOTHING * np.random.default_rng(run.seed).uniform(0.9, 1.1, vocab * vocab)"
)
SMOOTHER = BASELINE.replace("SMOOTHING = 0.5", "SMOOTHING = 0.25")
CRASHING = BASELINE.replace("def main():\n", "def main():\n    raise RuntimeError('it fell over')\n")
BUSY = BASELINE.replace("for step in range(PASSES):", "for step in range(PASSES * 1_000_000):")
"""Scripts whose value varies with the seed: one of another value, one without any, one that takes all time."""


@dataclass
class Neighbour:
    """Somebody with one node and an account that the verifier vouches for."""

    node: Identity
    account: Identity


class Hood:
    """The home of a node, and two neighbours whose records are in its replica."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        measured.put(folder)
        self.home = Home(folder)
        self.track: Track = tracks.load(TINY)
        self.identity = Identity.load_or_create(self.home.key)
        self.verifier = Identity(hashlib.sha256(b"the verifier").digest())
        self.genesis: Genesis = found(
            self.identity,
            "hood",
            [TrackRef("tiny", self.track.id)],
            created_ms=1_700_000_000_000,
            verifiers=[self.verifier.peer_id],
        )
        network = self.genesis.network_id
        ownlog.begin(self.home.database, network, self.identity.peer_id)
        self.genesis.save(self.home.genesis)
        self.store = Store(self.home.database, network, Trust.of(self.genesis))
        self.begin(self.verifier)
        self.account = self.person("own", self.identity).account
        self.ada, self.bob = self.person("ada"), self.person("bob")
        self.settings = Settings(track=str(TINY), **settings)
        self.hardware = machine.hardware(self.home, "auto", threads=self.track.threads)

    def begin(self, identity: Identity) -> None:
        """Let a key sign in this replica."""
        ownlog.begin(self.home.database, self.genesis.network_id, identity.peer_id)
        self.store.own_log.require(identity.peer_id)

    def person(self, name: str, node: Identity | None = None) -> Neighbour:
        """Return a verified person with a node."""
        account = Identity(hashlib.sha256(f"account of {name}".encode()).digest())
        node = node or Identity(hashlib.sha256(f"node of {name}".encode()).digest())
        self.begin(node)
        store, network = self.store, self.genesis.network_id
        store.append(node, "delegation", statements.delegation(account, network, node.peer_id))
        address = hashlib.sha256(name.encode()).hexdigest()
        body = {"account": account.peer_id, "address": address, "expires_ms": 2**50, "request": address}
        store.append(self.verifier, "credential", body)
        return Neighbour(node, account)

    def publish(self, value: float | None, source: str, parent: str | None = None, **more: Any) -> str:
        """Publish a kept result of ada's; return its id."""
        blob = Blob(source.encode())
        track = self.track
        body = {"track": track.id, "experiment": blob.sha256, "parent": parent, "status": "kept", "value": value}
        body |= {"metric": track.metric, "direction": track.direction, "seed": 1, "clock": track.clock}
        body |= {"budget_s": track.budget_s, "hardware_class": self.hardware.hardware_class, "device": "cpu"}
        body |= dict.fromkeys(("setup_s", "train_wall_s", "cpu_s", "score_s", "overhead_s", "wall_s"), 1.0)
        body |= {"contended": False, "sandbox": "bubblewrap", "software": "torch", "source": blob.sha256}
        body |= {"source_bytes": len(source), "description": "smoothing 0.5 → 0.25", "agent": "ada", "checks": {}}
        return self.store.append(self.ada.node, "result", body | more, [blob]).id

    def child(self, source: str = SMOOTHER, parent_source: str = BASELINE) -> str:
        """Publish a result of ada's and the one that it was changed from; return the first one's id."""
        return self.publish(2.9, source, self.publish(3.0, parent_source))

    def calibrate(self, node: Identity) -> Record:
        """Let a node be drawn for reruns."""
        body = {"track": self.track.id, "hardware_class": self.hardware.hardware_class, "device": "cpu", "seeds": []}
        body |= {"source": "ab" * 32, "values": [], "software": "torch"}
        return self.store.append(node, "calibration", body)

    def draw(self) -> None:
        """Let own node and bob be drawn, and the verifier draw."""
        self.calibrate(self.identity)
        self.calibrate(self.bob.node)
        registrar = Registrar(self.store, self.verifier, {self.track.id: self.track.noise_sd})
        while registrar.step(time.time_ns() // 1_000_000):
            pass

    def task(self, result: str, **more: Any) -> Task:
        """Return the first block on a result as if it had been drawn."""
        row = self.store.result(result)
        assert row.parent is not None
        parent = self.store.result(row.parent)
        facts: dict[str, Any] = {"result": row.id, "parent": parent.id, "source": row.source, "track": row.track}
        facts |= {"parent_source": parent.source, "hardware_class": row.hardware_class, "block": 0}
        return Task(**facts | {"seeds": (11, 22), "seat": 0, "transfer": False} | more)

    def place(self, **more: Any) -> Place:
        """Return this machine as a place to run scripts."""
        self.home.runs.mkdir(exist_ok=True)
        facts: dict[str, Any] = {"settings": self.settings, "name": "me", "identity": self.identity}
        facts |= {"store": self.store, "track": self.track, "data": tracks.prepare(self.track, self.home.data)}
        facts |= {"hardware": self.hardware, "level": machine.wall(self.settings), "runs": self.home.runs}
        return Place(**facts | more)

    def close(self) -> None:
        """Close the replica."""
        self.store.close()


class Bystander:
    """Hears what a replicator or calibrator tells, and lends it what it needs."""

    def __init__(self, place: Place) -> None:
        self.tried: list[Trying] = []
        self.said: list[str] = []
        self.seconds: list[float] = []
        self.control = Control(place.store)
        patience = Patience(place.runs, 0, self.control, lambda reason: None)
        self.measuring = Measuring(place, self.control, patience, lambda event: None)
        self.heard: dict[str, Any] = {
            "trying": self.tried.append,
            "said": self.said.append,
            "spent": self.seconds.append,
        }


def replicator(place: Place) -> tuple[Replicator, Bystander]:
    """Return a replicator, and who hears it."""
    bystander = Bystander(place)
    return Replicator(place, bystander.measuring, **bystander.heard), bystander


def on_class(place: Place, hardware_class: str) -> Place:
    """Return the same place in another hardware class."""
    return replace(place, hardware=replace(place.hardware, hardware_class=hardware_class))
