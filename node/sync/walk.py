"""Walks down a peer's tree to where it differs from ours, some nodes at a time.

Left out: what is done about the difference (pull, fetch). Rejected: one request a node, which costs a round trip each.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple, cast

from node.sync import wire
from node.sync.ask import Asker
from node.sync.tree import DIGITS, KEY_DIGITS, Tree

NODES_MAX = 16_384
"""Nodes of a peer's tree that one walk looks at."""


class Found(NamedTuple):
    """Where the trees differ: the peer's leaf below a prefix, as it came, or None where the peer has nothing at all."""

    prefix: str
    entries: bytes | None


async def differing(asker: Asker, name: wire.Tree, mine: Tree, *, ours_only: bool = False) -> AsyncIterator[Found]:
    """Yields where a peer's tree differs from `mine`, while the trees' roots are known to.

    With `ours_only` places where we have nothing are passed over, and those where the peer has nothing are yielded;
    without it is the other way round. Raises what Asker raises.
    """
    waiting, asked = [""], 0
    while waiting and asked < NODES_MAX:
        some = [waiting.pop() for _ in range(min(wire.PREFIXES_MAX, len(waiting)))]
        asked += len(some)
        answer = await asker.ask(wire.Walk(name, some), wire.Nodes)
        if len(answer.nodes) != len(some):
            raise asker.fault("nodes that were not asked for", "garbage")
        for prefix, node in zip(some, answer.nodes, strict=True):
            if isinstance(node, wire.Leaf):
                yield Found(prefix, node.entries)
                continue
            if len(prefix) >= KEY_DIGITS - 1:
                raise asker.fault("a tree without leaves", "garbage")
            for digit, child in zip(DIGITS, asker.rows(wire.CHILD, node.children), strict=True):
                (weight, digest), below = cast("tuple[int, bytes]", child), prefix + digit
                own_weight, own_digest = mine.node(below)
                if digest == own_digest or not (own_weight if ours_only else weight):
                    continue
                if weight:
                    waiting.append(below)
                else:
                    yield Found(below, None)
