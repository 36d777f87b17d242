"""What was found about a result by reruns, and what is to be rerun: plain values, kept as text.

Left out: finding it (trust). Rejected: pydantic models, which every query would have to import.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

FORM = 2
"""Which fields a ruling has as text; another number with each change of them."""


@dataclass(frozen=True, slots=True)
class Task:
    """One block that may be run: parent and child with seed one, child and parent with seed two.

    Without a `seat` it may be run and is shown, and does not count. `transfer`: in a class that is not the author's.
    """

    result: str
    parent: str
    source: str
    parent_source: str
    track: str
    hardware_class: str
    block: int
    seeds: tuple[int, int]
    seat: int | None
    transfer: bool


@dataclass(frozen=True, slots=True)
class ClassRuling:
    """What the pairs of one hardware class say; see verdict.Verdict. `run_sd` is the noise of one run there."""

    answer: str
    evidence: float
    evidence_needed: float
    pairs: int
    pairs_needed: int
    accounts: int
    gain: float | None
    gain_sd: float | None
    refuted: bool
    run_sd: float
    freedom: float
    measured: float | None = None
    """What reruns say that the value is: the median of the accounts' means."""
    counted: Mapping[str, int] = field(default_factory=dict)
    """Account to its pairs that count."""
    done: Mapping[str, int] = field(default_factory=dict)
    """Account with a seat to the blocks, from the first on, that it has finished."""
    closed: tuple[str, ...] = ()
    """Accounts that left a block out, and so can add nothing more."""
    repeats: tuple[str, ...] = ()
    """Accounts that saw one value of the candidate with every seed, of which more would tell nothing."""
    seats: tuple[str, ...] = ()
    pairs_each: int = 0
    """Pairs that one account may add."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """All that reruns say about a result of an account; `number` and `alpha` are None before a draw was made."""

    result: str
    parent: str | None
    account: str
    track: str
    hardware_class: str
    listed: bool
    number: int | None
    alpha: float | None
    confirmed_before: int
    numbered_for: str = ""
    """The account among whose candidates it has its number, also where it is not official or does not count."""
    classes: Mapping[str, ClassRuling] = field(default_factory=dict)
    ignored: tuple[tuple[str, str], ...] = ()
    """Replications that do not count, or not whole, and why."""
    unfinished: tuple[str, ...] = ()
    """Duties that have come to nothing so far."""

    @property
    def own(self) -> ClassRuling | None:
        """Return what is said in the author's own class."""
        return self.classes.get(self.hardware_class)

    @property
    def drawn(self) -> bool:
        """Return whether there was a draw."""
        return self.number is not None

    @property
    def seats(self) -> tuple[str, ...]:
        """Return the accounts that rerun it in the author's class."""
        return self.own.seats if self.own else ()

    @property
    def counted(self) -> Mapping[str, int]:
        """Return the pairs of each account that count in the author's class."""
        return self.own.counted if self.own else {}

    @property
    def refuted(self) -> bool:
        """Return whether the author's own figure is beyond luck."""
        return self.own is not None and self.own.refuted

    @property
    def answer(self) -> str:
        """Return the verdict: refuted, or better, tie, worse or not yet."""
        if self.own is None:
            return "not yet"
        return "refuted" if self.own.refuted else self.own.answer

    @property
    def confirmed(self) -> bool:
        """Return whether the result is confirmed, as long as it is official."""
        return self.answer == "better"

    def text(self) -> str:
        """Return it as text that `read` takes back."""
        return json.dumps({"form": FORM} | asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def read(cls, text: str) -> Ruling | None:
        """Return what `text` wrote; None where another version did, as while a node runs that was upgraded since."""
        fields: dict[str, Any] = json.loads(text)
        if fields.pop("form", None) != FORM:
            return None
        classes = {
            name: ClassRuling(**one | {field: tuple(one[field]) for field in ("closed", "repeats", "seats")})
            for name, one in fields["classes"].items()
        }
        pairs = tuple((key, why) for key, why in fields["ignored"])
        return cls(**fields | {"classes": classes, "ignored": pairs, "unfinished": tuple(fields["unfinished"])})
