"""What reruns say about the results of a replica: verdicts brought up to date, and what is to be rerun next.

Verdicts follow from the records alone (docs/PROTOCOL.md, T1 to T8), so every node finds the same; they are kept beside
the tables for speed, and found again when something they hang on has changed. Left out: the rules, which are pure
(seating, blocks, noise, verdict), and running anything. Rejected: verdicts as records, which somebody would have to be
allowed to write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from ensue.errors import UserError
from verify import noise
from verify.blocks import Counted, count, pairs_of, shortfalls, typical, unfinished
from verify.hearing import Hearing
from verify.ruling import ClassRuling, Ruling, Task
from verify.seating import Seat, seeds
from verify.verdict import Noise, Pair, Rules, alpha_of, is_out_of_reach, judge_pairs

if TYPE_CHECKING:
    from ensue.store import ResultRow, Store

ACCOUNT_PAIRS = (2, 16)
"""Least and most pairs that one account may add in a class."""
PAIRS_SHARED = 32
"""Pairs that the accounts of a draw share, as far as the bounds for each let them."""
BLOCK_PAIRS = 2
"""Pairs in one block."""
REPEATS_MIN = 4
"""Pairs of an account, all with one value of the candidate, after which it makes no more of them."""
REACH = 12.0
"""Standard deviations of a run by which an author's value may be better than what reruns measure: machines differ."""
FLAGS_AGAINST = frozenset(("retracted", "frozen", "revoked"))

__all__ = ["ClassRuling", "Judge", "Ruling", "Task"]


class Judge:
    """Judges the results of one replica, by rules that are the same in every network."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rules = Rules()

    # Verdicts

    def settle(self) -> int:
        """Bring every verdict up to date; return how many were found anew. Cheap where nothing has changed."""
        return self._store.trials.settle(self._judge)

    def ruling(self, result: str) -> Ruling | None:
        """Return what was found about a result when it was judged last; None where nobody has listed or rerun it."""
        said = self._store.trials.said(result)
        return None if said is None else Ruling.read(said)

    def rulings(self) -> list[Ruling]:
        """Return what was found about every result that was judged, in order of id."""
        read = (Ruling.read(said) for _, said in self._store.trials.all_said())
        return [one for one in read if one is not None]

    def run_noise(self, track: str, hardware_class: str, prior_sd: float) -> tuple[float, float]:
        """Return the standard deviation of one run in a class, in the metric's unit, and its degrees of freedom.

        `prior_sd` is the track's own figure.
        """
        return Hearing(self._store).run_noise(track, hardware_class, prior_sd)

    def _judge(self, targets: Sequence[str]) -> Iterator[tuple[str, str, float | None, str]]:
        """Yield the id, answer, measured score and ruling of all results on which what has changed has a bearing."""
        hearing = Hearing(self._store)
        changed = self._changed(hearing, targets)
        accounts: dict[str, set[str]] = {}
        nobodys = []
        for key in sorted(changed):
            row, before = hearing.result(key), self.ruling(key)
            if row is None:
                continue
            # Whose it was has others of its results numbered anew, whatever becomes of this one.
            affected = hearing.account_of(row.author, row.seq), before.numbered_for if before is not None else None
            for name in affected:
                accounts.setdefault(name or "", set())
            account = _author(hearing, row)
            if account is None:
                nobodys.append(row)
            else:
                accounts[account].add(key)
        accounts.pop("", None)
        rulings = [self._of_nobody(hearing, nobodys)]
        rulings += (self._of_account(hearing, account, keys) for account, keys in sorted(accounts.items()))
        for one in chain.from_iterable(rulings):
            yield one.result, one.answer, _score(hearing, one), one.text()

    def _changed(self, hearing: Hearing, targets: Sequence[str]) -> set[str]:
        """Return the results to be judged: those named, their children, and those of a track whose noise has moved."""
        found: set[str] = set()
        for target in targets:
            row = hearing.result(target)
            if row is not None:
                trials = self._store.trials
                duties = [*trials.about(target, "duty"), *trials.about(target, "replication")]
                found.update(one.body["result"] for one in duties)  # its own and its children's
                found.update([target] if trials.about(target, "listing") else [])
                continue
            for said in self._store.trials.all_said() if self._store.results(target, limit=1) else ():
                before = Ruling.read(said[1])
                if before is None:
                    found.add(said[0])
                elif before.track == target and self._has_moved(hearing, before):
                    found.add(before.result)
        return found

    def _has_moved(self, hearing: Hearing, before: Ruling) -> bool:
        """Return whether a verdict may hang on a calibration that has changed: by noise, seats or pairs for each."""
        row = hearing.result(before.result)
        if row is None or len(hearing.draws(row.id)) > 1:  # then a seat may be another draw's, with other seeds
            return True
        seats = hearing.seats(row, before.account)
        if set(seats) != set(before.classes):
            return True
        prior = _prior(hearing, row.id)
        for name, one in before.classes.items():
            run_sd, freedom = hearing.run_noise(before.track, name, prior)
            now = _figures(run_sd), freedom, _in_order(seats[name]), _pairs_each(hearing, row, before.account, name)
            if now != (one.run_sd, one.freedom, one.seats, one.pairs_each):
                return True
        return False

    def _of_nobody(self, hearing: Hearing, rows: Sequence[ResultRow]) -> Iterator[Ruling]:
        """Yield the rulings of results that are not official, or do not count: nothing is said about them."""
        for row in rows:
            listed = bool(self._store.trials.about(row.id, "listing"))
            one = Ruling(row.id, row.parent, "", row.track, row.hardware_class, listed, None, None, 0)
            yield replace(one, numbered_for=hearing.account_of(row.author, row.seq) or "")

    def _of_account(self, hearing: Hearing, account: str, keys: set[str]) -> Iterator[Ruling]:
        """Yield the rulings of an account's results that have changed, in the order in which they are numbered."""
        nodes = [one.node for one in self._store.people.nodes(account)]
        drawn, waiting = [], sorted(keys)
        for key in sorted({*self._store.trials.candidates(nodes), *keys}):
            row = hearing.result(key)
            # One that was withdrawn keeps its number, so that nobody makes room by withdrawing what has failed.
            mine = row is not None and hearing.account_of(row.author, row.seq) == account
            draws = hearing.draws(key) if mine else ()
            if draws:
                drawn.append((draws[0].place, key))
        confirmed = 0
        for number, (_, key) in enumerate(sorted(drawn), start=1):
            row, before = hearing.result(key), self.ruling(key)
            assert row is not None
            if _author(hearing, row) is None:
                continue
            if key in keys or before is None or (before.number, before.confirmed_before) != (number, confirmed):
                before = self._one(hearing, account, row, number, confirmed)
                yield before
            waiting = [other for other in waiting if other != key]
            confirmed += before.confirmed
        for key in waiting:
            row = hearing.result(key)
            if row is not None:
                yield self._one(hearing, account, row, None, 0)

    def _one(self, hearing: Hearing, account: str, row: ResultRow, number: int | None, confirmed: int) -> Ruling:
        """Return what reruns say about one result of an account."""
        listed = bool(self._store.trials.about(row.id, "listing"))
        duties, told = hearing.duties(row), hearing.told(row)
        blank = Ruling(row.id, row.parent, account, row.track, row.hardware_class, listed, number, None, confirmed)
        blank = replace(blank, unfinished=unfinished(duties, told), numbered_for=account)
        if number is None:
            return replace(blank, ignored=tuple((one.id, "there was no draw yet") for one in told))
        rules = replace(self._rules, alpha=alpha_of(number, confirmed))
        seats = hearing.seats(row, account)
        classes: dict[str, ClassRuling] = {}
        ignored: set[tuple[str, str]] = set()
        for name in sorted({*seats, *(one.body["hardware_class"] for one in told)}):
            given = seats.get(name, {})
            counted = count(facts_of(row), account, name, given, duties, told)
            classes[name], left_out = self._in_class(hearing, account, row, name, rules, given, counted)
            ignored.update((*counted.ignored, *left_out))
        return replace(blank, alpha=rules.alpha, classes=classes, ignored=tuple(sorted(ignored)))

    def _in_class(
        self,
        hearing: Hearing,
        account: str,
        row: ResultRow,
        name: str,
        rules: Rules,
        given: Mapping[str, Seat],
        counted: Counted,
    ) -> tuple[ClassRuling, list[tuple[str, str]]]:
        """Return what the pairs of one class say, and which replications have pairs that were left out, and why."""
        run_sd, freedom = hearing.run_noise(row.track, name, _prior(hearing, row.id))
        run_sd = _figures(run_sd)
        pairs, sources = pairs_of(counted, given, run_sd)
        each = _pairs_each(hearing, row, account, name)
        found = judge_pairs(
            pairs,
            author=account,
            noise=noise.of_pairs((run_sd, freedom)),
            rules=replace(rules, account_pairs_max=each),
            # Without a pair there may be no duty yet that names the parent, whose arrival then brings no new verdict.
            claimed=_claimed(hearing, row) if pairs and name == row.hardware_class else None,
        )
        shortfall = [] if row.value is None else shortfalls(counted, given, row.value)
        beyond = name == row.hardware_class and is_out_of_reach(
            shortfall,
            author=account,
            noise=Noise(run_sd, freedom),
            slack=REACH,
            rules=replace(rules, account_pairs_max=each),
        )
        left_out = {one.place for one in found.ignored}
        repeats = _repeats(pairs)
        stuck = found.answer == "not yet" and len(repeats) >= max(rules.accounts_min, rules.colluders + 1)
        said = ClassRuling(
            answer="tie" if stuck else found.answer,
            evidence=found.evidence,
            evidence_needed=found.evidence_needed,
            pairs=found.pairs,
            pairs_needed=found.pairs_needed,
            accounts=found.accounts,
            gain=found.gain,
            gain_sd=found.gain_sd,
            refuted=found.refuted or beyond,
            run_sd=run_sd,
            freedom=freedom,
            counted=dict(Counter(pair.account for place, pair in enumerate(pairs) if place not in left_out)),
            done={one: len(blocks) for one, blocks in counted.blocks.items()},
            closed=counted.closed,
            repeats=repeats,
            seats=_in_order(given),
            pairs_each=each,
            measured=None if row.value is None else typical(shortfall, row.value, row.direction),
        )
        return said, [(sources[one.place], one.why) for one in found.ignored]

    # What to rerun

    def work(self, account: str, track: str, hardware_class: str) -> list[Task]:
        """Return the blocks that an account may run on a machine of a class, the most wanted first; settle before.

        First results of this class, the one with the fewest blocks of the account first, since one account's alone
        decide nothing, then the best; then those of other classes, where they are confirmed in their own class or
        nobody but the author could rerun them there.
        """
        hearing = Hearing(self._store)
        found = []
        for ruling in self.rulings():
            if ruling.track != track or ruling.account in ("", account) or not ruling.drawn:
                continue
            here = ruling.classes.get(hardware_class)
            if here is None or account not in here.seats or here.answer != "not yet" or ruling.answer == "refuted":
                continue
            transfer = hardware_class != ruling.hardware_class
            if transfer and not (ruling.confirmed or len(ruling.seats) < self._rules.accounts_min):
                continue
            task = self._task(hearing, ruling, here, account, hardware_class)
            row = hearing.result(ruling.result)
            if task is not None and row is not None and row.value is not None:
                score = row.value if row.direction == "min" else -row.value
                found.append((transfer, task.block, score, task.result, task))
        return [task for *_, task in sorted(found, key=lambda one: one[:4])]

    def task(self, account: str, result: str, hardware_class: str) -> Task:
        """Return the next block on one result, for who wants to run it by hand; settle before.

        Raises UserError, with the reason, where there is none. Without a seat it is block 0 with seeds of its own.
        """
        hearing = Hearing(self._store)
        row = hearing.result(result)
        short = result[:12]
        if row is None:
            raise UserError(f"No result here has the id {short!r}: `autoresearch leaderboard` lists those there are.")
        against = [flag for flag in row.flags if flag in FLAGS_AGAINST]
        if against:
            raise UserError(f"{short} does not count any more ({', '.join(against)}): choose another result.")
        if row.value is None:
            raise UserError(f"{short} was {row.status}, so there is no value to compare with: choose another result.")
        parent = _before(hearing, row)
        if parent is None:
            raise UserError(f"{short} has a parent that is not here yet: try again when it has come.")
        if account == _author(hearing, row, official=False):
            raise UserError(f"{short} is your own: only others can confirm it.")
        ruling = self.ruling(result)
        here = ruling.classes.get(hardware_class) if ruling is not None else None
        if ruling is not None and here is not None and account in here.seats:
            task = self._task(hearing, ruling, here, account, hardware_class)
            if task is None and account in here.repeats:
                raise UserError(f"{short} gave one value with every seed here, so to run it again would tell nothing.")
            if task is None:
                raise UserError(f"Your account has added to {short} what it may: {here.pairs_each} pairs at most.")
            return task
        own = seeds(result, account, "0" * 64, 0)
        place = (row.id, parent.id, row.source, parent.source, row.track, hardware_class)
        return Task(*place, 0, own, None, hardware_class != row.hardware_class)

    def _task(
        self, hearing: Hearing, ruling: Ruling, here: ClassRuling, account: str, hardware_class: str
    ) -> Task | None:
        """Return an account's next block on a result, None where it may add none."""
        row = hearing.result(ruling.result)
        parent = _before(hearing, row) if row is not None else None
        block = here.done.get(account, 0)
        if row is None or parent is None or account in (*here.closed, *here.repeats):
            return None
        if block * BLOCK_PAIRS >= here.pairs_each:
            return None
        seat: Seat = hearing.seats(row, ruling.account)[hardware_class][account]
        place = (row.id, parent.id, row.source, parent.source, row.track, hardware_class)
        transfer = hardware_class != row.hardware_class
        return Task(*place, block, seeds(row.id, account, seat.value, block), seat.place, transfer)


def facts_of(row: ResultRow) -> dict[str, str | float | None]:
    """Return what a replication must agree with."""
    facts: dict[str, str | float | None] = {"id": row.id, "parent": row.parent, "track": row.track}
    return facts | {"metric": row.metric, "direction": row.direction, "clock": row.clock, "budget_s": row.budget_s}


def _author(hearing: Hearing, row: ResultRow, *, official: bool = True) -> str | None:
    """Return the account of a result's author, None where the result does not count or is not official."""
    if official and FLAGS_AGAINST & set(row.flags):
        return None
    if official:
        return hearing.vouched_for(row.author, row.seq, row.created_ms)
    return hearing.account_of(row.author, row.seq)


def _before(hearing: Hearing, row: ResultRow) -> ResultRow | None:
    """Return what a result is rerun beside: its parent, or itself where it has none; None where that is not here."""
    return row if row.parent is None else hearing.result(row.parent)


def _repeats(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return the accounts all of whose pairs, if there are enough, have one value of the candidate."""
    values: dict[str, list[float]] = {}
    for pair in pairs:
        values.setdefault(pair.account, []).append(pair.values[-1])
    return tuple(sorted(one for one, told in values.items() if len(told) >= REPEATS_MIN and len(set(told)) == 1))


def _score(hearing: Hearing, ruling: Ruling) -> float | None:
    """Return what reruns measured, so that less is better."""
    row, own = hearing.result(ruling.result), ruling.own
    if row is None or own is None or own.measured is None:
        return None
    return own.measured if row.direction == "min" else -own.measured


def _prior(hearing: Hearing, result: str) -> float:
    """Return the noise of a run that the track of a drawn result states."""
    return max((draw.noise_sd for draw in hearing.draws(result)), default=1.0)


def _claimed(hearing: Hearing, row: ResultRow) -> float | None:
    """Return the gain that the author measured, None where parent and child were measured in different classes."""
    parent = hearing.result(row.parent) if row.parent is not None else None
    if parent is None or parent.value is None or row.value is None or parent.hardware_class != row.hardware_class:
        return None
    return parent.value - row.value if row.direction == "min" else row.value - parent.value


def _in_order(seats: Mapping[str, Seat]) -> tuple[str, ...]:
    return tuple(sorted(seats, key=lambda one: seats[one].place))


def _pairs_each(hearing: Hearing, row: ResultRow, account: str, hardware_class: str) -> int:
    """Return how many pairs one account may add to a result of `account` in a class."""
    least, most = ACCOUNT_PAIRS
    return max(least, min(most, -(-PAIRS_SHARED // max(1, hearing.in_draw(row, account, hardware_class)))))


def _figures(number: float) -> float:
    """Return a number to three figures, so that each new calibration does not change every verdict a little."""
    return float(f"{number:.3g}")
