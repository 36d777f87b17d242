"""Whom the network trusts, as this replica knows it: genesis, quorums' statements since, and credentials that count.

Left out: the rules (ensue.people) and what follows for results (vouching). The genesis is a file of its own; what it
says about trust is kept beside the records too, so that their state can be derived from this file alone. Rejected:
asking every caller for the genesis.
"""

import json
from collections import defaultdict
from collections.abc import Iterable

from ensue.people import NEVER, InForce, Plain, Successors, Trust, Vouch, epochs, in_force, meant, voters
from ensue.store.database import Database

TRUST_KEY = "trust"


def read_trust(database: Database, network: str) -> Trust:
    """Returns what the genesis said about trust; without one here nobody is trusted."""
    row = database.row("SELECT value FROM meta WHERE key = ?", (TRUST_KEY,))
    if row is None:
        return Trust(network)
    fields = json.loads(row[0])
    return Trust(network, fields["founder"], tuple(fields["verifiers"]), fields["needed"])


def write_trust(database: Database, trust: Trust) -> None:
    """Keeps what the genesis says about trust; belongs inside a write transaction."""
    value = json.dumps({"founder": trust.founder, "verifiers": trust.verifiers, "needed": trust.needed})
    database.run("INSERT OR REPLACE INTO meta(key, value) VALUES (?, ?)", (TRUST_KEY, value))


def read_in_force(database: Database, network: str) -> InForce:
    """Returns who is trusted by all records here."""
    return in_force(read_trust(database, network), _changes(database, network))


def read_epochs(database: Database, network: str) -> list[InForce]:
    """Returns who was trusted at each epoch by all records here, the last who is now."""
    return epochs(read_trust(database, network), _changes(database, network))


def read_voters(database: Database, network: str) -> set[str]:
    """Returns whose signatures under quorums' statements matter, or ever mattered."""
    return voters(read_trust(database, network), _changes(database, network))


def _changes(database: Database, network: str) -> list[Successors]:
    """Returns the statements that follow one another, from the genesis on; others have no bearing."""
    found: list[Successors] = []
    epoch, places = 1, [network]
    while places:
        rows = [
            row
            for previous in places
            for row in database.rows(
                "SELECT statement, says FROM quorums WHERE epoch = ? AND previous = ?", (epoch, bytes.fromhex(previous))
            )
        ]
        found += [change for _, says in rows if isinstance(change := meant(parsed(says)), Successors)]
        epoch, places = epoch + 1, list(dict.fromkeys(statement.hex() for statement, _ in rows))
    return found


def spelled(says: object) -> str:
    """Returns what `facts.plain` gives of a quorum as text."""
    return json.dumps(says, default=sorted)


def parsed(text: str) -> Plain:
    """Returns what `spelled` was given."""
    kind, epoch, previous, statement, verifiers, needed, ended, signers = json.loads(text)
    return kind, epoch, previous, statement, tuple(verifiers), needed, ended, frozenset(signers)


_COUNTING = (
    " JOIN records r ON r.no = c.no"
    " JOIN names v ON v.no = c.verifier JOIN names a ON a.no = c.account LEFT JOIN names s ON s.no = c.superseded"
    " LEFT JOIN frozen f ON f.author = c.verifier"
    f" WHERE c.seq < ifnull(f.from_seq, {NEVER})"
    " AND NOT EXISTS(SELECT 1 FROM retractions t WHERE t.target = r.id AND t.author = c.verifier"
    f"  AND t.seq < ifnull(f.from_seq, {NEVER}))"
)


def vouches(database: Database, account: str) -> list[Vouch]:
    """Returns the credentials that count, for every address that an account was vouched for, whoever they name."""
    rows = database.rows(
        "SELECT DISTINCT c.no, v.name, c.seq, a.name, c.address, c.expires_ms, s.name FROM credentials mine"
        f" JOIN credentials c ON c.verifier = mine.verifier AND c.address = mine.address{_COUNTING}"
        " AND mine.account = (SELECT no FROM names WHERE name = ?)",
        (account,),
    )
    return [
        Vouch(verifier, seq, name, address.hex(), expires_ms, older, _leaves(database, no) if older else {})
        for no, verifier, seq, name, address, expires_ms, older in rows
    ]


def vouches_of(database: Database, verifiers: Iterable[str]) -> list[Vouch]:
    """Returns every credential of some verifiers that counts, with the nodes that it names."""
    found: list[Vouch] = []
    for verifier in verifiers:
        by = "c.verifier = (SELECT no FROM names WHERE name = ?)"
        leaves: dict[int, dict[str, int]] = defaultdict(dict)
        listed: dict[int, list[str]] = defaultdict(list)
        for no, node, seq in database.rows(
            "SELECT l.no, n.name, l.last_seq FROM credentials c JOIN leaves l ON l.no = c.no"
            f" JOIN names n ON n.no = l.node WHERE {by}",
            (verifier,),
        ):
            leaves[no][node] = seq
        for no, node in database.rows(
            "SELECT l.no, n.name FROM credentials c JOIN listed l ON l.no = c.no"
            f" JOIN names n ON n.no = l.node WHERE {by}",
            (verifier,),
        ):
            listed[no].append(node)
        found += [
            Vouch(verifier, seq, name, address.hex(), expires_ms, older, leaves.get(no, {}), tuple(listed.get(no, ())))
            for no, seq, name, address, expires_ms, older in database.rows(
                f"SELECT c.no, c.seq, a.name, c.address, c.expires_ms, s.name FROM credentials c{_COUNTING} AND {by}",
                (verifier,),
            )
        ]
    return found


def _leaves(database: Database, no: int) -> dict[str, int]:
    return dict(
        database.rows("SELECT n.name, l.last_seq FROM leaves l JOIN names n ON n.no = l.node WHERE l.no = ?", (no,))
    )
