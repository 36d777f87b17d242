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
    """Returns the state of a set of records; order and repetition do not matter. Linear in their number."""
    known = {record.id: record for record in records}
    bodies = {key: _body(record) for key, record in known.items()}
    frozen = _frozen(known.values())
    retracted = set(_retracted(known, bodies, frozen))

    def standing(key: str, tainted: bool = False) -> Standing:
        record = known[key]
        return Standing(key in retracted, record.seq >= frozen.get(record.author, record.seq + 1), tainted)

    results = {key: body for key, body in bodies.items() if isinstance(body, Result)}
    parents = {key: body.parent for key, body in results.items() if body.parent in results}
    tainted = _tainted(retracted & results.keys(), parents)
    standings = {key: standing(key, key in tainted) for key in results}
    answered = {
        body.claim
        for key, body in results.items()
        if not standings[key].frozen and body.claim in known and known[body.claim].author == known[key].author
    }
    claims = {
        key: standing(key).counts and key not in answered for key, body in bodies.items() if isinstance(body, Claim)
    }
    tried = _tried(known, bodies, {key: body for key, body in results.items() if standings[key].counts})
    heads: dict[str, int] = {}
    for record in known.values():
        heads[record.author] = max(record.seq, heads.get(record.author, 0))
    counting = {key: (known[key].author, body) for key, body in results.items() if standings[key].counts}
    return State(
        kinds={key: record.kind for key, record in known.items()},
        heads=heads,
        frozen=frozen,
        results=standings,
        parents={key: parent for key, parent in parents.items() if parent is not None},
        bests=_bests(counting),
        claims=claims,
        hypotheses={key: (standing(key), tried[key]) for key, body in bodies.items() if isinstance(body, Hypothesis)},
        insights={key: standing(key) for key, body in bodies.items() if isinstance(body, Insight)},
        counts=Counter((body.track, author, body.status) for author, body in counting.values()),
    )


def _body(record: Record) -> Body | None:
    try:
        return parse_body(record.kind, record.body)
    except InvalidBody:
        return None  # kept like a kind that is unknown


def _frozen(records: Iterable[Record]) -> dict[str, int]:
    numbers = Counter((record.author, record.seq) for record in records)
    frozen: dict[str, int] = {}
    for (author, seq), times in numbers.items():
        if times > 1:
            frozen[author] = min(seq, frozen.get(author, seq))
    return frozen


def _retracted(
    known: Mapping[str, Record], bodies: Mapping[str, Body | None], frozen: Mapping[str, int]
) -> Iterator[str]:
    for key, body in bodies.items():
        if isinstance(body, Retraction) and body.target in known:
            record = known[key]
            own = known[body.target].author == record.author
            if own and record.seq < frozen.get(record.author, record.seq + 1):
                yield body.target


def _tainted(retracted: Iterable[str], parents: Mapping[str, str | None]) -> set[str]:
    children: dict[str, list[str]] = {}
    for child, parent in parents.items():
        if parent is not None:
            children.setdefault(parent, []).append(child)
    tainted: set[str] = set()
    waiting = list(retracted)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in tainted:
                tainted.add(child)
                waiting.append(child)
    return tainted


def _tried(
    known: Mapping[str, Record], bodies: Mapping[str, Body | None], counting: Mapping[str, Result]
) -> Counter[str]:
    tried: Counter[str] = Counter()
    for key, result in counting.items():
        claim = bodies.get(result.claim) if result.claim is not None else None
        if isinstance(claim, Claim) and claim.hypothesis is not None and result.claim is not None:
            tried[claim.hypothesis] += known[result.claim].author == known[key].author
    return tried


def _bests(counting: Mapping[str, tuple[str, Result]]) -> dict[tuple[str, str, str], str]:
    found: dict[tuple[str, str, str], tuple[float, str]] = {}
    for key, (author, body) in counting.items():
        value = score(body)
        if body.status != "kept" or value is None:
            continue
        for scope, name in (("all", ""), ("class", body.hardware_class), ("author", author)):
            place = (body.track, scope, name)
            found[place] = min((value, key), found.get(place, (value, key)))
    return {place: key for place, (_, key) in found.items()}
