"""The digest of the live tables, in the words of the fold, so that the two can be compared.

Left out: deriving. Rows are streamed in the order that `fold.State.lines` has, so memory stays flat.
Rejected: hashing the tables' own bytes, which row numbers and the order of arrival would change.
"""

from collections.abc import Iterator

from ensue.fold import digest_of, line
from ensue.store import queries, rankings
from ensue.store.database import Database
from ensue.store.trusted import read_in_force


def digest(database: Database, network: str) -> str:
    """Returns the digest of the live tables; equal to that of the fold over the same records."""
    with database.snapshot():
        return digest_of(_lines(database, network))


def _lines(database: Database, network: str) -> Iterator[str]:
    rows = database.stream
    for key, kind in rows("SELECT r.id, n.name FROM records r JOIN names n ON n.no = r.kind ORDER BY r.id"):
        yield line("record", key.hex(), kind)
    for author, seq in rows(
        "SELECT n.name, max(r.seq) FROM records r JOIN names n ON n.no = r.author GROUP BY n.name ORDER BY n.name"
    ):
        yield line("head", author, seq)
    yield from _lines_of_people(database, network)
    for key, parent, retracted, void, tainted, official in rows(
        "SELECT r.id, (SELECT s.id FROM records s JOIN results p ON p.no = s.no WHERE s.no = x.parent),"
        " x.retracted, x.frozen, x.tainted, x.official FROM records r JOIN results x ON x.no = r.no ORDER BY r.id"
    ):
        yield line("result", key.hex(), parent.hex() if parent else "-", retracted, void, tainted, official)
    for key, is_open in rows("SELECT r.id, c.open FROM records r JOIN claims c ON c.no = r.no ORDER BY r.id"):
        yield line("claim", key.hex(), is_open)
    for kind in ("hypothesis", "insight"):
        for no, key, retracted, frozen in rows(
            "SELECT r.no, r.id, t.retracted, t.frozen FROM records r JOIN texts t ON t.no = r.no"
            " WHERE t.kind = (SELECT no FROM names WHERE name = ?) ORDER BY r.id",
            (kind,),
        ):
            tried = (queries.tried(database, no),) if kind == "hypothesis" else ()
            yield line(kind, key.hex(), *tried, retracted, frozen, 0, 0)
    yield from _lines_of_bests(database)
    for track, author, status, number in rows(
        "SELECT t.name, a.name, s.name, sum(x.number) FROM counts x JOIN names t ON t.no = x.track"
        " JOIN names a ON a.no = x.author JOIN names s ON s.no = x.status GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    ):
        yield line("count", track, author, status, number)


def _lines_of_people(database: Database, network: str) -> Iterator[str]:
    rows, named = database.stream, "JOIN names n ON n.no = {} ORDER BY n.name"
    for author, seq in rows("SELECT n.name, f.from_seq FROM forked f " + named.format("f.author")):
        yield line("frozen", author, seq)
    for author, seq in rows(
        "SELECT n.name, f.from_seq FROM frozen f LEFT JOIN forked k ON k.author = f.author"
        " JOIN names n ON n.no = f.author WHERE k.from_seq IS NULL OR f.from_seq < k.from_seq ORDER BY n.name"
    ):
        yield line("revoked", author, seq)
    for node, start, account in rows(
        "SELECT n.name, s.start, a.name FROM speaks s JOIN names a ON a.no = s.account"
        " JOIN names n ON n.no = s.node ORDER BY n.name, s.start"
    ):
        yield line("speaks", node, start, account)
    now = read_in_force(database, network)
    yield line("trusted", now.epoch, now.needed, *sorted(now.verifiers))


def _lines_of_bests(database: Database) -> Iterator[str]:
    for (track,) in database.rows(
        "SELECT n.name FROM names n WHERE EXISTS(SELECT 1 FROM results WHERE track = n.no) ORDER BY n.name"
    ):
        best = rankings.best(database, track, judged=False)
        if best is not None:
            yield line("best", track, "all", "", best.id)
        for scope in ("author", "class"):
            for name in sorted(rankings.groups(database, track, scope)):
                by_class = scope == "class"
                best = rankings.best(
                    database,
                    track,
                    hardware_class=name if by_class else None,
                    author=None if by_class else name,
                    judged=False,
                )
                if best is not None:
                    yield line("best", track, scope, name, best.id)
    for (track,) in database.rows(
        "SELECT n.name FROM names n WHERE EXISTS(SELECT 1 FROM results WHERE track = n.no AND official = 1)"
        " ORDER BY n.name"
    ):
        for scope in ("account", "all", "class"):
            names = [""] if scope == "all" else sorted(rankings.official_groups(database, track, scope))
            for name in names:
                best = rankings.best(
                    database,
                    track,
                    hardware_class=name if scope == "class" else None,
                    account=name if scope == "account" else None,
                    level=queries.OFFICIAL,
                    judged=False,
                )
                if best is not None:
                    yield line("official", track, scope, name, best.id)
