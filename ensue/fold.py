"""Derives what the network knows from a set of records: a pure function, free of order, repetition and clocks.

Rules: (1) two records of one author with one sequence number freeze that author from that number on; frozen records are
kept and count for nothing. (2) A retraction counts for records of its own author only, and is final. (3) A result's
descendants are tainted when it is retracted. (4) A claim is open until its author retracts it or gives a result for it.
(5) Bests are kept results that count, by value, ties by id; official ones once more by themselves. (6) Whose key is
revoked, whom verifiers vouch for and who may vouch: the rules of people.
The live tables (store.tables) follow the same rules step by step; this is the short form that they are checked against.
Rejected: storing a best as a record, which somebody would have to be allowed to write. A claim's expiry is left out,
since it needs a clock.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ensue import people
from ensue.facts import Fact, fact_of
from ensue.kinds import Claim, Delegation, Hypothesis, Insight, Result
from ensue.people import NEVER, Span, Successors, Trust, Vouch, Withdrawal
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
    revoked: bool = False
    """Its author's account took its word from the key before this record."""
    official: bool = False
    """A result that enough trusted verifiers vouch for."""

    @property
    def counts(self) -> bool:
        """Whether the record counts."""
        return not (self.retracted or self.frozen or self.revoked)


@dataclass(frozen=True, slots=True)
class State:
    """What a set of records amounts to. Ids throughout; every mapping is keyed by id unless said otherwise."""

    kinds: Mapping[str, str]
    heads: Mapping[str, int]
    """Author to the highest sequence number."""
    frozen: Mapping[str, int]
    """Author that forked its log to the sequence number from which nothing counts."""
    revoked: Mapping[str, int]
    """The same for authors whose account revoked them, where that is lower."""
    speaks: Mapping[str, tuple[Span, ...]]
    """Node to the accounts that it speaks for, each with the number from which on."""
    trusted: people.InForce
    results: Mapping[str, Standing]
    parents: Mapping[str, str]
    """Result to its parent result, where both are here."""
    bests: Mapping[tuple[str, str, str], str]
    """(track, "all" | "class" | "author", name or "") to the best result."""
    officials: Mapping[tuple[str, str, str], str]
    """(track, "all" | "class" | "account", name or "") to the best official result."""
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
        yield from (line("revoked", author, seq) for author, seq in sorted(self.revoked.items()))
        for node, speaks in sorted(self.speaks.items()):
            yield from (line("speaks", node, start, account) for start, account in speaks)
        yield line("trusted", self.trusted.epoch, self.trusted.needed, *sorted(self.trusted.verifiers))
        for key, standing in sorted(self.results.items()):
            yield line("result", key, self.parents.get(key, "-"), *marks(standing))
        yield from (line("claim", key, int(is_open)) for key, is_open in sorted(self.claims.items()))
        for key, (standing, tried) in sorted(self.hypotheses.items()):
            yield line("hypothesis", key, tried, *marks(standing))
        yield from (line("insight", key, *marks(standing)) for key, standing in sorted(self.insights.items()))
        yield from (line("best", *scope, key) for scope, key in sorted(self.bests.items()))
        yield from (line("official", *scope, key) for scope, key in sorted(self.officials.items()))
        yield from (line("count", *group, number) for group, number in sorted(self.counts.items()))

    def digest(self) -> str:
        """Returns the SHA-256 of the lines."""
        return digest_of(self.lines())


def line(*parts: str | int) -> str:
    """Returns one fact as text; no part can pass for two, since lengths are written too."""
    texts = [str(part) for part in parts]
    return "\t".join((",".join(str(len(text)) for text in texts), *texts))


def marks(standing: Standing) -> tuple[int, int, int, int]:
    """Returns a standing as four numbers; the second is void_mark's."""
    void = void_mark(standing.frozen, standing.revoked)
    return int(standing.retracted), void, int(standing.tainted), int(standing.official)


def void_mark(frozen: bool, revoked: bool) -> int:
    """Returns why a record is void: 1 its author forked its log before it, 2 its key was revoked, 0 it is not."""
    return 1 if frozen else 2 if revoked else 0


def digest_of(lines: Iterable[str]) -> str:
    """Returns the SHA-256 of lines in the order given."""
    total = hashlib.sha256()
    for text in lines:
        total.update(text.encode())
        total.update(b"\n")
    return total.hexdigest()


def fold(records: Iterable[Record], trust: Trust | None = None) -> State:
    """Returns the state of a set of records in a network founded with `trust`; order and repetition do not matter.

    Time is linear in their number, and so is memory, at under 1 kB a record: bodies are not kept.
    """
    pool: dict[str, str] = {}
    known: dict[str, Fact] = {}
    for record in records:
        if record.id not in known:
            known[record.id] = fact_of(record, pool)
    return fold_facts(known, trust)


def fold_facts(known: Mapping[str, Fact], trust: Trust | None = None) -> State:
    """Returns the state of a set of records, of which the facts are given by id."""
    frozen = _frozen(known.values())
    speaks, void = _spoken(known.values(), frozen)
    revoked = {author: seq for author, seq in void.items() if seq < frozen.get(author, NEVER)}
    retracted = set(_retracted(known, void))
    trusted = people.in_force(
        trust or Trust(), (one.says for one in known.values() if isinstance(one.says, Successors))
    )
    covers = _covers(known, void, retracted, trusted)

    def standing(key: str, tainted: bool = False) -> Standing:
        fact = known[key]
        forked = fact.seq >= frozen.get(fact.author, NEVER)
        return Standing(key in retracted, forked, tainted, not forked and fact.seq >= void.get(fact.author, NEVER))

    def judged(key: str, tainted: bool) -> Standing:
        fact, found = known[key], standing(key, tainted)
        account = people.account_at(speaks.get(fact.author, ()), fact.seq) if found.counts else None
        passes = account in covers and people.is_official(
            covers[account], trusted.needed, fact.author, fact.seq, fact.time_ms
        )
        return replace(found, official=True) if passes else found

    results = {key: fact for key, fact in known.items() if fact.role is Result}
    parents = {key: fact.parent for key, fact in results.items() if fact.parent is not None and fact.parent in results}
    tainted = _tainted(retracted & results.keys(), parents)
    standings = {key: judged(key, key in tainted) for key in results}
    counting = {key: fact for key, fact in results.items() if standings[key].counts}
    answered = {
        fact.claim for key, fact in results.items() if fact.seq < void.get(fact.author, NEVER) and _answers(fact, known)
    }
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
        revoked=revoked,
        speaks=speaks,
        trusted=trusted,
        results=standings,
        parents=parents,
        bests=_bests(counting, lambda fact: (("class", fact.hardware_class), ("author", fact.author))),
        officials=_bests(
            {key: fact for key, fact in counting.items() if standings[key].official},
            lambda fact: (
                ("class", fact.hardware_class),
                ("account", people.account_at(speaks[fact.author], fact.seq) or ""),
            ),
        ),
        claims={key: standing(key).counts and key not in answered for key, fact in known.items() if fact.role is Claim},
        hypotheses={key: (standing(key), tried[key]) for key, fact in known.items() if fact.role is Hypothesis},
        insights={key: standing(key) for key, fact in known.items() if fact.role is Insight},
        counts=Counter((fact.track, fact.author, fact.status) for fact in counting.values()),
    )


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


def _spoken(facts: Iterable[Fact], frozen: Mapping[str, int]) -> tuple[dict[str, tuple[Span, ...]], dict[str, int]]:
    """Returns for whom each node speaks, and from which number on each author's records are void."""
    delegations: dict[str, list[Span]] = {}
    revoked: dict[tuple[str, str], int] = {}
    for fact in facts:
        if fact.role is Delegation and isinstance(fact.says, str):
            delegations.setdefault(fact.author, []).append((fact.seq, fact.says))
        elif isinstance(fact.says, Withdrawal):
            place = fact.says.node, fact.says.account
            revoked[place] = min(fact.says.last_seq, revoked.get(place, NEVER))
    speaks, void = {}, dict(frozen)
    for node, made in delegations.items():

        def revoked_after(account: str, node: str = node) -> int:
            return revoked.get((node, account), NEVER)

        speaks[node], void_from = people.spans(made, frozen.get(node, NEVER), revoked_after)
        if void_from < NEVER:
            void[node] = void_from
    return {node: found for node, found in speaks.items() if found}, void


def _covers(
    known: Mapping[str, Fact], void: Mapping[str, int], retracted: set[str], trusted: people.InForce
) -> dict[str | None, tuple[people.Cover, ...]]:
    """Returns what covers the records of each account that a counting credential names."""
    vouches = [
        fact.says
        for key, fact in known.items()
        if isinstance(fact.says, Vouch) and key not in retracted and fact.seq < void.get(fact.author, NEVER)
    ]
    by_address: dict[tuple[str, str], list[Vouch]] = {}
    addresses: dict[str, set[tuple[str, str]]] = {}
    for one in vouches:
        by_address.setdefault((one.verifier, one.address), []).append(one)
        addresses.setdefault(one.account, set()).add((one.verifier, one.address))
    return {
        account: people.covers_of(account, (one for place in places for one in by_address[place]), trusted)
        for account, places in addresses.items()
    }


def _retracted(known: Mapping[str, Fact], void: Mapping[str, int]) -> Iterator[str]:
    for fact in known.values():
        if fact.target is not None and fact.target in known:
            own = known[fact.target].author == fact.author
            if own and fact.seq < void.get(fact.author, NEVER):
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


def _bests(
    counting: Mapping[str, Fact], scopes: Callable[[Fact], Iterable[tuple[str, str]]]
) -> dict[tuple[str, str, str], str]:
    found: dict[tuple[str, str, str], tuple[float, str]] = {}
    for key, fact in counting.items():
        if fact.status != "kept" or fact.score is None:
            continue
        for scope, name in (("all", ""), *scopes(fact)):
            place = (fact.track, scope, name)
            found[place] = min((fact.score, key), found.get(place, (fact.score, key)))
    return {place: key for place, (_, key) in found.items()}
