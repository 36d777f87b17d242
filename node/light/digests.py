"""What this machine has of a network's records, as digests that are compared with a node's.

A log is cut into blocks of 1,024 numbers, each with a digest that is a chain over its records; logs hang in a tree with
sixteen children a branch, by the hash of their author's key. Left out: records themselves (the store), and what to do
about differences (catchup). Written apart from the node's own, like the messages; it favours few lines over speed.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from ensue.identity import peer_id_from_public_key, public_key_from_peer_id
from ensue.store import Store
from node.light.wire import FANOUT, LEAF_ENTRIES, Block, Child, LogHead, Place, block_list, children, log_head

BLOCK_NUMBERS = 1_024
ROWS_AT_ONCE = 10_000
EMPTY = bytes(32)


class Digests:
    """The logs in a store; `refresh` takes in what came since."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.upto = 0
        """The last row that is taken in."""
        self._blocks: dict[bytes, dict[int, Block]] = {}
        self._ends: dict[tuple[bytes, int], Place] = {}
        self._heads: dict[bytes, LogHead] = {}
        self._keys: dict[str, bytes] = {}
        self._hung: list[tuple[str, bytes]] = []
        self._nodes: dict[str, Child] = {}

    def refresh(self) -> None:
        """Reads the rows that came since, each once; a block into which an older number came is read again whole."""
        again: set[tuple[bytes, int]] = set()
        touched: set[bytes] = set()
        while rows := self._store.exchange.rows(self.upto, ROWS_AT_ONCE):
            for row in rows:
                key, number = self._key(row.author), block_of(row.seq)
                self._append(key, number, Place(row.seq, row.id), again)
                touched.add(key)
            self.upto = rows[-1].no
        for key, number in again:
            self._blocks[key][number] = self._read(key, number)
        if not touched:
            return
        for key in touched:
            self._heads[key] = self._head(key)
        self._hung = sorted((place(key), key) for key in self._heads)
        self._nodes.clear()

    def log(self, key: bytes) -> LogHead:
        """Returns what is here of an author."""
        return self._heads.get(key, LogHead(key, 0, 0, EMPTY))

    def end(self, key: bytes) -> Place:
        """Returns the last place of an author's log."""
        numbers = self._blocks.get(key)
        return self._ends[key, max(numbers)] if numbers else Place(0, b"")

    def beginning(self, key: bytes, high: int) -> LogHead:
        """Returns what an author's log here would be, had it ended with number `high`."""
        last = block_of(high)
        whole = [self._blocks[key][number] for number in sorted(self._blocks.get(key, {})) if number < last]
        part = self._read(key, last, high)
        blocks = [*whole, part] if part.records else whole
        return LogHead(key, sum(block.records for block in blocks), high, digest_of(blocks))

    def block(self, key: bytes, number: int) -> Block:
        """Returns one block of an author's log."""
        return self._blocks.get(key, {}).get(number, Block(number, 0, EMPTY))

    def node(self, prefix: str = "") -> Child:
        """Returns a node of the tree: the number of records under it, and their digest."""
        if prefix not in self._nodes:
            first, last = (bisect_left(self._hung, (prefix + end, b"")) for end in ("", "g"))  # g is after every digit
            heads = [self._heads[key] for _, key in self._hung[first:last]]
            if not heads:
                digest = EMPTY
            elif len(heads) <= LEAF_ENTRIES:
                digest = hashlib.sha256(b"leaf" + b"".join(map(log_head, heads))).digest()
            else:
                nodes = [self.node(f"{prefix}{digit:x}") for digit in range(FANOUT)]
                digest = hashlib.sha256(b"branch" + children(nodes)).digest()
            self._nodes[prefix] = Child(sum(head.records for head in heads), digest)
        return self._nodes[prefix]

    def _key(self, author: str) -> bytes:
        if author not in self._keys:
            self._keys[author] = public_key_from_peer_id(author)
        return self._keys[author]

    def _append(self, key: bytes, number: int, new: Place, again: set[tuple[bytes, int]]) -> None:
        blocks = self._blocks.setdefault(key, {})
        old = blocks.get(number, Block(number, 0, EMPTY))
        if new <= self._ends.get((key, number), Place(0, b"")):
            again.add((key, number))
        else:
            self._ends[key, number] = new
        blocks[number] = Block(number, old.records + 1, chained(old.digest, new))

    def _read(self, key: bytes, number: int, high: int = 2**62) -> Block:
        digest, count = EMPTY, 0
        for found in held(self._store, key, number, self.upto):
            if found.seq <= high:
                digest, count = chained(digest, found), count + 1
        return Block(number, count, digest)

    def _head(self, key: bytes) -> LogHead:
        blocks = [self._blocks[key][number] for number in sorted(self._blocks[key])]
        return LogHead(key, sum(block.records for block in blocks), self.end(key).seq, digest_of(blocks))


def held(store: Store, key: bytes, number: int, upto: int = 2**62) -> Iterable[Place]:
    """Yields the places of one block of a log that are here, in order."""
    author, first = peer_id_from_public_key(key), number * BLOCK_NUMBERS + 1
    after = (0, b"")
    while found := store.exchange.keys(author, first, first + BLOCK_NUMBERS - 1, upto, ROWS_AT_ONCE, after):
        yield from (Place(*one) for one in found)
        after = found[-1]


def digest_of(blocks: Sequence[Block]) -> bytes:
    """Returns the digest of a log with these blocks, none of them empty, in order."""
    return hashlib.sha256(block_list(blocks)).digest()


def place(key: bytes) -> str:
    """Returns the digits by which an author's log hangs in the tree."""
    return hashlib.sha256(key).hexdigest()


def block_of(seq: int) -> int:
    """Returns the number of the block of a sequence number."""
    return (seq - 1) // BLOCK_NUMBERS


def chained(digest: bytes, new: Place) -> bytes:
    """Returns the digest of a block after one more record."""
    return hashlib.sha256(digest + new.seq.to_bytes(8, "big") + new.id).digest()
