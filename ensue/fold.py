"""Derives what the network knows from a set of records: a pure function, free of order, repetition and clocks.

Rules: (1) two records of one author with one sequence number freeze that author from that number on; frozen records are
kept and count for nothing. (2) A retraction counts for records of its own author only, and is final. (3) A result's
descendants are tainted when it is retracted. (4) A claim is open until its author retracts it or gives a result for it.
(5) Bests are kept results, neither retracted nor frozen, by value, ties by id.
The live tables (store.tables) follow the same rules step by step; this is the short form that they are checked against.
Rejected: storing a best as a record, which somebody would have to be allowed to write. A claim's expiry is left out,
since it needs a clock.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ensue.errors import InvalidBody
from ensue.kinds import Body, Claim, Hypothesis, Insight, Result, Retraction, parse_body
from ensue.record import Record

PLACES = {"kept": 0, "discarded": 1}
"""Order on a leaderboard before the value decides: kept, then discarded; every other status comes last."""
PLACE_UNMEASURED = 2

_NEVER = 2**62  # beyond every sequence number


@dataclass(frozen=True, slots=True)
class Standing:
    """What may be said against a record; none of it means that it counts."""

    retracted: bool = False
    frozen: bool = False
    tainted: bool = False
    """A result of which an ancestor was retracted; it still counts, with a flag."""

    @property
    def counts(self) -> bool:
        """Whether the record counts."""
        return not (self.retracted or self.frozen)


@dataclass(frozen=True, slots=True)
class State:
    """What a set of records amounts to. Ids throughout; every mapping is keyed by id unless said otherwise."""

    kinds: Mapping[str, str]
    heads: Mapping[str, int]
    """Author to the highest sequence number."""
    frozen: Mapping[str, int]
    """Author to the sequence number from which nothing counts."""
    results: Mapping[str, Standing]
    parents: Mapping[str, str]
    """Result to its parent result, where both are here."""
    bests: Mapping[tuple[str, str, str], str]
    """(track, "all" | "class" | "author", name or "") to the best result."""
    claims: Mapping[str, bool]
    """Claim to whether it is open."""
    hypotheses: Mapping[str, tuple[Standing, int]]
    """Hypothesis to its standing and the number of results that tried it."""
    insights: Mapping[str, Standing]
    counts: Mapping[tuple[str, str, str], int]
    """(track, author, status) to the number of results that count."""

    def lines(self) -> Iterator[str]:
        """Yields the state as text, one fact a line, in one possible order."""
        yield from (line("record", key, kind) for key, kind in sorted(self.kinds.items()))
        yield from (line("head", author, seq) for author, seq in sorted(self.heads.items()))
        yield from (line("frozen", author, seq) for author, seq in sorted(self.frozen.items()))
        for key, standing in sorted(self.results.items()):
            yield line("result", key, self.parents.get(key, "-"), *marks(standing))
        yield from (line("claim", key, int(is_open)) for key, is_open in sorted(self.claims.items()))
        for key, (standing, tried) in sorted(self.hypotheses.items()):
            yield line("hypothesis", key, tried, *marks(standing))
        yield from (line("insight", key, *marks(standing)) for key, standing in sorted(self.insights.items()))
        yield from (line("best", *scope, key) for scope, key in sorted(self.bests.items()))
        yield from (line("count", *group, number) for group, number in sorted(self.counts.items()))

    def digest(self) -> str:
        """Returns the SHA-256 of the lines."""
        return digest_of(self.lines())


def line(*parts: str | int) -> str:
    """Returns one fact as text; no part can pass for two, since lengths are written too."""
    texts = [str(part) for part in parts]
    return "\t".join((",".join(str(len(text)) for text in texts), *texts))


def marks(standing: Standing) -> tuple[int, int, int]:
    """Returns a standing as three numbers."""
    return int(standing.retracted), int(standing.frozen), int(standing.tainted)


def digest_of(lines: Iterable[str]) -> str:
    """Returns the SHA-256 of lines in the order given."""
    total = hashlib.sha256()
    for text in lines:
        total.update(text.encode())
        total.update(b"\n")
    return total.hexdigest()


def score(result: Result) -> float | None:
    """Returns the value so that less is better, or None when nothing was measured."""
    if result.value is None:
        return None
    return (-result.value if result.direction == "max" else result.value) + 0.0  # no -0.0


def fold(records: Iterable[Record]) -> State:
    """Returns the state of a set of records; order and repetition do not matter.

    Time is linear in their number, and so is memory, at under 1 kB a record: bodies are not kept.
    """
    pool: dict[str, str] = {}
    known: dict[str, Fact] = {}
    for record in records:
        if record.id not in known:
            known[record.id] = _fact(record, pool)
    return fold_facts(known)


def fold_facts(known: Mapping[str, "Fact"]) -> State:
    """Returns the state of a set of records, of which the facts are given by id."""
    frozen = _frozen(known.values())
    retracted = set(_retracted(known, frozen))

    def standing(key: str, tainted: bool = False) -> Standing:
        fact = known[key]
        return Standing(key in retracted, fact.seq >= frozen.get(fact.author, _NEVER), tainted)

    results = {key: fact for key, fact in known.items() if fact.role is Result}
    parents = {key: fact.parent for key, fact in results.items() if fact.parent is not None and fact.parent in results}
    tainted = _tainted(retracted & results.keys(), parents)
    standings = {key: standing(key, key in tainted) for key in results}
    counting = {key: fact for key, fact in results.items() if standings[key].counts}
    answered = {fact.claim for key, fact in results.items() if not standings[key].frozen and _answers(fact, known)}
    tried = Counter(
        known[fact.claim].hypothesis for fact in counting.values() if fact.claim is not None and _answers(fact, known)
    )
    heads: dict[str, int] = {}
    for fact in known.values():
        heads[fact.author] = max(fact.seq, heads.get(fact.author, 0))
    return State(
        kinds={key: fact.kind for key, fact in known.items()},
        heads=heads,
        frozen=frozen,
        results=standings,
        parents=parents,
        bests=_bests(counting),
        claims={key: standing(key).counts and key not in answered for key, fact in known.items() if fact.role is Claim},
        hypotheses={key: (standing(key), tried[key]) for key, fact in known.items() if fact.role is Hypothesis},
        insights={key: standing(key) for key, fact in known.items() if fact.role is Insight},
        counts=Counter((fact.track, fact.author, fact.status) for fact in counting.values()),
    )


@dataclass(frozen=True, slots=True)
class Fact:
    """What the rules need of a record; `role` is None where the kind is unknown or the body breaks its rules."""

    author: str
    seq: int
    kind: str
    role: type[Body] | None
    track: str = ""
    status: str = ""
    score: float | None = None
    hardware_class: str = ""
    claim: str | None = None
    parent: str | None = None
    hypothesis: str | None = None
    target: str | None = None


def _fact(record: Record, pool: dict[str, str]) -> Fact:
    def shared(text: str) -> str:
        return pool.setdefault(text, text)

    try:
        body = parse_body(record.kind, record.body)
    except InvalidBody:
        body = None  # kept like a kind that is unknown
    author, kind = shared(record.author), shared(record.kind)
    if isinstance(body, Result):
        return Fact(
            *(author, record.seq, kind, Result, shared(body.track), shared(body.status), score(body)),
            *(shared(body.hardware_class), body.claim, body.parent),
        )
    if isinstance(body, Claim):
        return Fact(author, record.seq, kind, Claim, hypothesis=body.hypothesis)
    if isinstance(body, Retraction):
        return Fact(author, record.seq, kind, Retraction, target=body.target)
    return Fact(author, record.seq, kind, None if body is None else type(body))


def _answers(result: Fact, known: Mapping[str, Fact]) -> bool:
    """Whether the claim that a result names is a claim of its own author."""
    claim = known.get(result.claim) if result.claim is not None else None
    return claim is not None and claim.role is Claim and claim.author == result.author


def _frozen(facts: Iterable[Fact]) -> dict[str, int]:
    numbers = Counter((fact.author, fact.seq) for fact in facts)
    frozen: dict[str, int] = {}
    for (author, seq), times in numbers.items():
        if times > 1:
            frozen[author] = min(seq, frozen.get(author, seq))
    return frozen


def _retracted(known: Mapping[str, Fact], frozen: Mapping[str, int]) -> Iterator[str]:
    for fact in known.values():
        if fact.target is not None and fact.target in known:
            own = known[fact.target].author == fact.author
            if own and fact.seq < frozen.get(fact.author, _NEVER):
                yield fact.target


def _tainted(retracted: Iterable[str], parents: Mapping[str, str]) -> set[str]:
    children: dict[str, list[str]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    tainted: set[str] = set()
    waiting = list(retracted)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in tainted:
                tainted.add(child)
                waiting.append(child)
    return tainted


def _bests(counting: Mapping[str, Fact]) -> dict[tuple[str, str, str], str]:
    found: dict[tuple[str, str, str], tuple[float, str]] = {}
    for key, fact in counting.items():
        if fact.status != "kept" or fact.score is None:
            continue
        for scope, name in (("all", ""), ("class", fact.hardware_class), ("author", fact.author)):
            place = (fact.track, scope, name)
            found[place] = min((fact.score, key), found.get(place, (fact.score, key)))
    return {place: key for place, (_, key) in found.items()}
