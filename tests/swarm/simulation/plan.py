"""A schedule: which nodes there are, what the weather is, and what happens when, all drawn from one seed.

Left out: carrying it out (world). It is drawn as a whole before anything runs, so that it can be read.
"""

from dataclasses import dataclass
from random import Random

from simulation.wire import Weather

LASTS_S = 120.0
"""Virtual seconds of trouble before everything heals."""
LIARS = ("garbage", "endless", "loris", "foreign", "twister", "forker", "forker", "phantom", "flooder")
"""See liars."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens at a moment: who are numbers of nodes, honest ones first."""

    at_s: float
    what: str
    who: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule that a seed stands for."""

    seed: int
    honest: int
    liars: tuple[str, ...]
    weather: Weather
    lively: bool
    """Whether the real swarm runs on each node; else nodes do what the steps say, and nothing more."""
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        head = f"seed {self.seed}: {self.honest} honest nodes, liars {self.liars}, lively {self.lively}, {self.weather}"
        return "\n".join([head, *(f"  {step.at_s:8.3f} s {step.what} {step.who or ''}" for step in self.steps)])


def plan(seed: int) -> Plan:
    """Returns the schedule of a seed."""
    chance = Random(f"plan {seed}")
    honest = chance.randint(4, 6)
    liars = tuple(chance.choice(LIARS) for _ in range(chance.choice((0, 0, 1, 1, 2))))
    rough = chance.random() < 0.7
    weather = Weather(
        latency_s=chance.choice((0.001, 0.02, 0.2)),
        spread=chance.choice((0.1, 0.5, 1.5)),
        bytes_per_s=chance.choice((2e4, 1e6, 12.5e6)),
        gossip_lost=chance.choice((0.1, 0.3, 0.9)) if rough else 0.0,
        gossip_twice=chance.choice((0.0, 0.2)),
        stream_breaks=chance.choice((0.0, 0.02, 0.2)) if rough else 0.0,
        dial_fails=chance.choice((0.0, 0.3)) if rough else 0.0,
    )
    lively = chance.random() < 0.15
    steps = [_step(chance, honest, len(liars), lively) for _ in range(chance.randint(10, 30))]
    return Plan(seed, honest, liars, weather, lively, tuple(sorted(steps, key=lambda step: step.at_s)))


def _step(chance: Random, honest: int, liars: int, lively: bool) -> Step:
    everybody = range(honest + liars)
    weights = {
        "append": 10,
        "burst": 2,
        "import": 2,
        "sync": 3 if lively else 8,
        "part": 1.5,
        "heal": 1,
        "crash": 2,
        "lose disk": 0.3,
        "lie": 4 if liars else 0,
    }
    what = chance.choices(list(weights), list(weights.values()))[0]
    who: tuple[int, ...] = ()
    if what in ("append", "burst", "crash", "lose disk"):
        who = (chance.randrange(honest),)
    elif what in ("sync", "import"):
        one = chance.randrange(honest)
        who = (one, chance.choice([other for other in everybody if other != one]))
    elif what == "part":
        who = tuple(number for number in everybody if chance.random() < 0.5)
    elif what == "lie":
        who = (honest + chance.randrange(liars),)
    return Step(round(chance.uniform(0.0, LASTS_S), 3), what, who)
