"""What the agent knows before it proposes: the best to build on, everything that was tried, what others ask for.

Reads the replica only, and of a large one the newest part: what is held does not grow with the network. The sources of
past results are kept in memory by their hash, so that a thousand experiments later a thought still takes milliseconds.
"""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from ensue.errors import BlobMissing, UnknownId
from ensue.store import ResultRow, Store
from experiments.experiment import experiment_key
from experiments.proposers import Context, Idea, Proposal, Proposer, Trial
from experiments.track import Track
from verify.evidence import noise_sd

NOISE_PRIOR_WEIGHT = 8.0  # the track's stated noise counts like this many repeats
IDEAS_REMEMBERED = 20  # the share of ideas is kept over this many experiments
RESULTS_MAX = 5_000
"""Results of a track, the newest, that a thought looks at."""
TRIALS_MAX = 1_000
"""Results of one's own hardware class, the newest, whose scripts a proposer is told."""
SOURCES_BYTES_MAX = 64 * 1024 * 1024
"""Scripts that are held in memory; at least those of TRIALS_MAX results of usual size."""
PARENTS_MAX = 100
"""Results at the top of the leaderboard, one of which is built on while the best one's script is not here."""
IDEAS_MAX = 100
"""Open hypotheses, the oldest, that a proposer is told."""
MEASURED = ("kept", "discarded")


@dataclass(frozen=True)
class Plan:
    """A proposal with what it builds on: `parent` is None for the first run of a track."""

    proposal: Proposal
    parent: ResultRow | None
    experiment: str


@dataclass(frozen=True)
class Wait:
    """Nothing to do right now, and why, in a few words: another node is about to find out what is needed first."""

    reason: str


class Memory:
    """One device's view of a track in the replica; `own` is the peer id whose results need nobody's word."""

    def __init__(
        self, store: Store, track: Track, hardware_class: str, *, ideas_share: float, own: str | None = None
    ) -> None:
        self._store = store
        self._own = own
        self._track = track
        self._class = hardware_class
        self._sources: OrderedDict[str, str] = OrderedDict()
        self._sources_bytes = 0
        self._ideas_share = ideas_share
        self._baseline: ResultRow | None = None
        self._rows: tuple[int, list[ResultRow]] = (-1, [])
        self._was_idea: deque[bool] = deque(maxlen=IDEAS_REMEMBERED)

    def _results(self) -> list[ResultRow]:
        """Return the newest results of the track, in order of arrival; read again only when the replica has grown."""
        count = self._store.count()
        if self._rows[0] != count:
            self._rows = (count, self._store.results(self._track.id, limit=RESULTS_MAX))
        return self._rows[1]

    def best(self) -> ResultRow | None:
        """Return the best result of this hardware class, else the best of all, else None; to be built on."""
        return self.best_of_class() or self._best(None)

    def best_of_class(self) -> ResultRow | None:
        """Return the best result of this hardware class that one may build on.

        A confirmed one where there is one; else, where there are official results, one of them or one's own: whoever
        makes up a key can make up a value.
        """
        return self._best(self._class)

    def _best(self, hardware_class: str | None) -> ResultRow | None:
        confirmed = self._store.best(self._track.id, hardware_class=hardware_class, level="confirmed")
        if confirmed is not None:
            return confirmed
        official = self._store.best(self._track.id, hardware_class=hardware_class, level="official")
        if official is None:
            return self._store.best(self._track.id, hardware_class=hardware_class)
        own = self._store.best(self._track.id, hardware_class=hardware_class, author=self._own) if self._own else None
        if own is None or own.value is None or official.value is None:
            return official
        better = own.value < official.value if self._track.direction == "min" else own.value > official.value
        return own if better else official

    def baseline(self) -> ResultRow | None:
        """Return the first value measured in this hardware class: what gains are told against."""
        if self._baseline is None and self._store.best(self._track.id, hardware_class=self._class) is not None:
            self._baseline = next(self._measured(), None)
        return self._baseline

    def _measured(self) -> Iterator[ResultRow]:
        """Yield the results of this class that have a value and nothing against them, from the first one on."""
        for record in self._store.records(kind="result"):
            body = record.body
            if body.get("track") == self._track.id and body.get("hardware_class") == self._class:
                with suppress(UnknownId):  # a body that breaks the rules of its kind is kept, and no result
                    row = self._store.result(record.id)
                    if row.value is not None and not row.flags:
                        yield row

    def noise_sd(self) -> float:
        """Return the standard deviation of one run in this class: the track's figure, moved by repeats seen here."""
        groups: dict[str, list[float]] = defaultdict(list)
        for row in self._results():
            if row.value is not None and row.hardware_class == self._class and not row.flags:
                groups[row.source].append(row.value)
        return noise_sd(groups.values(), self._track.noise_sd, NOISE_PRIOR_WEIGHT)

    def plan(self, proposer: Proposer, *, seed: int) -> Plan | Wait:
        """Return what to try next; the first run of a track, or of a hardware class, is a script as it stands.

        Nothing can be built before that one, so where another node is at it the answer is to wait.
        """
        if self.best() is None:
            baseline = self._track.baseline.read_text(encoding="utf-8")
            first = self._unchanged(baseline, None, "baseline", "Everything is measured against the unchanged script.")
            return self._unless_held(first, "the baseline is being measured elsewhere")
        best, parent_source = self._parent()
        if best is None or parent_source is None:
            return Wait("the scripts of the best results have not arrived yet")
        if best.hardware_class != self._class:
            why = f"A first value on {self._class}: so far this script ran on {best.hardware_class} only."
            first = self._unchanged(parent_source, best, f"rerun: {best.description}"[:200], why)
            return self._unless_held(first, "the best script is being measured elsewhere on hardware that is new to it")
        proposal = proposer.propose(self._context(best, parent_source, seed))
        self._was_idea.append(proposal.hypothesis is not None)
        return Plan(proposal, best, experiment_key(self._track.id, parent_source, proposal.source))

    def _parent(self) -> tuple[ResultRow | None, str | None]:
        """Return the best result whose script is here, and the script: a record may arrive before what it names."""
        best = self.best()
        source = None if best is None else self._source(best.source)
        if best is None or source is not None:
            return best, source
        level = "official" if self._store.best(self._track.id, level="official") else "recorded"
        others = self._store.leaderboard(self._track.id, limit=PARENTS_MAX, level=level)
        here = [row for row in others if row.status == "kept" and self._source(row.source) is not None]
        chosen = next((row for row in here if row.hardware_class == self._class), here[0] if here else None)
        return chosen, None if chosen is None else self._source(chosen.source)

    def _unless_held(self, plan: Plan, reason: str) -> Plan | Wait:
        return plan if self._store.claims.held(plan.experiment) is None else Wait(reason)

    def _unchanged(self, source: str, parent: ResultRow | None, description: str, why: str) -> Plan:
        proposal = Proposal(source, description, [], None, None, None, why)
        return Plan(proposal, parent, experiment_key(self._track.id, None if parent is None else source, source))

    def _context(self, best: ResultRow, parent_source: str, seed: int) -> Context:
        own = [row for row in self._results() if row.hardware_class == self._class][-TRIALS_MAX:]
        trials = [
            Trial(source, row.value if row.status in MEASURED else None, row.status)
            for row in own
            if (source := self._source(row.source)) is not None
        ]
        return Context(
            track_id=self._track.id,
            direction=self._track.direction,
            parent_source=parent_source,
            parent_value=best.value,
            trials=trials,
            taken=lambda key: self._store.claims.taken(key) is not None,
            ideas=self._ideas(),
            seed=seed,
            noise_sd=self.noise_sd(),
        )

    def _ideas(self) -> list[Idea]:
        """Return people's open hypotheses, oldest first, unless they had their share of the last experiments."""
        if sum(self._was_idea) > self._ideas_share * max(1, len(self._was_idea)):
            return []
        return [
            Idea(row.id, row.text, row.change, self._source(row.source) if row.source else None)
            for row in self._store.hypotheses(self._track.id, open_only=True, limit=IDEAS_MAX)
        ]

    def _source(self, sha256: str) -> str | None:
        """Return a script by its hash, None where it is not here; one that was not asked for lately is let go."""
        if sha256 in self._sources:
            self._sources.move_to_end(sha256)
            return self._sources[sha256]
        try:
            source = self._store.blob(sha256).decode("utf-8", "replace")
        except BlobMissing:
            return None
        self._sources[sha256] = source
        self._sources_bytes += len(source)
        while self._sources_bytes > SOURCES_BYTES_MAX:
            self._sources_bytes -= len(self._sources.popitem(last=False)[1])
        return source
