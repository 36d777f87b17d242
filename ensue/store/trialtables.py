"""The live table of what records on reruns are about, and the list of results that are to be judged again.

Every change of what a verdict may hang on puts its result on the list, in the transaction of the change. Left out:
judging (verify.trust) and reading (trials). Rejected: comparing all verdicts with the records at each query.
"""

from collections.abc import Callable, Iterable, Sequence

from ensue.store.database import Database
from ensue.store.entry import TRIAL, Entry
from ensue.store.rows import tie

_MARK = "INSERT OR IGNORE INTO stale(target) "


class TrialTables:
    """Writes the index and the list of one database; every method belongs inside a write transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listed: dict[int, list[bytes]] | None = None

    def begin(self) -> None:
        """Forgets what was read before this transaction, which other processes may have changed."""
        self._listed = None

    def clear(self) -> None:
        """Throws away verdicts and list; the index is a live table."""
        for table in ("stale", "verdicts"):
            self._database.run(f"DELETE FROM {table}")

    def write(self, batch: Sequence[tuple[int, Entry]], name: Callable[[str], int]) -> None:
        """Writes what a batch is about, and notes what it changes."""
        trials = [(no, item) for no, item in batch if item.role == TRIAL]
        rows = [(target, no, name(item.kind)) for no, item in trials for target in dict.fromkeys(item.about)]
        if rows:
            self._listed = None
            self._database.run_many("INSERT INTO about(target, no, kind) VALUES (?, ?, ?)", rows)
            self._database.run_many(_MARK + "VALUES (?)", [(target,) for target, _, _ in rows])
        if self._any():
            self._database.run(
                _MARK + "SELECT r.id FROM records r WHERE r.no BETWEEN ? AND ?"
                " AND EXISTS(SELECT 1 FROM about WHERE target = r.id)",
                (batch[0][0], batch[-1][0]),
            )

    def touched(self, no: int, key: bytes) -> None:
        """Notes that a record counts in another way than before."""
        self._database.run(_MARK + "SELECT target FROM about WHERE no = ?", (no,))
        self._database.run(_MARK + "SELECT ? WHERE EXISTS(SELECT 1 FROM about WHERE target = ?)", (key, key))

    def respoken(self, node: int, ties: Iterable[int]) -> None:
        """Notes that a node's records, among them results whose ids begin so, are vouched for in another way."""
        if not self._any():
            return
        self._database.run(
            _MARK + "SELECT a.target FROM records r INDEXED BY records_author CROSS JOIN about a ON a.no = r.no"
            " WHERE r.author = ?",
            (node,),
        )
        listed = self._listings()
        self._database.run_many(
            _MARK + "VALUES (?)", [(target,) for tie in ties if tie in listed for target in listed[tie]]
        )

    def _listings(self) -> dict[int, list[bytes]]:
        """Returns what is listed by how its id begins: the ids of an author's results are in as many wide rows."""
        if self._listed is None:
            self._listed = {}
            of = "SELECT target FROM about WHERE kind = (SELECT no FROM names WHERE name = 'listing')"
            for (target,) in self._database.rows(of):
                self._listed.setdefault(tie(target), []).append(target)
        return self._listed

    def everything(self) -> None:
        """Notes that others are trusted than before."""
        self._database.run(_MARK + "SELECT target FROM about")

    def _any(self) -> bool:
        return self._database.row("SELECT min(no) FROM about") != (None,)
