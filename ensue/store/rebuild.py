"""Derives the live tables anew from the records, and compares them with the fold.

Left out: the rules (tables, fold). Deriving checks every record against its id and the sum it was packed with; the
comparison verifies signatures too, so it is also the answer to "is everything here still what was signed?". Rejected:
rebuilding without a transaction, which would show half a memory to commands that run meanwhile.
"""

from collections.abc import Iterator

from ensue.errors import RecordError
from ensue.fold import fold
from ensue.record import Record, decode
from ensue.store.database import Database
from ensue.store.digest import digest
from ensue.store.reports import RebuildReport
from ensue.store.schema import DERIVATION
from ensue.store.shelf import Shelf
from ensue.store.tables import Tables
from ensue.store.verification import CHUNK_RECORDS, WORTHWHILE_RECORDS, Derived, Kept, Reader, Readers


def derive(database: Database, tables: Tables, shelf: Shelf, network: str) -> None:
    """Derives the live tables anew, inside the caller's write transaction; what does not match its id is left out."""
    tables.clear()
    tables.freeze_forked()
    count = (database.row("SELECT max(no) FROM records") or (0,))[0] or 0
    if count < WORTHWHILE_RECORDS:
        here = Reader(network, shelf.dictionaries())
        _add(tables, (here.derive(rows) for rows in _chunks(database)))
    else:
        readers = Readers(network, shelf.dictionaries())
        try:
            _add(tables, readers.derive(_chunks(database)))
        finally:
            readers.close()
    shelf.learn(count)
    database.run("UPDATE meta SET value = ? WHERE key = 'derivation'", (str(DERIVATION),))


def _add(tables: Tables, answers: Iterator[list[Derived]]) -> None:
    for derived in answers:
        tables.add([(no, item) for no, item in derived if item is not None])


def _chunks(database: Database) -> Iterator[list[Kept]]:
    last = 0
    while rows := database.rows(
        "SELECT no, id, form, raw FROM records WHERE no > ? ORDER BY no LIMIT ?", (last, CHUNK_RECORDS)
    ):
        yield rows
        last = rows[-1][0]


def compare(database: Database, network: str) -> RebuildReport:
    """Returns whether the live tables and the fold agree; takes time and memory linear in the number of records."""
    with database.snapshot():
        damaged: list[str] = []
        state = fold(_sound(database, network, damaged))
        live, folded = digest(database), state.digest()
    return RebuildReport(len(state.kinds), live, folded, live == folded, tuple(damaged))


def _sound(database: Database, network: str, damaged: list[str]) -> Iterator[Record]:
    for key, raw in database.stream("SELECT id, plain(raw, form) FROM records ORDER BY no"):
        try:
            record = decode(raw, network)
        except RecordError:
            damaged.append(key.hex())
            continue
        if record.id == key.hex():
            yield record
        else:
            damaged.append(key.hex())
