"""A few verified people in the replica of a home, with registrars that really draw, and reruns with made-up values."""

import hashlib
import time
from random import Random
from typing import Any

from ensue import statements
from ensue.genesis import TrackRef, found
from ensue.identity import Identity
from ensue.people import Trust
from ensue.record import Record
from ensue.store import Blob, Store, ownlog
from experiments import track as tracks
from node.home import Home
from verify.registrar import Registrar
from verify.ruling import Task
from verify.trust import Judge

NOISE_SD = 0.005
CLASS = "cpu-2t"
NEVER_MS = 2**50


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Person:
    """One account with one node; the first person's node is the home's own."""

    def __init__(self, hamlet: "Hamlet", name: str) -> None:
        self.hamlet, self.name = hamlet, name
        self.account = Identity(hashlib.sha256(f"account of {name}".encode()).digest())
        self.node = Identity(hashlib.sha256(f"node of {name}".encode()).digest())
        hamlet.begin(self.node)
        speaks = statements.delegation(self.account, hamlet.store.network, self.node.peer_id)
        self.sign("delegation", speaks)

    def sign(self, kind: str, body: Any, *blobs: Blob) -> Record:
        return self.hamlet.store.append(self.node, kind, body, blobs)

    def vouch(self) -> None:
        body = {"account": self.account.peer_id, "address": sha(self.name), "expires_ms": NEVER_MS, "request": sha("r")}
        self.hamlet.store.append(self.hamlet.verifier, "credential", body)

    def calibrate(self, *values: float, hardware_class: str = CLASS) -> Record:
        body = {"track": self.hamlet.track, "hardware_class": hardware_class, "device": "cpu", "source": sha("base")}
        return self.sign("calibration", body | {"seeds": list(range(len(values))), "values": list(values)} | SOFTWARE)

    def claim(self, script: str, **more: Any) -> str:
        body = {"track": self.hamlet.track, "experiment": sha(f"experiment {script}"), "parent": None}
        body |= {"source": sha(script), "description": script, "ttl_s": 600, "agent": self.name}
        return self.sign("claim", body | more).id

    def find(self, value: float | None, parent: str | None, script: str, **more: Any) -> str:
        """Publish a result with its script, kept if it has a value; return its id."""
        body = {"track": self.hamlet.track, "experiment": sha(f"experiment {script}"), "parent": parent}
        body |= {"status": "crashed" if value is None else "kept", "metric": "val_bpb", "direction": "min"}
        body |= {"value": value, "seed": 1, "clock": "cpu", "budget_s": 60.0, "contended": False}
        body |= dict.fromkeys(("setup_s", "train_wall_s", "cpu_s", "score_s", "overhead_s", "wall_s"), 1.0)
        body |= {"hardware_class": CLASS, "device": "cpu", "sandbox": "bubblewrap", "source": sha(script)}
        body |= {"source_bytes": len(script), "description": script, "agent": self.name, "proposer": "optuna"}
        body |= {"reason": "it fell over" if value is None else None} | SOFTWARE
        return self.sign("result", body | more, Blob(script.encode())).id

    def take(self, task: Task) -> str:
        """Sign the duty of a task."""
        body = {"track": task.track, "result": task.result, "parent": task.parent, "block": task.block}
        return self.sign("duty", body | {"hardware_class": task.hardware_class}).id

    def rerun(self, task: Task, gain: float | None, **more: Any) -> str:
        """Do a task, with values that differ by a gain (None: the child crashes) and noise; return the replication."""
        duty, chance, pairs = self.take(task), self.hamlet.chance, []
        for number, seed in enumerate(task.seeds):
            parent, child = 1.6 + chance.gauss(0, NOISE_SD), 1.6 - (gain or 0.0) + chance.gauss(0, NOISE_SD)
            runs = {"parent": run(parent), "child": run(None if gain is None else child)}
            pairs.append({"seed": seed, "child_first": bool(number), **runs})
        body = {"duty": duty, "track": task.track, "result": task.result, "parent": task.parent, "block": task.block}
        body |= {"metric": "val_bpb", "direction": "min", "clock": "cpu", "budget_s": 60.0, "pairs": pairs}
        body |= {"hardware_class": task.hardware_class, "device": "cpu", "sandbox": "bubblewrap", "agent": self.name}
        return self.sign("replication", body | SOFTWARE | more).id


SOFTWARE = {"software": "torch 2.13"}


def run(value: float | None) -> dict[str, Any]:
    facts = {"train_wall_s": 31.0, "cpu_s": 60.0, "cpu_share": 0.97, "contended": False, "value": value}
    if value is None:
        return facts | {"status": "crashed", "reason": "it crashed"}
    return facts | {"status": "measured"}


class Hamlet:
    """People with accounts that the one verifier vouches for; `policy` is what the founder lays down."""

    def __init__(self, home: Home, names: str, policy: dict[str, Any] | None = None) -> None:
        home.create()
        self.home, self.chance = home, Random(7)
        self.verifier = Identity(hashlib.sha256(b"the verifier").digest())
        self.track = tracks.load("sotu").id
        refs = [TrackRef("sotu", self.track)]
        genesis = found(
            self.verifier, "hamlet", refs, created_ms=1, verifiers=[self.verifier.peer_id], policy=policy or {}
        )
        self.network = genesis.network_id
        self.begin(self.verifier)
        genesis.save(home.genesis)
        self.store = Store(home.database, self.network, Trust.of(genesis))
        self.people = [Person(self, name) for name in names.split()]
        home.key.write_bytes(self.people[0].node.file_bytes())
        home.key.chmod(0o600)
        for person in self.people:
            person.vouch()
        self.registrar = Registrar(self.store, self.verifier, {self.track: NOISE_SD})
        self.judge = Judge(self.store)

    def begin(self, identity: Identity) -> None:
        ownlog.begin(self.home.database, self.network, identity.peer_id)

    def draw(self) -> None:
        """Let everybody be drawn who is not yet, and the registrar do what there is to do."""
        for person in self.people:
            if not self.store.trials.by(person.node.peer_id, "calibration"):
                person.calibrate(*(1.6 + self.chance.gauss(0, NOISE_SD) for _ in range(5)))
        while self.registrar.step(time.time_ns() // 1_000_000):
            pass
        self.judge.settle()

    def task(self, person: Person, result: str, hardware_class: str = CLASS) -> Task:
        self.judge.settle()
        return self.judge.task(person.account.peer_id, result, hardware_class)

    def rerun(self, gains: dict[str, float | None], rounds: int = 40) -> None:
        """Let all rerun whatever they may, with these gains, until nothing is left or so many rounds have passed."""
        for _ in range(rounds):
            idle = True
            for person in self.people:
                self.judge.settle()
                for task in self.judge.work(person.account.peer_id, self.track, CLASS)[:1]:
                    person.rerun(task, gains.get(task.result, 0.0))
                    idle = False
            self.draw()
            if idle:
                return
