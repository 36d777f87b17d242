"""Reads the live tables: results, texts, lineage, figures. Plain functions over a database.

Left out: writing, every rule (fold, tables), who leads (rankings), and search (finding). Rejected: one query builder
for all, which hides which index a question uses.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from ensue.store.database import Database, Row, Value
from ensue.store.rows import (
    ANSWERS,
    HypothesisRow,
    InsightRow,
    ResultRow,
    Stats,
    build,
    checked,
    flags,
)

TEXTS_AT_ONCE = 200
"""Ideas, or lessons, read at a time."""
RESULTS_AT_ONCE = 500
"""Results read at a time, when all are asked for."""
LINEAGE_MAX = 10_000
"""Ancestors, and descendants, that one question about lineage is answered with."""

GENERATIONS_MAX = 256
"""Ancestors among which a refuted one is looked for, to flag a result."""

RECORDED, OFFICIAL, CONFIRMED = LEVELS = "recorded", "official", "confirmed"
"""From the one that anybody has to the one that others have tested."""
_BEYOND = 2**62  # every row number
_DOUBT = (
    "EXISTS(SELECT 1 FROM verdicts WHERE answer = 4) AND EXISTS(WITH RECURSIVE up(no) AS (SELECT x.parent"
    " UNION SELECT p.parent FROM up JOIN results p ON p.no = up.no WHERE p.parent IS NOT NULL"
    f" LIMIT {GENERATIONS_MAX})"
    " SELECT 1 FROM up JOIN verdicts v ON v.no = up.no WHERE v.answer = 4)"
)
_COLUMNS = (
    "r.id, plain(r.raw, r.form), r.received_ms, x.retracted, x.frozen, x.tainted, x.official,"
    f" (SELECT answer FROM verdicts WHERE no = x.no), (SELECT score FROM verdicts WHERE no = x.no), {_DOUBT}"
)
_RESULT = f"SELECT {_COLUMNS} FROM results x JOIN records r ON r.no = x.no "
COUNTS = "x.retracted = 0 AND x.frozen = 0"
ORDER = " ORDER BY x.place, x.score, x.tie, r.id"
NAME = "(SELECT no FROM names WHERE name = ?)"


def result(database: Database, key: str) -> ResultRow | None:
    """Returns the result with this id, whatever its standing; None if there is none."""
    found = matching(database, "WHERE r.id = ?", [bytes.fromhex(key)])
    return found[0] if found else None


def results(database: Database, track: str, limit: int | None, author: str | None) -> list[ResultRow]:
    """Returns the results of a track in order of arrival, whatever their standing; with a limit, the newest."""
    rows_max = -1 if limit is None else limit
    if author is None:
        return matching(database, f"WHERE x.track = {NAME} ORDER BY x.no DESC LIMIT ?", [track, rows_max])[::-1]
    rows = database.rows(  # along what the author wrote, whatever it is
        f"SELECT {_COLUMNS} FROM records r INDEXED BY records_author CROSS JOIN results x ON x.no = r.no"
        f" WHERE r.author = {NAME} AND x.track = {NAME} ORDER BY r.no DESC LIMIT ?",
        (author, track, rows_max),
    )
    return [_result_row(database, row) for row in reversed(rows)]


def history(database: Database, track: str) -> Iterator[ResultRow]:
    """Yields the results of a track in order of arrival, without holding a lock in between."""
    last, where = 0, f"WHERE x.track = {NAME} AND x.no > ? ORDER BY x.no LIMIT ?"
    while rows := database.rows(_RESULT.replace("SELECT ", "SELECT x.no, ", 1) + where, (track, last, RESULTS_AT_ONCE)):
        for _, *row in rows:
            yield _result_row(database, tuple(row))
        last = rows[-1][0]


def hypotheses(
    database: Database, track: str, open_only: bool, limit: int | None = None, newest: bool = False
) -> list[HypothesisRow]:
    """Returns the ideas of a track in order of arrival; `open_only` leaves out what was tried or does not count.

    With a limit the first ones, or the newest.
    """
    found: list[HypothesisRow] = []
    for no, key, raw, received_ms, *standing in _texts(database, track, "hypothesis", open_only, newest):
        if len(found) == limit:
            break
        times = tried(database, no)
        if times and open_only:
            continue
        claimed = database.row("SELECT count(*) FROM claims WHERE hypothesis = ? AND open = 1", (no,))
        found.append(
            build(
                HypothesisRow,
                checked(database.path, key, raw),
                received_ms,
                flags=flags(*standing),
                tried=times,
                claimed=claimed[0] if claimed else 0,
            )
        )
    return found[::-1] if newest else found


def insights(database: Database, track: str, limit: int | None = None) -> list[InsightRow]:
    """Returns the lessons of a track in order of arrival, whatever their standing; with a limit, the newest."""
    rows = islice(_texts(database, track, "insight", False, newest=True), limit)
    return [
        build(InsightRow, checked(database.path, key, raw), received_ms, flags=flags(*standing))
        for _, key, raw, received_ms, *standing in rows
    ][::-1]


def _texts(database: Database, track: str, kind: str, counting: bool, newest: bool) -> Iterator[Row]:
    """Yields texts by their numbers, so many at a time, since strangers may have written any number of them."""
    last, beyond, order = (_BEYOND, "<", "DESC") if newest else (0, ">", "ASC")
    while rows := database.rows(
        "SELECT x.no, r.id, plain(r.raw, r.form), r.received_ms, x.retracted, x.frozen"
        " FROM texts x JOIN records r ON r.no = x.no"
        f" WHERE x.track = {NAME} AND x.kind = {NAME}{f' AND {COUNTS}' if counting else ''}"
        f" AND x.no {beyond} ? ORDER BY x.no {order} LIMIT {TEXTS_AT_ONCE}",
        (track, kind, last),
    ):
        yield from rows
        last = rows[-1][0]


def tried(database: Database, hypothesis: int) -> int:
    """Returns how many results that count came of claims that name the hypothesis in a row of records."""
    row = database.row(
        "SELECT count(*) FROM claims c JOIN results x ON x.claim = c.no"
        f" WHERE c.hypothesis = ? AND x.author = c.author AND {COUNTS}",
        (hypothesis,),
    )
    return int(row[0]) if row else 0


def lineage(database: Database, key: str) -> tuple[list[ResultRow], list[ResultRow]]:
    """Returns a result's ancestors, the nearest first, and its descendants, generation by generation."""
    ancestors: list[ResultRow] = []
    row = result(database, key)
    while row is not None and row.parent is not None and len(ancestors) < LINEAGE_MAX:
        row = result(database, row.parent)
        if row is not None:
            ancestors.append(row)
    descendants: list[ResultRow] = []
    generation = [key]
    while generation and len(descendants) < LINEAGE_MAX:
        children = [child for parent in generation for child in _children(database, parent)]
        descendants += children
        generation = [child.id for child in children]
    return ancestors, descendants[:LINEAGE_MAX]


def _children(database: Database, key: str) -> list[ResultRow]:
    parent = "(SELECT no FROM records WHERE id = ?)"
    return matching(database, f"WHERE x.parent = {parent} ORDER BY x.no LIMIT ?", [bytes.fromhex(key), LINEAGE_MAX])


def frozen_from(database: Database, author: str) -> int | None:
    """Returns the number from which an author is frozen, or None."""
    row = database.row(f"SELECT from_seq FROM frozen WHERE author = {NAME}", (author,))
    return int(row[0]) if row else None


def stats(database: Database, track: str) -> Stats:
    """Returns a track's figures."""
    by_status: dict[str, int] = {}
    by_author: dict[str, dict[str, int]] = {}
    for author, status, number in database.rows(
        "SELECT a.name, s.name, sum(x.number) FROM counts x JOIN names a ON a.no = x.author"
        f" JOIN names s ON s.no = x.status WHERE x.track = {NAME} GROUP BY 1, 2 ORDER BY 1, 2",
        (track,),
    ):
        by_status[status] = by_status.get(status, 0) + number
        by_author.setdefault(author, {})[status] = number
    waiting = database.row(f"SELECT count(*) FROM claims WHERE track = {NAME} AND open = 1", (track,))
    texts: dict[str, int] = dict(
        database.rows(
            "SELECT k.name, count(*) FROM texts x JOIN names k ON k.no = x.kind"
            f" WHERE x.track = {NAME} AND {COUNTS} GROUP BY 1",
            (track,),
        )
    )
    return Stats(
        results=sum(by_status.values()),
        by_status=by_status,
        by_author=by_author,
        open_claims=waiting[0] if waiting else 0,
        hypotheses=texts.get("hypothesis", 0),
        insights=texts.get("insight", 0),
    )


def number_of(database: Database, name: str) -> int | None:
    """Returns the number of a name, None for one that no record has."""
    row = database.row("SELECT no FROM names WHERE name = ?", (name,))
    return int(row[0]) if row else None


def matching(database: Database, rest: str, values: Sequence[Value]) -> list[ResultRow]:
    """Returns the results that the rest of a query chooses: x is the table of results, r that of records."""
    return [_result_row(database, row) for row in database.rows(_RESULT + rest, values)]


def _result_row(database: Database, row: Row) -> ResultRow:
    key, raw, received_ms, retracted, void, tainted, official, answer, score, doubted = row
    level = RECORDED if not official else CONFIRMED if answer == ANSWERS["better"] else OFFICIAL
    against = flags(retracted, void, tainted, answer or 0, doubted)
    record = checked(database.path, key, raw)
    measured = score if score is None or record.body["direction"] == "min" else -score
    return build(ResultRow, record, received_ms, flags=against, level=level, measured=measured)
