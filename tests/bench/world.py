"""Makes large worlds of signed records for the benchmarks of the memory: deterministic, streamed, kept in a file.

Descriptions follow Zipf's law over made-up words, so that a search meets rare, middling and common ones. Authors too:
a few nodes publish most. Left out: measuring.
"""

import hashlib
import struct
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

from ensue.identity import Identity
from ensue.record import Record, sign

AUTHORS = 200
WORDS = 20_000
WORDS_EACH = 11  # about 80 characters
RESULT_BYTES = 1_500
OTHERS_EVERY = 40  # one record in so many is a claim, an idea, a lesson or a retraction
CLASSES = ("cpu-2t", "cpu-8t", "nvidia-h100-80g", "nvidia-rtx-4090-24g", "apple-m3-16g")
TIME_MS = 1_700_000_000_000
_LENGTH = struct.Struct("<I")


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


NETWORK, TRACK = sha("the network of the benchmark"), sha("its track")


class World:
    """Signs one record after the other; what they say depends on the seed only."""

    def __init__(self, seed: int = 1, authors: int = AUTHORS) -> None:
        self.dice = Random(seed)
        self.identities = [Identity(hashlib.sha256(b"author %d" % n).digest()) for n in range(authors)]
        self.shares = list(accumulate(1 / (n + 1) for n in range(authors)))
        self.words = words(WORDS)
        self.odds = odds()
        self.heads: list[tuple[int, str | None]] = [(0, None)] * authors
        self.last: str | None = None
        self.number = 0

    def sign(self, author: int, kind: str, body: dict[str, Any]) -> Record:
        seq, prev = self.heads[author]
        time_ms = TIME_MS + 1_234 * self.number
        made = sign(
            self.identities[author], network=NETWORK, seq=seq + 1, prev=prev, time_ms=time_ms, kind=kind, body=body
        )
        self.heads[author] = (seq + 1, made.id)
        self.number += 1
        return made

    def author(self) -> int:
        return self.dice.choices(range(len(self.identities)), cum_weights=self.shares)[0]

    def description(self) -> str:
        return " ".join(self.dice.choices(self.words, cum_weights=self.odds, k=WORDS_EACH))

    def claim(self, author: int, source: str | None = None) -> Record:
        return self.sign(author, "claim", self._plan(author, source) | {"expectation": {"mean": 1.6, "sd": 0.01},
                         "hypothesis": None, "ttl_s": 1800})  # fmt: skip

    def _plan(self, author: int, source: str | None) -> dict[str, Any]:
        old, new = round(self.dice.random(), 4), round(self.dice.random(), 4)
        return {"track": TRACK, "experiment": sha(f"experiment {self.number}"), "parent": self.last,
                "source": source or sha(f"source {self.number}"), "description": self.description(),
                "change": [{"knob": self.words[self.dice.randrange(40)].upper() + "_LR", "old": old, "new": new}],
                "agent": f"agent-{author}", "proposer": "optuna"}  # fmt: skip

    def result(self, author: int, claim: Record | None = None, source: str | None = None, **more: Any) -> Record:
        dice = self.dice
        value = round(1.5 + dice.expovariate(4), 6)
        status = dice.choices(("kept", "discarded", "crashed"), (30, 60, 10))[0]
        plan = self._plan(author, source)
        if claim is not None:
            plan |= {name: claim.body[name] for name in ("experiment", "parent", "source", "description", "change")}
        body = plan | {
            "claim": claim.id if claim else None, "status": status, "metric": "val_bpb",
            "direction": "min", "value": value if status != "crashed" else None,
            "reason": None if status != "crashed" else "RuntimeError: out of memory",
            "holdout": round(value + dice.gauss(0, 0.01), 6), "holdout_gap": round(dice.gauss(0, 0.01), 6),
            "holdout_gap_sd": 0.0112, "seed": dice.randrange(2**31), "clock": "cpu", "budget_s": 60.0,
            "setup_s": round(dice.uniform(1, 2), 3), "train_wall_s": round(dice.uniform(30, 40), 3),
            "cpu_s": round(dice.uniform(59, 60), 3), "score_s": round(dice.uniform(2, 3), 3),
            "overhead_s": round(dice.uniform(0.2, 0.4), 3), "wall_s": round(dice.uniform(35, 45), 3),
            "cpu_share": round(dice.uniform(0.8, 1), 4), "contended": dice.random() < 0.1,
            "tokens_reported": dice.randrange(600_000, 900_000), "hardware_class": CLASSES[author % len(CLASSES)],
            "device": "AMD EPYC 9B14, 2 threads", "sandbox": "bubblewrap+cgroup2+seccomp",
            "software": "autoresearch 0.1.0; Python 3.11.7; torch 2.13.0+cpu; Linux 6.18",
            "source_bytes": 25_000 + dice.randrange(300), "log": sha(f"log {self.number}"),
            "checks": {"causality": round(dice.gauss(0, 1e-5), 9), "order": round(dice.gauss(0, 1e-6), 9)},
        } | more  # fmt: skip
        made = self.sign(author, "result", body)
        if status == "kept" and dice.random() < 0.3:
            self.last = made.id
        return made

    def records(self, results: int) -> Iterator[Record]:
        """Yields so many results, and now and then something else."""
        for number in range(results):
            author = self.author()
            claim = None
            if number % OTHERS_EVERY == 0:
                yield from self._other(number // OTHERS_EVERY, author)
                claim = self.claim(author)
                yield claim
            yield self.result(author, claim)

    def _other(self, turn: int, author: int) -> Iterator[Record]:
        text = self.description()
        if turn % 5 == 0:
            yield self.sign(author, "hypothesis", {"track": TRACK, "text": text, "change": [], "agent": "a"})
        elif turn % 5 == 1:
            yield self.sign(author, "insight", {"track": TRACK, "text": text, "evidence": [], "agent": "a"})
        elif turn % 25 == 2:
            wrong = self.result(author)
            yield wrong
            yield self.sign(author, "retraction", {"target": wrong.id, "reason": "measured on a busy machine"})


def odds() -> list[float]:
    """Returns the cumulative weights by which the words are drawn."""
    return list(accumulate(1 / (n + 1) for n in range(WORDS)))


def words(count: int) -> list[str]:
    """Returns made-up words, all different, whose beginnings differ soon."""
    dice = Random(7)
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(dice.choice("bdfgklmnprstvz") + dice.choice("aeiou") for _ in range(dice.randint(2, 4)))] = None
    return list(found)


def write(path: Path, results: int) -> int:
    """Writes a world into a file, each record after its length; returns how many records there are."""
    count = 0
    with path.open("wb") as file:
        for made in World().records(results):
            file.write(_LENGTH.pack(len(made.raw)) + made.raw)
            count += 1
    return count


def read(path: Path) -> Iterator[bytes]:
    """Yields the records of a file."""
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            yield file.read(_LENGTH.unpack(head)[0])
