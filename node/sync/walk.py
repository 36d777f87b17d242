"""Walks down a peer's tree to where it differs from ours, some nodes at a time.

Left out: what is done about the difference (pull, fetch). Rejected: one request a node, which costs a round trip each.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import NamedTuple, cast

from ensue.identity import peer_id_from_public_key
from node.sync import wire
from node.sync.ask import Asker
from node.sync.replica import Replica
from node.sync.settled import Settled, Visited
from node.sync.summary import place
from node.sync.tree import DIGITS, KEY_DIGITS, Tree, branch_digest, leaf_digest

NODES_MAX = 8_192
"""Nodes of a peer's tree that one walk looks at."""
LOGS_MAX = 20_000
"""Logs that one walk finds; the others come with the next one."""
_SEQS = 2**53


class Theirs(NamedTuple):
    """A log as a peer says to have it."""

    key: bytes
    records: int
    seq: int
    digest: bytes

    @property
    def author(self) -> str:
        """Its author's peer id."""
        return peer_id_from_public_key(self.key)


class Found(NamedTuple):
    """Where the trees differ: the peer's leaf below a prefix, as it came, or None where the peer has nothing at all."""

    prefix: str
    entries: bytes | None


class _Said(NamedTuple):
    """A node that a peer has, with the weight and the digest that it gave for it."""

    prefix: str
    weight: int
    digest: bytes


async def differing(asker: Asker, replica: Replica) -> list[Theirs]:
    """Returns the logs that a peer has otherwise than this replica, up to LOGS_MAX; those unwanted here are left out.

    A peer that shows fewer records than it said, or as many and others, is at fault unless it says so by now. Raises
    what Asker raises.
    """
    tree, visited = replica.logs.tree(), list[Visited]()
    found: list[Theirs] = []
    wanted: list[str] = []
    async for prefix, entries in differing_logs(asker, tree, replica.settled, visited):
        some = _differing(asker, replica, prefix, entries or b"")
        found += some
        if some:
            wanted.append(prefix)
        if len(found) >= LOGS_MAX:
            return found
    if len(visited) < NODES_MAX:
        replica.settled.note(visited, wanted)
    return found


def _differing(asker: Asker, replica: Replica, prefix: str, entries: bytes) -> list[Theirs]:
    found = []
    for row in asker.rows(wire.LOG, entries):
        theirs = Theirs._make(cast("tuple[bytes, int, int, bytes]", row))
        if not (place(theirs.key).hex().startswith(prefix) and theirs.records and 0 < theirs.seq < _SEQS):
            raise asker.fault("a log where it cannot be", "garbage")
        if replica.logs.head(theirs.author) != wire.LOG.pack(*theirs) and not replica.unwanted(theirs.author, False):
            found.append(theirs)
    return found


async def differing_logs(
    asker: Asker, mine: Tree, settled: Settled | None = None, visited: list[Visited] | None = None
) -> AsyncGenerator[Found, None]:
    """Yields the leaves of a peer's tree of logs that have other entries than `mine`, whose root is known to differ.

    What is settled is passed over, and what is looked at added to `visited`. Raises what Asker raises.
    """
    settled, visited = settled or Settled(), [] if visited is None else visited
    theirs = await asker.begin()
    waiting, found = [_Said("", theirs.records, theirs.logs)], 0
    while waiting and len(visited) < NODES_MAX:
        some = [waiting.pop() for _ in range(min(wire.PREFIXES_MAX, len(waiting)))]
        visited += [Visited(said.prefix, said.digest, mine.node(said.prefix)[1]) for said in some]
        for said, node in await _asked(asker, "logs", some):
            if isinstance(node, wire.Leaf):
                weight = sum(cast("int", row[1]) for row in asker.rows(wire.LOG, node.entries))
                shown = leaf_digest([node.entries])
            else:
                weight = sum(child.weight for child in _children(asker, said.prefix, node))
                shown = branch_digest(node.children)
            if weight < said.weight or (weight == said.weight and shown != said.digest):
                raise await asker.doubt("another tree than it said")
            if isinstance(node, wire.Leaf):
                found += 1
                yield Found(said.prefix, node.entries)
                continue
            for one in _children(asker, said.prefix, node):
                digest = mine.node(one.prefix)[1]
                if one.weight and digest != one.digest and not settled.has(one.digest, digest):
                    waiting.append(one)
    if waiting and not found:
        raise asker.fault("a tree without leaves", "garbage")


async def differing_sources(asker: Asker, mine: Tree) -> AsyncIterator[Found]:
    """Yields where `mine` has scripts that miss and a peer's tree has others or none; the roots are known to differ."""
    theirs = await asker.begin()
    waiting, asked = [_Said("", theirs.missing, theirs.sources)], 0
    while waiting and asked < NODES_MAX:
        some = [waiting.pop() for _ in range(min(wire.PREFIXES_MAX, len(waiting)))]
        asked += len(some)
        for said, node in await _asked(asker, "sources", some):
            if isinstance(node, wire.Leaf):
                yield Found(said.prefix, node.entries)
                continue
            for child in _children(asker, said.prefix, node):
                weight, digest = mine.node(child.prefix)
                if weight and not child.weight:
                    yield Found(child.prefix, None)
                elif weight and digest != child.digest:
                    waiting.append(child)


async def _asked(asker: Asker, name: str, some: list[_Said]) -> list[tuple[_Said, wire.Branch | wire.Leaf]]:
    answer = await asker.ask(wire.Walk(name, [said.prefix for said in some]), wire.Nodes)
    if len(answer.nodes) != len(some):
        raise asker.fault("nodes that were not asked for", "garbage")
    return list(zip(some, answer.nodes, strict=True))


def _children(asker: Asker, prefix: str, node: wire.Branch) -> list[_Said]:
    if len(prefix) >= KEY_DIGITS - 1:
        raise asker.fault("a tree without leaves", "garbage")
    rows = cast("list[tuple[int, bytes]]", asker.rows(wire.CHILD, node.children))
    return [_Said(prefix + digit, *row) for digit, row in zip(DIGITS, rows, strict=True)]
