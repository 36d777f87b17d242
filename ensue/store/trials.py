"""Reads which records speak of reruns of a result, has judged what is to be judged, and keeps what was found.

The verdicts are not this layer's to find (verify.trust); they are kept here so that a ranking can be read along an
index, and thrown away whenever the tables are derived anew. Left out: which results are to be judged (trialtables).
Rejected: judging while records come in, which would make each of them wait.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

from ensue.people import NEVER
from ensue.record import Record
from ensue.store.database import Database
from ensue.store.rows import ANSWERS, checked

_FINAL = "(SELECT no FROM names WHERE name IN ('calibration', 'duty', 'listing', 'drawing'))"
"""Kinds that nobody can take back: else an unwelcome outcome could be, or the seat that led to it."""
JUDGED_AT_ONCE = 100
"""Results judged in one transaction."""
Said = tuple[str, str, float | None, str]
"""A result's id, the answer, what reruns measured (less is better), and all that was found, as text."""
Changing = Callable[[], AbstractContextManager[None]]


class Trials:
    """Reads what there is about reruns in one replica; `changing` opens a write transaction."""

    def __init__(self, database: Database, changing: Changing) -> None:
        self._database, self._changing = database, changing

    def about(self, target: str, kind: str) -> list[Record]:
        """Returns the records of a kind that count and are about a result, in order of author, number and id.

        An assessment is about its insight, a calibration about its track; duties and replications about the parent too.
        """
        where = "a.target = ? AND a.kind = (SELECT no FROM names WHERE name = ?)"
        return self._read(where, bytes.fromhex(target), kind)

    def candidates(self, nodes: Iterable[str]) -> list[str]:
        """Returns the ids of some nodes' results that any verifier has ever listed, in order."""
        kind = "(SELECT no FROM names WHERE name = 'listing')"
        found: set[str] = set()
        for node in nodes:
            rows = self._database.rows(
                "SELECT r.id FROM records r INDEXED BY records_author CROSS JOIN about a ON a.target = r.id"
                f" WHERE r.author = (SELECT no FROM names WHERE name = ?) AND a.kind = {kind}",
                (node,),
            )
            found.update(key.hex() for (key,) in rows)
        return sorted(found)

    def untested(self, track: str, hardware_class: str, limit: int) -> list[str]:
        """Returns the best official kept results of a class of which reruns have said nothing final, the best first."""
        rows = self._database.rows(
            "SELECT r.id FROM results x JOIN records r ON r.no = x.no"
            " WHERE x.track = (SELECT no FROM names WHERE name = ?) AND x.class = (SELECT no FROM names WHERE name = ?)"
            " AND x.official = 1 AND x.place = 0 AND x.no NOT IN (SELECT no FROM verdicts WHERE answer > 0)"
            " ORDER BY x.score, x.tie, r.id LIMIT ?",
            (track, hardware_class, limit),
        )
        return [key.hex() for (key,) in rows]

    def by(self, author: str, kind: str, after_seq: int = 0) -> list[Record]:
        """Returns an author's records of a trial kind that count, those after a number, in order of number and id."""
        where = (
            "r.author = (SELECT no FROM names WHERE name = ?) AND a.kind = (SELECT no FROM names WHERE name = ?)"
            " AND r.seq > ?"
        )
        return self._read(where, author, kind, after_seq)

    def listed(self) -> list[str]:
        """Returns the ids of results that any verifier has ever listed, whether they are here or not, in order."""
        kind = "(SELECT no FROM names WHERE name = 'listing')"
        rows = self._database.rows(f"SELECT DISTINCT target FROM about WHERE kind = {kind} ORDER BY target")
        return [target.hex() for (target,) in rows]

    def said(self, result: str) -> str | None:
        """Returns what was found about a result when it was judged last; None where it never was."""
        row = self._database.row(
            "SELECT v.said FROM verdicts v JOIN records r ON r.no = v.no WHERE r.id = ?", (bytes.fromhex(result),)
        )
        return str(row[0]) if row else None

    def all_said(self) -> list[tuple[str, str]]:
        """Returns every result that was judged, with what was found, in order of id."""
        rows = self._database.rows("SELECT r.id, v.said FROM verdicts v JOIN records r ON r.no = v.no ORDER BY r.id")
        return [(key.hex(), str(said)) for key, said in rows]

    def waiting(self) -> bool:
        """Returns whether anything is to be judged; `settle` says so too, but to call it one needs a judge."""
        return self._database.row("SELECT 1 FROM stale LIMIT 1") is not None

    def settle(self, judge: Callable[[Sequence[str]], Iterable[Said]]) -> int:
        """Has everything judged that is on the list, and keeps the answers; returns how many were kept.

        `judge` is given ids of results, tracks or insights and answers for results, for more of them if it likes.
        """
        kept = 0
        while self.waiting():
            with self._changing():
                rows = self._database.rows("SELECT target FROM stale ORDER BY target LIMIT ?", (JUDGED_AT_ONCE,))
                found = list(judge([target.hex() for (target,) in rows]))
                self._database.run_many(
                    "INSERT OR REPLACE INTO verdicts(no, answer, score, said)"
                    " SELECT no, ?, ?, ? FROM records WHERE id = ?",
                    [(ANSWERS[answer], score, said, bytes.fromhex(result)) for result, answer, score, said in found],
                )
                done = [*rows, *((bytes.fromhex(result),) for result, *_ in found)]
                self._database.run_many("DELETE FROM stale WHERE target = ?", done)
            kept += len(found)
        return kept

    def _read(self, where: str, *values: bytes | str | int) -> list[Record]:
        rows = self._database.rows(
            "SELECT DISTINCT n.name, r.seq, r.id, plain(r.raw, r.form) FROM about a JOIN records r ON r.no = a.no"
            " JOIN names n ON n.no = r.author LEFT JOIN frozen f ON f.author = r.author"
            f" WHERE {where} AND r.seq < ifnull(f.from_seq, {NEVER})"
            f" AND (a.kind IN {_FINAL} OR NOT EXISTS(SELECT 1 FROM retractions t WHERE t.target = r.id"
            f"  AND t.author = r.author AND t.seq < ifnull(f.from_seq, {NEVER}))) ORDER BY 1, 2, 3",
            values,
        )
        return [checked(self._database.path, key, raw) for _, _, key, raw in rows]
