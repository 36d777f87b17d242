"""The part of the DHT that this node keeps for others: signed entries only, until they expire, bounded in number.

Takes the place of hivemind's storage, which has no bound and lets an older copy of an entry shorten the life of the
newer one. When a key or the whole is full, the entries whose hash with a secret of this node is lowest stay (min-wise
sampling, Bortnikov et al., Brahms, 2009): who floods cannot aim at anybody's entry, and fresh keys push out no more
than their share. Rejected: first come, first served, which lets a flood shut later comers out.
"""

import hashlib
import heapq
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

ENTRIES_MAX = 16_384
"""Entries kept for others in all; 32 MiB at worst, and 8 MiB as a rule."""
ENTRIES_OF_KEY_MAX = 512
"""Entries kept under one key, each of another peer; 1 MiB, as p2pd answers with 4 MiB at most."""
SWEEP_EVERY_S = 5.0
"""How often expired entries are looked for at most."""


class _Kept(NamedTuple):
    value: bytes
    expires: float
    score: int


class Shelf:
    """Keeps values under key and subkey; `pack` and `wrap` make of a key's values what hivemind calls them."""

    def __init__(
        self,
        pack: Callable[[dict[str, tuple[bytes, float]]], Any],
        wrap: Callable[[Any, float], Any],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pack, self._wrap, self._clock = pack, wrap, clock
        self._salt = secrets.token_bytes(16)
        self._keys: dict[Any, dict[str, _Kept]] = {}
        self._worst: list[tuple[int, Any, str]] = []
        self._count = 0
        self._swept = 0.0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: Any) -> bool:
        return self.get(key) is not None

    def store(self, key: Any, value: bytes, expiration_time: float, subkey: str | None = None) -> bool:
        """Keeps a value under a subkey, and returns whether it did; without a subkey nothing is kept."""
        return subkey is not None and self.store_subkey(key, subkey, value, expiration_time)

    def store_subkey(self, key: Any, subkey: str, value: bytes, expiration_time: float) -> bool:
        """Keeps a value unless it has expired, is no newer than what is there, or is one too many."""
        now = self._clock()
        if expiration_time <= now:
            return False
        there = self._keys.get(key, {})
        before = there.get(subkey)
        if before is not None:
            if expiration_time <= before.expires:
                return False
            there[subkey] = _Kept(value, expiration_time, before.score)
            return True
        score = self._score(key, subkey)
        if not self._make_room(key, score, now):
            return False
        self._keys.setdefault(key, {})[subkey] = _Kept(value, expiration_time, score)
        heapq.heappush(self._worst, (-score, key, subkey))
        self._count += 1
        return True

    def get(self, key: Any) -> Any:
        """Returns a copy of what is kept under a key with its latest expiry, None where nothing is."""
        now = self._clock()
        live = {s: (k.value, k.expires) for s, k in self._keys.get(key, {}).items() if k.expires > now}
        return self._wrap(self._pack(live), max(expires for _, expires in live.values())) if live else None

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Yields every key with a copy of what is kept under it."""
        for key in list(self._keys):
            found = self.get(key)
            if found is not None:
                yield key, found

    def _score(self, key: Any, subkey: str) -> int:
        text = f"{int(key)}/{subkey}".encode()
        return int.from_bytes(hashlib.blake2b(text, key=self._salt, digest_size=8).digest(), "big")

    def _make_room(self, key: Any, score: int, now: float) -> bool:
        there = self._keys.get(key, {})
        if len(there) >= ENTRIES_OF_KEY_MAX or self._count >= ENTRIES_MAX:
            self._sweep(now)
            there = self._keys.get(key, {})
        if len(there) >= ENTRIES_OF_KEY_MAX:
            worst = max(there, key=lambda subkey: there[subkey].score)
            if there[worst].score <= score:
                return False
            self._remove(key, worst)
        if self._count < ENTRIES_MAX:
            return True
        while self._worst:
            other_score, other, subkey = self._worst[0]
            kept = self._keys.get(other, {}).get(subkey)
            if kept is not None and -other_score <= score:
                return False
            heapq.heappop(self._worst)
            if kept is not None:
                self._remove(other, subkey)
                return True
        return True

    def _sweep(self, now: float) -> None:
        if now < self._swept + SWEEP_EVERY_S:
            return
        self._swept = now
        for key, there in list(self._keys.items()):
            for subkey in [subkey for subkey, kept in there.items() if kept.expires <= now]:
                self._remove(key, subkey)
        self._worst = [(-k.score, key, subkey) for key, there in self._keys.items() for subkey, k in there.items()]
        heapq.heapify(self._worst)

    def _remove(self, key: Any, subkey: str) -> None:
        there = self._keys[key]
        del there[subkey]
        self._count -= 1
        if not there:
            del self._keys[key]
