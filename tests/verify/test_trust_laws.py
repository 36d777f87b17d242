"""What must hold of verdicts in any village: the same records make the same verdicts, however they come."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from village import CLASS, NETWORK, NOISE_SD, TRACK, Person, Village, replication, run

from ensue import statements
from ensue.store import Store
from verify.trust import Judge

STEPS_MAX = 24
BEGAN_NS = 1_800_000_000 * 10**9
OTHER_CLASS = "gpu-big"


class Life:
    """What people of a village do, drawn by lot: honest and otherwise."""

    def __init__(self, village: Village, chance: Random) -> None:
        self.village, self.chance = village, chance
        self.made: list[str] = []
        self.gains: dict[str, float] = {}
        self.steps: list[Callable[[], None]] = [
            *[self.find] * 3,
            *[self.draw] * 3,
            *[self.rerun] * 8,
            self.calibrate,
            self.leave_out,
            self.choose_seeds,
            self.retract,
            self.revoke,
            self.move,
            self.unvouch,
        ]

    def begin(self) -> None:
        """Publish a baseline and two changes, and draw, so that there is something to judge."""
        self.find()
        self.find()
        self.find()
        self.draw()

    def someone(self) -> Person:
        return self.chance.choice(self.village.people)

    def find(self) -> None:
        """Publish a result, perhaps a lie, on any other or on none."""
        parent = self.chance.choice([*self.made, None]) if self.made else None
        gain = self.chance.choice([-0.01, 0.0, 0.03])
        value = 1.6 - gain - self.chance.choice([0.0, 0.0, 0.2]) - 0.001 * len(self.made)
        found = self.someone().found(value, parent, f"script {len(self.made)}")
        self.made.append(found)
        self.gains[found] = gain

    def draw(self) -> None:
        """Let all verifiers do their work."""
        self.village.draw()

    def rerun(self) -> None:
        """Run a block that someone may run, at times on other hardware."""
        person, name = self.someone(), self.chance.choice([CLASS, CLASS, CLASS, OTHER_CLASS])
        for task in self.village.work(person, name)[:1]:
            gain = self.chance.choice([self.gains[task.result]] * 7 + [None])
            person.rerun(task, gain, self.chance)

    def calibrate(self) -> None:
        """Measure a machine, or leave the draw."""
        values = [1.6 + self.chance.gauss(0, NOISE_SD * self.chance.choice([0.1, 1.0, 3.0])) for _ in range(3)]
        name = self.chance.choice([CLASS, OTHER_CLASS])
        self.someone().calibrate(*values, hardware_class=name, available=self.chance.random() < 0.8)

    def leave_out(self) -> None:
        """Begin a block and never end it."""
        person = self.someone()
        for task in self.village.work(person)[:1]:
            person.begin(task)

    def choose_seeds(self) -> None:
        """Rerun with seeds of one's own."""
        person = self.someone()
        for task in self.village.work(person)[:1]:
            pairs = [{"seed": 5 + n, "child_first": bool(n), "parent": run(1.6), "child": run(1.5)} for n in (0, 1)]
            self.village.store.append(person.node, "replication", replication(task, person.begin(task), pairs))

    def retract(self) -> None:
        """Take back a record of one's own, as if an unwelcome one."""
        person = self.someone()
        mine = [one.id for one in self.village.store.records(author=person.node.peer_id) if one.kind != "retraction"]
        self.village.store.append(person.node, "retraction", {"target": self.chance.choice(mine), "reason": "no"})

    def revoke(self) -> None:
        """Revoke somebody's node from some record of its log on; the record lies in another node's log."""
        person, witness = self.someone(), self.someone()
        last = max(one.seq for one in self.village.store.records(author=person.node.peer_id))
        body = statements.revocation(person.account, NETWORK, person.node.peer_id, self.chance.randint(1, last), "lost")
        self.village.store.append(witness.node, "revocation", body)

    def move(self) -> None:
        """Let a node speak for another account from now on."""
        person, other = self.someone(), self.someone()
        body = statements.delegation(other.account, NETWORK, person.node.peer_id)
        self.village.store.append(person.node, "delegation", body)

    def unvouch(self) -> None:
        """Take a credential back."""
        verifier = self.chance.choice(self.village.verifiers)
        given_out = list(self.village.store.records(kind="credential", author=verifier.peer_id))
        target = self.chance.choice(given_out).id
        self.village.store.append(verifier, "retraction", {"target": target, "reason": "a mistake"})


@contextmanager
def lived(seed: int, verifiers: int) -> Iterator[tuple[Village, Random]]:
    """Yield a village in which this and that has happened."""
    chance = Random(seed)
    # A clock of its own, as the ids of records, and so the draws, follow from the time too.
    clock = patch("time.time_ns", side_effect=count(BEGAN_NS, 1_000_000).__next__)
    with clock, tempfile.TemporaryDirectory() as folder:
        village = Village(Path(folder), people=4, verifiers=verifiers, needed=chance.randint(1, verifiers))
        try:
            village.calibrate()
            life = Life(village, chance)
            life.begin()
            for _ in range(chance.randint(4, STEPS_MAX)):
                chance.choice(life.steps)()
            village.judge.settle()
            yield village, chance
        finally:
            village.close()


def same(one: Store, other: Store) -> bool:
    """Return whether two replicas say the same of everything."""
    if one.trials.all_said() != other.trials.all_said() or one.digest() != other.digest():
        return False
    mine, theirs = one.results(TRACK), other.results(TRACK)
    return {(row.id, row.level, row.flags, row.measured) for row in mine} == {
        (row.id, row.level, row.flags, row.measured) for row in theirs
    }


@settings(max_examples=settings().max_examples // 5)
@given(seed=st.integers(0, 2**32), verifiers=st.integers(1, 2))
def test_verdicts_are_the_same_in_any_order(seed: int, verifiers: int):
    with lived(seed, verifiers) as (village, chance), tempfile.TemporaryDirectory() as folder:
        raws = [record.raw for record in village.store.records()]
        chance.shuffle(raws)
        with Store(Path(folder) / "other", NETWORK, trust=village.trust) as other:
            while raws:
                some = chance.randint(1, max(1, len(raws) // 2))
                assert other.ingest(raws[:some]).refused == ()
                del raws[:some]
                if chance.random() < 0.5:
                    Judge(other).settle()
            Judge(other).settle()
            assert same(other, village.store)
            other.rebuild()
            Judge(other).settle()
            assert same(other, village.store)
