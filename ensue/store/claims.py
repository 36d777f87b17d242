"""Who holds an experiment right now: open claims, how long each is taken for live, and which of two counts.

A claim is live for its own time from when it arrived here, and for as long as its author's node says so (`renew`), so
a node that dies frees its experiments. Of two live claims for one experiment the one with the lower id counts, on every
node alike and by no clock. Left out: hearing from other nodes (node.swarm), and what the loser does (node.agent).
Rejected: the claim that came first, which every node sees differently.
"""

import time
from collections.abc import Iterable

from ensue.record import Record
from ensue.store.database import Database, Row
from ensue.store.rows import ClaimRow, build, checked, experiment_number

OPEN_CLAIMS_MAX = 1_000
"""Open claims that one question is answered with: strangers may have left any number of them."""
RESULTS_MAX = 100
"""Results of one experiment that one question is answered with: strangers may sign any number of them."""
RENEWED_MAX = 64
"""Claims of one author that are renewed at once: one for each of its devices is usual."""

_NAME = "(SELECT no FROM names WHERE name = ?)"
_LIVE = (
    "c.open = 1 AND max(r.received_ms + 1000.0 * c.ttl_s,"
    " ifnull((SELECT until_ms FROM leases WHERE claim = c.no), 0)) > ?"
)


class Claims:
    """The claims of one replica; times are this machine's own, in milliseconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, track: str, author: str | None = None, limit: int = OPEN_CLAIMS_MAX) -> list[ClaimRow]:
        """Returns claims that wait for a result, in order of arrival, the newest ones if there are more than `limit`.

        The expired ones too.
        """
        of_author, values = (f" AND c.author = {_NAME}", [author]) if author is not None else ("", [])
        rows = self._database.rows(
            "SELECT r.id, plain(r.raw, r.form), r.received_ms FROM claims c JOIN records r ON r.no = c.no"
            f" WHERE c.track = {_NAME} AND c.open = 1{of_author} ORDER BY c.no DESC LIMIT ?",
            (track, *values, limit),
        )[::-1]
        path = self._database.path
        return [build(ClaimRow, checked(path, key, raw), received_ms, flags=()) for key, raw, received_ms in rows]

    def taken(self, experiment: str, now_ms: int | None = None) -> str | None:
        """Returns the result that an experiment has, else a claim that holds it at `now_ms` (default: now), or None."""
        return self.finished(experiment) or self.held(experiment, now_ms)

    def finished(self, experiment: str) -> str | None:
        """Returns the first result that came here of an experiment, of those that count, or None."""
        results = self._of(experiment, self._results(experiment))
        return results[0].id if results else None

    def results_of(self, experiment: str) -> list[str]:
        """Returns the results of an experiment that count, in order of arrival: more than one where it was run twice.

        Nodes that could not hear each other do that. At most RESULTS_MAX, the first ones.
        """
        return [record.id for record in self._of(experiment, self._results(experiment))][:RESULTS_MAX]

    def held(self, experiment: str, now_ms: int | None = None) -> str | None:
        """Returns the live claim that counts for an experiment, None where nobody holds it."""
        return min((claim.id for claim in self._of(experiment, self._live(experiment, now_ms))), default=None)

    def beaten_by(self, claim: str, now_ms: int | None = None) -> Record | None:
        """Returns another author's claim on the same experiment that counts more: one with a result, or a lower id.

        None where the claim stands, or is not here.
        """
        row = self._database.row("SELECT id, plain(raw, form) FROM records WHERE id = ?", (_key(claim),))
        if row is None:
            return None
        own = checked(self._database.path, *row)
        experiment = str(own.body.get("experiment"))
        rivals = [
            other
            for other in self._of(experiment, self._answered(experiment))
            + [one for one in self._of(experiment, self._live(experiment, now_ms)) if one.id < claim]
            if other.author != own.author
        ]
        return min(rivals, key=lambda other: other.id, default=None)

    def in_progress(self, author: str, limit: int = RENEWED_MAX) -> list[str]:
        """Returns an author's open claims on all tracks, the newest first."""
        rows = self._database.rows(
            "SELECT r.id FROM claims c JOIN records r ON r.no = c.no"
            f" WHERE c.open = 1 AND c.author = {_NAME} ORDER BY c.no DESC LIMIT ?",
            (author, limit),
        )
        return [key.hex() for (key,) in rows]

    def renew(self, author: str, claims: Iterable[str], until_ms: int) -> int:
        """Takes an author's open claims for live until then, others' claims never; returns how many were renewed.

        Not durable: the next heartbeat says it again.
        """
        wanted = [_key(claim) for claim in claims][:RENEWED_MAX]
        found: list[Row] = [
            row
            for key in wanted
            if (
                row := self._database.row(
                    "SELECT c.no FROM claims c JOIN records r ON r.no = c.no"
                    f" WHERE r.id = ? AND c.open = 1 AND c.author = {_NAME}",
                    (key, author),
                )
            )
        ]
        with self._database.write(durable=False):
            self._database.run("DELETE FROM leases WHERE claim NOT IN (SELECT no FROM claims WHERE open = 1)")
            self._database.run_many(
                "INSERT OR REPLACE INTO leases(claim, until_ms) VALUES (?, ?)", [(no, until_ms) for (no,) in found]
            )
        return len(found)

    def _live(self, experiment: str, now_ms: int | None) -> list[Row]:
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        return self._database.rows(
            "SELECT r.id, plain(r.raw, r.form) FROM claims c JOIN records r ON r.no = c.no"
            f" WHERE c.experiment = ? AND {_LIVE}",
            (experiment_number(experiment), now_ms),
        )

    def _results(self, experiment: str) -> list[Row]:
        return self._database.rows(
            "SELECT r.id, plain(r.raw, r.form) FROM results x JOIN records r ON r.no = x.no"
            " WHERE x.experiment = ? AND x.retracted = 0 AND x.frozen = 0 ORDER BY x.no",
            (experiment_number(experiment),),
        )

    def _answered(self, experiment: str) -> list[Row]:
        """Returns the claims that results which count were made of."""
        return self._database.rows(
            "SELECT r.id, plain(r.raw, r.form) FROM results x JOIN records r ON r.no = x.claim"
            " WHERE x.experiment = ? AND x.retracted = 0 AND x.frozen = 0",
            (experiment_number(experiment),),
        )

    def _of(self, experiment: str, rows: Iterable[Row]) -> list[Record]:
        """Returns the records, without those of other experiments whose key begins alike."""
        records = (checked(self._database.path, key, raw) for key, raw in rows)
        return [record for record in records if record.body.get("experiment") == experiment]


def _key(record_id: str) -> bytes:
    try:
        return bytes.fromhex(record_id)
    except ValueError:
        return b""
