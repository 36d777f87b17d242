"""A village of verified people on one replica: results, reruns with made-up values, and registrars that really draw.

Everybody signs into one store, so that a test sees at once what all would know; another replica is given the records in
any order by whoever wants to compare.
"""

import hashlib
import time
from pathlib import Path
from random import Random
from typing import Any

from ensue import statements
from ensue.identity import Identity
from ensue.people import Trust
from ensue.record import Record
from ensue.store import Store
from ensue.store.ownlog import begin
from verify.registrar import Registrar
from verify.ruling import Task
from verify.trust import Judge

NOISE_SD = 0.005
CLASS = "cpu-2t"


def sha(text: str) -> str:
    """Return a made-up id."""
    return hashlib.sha256(text.encode()).hexdigest()


NETWORK, TRACK = sha("village"), sha("village track")


class Person:
    """One account with one node."""

    def __init__(self, village: "Village", number: int) -> None:
        self.village = village
        self.account, self.node = village.key(f"account {number}"), village.key(f"node {number}")
        store = village.store
        store.append(self.node, "delegation", statements.delegation(self.account, NETWORK, self.node.peer_id))

    def vouch(self) -> None:
        """Let the verifiers vouch for this person."""
        for verifier in self.village.verifiers:
            body = {"account": self.account.peer_id, "address": sha(self.account.peer_id), "expires_ms": 2**50}
            body |= {"nodes": [], "request": sha(self.account.peer_id + verifier.peer_id), "supersedes": None}
            self.village.store.append(verifier, "credential", body)

    def calibrate(self, *values: float, hardware_class: str = CLASS, **more: Any) -> Record:
        """Tell values of a machine of this person's, perhaps none, and be drawn from then on."""
        body = {"track": TRACK, "hardware_class": hardware_class, "device": "cpu", "source": sha("baseline")}
        body |= {"seeds": list(range(len(values))), "values": list(values), "software": "torch 2.13"}
        return self.village.store.append(self.node, "calibration", body | more)

    def found(self, value: float, parent: str | None, script: str, **more: Any) -> str:
        """Publish a kept result; return its id."""
        return self.village.store.append(self.node, "result", result(value, parent, script, **more)).id

    def begin(self, task: Task) -> str:
        """Sign the duty of a task."""
        body = {"track": task.track, "result": task.result, "parent": task.parent}
        body |= {"hardware_class": task.hardware_class, "block": task.block}
        return self.village.store.append(self.node, "duty", body).id

    def rerun(self, task: Task, gain: float | None, chance: Random, **more: Any) -> str:
        """Do a task, with values that differ by a gain (None: the child crashes) and noise; return the replication."""
        duty = self.begin(task)
        pairs = []
        for number, seed in enumerate(task.seeds):
            parent = 1.6 + chance.gauss(0, NOISE_SD)
            child = None if gain is None else 1.6 - gain + chance.gauss(0, NOISE_SD)
            pairs.append({"seed": seed, "child_first": bool(number), "parent": run(parent), "child": run(child)})
        return self.village.store.append(self.node, "replication", replication(task, duty, pairs) | more).id


class Village:
    """People, verifiers of whom `needed` must agree, and a registrar for each of them."""

    def __init__(self, folder: Path, people: int, verifiers: int = 1, needed: int = 1) -> None:
        self.verifiers = [
            Identity(hashlib.sha256(f"verifier {number}".encode()).digest()) for number in range(verifiers)
        ]
        founder = self.verifiers[0].peer_id
        self.trust = Trust(NETWORK, founder, tuple(one.peer_id for one in self.verifiers), needed)
        self.store = Store(folder / "replica.sqlite3", NETWORK, trust=self.trust)
        for one in self.verifiers:
            begin(self.store.path, NETWORK, one.peer_id)
            self.store.own_log.require(one.peer_id)
        self.people = [Person(self, number) for number in range(people)]
        for person in self.people:
            person.vouch()
        self.registrars = [Registrar(self.store, one, {TRACK: NOISE_SD}) for one in self.verifiers]
        self.judge = Judge(self.store)
        self.chance = Random(7)

    def key(self, name: str) -> Identity:
        """Return a key that signs here."""
        identity = Identity(hashlib.sha256(name.encode()).digest())
        begin(self.store.path, NETWORK, identity.peer_id)
        self.store.own_log.require(identity.peer_id)
        return identity

    def calibrate(self) -> None:
        """Let everybody be drawn, with the noise as it is."""
        for person in self.people:
            person.calibrate(*(1.6 + self.chance.gauss(0, NOISE_SD) for _ in range(5)))

    def draw(self, now_ms: int | None = None) -> None:
        """Let all registrars do what there is to do, until nothing is left."""
        while sum(one.step(now_ms or time.time_ns() // 1_000_000) for one in self.registrars):
            pass
        self.judge.settle()

    def work(self, person: Person, hardware_class: str = CLASS) -> list[Task]:
        """Return what a person may rerun."""
        self.judge.settle()
        return self.judge.work(person.account.peer_id, TRACK, hardware_class)

    def rerun(self, gains: dict[str, float | None], *people: Person, rounds: int = 64) -> None:
        """Let people rerun whatever they may, with these gains of results (else none), until there is nothing to do."""
        for _ in range(rounds):
            idle = True
            for person in people or self.people:
                tasks = self.work(person)
                if tasks:
                    person.rerun(tasks[0], gains.get(tasks[0].result, 0.0), self.chance)
                    idle = False
            self.draw()
            if idle:
                return

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def result(value: float, parent: str | None, script: str, **more: Any) -> dict[str, Any]:
    """Return the body of a kept result."""
    fields = {"track": TRACK, "experiment": sha(f"experiment {script}"), "parent": parent, "status": "kept"}
    fields |= {"metric": "val_bpb", "direction": "min", "value": value, "seed": 1, "clock": "cpu", "budget_s": 60.0}
    fields |= dict.fromkeys(("setup_s", "train_wall_s", "cpu_s", "score_s", "overhead_s", "wall_s"), 1.0)
    fields |= {"contended": False, "hardware_class": CLASS, "device": "cpu", "sandbox": "bubblewrap", "agent": "ada"}
    fields |= {"software": "torch 2.13", "source": sha(script), "source_bytes": 10, "description": script}
    return fields | more


def run(value: float | None) -> dict[str, Any]:
    """Return one run of a replication, a crash without a value."""
    measured = value is not None
    facts = {"train_wall_s": 31.0, "cpu_s": 60.0, "cpu_share": 0.97, "contended": False}
    reason = None if measured else "it crashed"
    return {"status": "measured" if measured else "crashed", "value": value, "holdout": value, "reason": reason} | facts


def replication(task: Task, duty: str, pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the body of a replication."""
    body = {"duty": duty, "track": task.track, "result": task.result, "parent": task.parent, "block": task.block}
    body |= {"metric": "val_bpb", "direction": "min", "clock": "cpu", "budget_s": 60.0, "pairs": pairs}
    return body | {"hardware_class": task.hardware_class, "device": "cpu", "sandbox": "bubblewrap", "software": "torch"}
