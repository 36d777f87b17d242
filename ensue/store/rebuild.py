"""Derives the live tables anew from the records, and compares them with the fold.

Left out: the rules (tables, fold). Deriving checks every record against its id and the sum it was packed with; the
comparison verifies signatures too, so it is also the answer to "is everything here still what was signed?". Rejected:
rebuilding without a transaction, which would show half a memory to commands that run meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ensue.errors import StoreDamaged
from ensue.facts import Fact
from ensue.fold import fold_facts
from ensue.kinds import KINDS
from ensue.people import meant
from ensue.store import indexes
from ensue.store.database import Database
from ensue.store.digest import digest
from ensue.store.entry import UNKNOWN, Entry
from ensue.store.reports import RebuildReport
from ensue.store.schema import DERIVATION
from ensue.store.shelf import Shelf
from ensue.store.tables import Tables
from ensue.store.trusted import read_trust
from ensue.store.verification import CHUNK_RECORDS, WORTHWHILE_RECORDS, Kept, Readers

UNREADABLE = "unreadable"
"""In place of a digest."""


def derive(database: Database, tables: Tables, shelf: Shelf, network: str) -> None:
    """Derives the live tables anew, inside the caller's write transaction; what does not match its id is left out."""
    tables.clear()
    tables.freeze_forked()
    indexes.drop(database)
    with _readers(database, shelf, network) as readers:
        for derived in readers.derive(_chunks(database)):
            tables.add([(no, item) for no, item in derived if item is not None])
    indexes.restore(database)
    shelf.learn(_last(database))
    database.run("UPDATE meta SET value = ? WHERE key = 'derivation'", (str(DERIVATION),))


def compare(database: Database, shelf: Shelf, network: str) -> RebuildReport:
    """Returns whether the live tables and the fold agree; takes time and memory linear in the number of records."""
    facts: dict[str, Fact] = {}
    damaged: list[str] = []
    pool: dict[str, str] = {}
    with database.snapshot(), _readers(database, shelf, network) as readers:
        for derived in readers.verify(_chunks(database)):
            for no, item in derived:
                if item is None:
                    damaged += [key.hex() for (key,) in database.rows("SELECT id FROM records WHERE no = ?", (no,))]
                else:
                    facts[pool.setdefault(key := item.id.hex(), key)] = _fact(item, pool)
        state = fold_facts(facts, read_trust(database, network))
        live, folded = _live(database, network, damaged), state.digest()
    return RebuildReport(len(state.kinds), live, folded, live == folded, tuple(damaged))


def _live(database: Database, network: str, damaged: list[str]) -> str:
    """Returns the digest of the live tables, UNREADABLE where a damaged record is a best."""
    try:
        return digest(database, network)
    except StoreDamaged:
        if not damaged:
            raise
        return UNREADABLE


def _fact(item: Entry, pool: dict[str, str]) -> Fact:
    def shared(text: str) -> str:
        return pool.setdefault(text, text)

    def name(key: bytes | None) -> str | None:
        return None if key is None else shared(key.hex())

    return Fact(
        *(shared(item.author), item.seq, shared(item.kind), None if item.role == UNKNOWN else KINDS[item.kind]),
        *(shared(item.track), shared(item.status), item.score, shared(item.hardware_class)),
        *(name(item.claim), name(item.parent), name(item.hypothesis), name(item.target)),
        *(item.time_ms, meant(item.says)),
    )


@contextmanager
def _readers(database: Database, shelf: Shelf, network: str) -> Iterator[Readers]:
    """Yields what reads rows: this process alone where there are few."""
    few = _last(database) < WORTHWHILE_RECORDS
    readers = Readers(network, shelf.dictionaries(), workers=0 if few else None)
    try:
        yield readers
    finally:
        readers.close()


def _last(database: Database) -> int:
    row = database.row("SELECT max(no) FROM records")
    return int(row[0] or 0) if row else 0


def _chunks(database: Database) -> Iterator[list[Kept]]:
    last = 0
    while rows := database.rows(
        "SELECT no, id, form, raw FROM records WHERE no > ? ORDER BY no LIMIT ?", (last, CHUNK_RECORDS)
    ):
        yield rows
        last = rows[-1][0]
