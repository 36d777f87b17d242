"""A world of a million records in which people are verified and results are rerun, for the benchmark of trust.

Every author of `world` speaks for an account that one verifier vouches for; every so many kept results one is listed,
drawn for and rerun by seven accounts with a block each, as the protocol asks. One more author has 10,000 results and
nobody who vouches for it, until the end. Left out: measuring.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import world

from ensue import statements
from ensue.identity import Identity
from ensue.people import InForce, Trust
from ensue.record import Record
from verify import seating

LATE_RESULTS = 10_000
TESTED_EVERY = 150  # one kept result in so many
NOISE_SD = 0.005
GAIN = 0.01


class TrustWorld(world.World):
    """Signs what `World` signs, and what people and reruns add to it."""

    def __init__(self) -> None:
        super().__init__(authors=world.AUTHORS + 2)
        self.shares = self.shares[: world.AUTHORS]
        self.verifier, self.late = world.AUTHORS, world.AUTHORS + 1
        self.accounts = [Identity(hashlib.sha256(b"account %d" % n).digest()) for n in range(world.AUTHORS + 2)]
        name = self.identities[self.verifier].peer_id
        self.trust = Trust(world.NETWORK, name, (name,), 1)
        self.epochs = [InForce(0, world.NETWORK, 1, (name,), name, {name: 2**62})]
        self.machines: dict[str, tuple[int, str]] = {}
        self.tested = 0

    def author(self) -> int:
        """Returns one of those who are verified from the start."""
        return self.dice.choices(range(world.AUTHORS), cum_weights=self.shares)[0]

    def people(self) -> Iterator[Record]:
        """Yields who speaks for whom, who is vouched for, and which machines may be drawn."""
        for author in [*range(world.AUTHORS), self.late]:
            node = self.identities[author].peer_id
            yield self.sign(
                author, "delegation", plain(statements.delegation(self.accounts[author], world.NETWORK, node))
            )
        for author in range(world.AUTHORS):
            yield self.credential(author)
            values = [1.6 + self.dice.gauss(0, NOISE_SD) for _ in range(3)]
            body = {"track": world.TRACK, "hardware_class": self.class_of(author), "device": "cpu"}
            body |= {"source": world.sha("baseline"), "seeds": [1, 2, 3], "values": values, "software": "torch"}
            made = self.sign(author, "calibration", body)
            self.machines[made.id] = author, self.class_of(author)
            yield made

    def credential(self, author: int) -> Record:
        """Signs the verifier's word for an author's account."""
        account = self.accounts[author].peer_id
        body = {"account": account, "address": world.sha(account), "expires_ms": 2**50, "nodes": [], "supersedes": None}
        return self.sign(self.verifier, "credential", body | {"request": world.sha(f"request {author}")})

    def class_of(self, author: int) -> str:
        """Returns the hardware class of an author's machine."""
        return world.CLASSES[author % len(world.CLASSES)]

    def whole(self, results: int) -> Iterator[Record]:
        """Yields so many results with everything around them."""
        yield from self.people()
        kept = 0
        authors: dict[str, int] = {one.peer_id: n for n, one in enumerate(self.identities)}
        for number, made in enumerate(self.records(results - LATE_RESULTS)):
            yield made
            if made.kind == "result" and made.body["status"] == "kept" and made.body["parent"] is not None:
                kept += 1
                if kept % TESTED_EVERY == 0:
                    yield from self.test(made, authors[made.author])
            if number % ((results - LATE_RESULTS) // LATE_RESULTS) == 0:
                yield self.result(self.late)

    def test(self, made: Record, author: int) -> Iterator[Record]:
        """Yields the listing, the drawing and seven reruns of a result."""
        self.tested += 1
        mine = self.class_of(author)
        entrants = [key for key, (_, name) in self.machines.items() if name == mine]
        secret = world.sha(f"secret {made.id}")
        sealed = {"result": made.id, "noise_sd": NOISE_SD, "commitment": seating.commitment(secret)}
        body = {"quorum": world.NETWORK, "draw": 0, "results": [sealed], "entrants": entrants}
        listing = self.sign(self.verifier, "listing", body)
        yield listing
        opened = {"quorum": world.NETWORK, "draw": 0, "results": [{"result": made.id, "secret": secret}]}
        drawing = self.sign(self.verifier, "drawing", opened)
        yield drawing
        name = self.identities[self.verifier].peer_id
        (draw,) = seating.draws(
            made.id,
            self.epochs,
            [seating.Sealing(name, listing.seq, world.NETWORK, 0, sealed["commitment"], NOISE_SD, tuple(entrants))],
            [seating.Opening(name, drawing.seq, world.NETWORK, 0, secret)],
        )
        whose = {self.accounts[number].peer_id: number for number, _ in self.machines.values()}
        accounts = [account for account, number in whose.items() if self.class_of(number) == mine]
        gain = GAIN * self.dice.choice((0, 1))
        for account, seat in seating.seats(made.id, self.accounts[author].peer_id, [(draw, accounts)]).items():
            yield from self.rerun(made, whose[account], seat, mine, gain)

    def rerun(self, made: Record, node: int, seat: seating.Seat, mine: str, gain: float) -> Iterator[Record]:
        """Yields a duty and its replication."""
        about = {"track": world.TRACK, "result": made.id, "parent": made.body["parent"], "block": 0}
        duty = self.sign(node, "duty", about | {"hardware_class": mine})
        yield duty
        seeds = seating.seeds(made.id, self.accounts[node].peer_id, seat.value, 0)
        pairs = [
            {"seed": seed, "child_first": bool(place), "parent": self.run(0.0), "child": self.run(gain)}
            for place, seed in enumerate(seeds)
        ]
        body = about | {"duty": duty.id, "metric": "val_bpb", "direction": "min", "clock": "cpu", "budget_s": 60.0}
        body |= {"pairs": pairs, "hardware_class": mine, "device": "cpu", "sandbox": "bubblewrap", "software": "torch"}
        yield self.sign(node, "replication", body)

    def run(self, gain: float) -> dict[str, Any]:
        """Returns one run of a replication."""
        value = round(1.6 - gain + self.dice.gauss(0, NOISE_SD), 6)
        return {"status": "measured", "value": value, "holdout": value, "train_wall_s": 31.0, "cpu_s": 60.0,
                "cpu_share": 0.97, "contended": False, "reason": None}  # fmt: skip


def plain(body: Any) -> dict[str, Any]:
    """Returns the fields of a body."""
    fields: dict[str, Any] = body.model_dump(mode="json")
    return fields
