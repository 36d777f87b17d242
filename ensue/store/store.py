"""The replica: appends what this node signs, takes in what others signed, answers what is asked.

Left out: sending (the outbox only remembers what waits), and deciding whom to believe. A record, its blobs, what
follows from it and the node's own notes change in one transaction, so a kill at any moment leaves all or nothing.
Rejected: a daemon that owns the file; commands open it themselves, whether a node runs or not.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from ensue.blobs import Blob
from ensue.errors import UnknownId
from ensue.identity import Identity
from ensue.record import Record, is_hex64
from ensue.search import Hit
from ensue.store import finding, indexes, log, queries, rankings
from ensue.store.claims import Claims
from ensue.store.database import Database
from ensue.store.draft import Draft, checked_body, signed
from ensue.store.exchange import Exchange
from ensue.store.notes import Notes
from ensue.store.ownlog import OwnLog
from ensue.store.people import People
from ensue.store.reports import IngestReport, InspectionReport, RebuildReport
from ensue.store.rows import HypothesisRow, InsightRow, ResultRow, Stats, checked
from ensue.store.schema import DERIVATION, migrate
from ensue.store.shelf import Shelf
from ensue.store.trials import Trials
from ensue.store.trusted import read_trust, write_trust
from ensue.store.vault import Vault
from ensue.store.weights import Weights

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ensue.body import Body
    from ensue.people import Trust
    from ensue.store.forgetting import Forgetting
    from ensue.store.intake import Intake
    from ensue.store.tables import Tables

_T = TypeVar("_T")

BATCH_RECORDS = 500
"""Blobs taken in by one transaction, and records in the outbox that are shown at once."""
CATCHING_UP_MIN = 10_000
"""Fewer records are taken in as fast with all indexes in place."""
LEADERBOARD_ROWS = 20


class Store:
    """A replica of one network in one file, safe for several processes and threads at once.

    Opening creates the file if need be and brings an older one up to date. It raises StoreError when the file is
    another network's or a newer version's, StoreDamaged when its pages contradict each other. `trust` is what the
    genesis says about trust; it is kept in the file for those who open it without.
    """

    def __init__(self, path: Path | str, network: str, trust: "Trust | None" = None) -> None:
        self.network = network
        self.path = Path(path)
        self._database = Database(self.path)
        self._notes = Notes(self._database)
        self.own_log = OwnLog(self._database, network)
        self.claims = Claims(self._database)
        self._shelf = Shelf(self._database)
        self._vault = Vault(self._database)
        self.exchange = Exchange(self._database)
        self.people = People(self._database, network)
        self.weights = Weights(self._database)
        self.trials = Trials(self._database, lambda: self._changing(durable=False))
        try:
            self._database.check(thorough=False)
            if migrate(self._database, network, DERIVATION):
                self._derive()
            if trust is not None and trust != read_trust(self._database, network):
                with self._changing(durable=True):
                    write_trust(self._database, trust)
                    self._tables.trust_changed()
        except BaseException:
            self._database.close()
            raise

    @cached_property
    def _tables(self) -> "Tables":
        from ensue.store.tables import Tables  # with the bodies' models: half of a query's start, and needless for one

        return Tables(self._database, self.network)

    @cached_property
    def _intake(self) -> "Intake":
        from ensue.store.intake import Intake

        return Intake(self._database, self._tables, self._shelf, self.network)

    @cached_property
    def forgetting(self) -> "Forgetting":
        """What takes records of others out of this replica again."""
        from ensue.store.forgetting import Forgetting

        return Forgetting(self._database, self._tables, self.network, lambda: self._changing(durable=False))

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; the store is of no use afterwards."""
        if "_intake" in self.__dict__:
            self._intake.close()
        self.own_log.close()
        self._database.close()

    # Writing

    def append(
        self,
        identity: Identity,
        kind: str,
        body: "Mapping[str, Any] | BaseModel",
        blobs: Sequence[Blob] = (),
        local: Mapping[str, str | None] | Callable[[Record], Mapping[str, str | None]] | None = None,
    ) -> Record:
        """Signs the next record of one's own log and returns it once it is on the disk; it waits in the outbox.

        `blobs`, and notes of this node in `local` (None removes one), are written in the same transaction; notes that
        name the record itself are given as a function of it.
        Raises InvalidBody, RecordTooLarge, LogInDoubt, or DiskFull with nothing changed.
        """
        return self.append_all(identity, [Draft(kind, body, blobs, local)])[0]

    def append_all(self, identity: Identity, drafts: Sequence[Draft]) -> list[Record]:
        """Signs one record after the other, as `append` does each, and returns them once all are on the disk together.

        All of them, or none: one wait for the disk instead of one each.
        """
        checked_drafts = [(draft, *checked_body(draft)) for draft in drafts]
        records = []
        with self._changing(durable=True):
            end = self.own_log.next(identity.peer_id)
            seq, prev = end.seq, end.id
            for draft, fields, parsed in checked_drafts:
                record = signed(identity, self.network, seq + 1, prev, draft.kind, fields, parsed)
                self._keep(record, parsed, draft)
                seq, prev = record.seq, record.id
                records.append(record)
            if records:
                self.own_log.signed(records[-1].author, seq, records[-1].id)
        if records:
            self.own_log.advance(records[-1].author, seq, records[-1].id)
        return records

    def _keep(self, record: Record, parsed: "Body", draft: Draft) -> None:
        from ensue.store.entry import entry

        for blob in draft.blobs:
            self._vault.put(blob)
        ((number, _),) = self._intake.take([entry(record, parsed, *self._shelf.pack(record.raw))])
        self._database.run("INSERT INTO outbox(no) VALUES (?)", (number,))
        for key, value in draft.notes(record).items():
            self._notes.put(key, value)

    def ingest(self, raws: Iterable[bytes], blobs: Iterable[Blob] = ()) -> IngestReport:
        """Takes in records of others, verified one by one, and blobs; one that is refused does not stop the rest.

        Many records are verified on every processor. Memory holds a few thousand records at a time, and the report.
        Raises DiskFull; whole batches before it are kept.
        """
        for batch in _batches(blobs):
            with self._changing(durable=False):
                for blob in batch:
                    self._vault.put(blob)
        return self._intake.ingest(raws, lambda: self._changing(durable=False))

    def catching_up(self, records: int) -> AbstractContextManager[None]:
        """Makes it cheap to take in about so many records, if they are more than are here; queries are slow meanwhile.

        What is left undone by a kill, `complete` or the next rebuild does.
        """
        if records <= max(self.count(), CATCHING_UP_MIN):
            return nullcontext()
        return indexes.made_at_the_end(self._database, lambda: self._changing(durable=False))

    def rest(self) -> None:
        """Ends the processes that verify many records at once; the next large intake starts them again."""
        if "_intake" in self.__dict__:
            self._intake.close()

    def complete(self) -> None:
        """Makes the indexes that a kill while catching up has left undone."""
        indexes.complete(self._database, lambda: self._changing(durable=False))

    @contextmanager
    def _changing(self, *, durable: bool) -> Iterator[None]:
        try:
            with self._database.write(durable=durable):
                yield
        except BaseException:
            self._shelf.forget()
            if "_tables" in self.__dict__:
                self._tables.forget()
            raise

    # Records and blobs

    def get(self, record_id: str) -> Record:
        """Returns the record with a full id; raises UnknownId, or StoreDamaged when its bytes do not hash to it."""
        return log.get(self._database, record_id)

    def received_ms(self, record_id: str) -> int:
        """Returns when this node received (or made) a record, by its own clock; raises UnknownId."""
        return log.received_ms(self._database, record_id)

    def resolve(self, prefix: str, kinds: Iterable[str] | None = None) -> str:
        """Returns the one id that begins with at least log.PREFIX_CHARS_MIN hexadecimal digits, among `kinds` if given.

        Raises UnknownId or AmbiguousId.
        """
        return log.resolve(self._database, prefix, kinds)

    def records(
        self, *, author: str | None = None, kind: str | None = None, after_rowid: int = 0, limit: int | None = None
    ) -> Iterator[Record]:
        """Yields records in order of arrival, those after row `after_rowid`, without holding a lock in between."""
        return (record for _, record in self.numbered(author=author, kind=kind, after_rowid=after_rowid, limit=limit))

    def numbered(
        self, *, author: str | None = None, kind: str | None = None, after_rowid: int = 0, limit: int | None = None
    ) -> Iterator[tuple[int, Record]]:
        """Yields what `records` yields, each with its row number."""
        return log.numbered(self._database, author, kind, after_rowid, limit)

    def logs(self) -> Iterator[Record]:
        """Yields every record by author, number and id; without a lock, so one that arrives may be among them."""
        return log.logs(self._database)

    def has(self, record_id: str) -> bool:
        """Returns whether a record is here."""
        return log.has(self._database, record_id)

    def head(self, author: str) -> Record | None:
        """Returns an author's record with the highest sequence number (of two, that with the lower id), or None."""
        return log.head(self._database, author)

    def count(self) -> int:
        """Returns the number of records."""
        return log.count(self._database)

    def blob(self, sha256: str) -> bytes:
        """Returns a source or log by its hash; raises BlobMissing, or StoreDamaged when it does not match."""
        return self._vault.get(sha256)

    def has_blob(self, sha256: str) -> bool:
        """Returns whether a source or log is here."""
        return self._vault.has(sha256)

    # This node's own notes, and what waits to be sent

    def local_get(self, key: str) -> str | None:
        """Returns a note of this node, or None, also for a damaged one; notes are never sent."""
        return self._notes.get(key)

    def local_set(self, key: str, value: str | None, *, durable: bool = True) -> None:
        """Sets a note of this node, or removes it with None; `durable=False` does not wait for the disk."""
        with self._changing(durable=durable):
            self._notes.put(key, value)

    def outbox(self, limit: int = BATCH_RECORDS) -> list[Record]:
        """Returns the oldest own records that wait to be sent; call `own_log.seal` before they leave this machine."""
        rows = self._database.rows(
            "SELECT r.id, plain(r.raw, r.form) FROM outbox o JOIN records r ON r.no = o.no ORDER BY o.no LIMIT ?",
            (limit,),
        )
        return [checked(self.path, *row) for row in rows]

    def outbox_done(self, ids: Iterable[str]) -> None:
        """Takes records out of the outbox."""
        done = "DELETE FROM outbox WHERE no = (SELECT no FROM records WHERE id = ?)"
        with self._changing(durable=False):
            self._database.run_many(done, [(bytes.fromhex(record_id),) for record_id in ids])

    # What follows from the records

    def leaderboard(
        self, track: str, *, by: str = "result", limit: int = LEADERBOARD_ROWS, level: str = "recorded"
    ) -> list[ResultRow]:
        """Returns results that count: kept ones by value, then discarded ones by value, then those without one.

        `by` agent, account, class or author gives the first of each group. Reruns are judged first (verify.trust).
        """
        return rankings.leaderboard(self._database, track, by, limit, level)

    def best(
        self, track: str, hardware_class: str | None = None, author: str | None = None, level: str | None = "recorded"
    ) -> ResultRow | None:
        """Returns the best kept result that counts, overall, of a hardware class or of an author; None without one.

        `level`: among recorded, official or confirmed results; None: the highest level that any has.
        """
        return rankings.best(self._database, track, hardware_class=hardware_class, author=author, level=level)

    def result(self, record_id: str) -> ResultRow:
        """Returns a result by its full id, whatever its standing; raises UnknownId."""
        row = queries.result(self._database, record_id) if is_hex64(record_id) else None
        if row is None:
            raise UnknownId(f"No result here has the id {record_id[:64]!r}: `autoresearch log` lists those there are.")
        return row

    def results(self, track: str, limit: int | None = None, author: str | None = None) -> list[ResultRow]:
        """Returns a track's results in order of arrival, whatever their standing; with a limit, the newest."""
        return queries.results(self._database, track, limit, author)

    def history(self, track: str) -> Iterator[ResultRow]:
        """Yields a track's results in order of arrival, whatever their standing, a few at a time in memory."""
        return queries.history(self._database, track)

    def hypotheses(
        self, track: str, open_only: bool = False, limit: int | None = None, newest: bool = False
    ) -> list[HypothesisRow]:
        """Returns ideas in order of arrival, with a limit the first ones or the `newest`.

        `open_only`: those that count and that no result came of.
        """
        return queries.hypotheses(self._database, track, open_only, limit, newest)

    def insights(self, track: str, limit: int | None = None) -> list[InsightRow]:
        """Returns lessons in order of arrival, whatever their standing; with a limit, the newest."""
        return queries.insights(self._database, track, limit)

    def lineage(self, record_id: str) -> tuple[list[ResultRow], list[ResultRow]]:
        """Returns a result's ancestors, the nearest first, and its descendants, generation by generation."""
        return queries.lineage(self._database, record_id)

    def frozen_from(self, author: str) -> int | None:
        """Returns the sequence number from which an author counts for nothing, having signed one number twice."""
        return queries.frozen_from(self._database, author)

    def stats(self, track: str) -> Stats:
        """Returns a track's figures, by status and by author."""
        return queries.stats(self._database, track)

    def search(self, text: str, limit: int = LEADERBOARD_ROWS) -> list[Hit]:
        """Returns results, hypotheses and insights that speak of a text, the nearest first; any text is allowed."""
        return finding.search(self._database, text, limit)

    # Derivation

    def digest(self) -> str:
        """Returns the digest of what follows from the records; equal wherever the same records are."""
        from ensue.store.digest import digest

        return digest(self._database, self.network)

    def rebuild(self, check: bool = False) -> RebuildReport:
        """Derives the live tables anew from the records, each verified again, and returns how they compare to the fold.

        With `check` nothing is changed: the tables are compared as they stand.
        """
        from ensue.store.rebuild import compare

        if not check:
            self._derive()
        return compare(self._database, self._shelf, self.network)

    def _derive(self) -> None:
        from ensue.store.rebuild import derive

        with self._changing(durable=True):
            derive(self._database, self._tables, self._shelf, self.network)

    def inspect(self) -> InspectionReport:
        """Returns what is damaged: pages, records, blobs, what is derived, notes; of a large replica the next part."""
        from ensue.store.inspection import inspect

        return inspect(self._database, self.network, self._notes)

    def check(self) -> None:
        """Walks through every page of the file; raises StoreDamaged where they contradict each other."""
        self._database.check(thorough=True)


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH_RECORDS)):
        yield batch
