"""What keeps a replica right where records go: no row's number is given out twice, and processes drop what they cache.

Left out: taking records out (forgetting). Rejected: SQLite's AUTOINCREMENT, which is asked for when a table is made.
"""

from ensue.store.database import Database

_NUMBERED, _GENERATION = "numbered", "generation"


def note_forgotten(database: Database) -> None:
    """Notes that records go; belongs inside the write transaction, before they do."""
    last, now = last_number(database), generation(database)
    for key, value in ((_NUMBERED, last), (_GENERATION, now + 1)):
        database.run("INSERT OR REPLACE INTO meta(key, value) VALUES (?, ?)", (key, str(value)))


def last_number(database: Database) -> int:
    """Returns the highest number that a record's row ever had."""
    row = database.row("SELECT max(no) FROM records")
    return max(int(row[0] or 0) if row else 0, _number(database, _NUMBERED))


def generation(database: Database) -> int:
    """Returns how often records were taken out; what was cached of names and words before is void."""
    return _number(database, _GENERATION)


def _number(database: Database, key: str) -> int:
    row = database.row("SELECT value FROM meta WHERE key = ?", (key,))
    return int(row[0]) if row and str(row[0]).isdecimal() else 0
