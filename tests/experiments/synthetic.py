"""A metric of ten knobs with known optimum and noise, and the loop that keeps what beats its parent."""

import numpy as np

from ensue.errors import ExperimentError
from experiments import knobs
from experiments.experiment import experiment_key
from experiments.proposers import Context, Proposal, Proposer, Trial
from experiments.proposers.space import Space
from verify.evidence import judge

NOISE = 0.003
OPTIMUM = 1.5
SCRIPT = '''"""A made-up script."""
RATE_A = 0.02  # [0.001 .. 0.4] log; a rate
RATE_B = 0.02  # [0.001 .. 0.4] log; a rate
RATE_C = 3e-3  # [0.0001 .. 0.1] log; a rate
DEPTH = 4  # [1 .. 12]; blocks
WIDTH = 256  # [64 .. 512] step 64; channels
SHARE_A = 0.5  # [0 .. 1]; a share
SHARE_B = 0.5  # [0 .. 1]; a share
SHARE_C = 0.25  # [0 .. 1]; a share
BETA = 0.95  # [0.8 .. 0.99]; a memory
BATCH = 8  # {2, 4, 8, 16, 32}; rows


def load_model(checkpoint, device):
    return None
'''


class Bowl:
    """A noisy quadratic around a hidden optimum; some knobs matter much, some hardly."""

    def __init__(self, seed: int, *, direction: str = "min") -> None:
        draw = np.random.default_rng(seed)
        self.noise = np.random.default_rng([seed, 1])
        self.sign = 1.0 if direction == "min" else -1.0
        found = knobs.read(SCRIPT).values()
        start = np.array([knob.to_unit(knob.value) for knob in found])
        self.center = np.clip(start + draw.normal(0, 0.22, len(start)), 0.05, 0.95)
        self.weight = 0.15 * np.exp(draw.normal(0, 0.8, len(start)))

    def excess(self, source: str) -> float:
        at = np.array([knob.to_unit(knob.value) for knob in knobs.read(source).values()])
        return float(self.weight @ (at - self.center) ** 2)

    def run(self, source: str) -> float:
        return self.sign * (OPTIMUM + self.excess(source) + float(self.noise.normal(0, NOISE)))


class OneKnobAtRandom:
    """The simplest thing that could work: one knob of the parent, anywhere in its range."""

    name = "random"

    def propose(self, ctx: Context) -> Proposal:
        draw = np.random.default_rng([ctx.seed, len(ctx.trials)])
        space = Space(ctx.parent_source)
        for _ in range(100):
            setting = space.random(draw, 1)
            source = knobs.apply(ctx.parent_source, setting)
            if setting and ctx.free(source):
                return Proposal(source, "random", [], None, None, None, "")
        raise ExperimentError("nothing left")


class Anywhere(OneKnobAtRandom):
    """Random search: every knob anywhere."""

    def propose(self, ctx: Context) -> Proposal:
        setting = Space(SCRIPT).random(np.random.default_rng([ctx.seed, len(ctx.trials)]), 10)
        return Proposal(knobs.apply(SCRIPT, setting), "random", [], None, None, None, "")


class Search:
    """One run of the loop on a bowl; `excess` lists the parent's true excess over the optimum after each step."""

    def __init__(self, proposer: Proposer, seed: int, *, steps: int, direction: str = "min") -> None:
        bowl = Bowl(seed, direction=direction)
        parent, value = SCRIPT, bowl.run(SCRIPT)
        self.trials = [Trial(parent, value, "kept")]
        self.keys: list[str] = []
        self.excess = [bowl.excess(parent)]
        self.proposals: list[Proposal] = []
        self.values: list[float] = []
        for _ in range(steps):
            proposal = proposer.propose(
                Context("t", direction, parent, value, self.trials, self.keys.__contains__, (), seed, NOISE)
            )
            self.keys.append(experiment_key("t", parent, proposal.source))
            self.proposals.append(proposal)
            self.values.append(bowl.run(proposal.source))
            kept = judge(self.values[-1], value, direction=direction, noise_sd=NOISE).kept
            self.trials.append(Trial(proposal.source, self.values[-1], "kept" if kept else "discarded"))
            if kept:
                parent, value = proposal.source, self.values[-1]
            self.excess.append(bowl.excess(parent))
