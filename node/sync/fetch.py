"""Fetches scripts that are missing here, each as its difference from the one that it was made from.

What a script was made from comes before it, so that the difference can be applied at once; every one is compared with
its hash before it is stored. Left out: which are missing (sources). Rejected: trusting the peer's word for what a blob
was packed against; it may only use what this node named.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ensue import blobs
from ensue.blobs import BLOB_BYTES_MAX, Blob
from ensue.errors import BlobMissing, StoreDamaged
from node.sync import wire
from node.sync.ask import Asker
from node.sync.replica import Replica
from node.sync.walk import differing_sources

PACKED_BYTES_MAX = BLOB_BYTES_MAX + 64 * 1024
"""A packed blob: what cannot be made smaller grows a little."""
TEXTS_BYTES_MAX = 8 * 1024 * 1024
"""Scripts kept in memory, since the next ones are differences from them."""
STORED_BYTES = 4 * 1024 * 1024
STORED_BLOBS = 500
"""Scripts are stored when so many have come, or so many bytes."""
ABSENT_MAX = 2_000
"""Scripts that a peer may not have, before it is asked for no others."""
ROUNDS_MAX = 64


class Count(Protocol):
    """Where it is counted what came."""

    blobs: int
    absent: int


@dataclass(slots=True)
class _Arriving:
    at: int
    based: bool
    left: int
    data: bytearray


class _Packed(NamedTuple):
    hash: bytes
    base: bytes | None
    made_from: bytes | None
    data: bytes


class Fetcher:
    """Fetches from one peer into one replica; raises what Asker raises."""

    def __init__(self, asker: Asker, replica: Replica, report: Count) -> None:
        self._asker, self._replica, self._report = asker, replica, report
        self._texts: OrderedDict[bytes, bytes] = OrderedDict()
        self._texts_bytes = 0
        self._waiting: dict[bytes, Blob] = {}
        self._waiting_bytes = 0
        self._tried: dict[bytes, None] = {}

    async def everything(self, *, accused: bool) -> None:
        """Fetches what is missing here and not there.

        `accused`: the peer has the very records that we have, so what it does not say to miss it must have.
        """
        for _ in range(ROUNDS_MAX):
            sources = await self._replica.missing(recheck=True)
            theirs = self._asker.theirs
            if theirs is None or not len(sources.tree) or sources.tree.node()[1] == theirs.sources:
                return
            there = [key for key in await self._there(theirs.missing) if key not in self._tried]
            if not there:
                return
            before = self._report.absent
            await self.these(there)
            if accused and self._report.absent > before:
                raise await self._asker.doubt("scripts that it does not have")
            if self._report.absent > ABSENT_MAX:
                return

    async def named_after(self, row: int) -> None:
        """Fetches what the records after a row name."""
        sources = await self._replica.missing()
        await self.these(sources.since(row))

    async def _there(self, missing: int) -> list[bytes]:
        tree = self._replica.sources.tree
        if not missing:
            return tree.keys()
        found: list[bytes] = []
        async for prefix, entries in differing_sources(self._asker, tree):
            absent = set(self._asker.hashes(entries or b""))
            found += [key for key in tree.keys(prefix) if key not in absent]
        return found

    async def these(self, keys: Iterable[bytes]) -> None:
        """Fetches scripts by their hashes, those that others are made from first."""
        ordered = self._replica.sources.in_order(keys)
        self._asker.greet()
        self._tried.update((key, None) for key, _ in ordered)
        bases = [base for _, base in ordered if base is not None]
        not_here = set(await self._replica.off(self._replica.store.exchange.lacking_blobs, bases))
        came = {key for key in bases if key not in not_here}
        wants = []
        for key, base in ordered:  # a base that is asked for first comes first, or the peer does not know it either
            wants.append((wire.Want(key, base if base is not None and base in came else b""), base))
            came.add(key)
        try:
            while wants and self._report.absent <= ABSENT_MAX:
                wants = wants[await self._some(wants[: wire.WANTS_MAX]) :]
        finally:
            await self._store()

    async def _some(self, wants: "Sequence[tuple[wire.Want, bytes | None]]") -> int:
        """Asks for some blobs, and returns how many the peer has dealt with."""
        await self._asker.send(wire.Blobs([want for want, _ in wants]))
        arriving: _Arriving | None = None
        last = -1
        while True:
            answer = await self._asker.receive(wire.Pieces)
            whole: list[_Packed] = []
            for piece in answer.pieces:
                arriving = self._joined(arriving, piece, last, len(wants))
                last = piece.at
                if not arriving.left:
                    want, made_from = wants[arriving.at]
                    base = want.base if arriving.based else None
                    whole.append(_Packed(want.hash, base, made_from, bytes(arriving.data)))
                    arriving = None
            if any(at >= len(wants) for at in answer.absent):
                raise self._asker.fault("blobs that were not asked for", "garbage")
            self._report.absent += len(answer.absent)
            self._replica.sources.absent(wants[at][0].hash for at in answer.absent)
            await self._take(whole)
            if not answer.more:
                if not 0 < answer.at <= len(wants) or arriving is not None:
                    raise self._asker.fault("blobs cut short", "garbage")
                return answer.at
            if not (answer.pieces or answer.absent):
                raise self._asker.fault("blobs without an end", "garbage")

    def _joined(self, arriving: _Arriving | None, piece: wire.Piece, last: int, wanted: int) -> _Arriving:
        if arriving is None:
            if not last < piece.at < wanted or len(piece.data) + piece.left > PACKED_BYTES_MAX:
                raise self._asker.fault("blobs that were not asked for", "garbage")
            return _Arriving(piece.at, piece.based, piece.left, bytearray(piece.data))
        if piece.at != arriving.at or not piece.data or piece.left != arriving.left - len(piece.data):
            raise self._asker.fault("blobs in pieces that do not fit", "garbage")
        arriving.data += piece.data
        arriving.left = piece.left
        return arriving

    async def _take(self, packed: Sequence[_Packed]) -> None:
        while packed:
            some = await self._replica.off(self._unpacked, packed)
            for blob in some:
                self._waiting[bytes.fromhex(blob.sha256)] = blob
                self._waiting_bytes += len(blob.data)
            packed = packed[len(some) :]
            if len(self._waiting) >= STORED_BLOBS or self._waiting_bytes >= STORED_BYTES:
                await self._store()

    def _unpacked(self, packed: Sequence[_Packed]) -> list[Blob]:
        """Returns the first blobs, up to STORED_BYTES of them; raises PeerFault at one that does not match its hash."""
        found: list[Blob] = []
        size = 0
        for one in packed:
            try:
                data = blobs.unpack(one.data, None if one.base is None else self._text(one.base))
            except BlobMissing:  # the peer did not send the base, which it must have had
                raise self._asker.fault("blobs that do not match", "garbage") from None
            except StoreDamaged:
                raise self._asker.fault("blobs that do not unpack", "garbage") from None
            if hashlib.sha256(data).digest() != one.hash:
                raise self._asker.fault("blobs that do not match", "garbage")
            found.append(Blob(data, None if one.made_from is None else one.made_from.hex()))
            self._remember(one.hash, data)
            size += len(data)
            if size >= STORED_BYTES:
                break
        return found

    def _text(self, key: bytes) -> bytes:
        text = self._texts.get(key)
        if text is None:
            waiting = self._waiting.get(key)
            text = self._replica.store.blob(key.hex()) if waiting is None else waiting.data
            self._remember(key, text)
        return text

    def _remember(self, key: bytes, text: bytes) -> None:
        if key not in self._texts:
            self._texts[key] = text
            self._texts_bytes += len(text)
        while self._texts_bytes > TEXTS_BYTES_MAX:
            self._texts_bytes -= len(self._texts.popitem(last=False)[1])

    async def _store(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        if waiting:
            await self._replica.keep(list(waiting.values()))
            self._report.blobs += len(waiting)
