"""Takes away the indexes that only queries use while very many records come, and makes them again at the end.

At a million records each of them is larger than the page cache, and every record changes a random page of each; to sort
a whole table once takes a tenth of that. Queries are right without them, and slow. Left out: when that pays (store,
rebuild). Rejected: a larger cache, which must hold all of them to help.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from ensue.store.database import Database
from ensue.store.schema import QUERY_INDEXES


def drop(database: Database) -> None:
    """Drops them; belongs inside a write transaction."""
    for name in QUERY_INDEXES:
        database.run(f"DROP INDEX IF EXISTS {name}")


def restore(database: Database) -> None:
    """Makes those that are missing; belongs inside a write transaction."""
    for name in _missing(database):
        database.run(QUERY_INDEXES[name])


@contextmanager
def made_at_the_end(database: Database, changing: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Does without them; `changing` opens a write transaction."""
    with changing():
        drop(database)
    try:
        with database.catching_up():
            yield
    finally:
        complete(database, changing)


def complete(database: Database, changing: Callable[[], AbstractContextManager[None]]) -> None:
    """Makes those that are missing, as after a kill while very many records came."""
    if _missing(database):
        with changing():
            restore(database)


def _missing(database: Database) -> list[str]:
    there = {name for (name,) in database.rows("SELECT name FROM sqlite_schema WHERE type = 'index'")}
    return [name for name in QUERY_INDEXES if name not in there]
