"""What this replica holds, in memory: each author's log in blocks with a digest each, and all logs in a tree.

A block is BLOCK_SEQS sequence numbers; its digest is a chain over its records in order of number and id. So a record
that follows the last one costs one hash, and only blocks that a late record falls into are read again. No object is
kept for a record. Left out: the store (replica feeds this), and comparing (pull). Rejected: a vector of versions, which
cannot tell a gap or a fork; and sums of ids, with which an author could hide a fork (see tree).
"""

import hashlib
from collections.abc import Iterable, Sequence

from ensue.identity import public_key_from_peer_id
from ensue.store.exchange import Key, Numbered
from node.sync import wire
from node.sync.tree import EMPTY, Tree

BLOCK_SEQS = 1_024
_SEQ_BYTES = 8


class Block:
    """The records of one author with numbers of one block."""

    __slots__ = ("count", "digest", "last", "stale")

    def __init__(self) -> None:
        self.count = 0
        self.digest = EMPTY
        self.last: Key = (0, b"")
        self.stale = False

    def add(self, key: Key) -> None:
        """Takes in a record; one that does not follow the last makes the block stale."""
        self.count += 1
        if key <= self.last:
            self.stale = True
        elif not self.stale:
            self.digest = linked(self.digest, key)
            self.last = key


class Log:
    """One author's records, block by block."""

    __slots__ = ("author", "blocks", "count", "head", "place", "seq")

    def __init__(self, author: str, public_key: bytes) -> None:
        self.author = author
        self.place = place(public_key)
        self.count = self.seq = 0
        self.blocks: dict[int, Block] = {}
        self.head = wire.LOG.pack(public_key, 0, 0, EMPTY)

    def add(self, key: Key) -> Block:
        """Takes in a record, and returns the block that it is in."""
        self.count += 1
        self.seq = max(self.seq, key[0])
        block = self.blocks.get(block_of(key[0]))
        if block is None:
            block = self.blocks[block_of(key[0])] = Block()
        block.add(key)
        return block

    def described(self, first: int = 0) -> list[tuple[int, int, bytes]]:
        """Returns number, count and digest of each block from block `first` on, in order."""
        return [(no, self.blocks[no].count, self.blocks[no].digest) for no in sorted(self.blocks) if no >= first]


class Summaries:
    """The logs of one replica; reading is right once nothing is `stale`."""

    def __init__(self) -> None:
        self.upto = 0
        """The row up to which records are in."""
        self.upto_id: bytes | None = None
        self._logs: dict[str, Log] = {}
        self._tree = Tree()
        self._changed: dict[str, Log] = {}
        self._stale: dict[tuple[str, int], None] = {}

    def add(self, rows: Sequence[Numbered]) -> None:
        """Takes in the next rows of the replica."""
        self._add(rows)
        if rows:
            self.upto, self.upto_id = rows[-1].no, rows[-1].id

    def replace(self, authors: Iterable[str], rows: Sequence[Numbered]) -> None:
        """Makes some logs anew from all their rows up to `upto`; those without any are gone."""
        for author in authors:
            log = self._logs.pop(author, None)
            if log is not None:
                self._tree.drop(log.place)
                self._changed.pop(author, None)
                for number in log.blocks:
                    self._stale.pop((author, number), None)
        self._add(rows)

    def _add(self, rows: Sequence[Numbered]) -> None:
        for _, author, seq, key in rows:
            log = self._logs.get(author)
            if log is None:
                log = self._logs[author] = Log(author, public_key_from_peer_id(author))
            if log.add((seq, key)).stale:
                self._stale[author, block_of(seq)] = None
            self._changed[author] = log

    def stale(self) -> list[tuple[str, int]]:
        """Returns authors and blocks that must be read again, each to be given to `settle`."""
        return list(self._stale)

    def settle(self, author: str, number: int, keys: Iterable[Key]) -> None:
        """Makes a stale block anew from all its places, those in rows up to `upto`."""
        log = self._logs[author]
        block = Block()
        for key in keys:
            block.add(key)
        log.count += block.count - log.blocks[number].count
        log.blocks[number] = block
        self._changed[author] = log
        self._stale.pop((author, number), None)

    def log(self, author: str) -> Log | None:
        """Returns what is here of an author."""
        return self._logs.get(author)

    def head(self, author: str) -> bytes | None:
        """Returns an author's log as a wire.LOG, None for an unknown author."""
        self._flush()
        log = self._logs.get(author)
        return None if log is None else log.head

    def root(self) -> tuple[int, bytes]:
        """Returns the number of records, and the digest of all of them."""
        return self.tree().node()

    def tree(self) -> Tree:
        """Returns the tree of all logs, up to date."""
        self._flush()
        return self._tree

    def _flush(self) -> None:
        for log in self._changed.values():
            key = wire.LOG.unpack(log.head)[0]
            log.head = wire.LOG.pack(key, log.count, log.seq, log_digest(log.described()))
            self._tree.put(log.place, log.count, log.head)
        self._changed.clear()


def block_of(seq: int) -> int:
    """Returns the number of the block that a sequence number is in."""
    return (seq - 1) // BLOCK_SEQS


def span(block: int) -> tuple[int, int]:
    """Returns the first and the last sequence number of a block."""
    return block * BLOCK_SEQS + 1, (block + 1) * BLOCK_SEQS


def place(public_key: bytes) -> bytes:
    """Returns where an author hangs in the tree, which nobody can choose at will."""
    return hashlib.sha256(public_key).digest()


def linked(digest: bytes, key: Key) -> bytes:
    """Returns the digest of a block with one more record after its last."""
    return hashlib.sha256(digest + key[0].to_bytes(_SEQ_BYTES, "big") + key[1]).digest()


def chain(keys: Iterable[Key], digest: bytes = EMPTY) -> bytes:
    """Returns the digest of a block with these places, which are in order, after those of `digest`."""
    for key in keys:
        digest = linked(digest, key)
    return digest


def log_digest(blocks: Iterable[tuple[int, int, bytes]]) -> bytes:
    """Returns the digest of a log with these blocks, which are in order."""
    return hashlib.sha256(wire.joined(wire.BLOCK, blocks)).digest()
