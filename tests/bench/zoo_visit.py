"""One creature's visit: the real path of a run, trained and scored in the sandbox, and what the host felt of it.

Leaves out the table. Attacks are tried twice: in the training, and by the model while it is scored.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from creature import HONEST_VALUE, ZOO, Creature
from zoo_host import Host

from experiments import runner, sandbox, track
from experiments.sandbox import Level
from experiments.track import Track, TrackData

ATTACK_TIMES = {"setup_s": 6.0, "score_s_max": 10.0}
REASON_CHARS = 90
CLI_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Laboratory:
    """Where scripts are run: a track, its data, this machine's isolation and a folder for what they leave."""

    track: Track
    data: TrackData
    level: Level
    folder: Path

    def changed(self, **changes: float) -> "Laboratory":
        """The same with other fields of the track."""
        return replace(self, track=replace(self.track, **changes))

    def where(self, creature: Creature) -> "Laboratory":
        """The same on the track that a creature wants."""
        if not creature.track:
            return self
        wanted = track.load(creature.track)
        return replace(self, track=wanted, data=track.prepare(wanted, self.folder.with_name(f"data-{creature.track}")))

    def train(self, source: str) -> runner.Trained:
        """Returns what the training of a script came to."""
        return runner.train(
            source.encode(), self.track, self.data, seed=7, device="cpu", run_dir=self.folder, level=self.level,
            on_event=lambda event: None, control=lambda: "run",
        )  # fmt: skip

    def score(self, trained: runner.Trained, source: str) -> runner.Outcome:
        """Returns what a trained script is worth."""
        return runner.score(
            trained, source.encode(), self.track, self.data, device="cpu", run_dir=self.folder, level=self.level,
            on_event=lambda event: None, control=lambda: "run",
        )  # fmt: skip


@dataclass
class Visit:
    """What came of a creature. `statuses` holds one for each run of it, `obtained` what it says that it got."""

    creature: Creature
    statuses: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    obtained: list[str] = field(default_factory=list)
    canaries: int = 0
    survivors: list[int] = field(default_factory=list)
    slowest_s: float = 0.0

    @property
    def gained(self) -> bool:
        """Whether its number is better than its model is worth; beyond rounding there is no noise in counting.

        On another track than the tiny one no value is known, and none may be given.
        """
        return any(value < HONEST_VALUE - 1e-5 or self.creature.track for value in self.values)

    @property
    def as_expected(self) -> bool:
        """Whether each run ended in a way that its file names."""
        named = all(status in self.creature.statuses for status in self.statuses)
        return named and not (self.gained or self.obtained or self.canaries or self.survivors)


def visit(creature: Creature, lab: Laboratory, host: Host) -> Visit:
    """Returns what came of a cheat or an attack, run as a node would run it."""
    told, lab = Visit(creature), lab.where(creature)
    if creature.kind == "attack":
        mine = lab.changed(**ATTACK_TIMES | creature.changed())
        sources = [creature.source] * creature.runs + [creature.later()]
    else:
        mine, sources = lab.changed(**creature.changed()), [creature.source] * creature.runs
    began = time.monotonic()
    for source in sources:
        trained = mine.train(source)
        outcome = mine.score(trained, source)
        told.statuses.append(outcome.status)
        told.reasons.append(outcome.reason or "")
        told.values += [] if outcome.value is None else [outcome.value]
        printed = Path(trained.log).read_text(errors="replace") if trained.log else ""
        told.obtained += [line for line in printed.splitlines() if line.startswith("OBTAINED")]
        told.obtained += [outcome.reason] if outcome.reason and "OBTAINED" in outcome.reason else []
        told.canaries += printed.count(host.canaries.token) + (outcome.reason or "").count(host.canaries.token)
        sandbox.remove_tree(mine.folder)
    told.survivors = host.survivors()
    told.canaries += host.canaries.touched()
    told.slowest_s = host.pinger.slowest_s(began)
    return told


@dataclass
class Honest:
    """An honest script's training and its scorings."""

    creature: Creature
    trained: str
    values: list[float] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    closest: float = 0.0  # the largest difference between two answers, in nats: how near it came to a refusal


def honest(creature: Creature, lab: Laboratory, scorings: int) -> Honest:
    """Returns what came of an honest script: trained once, scored `scorings` times by fresh instances."""
    mine = replace(lab.changed(setup_s=60.0), folder=lab.folder / creature.name)
    trained = mine.train(creature.source)
    told = Honest(creature, trained.reason or trained.status)
    for _ in range(scorings):
        outcome = mine.score(trained, creature.source)
        if outcome.status != "scored" or outcome.value is None:
            told.refusals.append(f"{outcome.status}: {outcome.reason}")
        else:
            told.values.append(outcome.value)
        differences = [value for name, value in outcome.checks.items() if name.endswith("largest_nats")]
        told.closest = max([told.closest, *differences])
    sandbox.remove_tree(mine.folder)
    return told


def all_honest(creatures: list[Creature], lab: Laboratory, scorings: int) -> list[Honest]:
    """Returns what came of all honest scripts, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda one: honest(one, lab, scorings), creatures))


def by_command_line(name: str, home: Path, track: Path) -> tuple[str, str, float | None]:
    """Returns status, reason and value that `autoresearch run` gives for a creature, from a process of its own."""
    program = Path(sys.executable).with_name("autoresearch")
    command = [program, "run", ZOO / f"{name}.py", "--json", "--track", track, "--seed", "7"]
    environment = {**os.environ, "AUTORESEARCH_HOME": str(home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=CLI_TIMEOUT_S)
    if "Traceback" in done.stderr:
        return "broken", done.stderr[-REASON_CHARS:], None
    answer = json.loads(done.stdout)
    assert answer["source"] == hashlib.sha256((ZOO / f"{name}.py").read_bytes()).hexdigest()
    assert answer["seed"] in (7, None)  # none for what was never started
    return answer["status"], answer.get("reason") or "", answer["value"]
