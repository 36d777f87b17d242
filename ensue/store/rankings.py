"""Who leads: the best result, and rankings of results, agents, authors, accounts and hardware classes.

Each is a walk along an index for every group, so its cost is that of its answer, not of the memory's size. Left out:
what counts and what is official (fold, people). Rejected: a table of leaders, which each retraction would make again.
"""

from collections.abc import Callable

from ensue.people import NEVER
from ensue.store.database import Database, Row, Value
from ensue.store.queries import CONFIRMED, COUNTS, LEVELS, NAME, OFFICIAL, ORDER, RECORDED, matching, number_of, result
from ensue.store.rows import ResultRow

_BY_AUTHOR, _BY_CLASS = ("author", "agent"), ("class",)


def leaderboard(database: Database, track: str, by: str, limit: int, level: str) -> list[ResultRow]:
    """Returns a ranking at a level; raises ValueError for one that there is not."""
    if by not in ("result", "agent", "account", "class", "author") or level not in LEVELS:
        raise ValueError(f"no leaderboard by {by!r} at level {level!r}")
    if by == "result":
        return ranking(database, track, limit, level)
    return ranking_by(database, track, by, limit, level)


def best(
    database: Database,
    track: str,
    *,
    hardware_class: str | None = None,
    author: str | None = None,
    account: str | None = None,
    level: str | None = RECORDED,
    judged: bool = True,
) -> ResultRow | None:
    """Returns the best kept result of a track that counts, within a class or an author's own; None if there is none.

    `level`: among those that have it, then perhaps those of an account; None: the highest that any has. Whatever
    reruns said against a result is left out of account if not `judged`.
    """
    if level is None:
        found = (best(database, track, hardware_class=hardware_class, author=author, level=one) for one in LEVELS[::-1])
        return next((row for row in found if row is not None), None)
    track_no, having = number_of(database, track), _having(level, judged)
    if track_no is None:
        return None
    if author is not None or account is not None:
        places = [
            row
            for name in ([author] if author is not None else _nodes(database, account or ""))
            for row in _firsts(database, track_no, _BY_AUTHOR, having, number_of(database, name or ""), account)
            if row[0] == 0
        ]
        rows = [result(database, min(places, key=_order)[3].hex())] if places else []
        return next((row for row in rows if row and hardware_class in (None, row.hardware_class)), None)
    free = _free(having)
    where, values = f"WHERE {free}x.track = ? AND {free}x.place = 0 AND {having}", [track_no]
    if hardware_class is not None:
        where += f" AND {free}x.class = ?"
        values.append(number_of(database, hardware_class) or 0)
    firsts = matching(database, f"{where}{_order_by(having)} LIMIT 1", values)
    return firsts[0] if firsts else None


def ranking(database: Database, track: str, limit: int, level: str = RECORDED) -> list[ResultRow]:
    """Returns the results of a track that count: kept ones by value, then discarded ones by value, then the rest."""
    having = _having(level)
    free = _free(having)
    return matching(database, f"WHERE {free}x.track = {NAME} AND {having}{_order_by(having)} LIMIT ?", [track, limit])


def ranking_by(database: Database, track: str, by: str, limit: int, level: str = RECORDED) -> list[ResultRow]:
    """Returns the first result of each group in the order of `ranking`; `by` is class, author, account or agent.

    The results of a node that speaks for nobody are the node's own, also by account.
    """
    number = number_of(database, track)
    if number is None:
        return []
    columns = _BY_CLASS if by == "class" else _BY_AUTHOR
    firsts = sorted(_firsts(database, number, columns, _having(level)), key=_order)
    if by in ("author", "account"):
        key = _account_of(database) if by == "account" else lambda first: first[4]
        firsts = list({key(first): first for first in reversed(firsts)}.values())
        firsts.sort(key=_order)
    rows = (result(database, first[3].hex()) for first in firsts[:limit])
    return [row for row in rows if row is not None]


def groups(database: Database, track: str, by: str) -> list[str]:
    """Returns the hardware classes ("class") or authors ("author") that have results on a track that count."""
    number = number_of(database, track)
    keys = [] if number is None else _keys(database, number, (by,))
    names = (database.row("SELECT name FROM names WHERE no = ?", key) for key in keys)
    return [str(row[0]) for row in names if row]


def official_groups(database: Database, track: str, by: str) -> list[str]:
    """Returns the hardware classes ("class") or accounts ("account") that have official results on a track."""
    number = number_of(database, track)
    if by == "class":
        sql = (
            "SELECT DISTINCT n.name FROM results x JOIN names n ON n.no = x.class WHERE x.track = ? AND x.official = 1"
        )
        return [str(name) for (name,) in database.rows(sql, (number,))]
    firsts = [] if number is None else _firsts(database, number, _BY_AUTHOR, _having(OFFICIAL, judged=False))
    account_of = _account_of(database)
    numbers = {account_of(first) for first in firsts}
    return [str(row[0]) for no in numbers if (row := database.row("SELECT name FROM names WHERE no = ?", (no,)))]


def _firsts(
    database: Database,
    track: int,
    columns: tuple[str, ...],
    having: str,
    author: int | None = None,
    account: str | None = None,
) -> list[Row]:
    """Returns place, score, tie, id, group and number of the first result of each group, of one author if given.

    Groups of authors are divided further by the account that they spoke for, or only one account is looked at.
    """
    by_author = columns != _BY_CLASS
    keys = _keys(database, track, columns) if author is None else _agents(database, track, author)
    firsts = []
    for key in keys:
        parts = _parts(database, key[0], account) if by_author else [(1, NEVER)]
        for first, beyond in parts:
            where = "".join(f" AND {_free(having)}x.{column} = ?" for column in columns)
            where += " AND r.seq >= ? AND r.seq < ?" if (first, beyond) != (1, NEVER) else ""
            values = (track, *key, *((first, beyond) if (first, beyond) != (1, NEVER) else ()))
            row = database.row(
                f"SELECT x.place, {_score(having)}, x.tie, r.id FROM results x JOIN records r ON r.no = x.no"
                f" WHERE {_free(having)}x.track = ?{where} AND {having}{_order_by(having)} LIMIT 1",
                values,
            )
            if row is not None:
                firsts.append((*row, *(key if by_author else (key[0], "")), first))
    return firsts


def _parts(database: Database, author: int, account: str | None) -> list[tuple[int, int]]:
    """Returns the stretches of an author's log that speak for one account each, or for the account given."""
    rows = database.rows(
        "SELECT s.start, n.name FROM speaks s JOIN names n ON n.no = s.account WHERE s.node = ? ORDER BY s.start",
        (author,),
    )
    if not rows:
        return [(1, NEVER)] if account is None else []
    beyond = [*(start for start, _ in rows[1:]), NEVER]
    return [(start, end) for (start, name), end in zip(rows, beyond, strict=True) if account in (None, name)]


def _account_of(database: Database) -> Callable[[Row], Value]:
    """Returns what gives the account of a row of `_firsts`, the author itself where it speaks for nobody."""

    def account_of(first: Row) -> Value:
        row = database.row(
            "SELECT account FROM speaks WHERE node = ? AND start <= ? ORDER BY start DESC LIMIT 1", (first[4], first[6])
        )
        found: Value = row[0] if row else first[4]
        return found

    return account_of


def _nodes(database: Database, account: str) -> list[str]:
    return [
        str(name)
        for (name,) in database.rows(
            f"SELECT DISTINCT n.name FROM speaks s JOIN names n ON n.no = s.node WHERE s.account = {NAME}", (account,)
        )
    ]


def _having(level: str | None, judged: bool = True) -> str:
    """Returns what a row of results must be to stand in a ranking; few were judged, so that costs a ranking nothing."""
    if level == CONFIRMED:
        return "+x.official = 1 AND x.no IN (SELECT no FROM verdicts WHERE answer = 2)"
    counts = "x.official = 1" if level == OFFICIAL else COUNTS
    return f"{counts} AND x.no NOT IN (SELECT no FROM verdicts WHERE answer > 2)" if judged else counts


def _free(having: str) -> str:
    """Returns what keeps a column from choosing the index, where the few verdicts are to."""
    return "+" if having.startswith("+") else ""


def _score(having: str) -> str:
    """Returns the value that orders: of confirmed results what reruns measured, since the author's own may be luck."""
    return "(SELECT score FROM verdicts WHERE no = x.no)" if _free(having) else "x.score"


def _order_by(having: str) -> str:
    return ORDER.replace("x.score", _score(having))


def _order(first: Row) -> tuple[Value, ...]:
    return first[0], first[1] or 0.0, first[3]


def _agents(database: Database, track: int, author: int) -> list[Row]:
    return database.rows(
        "SELECT author, agent FROM counts WHERE track = ? AND author = ? GROUP BY agent", (track, author)
    )


def _keys(database: Database, track: int, columns: tuple[str, ...]) -> list[Row]:
    """Returns the groups of results that count on a track."""
    if columns == _BY_CLASS:
        first = f"SELECT min(class) FROM results x WHERE track = ?1 AND {COUNTS}"
        return database.rows(  # hops along the index from one group to the next
            f"WITH RECURSIVE keys(key) AS ({first} UNION ALL"
            f" SELECT ({first} AND class > keys.key) FROM keys WHERE keys.key IS NOT NULL)"
            " SELECT key FROM keys WHERE key IS NOT NULL",
            (track,),
        )
    names = ", ".join(columns)
    return database.rows(f"SELECT {names} FROM counts WHERE track = ? GROUP BY {names}", (track,))
