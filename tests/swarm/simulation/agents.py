"""Agents on simulated nodes: they claim, train for a time, give way and sign, by the real rules of claims and turns.

All want the same experiments: each draws one of the few that come next and are free by all that its own node knows.
Left out: thinking and training, for which time passes; and the loop's journal (node.agent).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from unittest import mock

import bodies

from node import turns
from simulation.node import SimNode

NEXT = 16
"""Free experiments that come next, of which one is drawn."""
ASKED_EVERY_S = 0.25
TTL_S = 300
STAGGER_S = 2.0


@dataclass
class Plan:
    """What is to be done, and how long a training takes, between two numbers of seconds."""

    experiments: Sequence[str]
    wanted: int
    trains_s: tuple[float, float] = (0.5, 2.0)
    results: list[tuple[str, str]] = field(default_factory=list)
    """Experiment and result, in the order in which they were signed, by anybody."""
    given_way: int = 0


async def research(node: SimNode, plan: Plan, chance: Random) -> None:
    """Does experiments until all nodes together have signed as many results as are wanted."""
    loop, store = asyncio.get_running_loop(), node.store
    own = turns.Turns(store)
    await asyncio.sleep(chance.uniform(0.0, STAGGER_S))
    while len(plan.results) < plan.wanted:
        experiment = chance.choice(_free(node, plan.experiments))
        claim = store.append(node.identity, "claim", bodies.claim(experiment=experiment, ttl_s=TTL_S))
        end_s, lost = loop.time() + chance.uniform(*plan.trains_s), None
        while lost is None and loop.time() < end_s:
            await asyncio.sleep(min(ASKED_EVERY_S, end_s - loop.time()))
            lost = own.lost(claim.id)
        if lost is not None:
            own.give_way(lost)
            plan.given_way += 1
            store.append(node.identity, "retraction", {"target": claim.id, "reason": "another node was first"})
            continue
        body = bodies.result(experiment=experiment, claim=claim.id, seed=len(plan.results))
        plan.results.append((experiment, store.append(node.identity, "result", body).id))


def _free(node: SimNode, experiments: Sequence[str]) -> list[str]:
    found: list[str] = []
    for experiment in experiments:
        if node.store.claims.taken(experiment) is None:
            found.append(experiment)
            if len(found) == NEXT:
                break
    assert found, "there are more experiments than anybody does"
    return found


def clock() -> "mock._patch[SimpleNamespace]":
    """Lets turns be asked for by virtual time; to be entered while the loop runs."""
    return mock.patch.object(turns, "time", SimpleNamespace(monotonic=asyncio.get_running_loop().time))
