"""A set of entries as a tree of digests: two nodes find what differs at a cost of what differs.

Entries hang by the hexadecimal digits of a 32-byte key. A node of up to LEAF_ENTRIES entries is a leaf, and its digest
is of those; another is a branch, and its digest is of its sixteen children's. Digests are made when they are asked for
and kept until an entry below them changes. Left out: what entries mean (summary, sources). Rejected: sums of hashes,
which whoever makes records can steer to any value (Wagner, A Generalized Birthday Problem, 2002).
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from node.sync import wire

LEAF_ENTRIES = 16
KEY_DIGITS = 2 * wire.HASH_BYTES
EMPTY = bytes(wire.HASH_BYTES)
"""The digest of a node without entries."""
DIGITS = "0123456789abcdef"


class Tree:
    """Entries by their keys; each has a weight, and the bytes that stand for it."""

    def __init__(self) -> None:
        self._entries: dict[bytes, tuple[int, bytes]] = {}
        self._keys: list[bytes] = []
        self._appended = self._removed = False
        self._digests: dict[str, tuple[int, bytes]] = {}
        self._deepest = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: bytes) -> bool:
        return key in self._entries

    def put(self, key: bytes, weight: int, entry: bytes) -> None:
        """Adds an entry, or replaces the one of its key."""
        if key not in self._entries:
            self._keys.append(key)
            self._appended = True
        self._entries[key] = weight, entry
        self._forget(key)

    def drop(self, key: bytes) -> None:
        """Removes an entry if it is there."""
        if self._entries.pop(key, None) is not None:
            self._removed = True
            self._forget(key)

    def keys(self, prefix: str = "") -> list[bytes]:
        """Returns the keys below a node, in order."""
        first, last = self._span(prefix)
        return self._keys[first:last]

    def node(self, prefix: str = "") -> tuple[int, bytes]:
        """Returns the weight and the digest of a node."""
        known = self._digests.get(prefix)
        if known is None:
            first, last = self._span(prefix)
            if last - first <= LEAF_ENTRIES:
                some = [self._entries[key] for key in self._keys[first:last]]
                known = sum(weight for weight, _ in some), leaf_digest([entry for _, entry in some])
            else:
                children = self.children(prefix)
                known = sum(weight for weight, _ in children), branch_digest(wire.joined(wire.CHILD, children))
            self._digests[prefix] = known
            self._deepest = max(self._deepest, len(prefix))
        return known

    def children(self, prefix: str) -> list[tuple[int, bytes]]:
        """Returns the weights and digests of a node's sixteen children."""
        return [self.node(prefix + digit) for digit in DIGITS]

    def described(self, prefix: str) -> wire.Branch | wire.Leaf:
        """Returns a node as an answer."""
        first, last = self._span(prefix)
        if last - first > LEAF_ENTRIES:
            return wire.Branch(wire.joined(wire.CHILD, self.children(prefix)))
        return wire.Leaf(b"".join(self._entries[key][1] for key in self._keys[first:last]))

    def _span(self, prefix: str) -> tuple[int, int]:
        if self._removed:
            self._keys = [key for key in dict.fromkeys(self._keys) if key in self._entries]
            self._removed = False
        if self._appended:
            self._keys.sort()
            self._appended = False
        if not prefix:
            return 0, len(self._keys)
        low, high = bytes.fromhex(prefix.ljust(KEY_DIGITS, "0")), bytes.fromhex(prefix.ljust(KEY_DIGITS, "f"))
        return bisect_left(self._keys, low), bisect_right(self._keys, high)

    def _forget(self, key: bytes) -> None:
        digits = key.hex()
        for length in range(self._deepest + 1):
            self._digests.pop(digits[:length], None)


def leaf_digest(entries: Iterable[bytes]) -> bytes:
    """Returns the digest of a node with these entries, in order of their keys."""
    joined = b"".join(entries)
    return hashlib.sha256(b"leaf" + joined).digest() if joined else EMPTY


def branch_digest(children: bytes) -> bytes:
    """Returns the digest of a node with these sixteen children, each a wire.CHILD."""
    return hashlib.sha256(b"branch" + children).digest()
