"""Reads the live tables: rankings, standing claims, texts, lineage. Plain functions over a database.

Left out: writing, every rule (fold, tables), and search (finding). Each ranking is one walk along an index, so its cost
is that of its answer, not of the memory's size. Rejected: one query builder for all, which hides which index a question
uses.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from ensue.store.database import Database, Row, Value
from ensue.store.rows import (
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

_BEYOND = 2**62  # every row number
_RESULT = (
    "SELECT r.id, plain(r.raw, r.form), r.received_ms, x.retracted, x.frozen, x.tainted"
    " FROM results x JOIN records r ON r.no = x.no "
)
_COUNTS = "x.retracted = 0 AND x.frozen = 0"
_ORDER = " ORDER BY x.place, x.score, x.tie, r.id"
_NAME = "(SELECT no FROM names WHERE name = ?)"


def best(
    database: Database, track: str, *, hardware_class: str | None = None, author: str | None = None
) -> ResultRow | None:
    """Returns the best kept result of a track that counts, within a class or an author's own; None if there is none."""
    track_no = _number(database, track)
    if track_no is None:
        return None
    if author is not None:
        firsts = _firsts(database, track_no, ("author", "agent"), _number(database, author))
        firsts = [row for row in firsts if row[0] == 0]
        rows = [result(database, min(firsts, key=_order)[3].hex())] if firsts else []
        return next((row for row in rows if row and hardware_class in (None, row.hardware_class)), None)
    where, values = f"WHERE x.track = ? AND x.place = 0 AND {_COUNTS}", [track_no]
    if hardware_class is not None:
        where += " AND x.class = ?"
        values.append(_number(database, hardware_class) or 0)
    found = _results(database, f"{where}{_ORDER} LIMIT 1", values)
    return found[0] if found else None


def ranking(database: Database, track: str, limit: int) -> list[ResultRow]:
    """Returns the results of a track that count: kept ones by value, then discarded ones by value, then the rest."""
    return _results(database, f"WHERE x.track = {_NAME} AND {_COUNTS}{_ORDER} LIMIT ?", [track, limit])


def ranking_by(database: Database, track: str, by: str, limit: int) -> list[ResultRow]:
    """Returns the first result of each group in the order of `ranking`; `by` is class, author, account or agent."""
    number = _number(database, track)
    if number is None:
        return []
    columns = ("class",) if by == "class" else ("author", "agent")
    firsts = sorted(_firsts(database, number, columns), key=_order)
    if by in ("author", "account"):
        firsts = list({row[4]: row for row in reversed(firsts)}.values())[::-1]
    found = (result(database, row[3].hex()) for row in firsts[:limit])
    return [row for row in found if row is not None]


def groups(database: Database, track: str, by: str) -> list[str]:
    """Returns the hardware classes ("class") or authors ("author") that have results on a track that count."""
    number = _number(database, track)
    keys = [] if number is None else _keys(database, number, (by,))
    names = (database.row("SELECT name FROM names WHERE no = ?", key) for key in keys)
    return [str(row[0]) for row in names if row]


def _firsts(database: Database, track: int, columns: tuple[str, ...], author: int | None = None) -> list[Row]:
    """Returns place, score, tie, id and group of the first result of each group, of one author if given."""
    where = " AND ".join(f"x.{column} = ?" for column in columns)
    keys = _keys(database, track, columns) if author is None else _agents(database, track, author)
    rows = (
        database.row(
            "SELECT x.place, x.score, x.tie, r.id FROM results x JOIN records r ON r.no = x.no"
            f" WHERE x.track = ? AND {where} AND {_COUNTS}{_ORDER} LIMIT 1",
            (track, *key),
        )
        for key in keys
    )
    return [(*row, *key) for row, key in zip(rows, keys, strict=True) if row is not None]


def _order(first: Row) -> tuple[Value, ...]:
    return first[0], first[1] or 0.0, first[3]


def _agents(database: Database, track: int, author: int) -> list[Row]:
    return database.rows(
        "SELECT author, agent FROM counts WHERE track = ? AND author = ? GROUP BY agent", (track, author)
    )


def _keys(database: Database, track: int, columns: tuple[str, ...]) -> list[Row]:
    """Returns the groups of results that count on a track."""
    if columns == ("class",):
        first = f"SELECT min(class) FROM results x WHERE track = ?1 AND {_COUNTS}"
        return database.rows(  # hops along the index from one group to the next
            f"WITH RECURSIVE keys(key) AS ({first} UNION ALL"
            f" SELECT ({first} AND class > keys.key) FROM keys WHERE keys.key IS NOT NULL)"
            " SELECT key FROM keys WHERE key IS NOT NULL",
            (track,),
        )
    names = ", ".join(columns)
    return database.rows(f"SELECT {names} FROM counts WHERE track = ? GROUP BY {names}", (track,))


def result(database: Database, key: str) -> ResultRow | None:
    """Returns the result with this id, whatever its standing; None if there is none."""
    found = _results(database, "WHERE r.id = ?", [bytes.fromhex(key)])
    return found[0] if found else None


def results(database: Database, track: str, limit: int | None, author: str | None) -> list[ResultRow]:
    """Returns the results of a track in order of arrival, whatever their standing; with a limit, the newest."""
    rows_max = -1 if limit is None else limit
    if author is None:
        return _results(database, f"WHERE x.track = {_NAME} ORDER BY x.no DESC LIMIT ?", [track, rows_max])[::-1]
    rows = database.rows(  # along what the author wrote, whatever it is
        "SELECT r.id, plain(r.raw, r.form), r.received_ms, x.retracted, x.frozen, x.tainted"
        " FROM records r INDEXED BY records_author CROSS JOIN results x ON x.no = r.no"
        f" WHERE r.author = {_NAME} AND x.track = {_NAME} ORDER BY r.no DESC LIMIT ?",
        (author, track, rows_max),
    )
    return [_result_row(database, row) for row in reversed(rows)]


def history(database: Database, track: str) -> Iterator[ResultRow]:
    """Yields the results of a track in order of arrival, without holding a lock in between."""
    last, where = 0, f"WHERE x.track = {_NAME} AND x.no > ? ORDER BY x.no LIMIT ?"
    while rows := database.rows(_RESULT.replace("SELECT ", "SELECT x.no, ") + where, (track, last, RESULTS_AT_ONCE)):
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
        f" WHERE x.track = {_NAME} AND x.kind = {_NAME}{f' AND {_COUNTS}' if counting else ''}"
        f" AND x.no {beyond} ? ORDER BY x.no {order} LIMIT {TEXTS_AT_ONCE}",
        (track, kind, last),
    ):
        yield from rows
        last = rows[-1][0]


def tried(database: Database, hypothesis: int) -> int:
    """Returns how many results that count came of claims that name the hypothesis in a row of records."""
    row = database.row(
        "SELECT count(*) FROM claims c JOIN results x ON x.claim = c.no"
        f" WHERE c.hypothesis = ? AND x.author = c.author AND {_COUNTS}",
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
    return _results(database, f"WHERE x.parent = {parent} ORDER BY x.no LIMIT ?", [bytes.fromhex(key), LINEAGE_MAX])


def frozen_from(database: Database, author: str) -> int | None:
    """Returns the number from which an author is frozen, or None."""
    row = database.row(f"SELECT from_seq FROM frozen WHERE author = {_NAME}", (author,))
    return int(row[0]) if row else None


def stats(database: Database, track: str) -> Stats:
    """Returns a track's figures."""
    by_status: dict[str, int] = {}
    by_author: dict[str, dict[str, int]] = {}
    for author, status, number in database.rows(
        "SELECT a.name, s.name, sum(x.number) FROM counts x JOIN names a ON a.no = x.author"
        f" JOIN names s ON s.no = x.status WHERE x.track = {_NAME} GROUP BY 1, 2 ORDER BY 1, 2",
        (track,),
    ):
        by_status[status] = by_status.get(status, 0) + number
        by_author.setdefault(author, {})[status] = number
    waiting = database.row(f"SELECT count(*) FROM claims WHERE track = {_NAME} AND open = 1", (track,))
    texts: dict[str, int] = dict(
        database.rows(
            "SELECT k.name, count(*) FROM texts x JOIN names k ON k.no = x.kind"
            f" WHERE x.track = {_NAME} AND {_COUNTS} GROUP BY 1",
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



def _number(database: Database, name: str) -> int | None:
    row = database.row("SELECT no FROM names WHERE name = ?", (name,))
    return int(row[0]) if row else None


def _results(database: Database, rest: str, values: Sequence[Value]) -> list[ResultRow]:
    return [_result_row(database, row) for row in database.rows(_RESULT + rest, values)]


def _result_row(database: Database, row: Row) -> ResultRow:
    key, raw, received_ms, *standing = row
    return build(ResultRow, checked(database.path, key, raw), received_ms, flags=flags(*standing), level="recorded")
