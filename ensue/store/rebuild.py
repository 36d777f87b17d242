"""Derives the live tables anew from the records, and compares them with the fold.

Left out: the rules (tables, fold). The comparison verifies every record, signature included, so it is also the answer
to "is everything here still what was signed?". Rejected: rebuilding without a transaction, which would show
half a memory to commands that run meanwhile.
"""

from collections.abc import Callable, Iterator

from ensue.errors import InvalidBody, RecordError
from ensue.fold import fold
from ensue.kinds import parse_body
from ensue.record import Record, decode, decode_stored
from ensue.store.database import Database
from ensue.store.digest import digest
from ensue.store.reports import RebuildReport
from ensue.store.schema import DERIVATION
from ensue.store.tables import Tables


def derive(database: Database, tables: Tables) -> None:
    """Derives the live tables anew, inside the caller's write transaction; what does not match its id is left out."""
    tables.clear()
    for number, record in _sound(database, decode_stored, []):
        try:
            body = parse_body(record.kind, record.body)
        except InvalidBody:
            body = None  # kept like a kind that is unknown, as in the fold
        tables.add(number, record, body)
    database.run("UPDATE meta SET value = ? WHERE key = 'derivation'", (str(DERIVATION),))


def compare(database: Database, network: str) -> RebuildReport:
    """Returns whether the live tables and the fold agree; takes time and memory linear in the number of records."""
    with database.snapshot():
        damaged: list[str] = []
        state = fold(record for _, record in _sound(database, lambda raw: decode(raw, network), damaged))
        live, folded = digest(database), state.digest()
    return RebuildReport(len(state.kinds), live, folded, live == folded, tuple(damaged))


def _sound(database: Database, decoder: Callable[[bytes], Record], damaged: list[str]) -> Iterator[tuple[int, Record]]:
    for number, key, raw in database.stream("SELECT no, id, raw FROM records ORDER BY no"):
        try:
            record = decoder(raw)
        except RecordError:
            damaged.append(key.hex())
            continue
        if record.id == key.hex():
            yield number, record
        else:
            damaged.append(key.hex())
