"""The live tables about people: delegations, revocations, credentials, quorums, and which results they make official.

What a batch says about people is written as it comes; then the accounts, nodes and results that it changes are judged
by the rules of ensue.people. Left out: those rules, and reading (people). Rejected: asking for each result of a ranking
whether it is official, which would cost more than the ranking.
"""

from collections.abc import Callable, Sequence

from ensue.people import (
    NEVER,
    Cover,
    InForce,
    Span,
    Successors,
    Vouch,
    Withdrawal,
    account_at,
    covers_of,
    is_official,
    meant,
    plain,
    spans,
)
from ensue.store.database import Database
from ensue.store.entry import PERSON, Entry
from ensue.store.trialtables import TrialTables
from ensue.store.trusted import read_in_force, spelled, vouches

Naming = Callable[[str], int]
"""Gives a name its number."""
MANY = 1_000
"""Results that change pages at random, so that more of them should be held in memory."""


class Vouching:
    """Writes the tables about people of one database; every method belongs inside a write transaction."""

    def __init__(self, database: Database, network: str) -> None:
        self._database = database
        self._network = network
        self.trials = TrialTables(database)
        self._in_force: InForce | None = None
        self._covers: dict[str, tuple[Cover, ...]] = {}
        self._speakers: dict[int, tuple[str, tuple[Span, ...]]] = {}
        self._nodes: set[int] = set()
        self._accounts: set[int] = set()
        self._everyone = False

    def begin(self) -> None:
        """Forgets what was read before this transaction, which other processes may have changed."""
        self._in_force = None
        self._covers.clear()
        self._speakers.clear()
        self.trials.begin()

    def forget(self) -> None:
        """Drops what is to be judged, of a transaction that was rolled back."""
        self.begin()
        self._nodes.clear()
        self._accounts.clear()
        self._everyone = False

    # Writing

    def write(self, batch: Sequence[tuple[int, Entry]], name: Naming) -> None:
        """Writes what a batch says about people."""
        for no, item in batch:
            if item.role == PERSON:
                self._write(no, item, name)

    def _write(self, no: int, item: Entry, name: Naming) -> None:
        run, author, says = self._database.run, name(item.author), meant(item.says)
        if isinstance(says, str):
            run("INSERT INTO delegations VALUES (?, ?, ?, ?)", (no, author, item.seq, name(says)))
            self._nodes.add(author)
        elif isinstance(says, Withdrawal):
            node = name(says.node)
            run("INSERT INTO revocations VALUES (?, ?, ?, ?)", (no, node, name(says.account), says.last_seq))
            self._nodes.add(node)
        elif isinstance(says, Vouch):
            self._write_credential(no, item, says, name)
        elif isinstance(says, Successors):
            place = says.epoch, bytes.fromhex(says.previous), bytes.fromhex(says.statement)
            run("INSERT INTO quorums VALUES (?, ?, ?, ?, ?)", (no, *place, spelled(plain(says))))
            self._everyone = True
        else:
            run("INSERT INTO announcements VALUES (?, ?, ?)", (no, author, item.seq))

    def _write_credential(self, no: int, item: Entry, says: Vouch, name: Naming) -> None:
        older = None if says.superseded is None else name(says.superseded)
        row = (no, name(item.author), item.seq, name(says.account), bytes.fromhex(says.address), item.time_ms)
        self._database.run("INSERT INTO credentials VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, says.expires_ms, older))
        self._database.run_many(
            "INSERT INTO leaves VALUES (?, ?, ?)", [(no, name(node), seq) for node, seq in says.leaves.items()]
        )
        self._database.run_many("INSERT OR IGNORE INTO listed VALUES (?, ?)", [(no, name(node)) for node in says.nodes])
        self.touched(no)

    # What is to be judged

    def touched(self, no: int) -> None:
        """Notes that a record counts in another way than before, if it is a credential."""
        row = self._database.row("SELECT verifier, address FROM credentials WHERE no = ?", (no,))
        if row is not None:
            others = "SELECT DISTINCT account FROM credentials WHERE verifier = ? AND address = ?"
            self._accounts.update(account for (account,) in self._database.rows(others, row))

    def respeak(self, author: int) -> None:
        """Notes that an author's delegations may count in another way than before."""
        self._nodes.add(author)

    def trust_changed(self) -> None:
        """Notes that others may be trusted than before."""
        self._everyone = True

    def unheard(self) -> list[int]:
        """Returns the nodes of which it may have changed for whom they speak, once."""
        nodes, self._nodes = sorted(self._nodes), set()
        return nodes

    def speak(self, node: int, forked_from: int) -> int:
        """Writes for whom a node speaks, by all that is here; returns from which number on its records are void."""
        rows = self._database.rows
        made = rows(
            "SELECT d.seq, n.name FROM delegations d JOIN names n ON n.no = d.account WHERE d.node = ?", (node,)
        )
        revoked: dict[str, int] = dict(
            rows(
                "SELECT n.name, min(v.last_seq) FROM revocations v JOIN names n ON n.no = v.account"
                " WHERE v.node = ? GROUP BY n.name",
                (node,),
            )
        )
        found, void_from = spans(made, forked_from, lambda account: revoked.get(account, NEVER))
        before = rows(
            "SELECT s.start, n.name FROM speaks s JOIN names n ON n.no = s.account WHERE s.node = ? ORDER BY s.start",
            (node,),
        )
        if list(found) != before:
            self._database.run("DELETE FROM speaks WHERE node = ?", (node,))
            self._database.run_many(
                "INSERT INTO speaks VALUES (?, ?, (SELECT no FROM names WHERE name = ?))",
                [(node, start, account) for start, account in found],
            )
            self._speakers.pop(node, None)
            self._again(node)
        return void_from

    # Judging

    def judge(self) -> None:
        """Judges the results of all who are vouched for in another way than before."""
        if self._everyone:
            self._everyone, self._in_force = False, None
            self.trials.everything()
            self._accounts.update(no for (no,) in self._database.rows("SELECT DISTINCT account FROM credentials"))
        accounts, self._accounts = self._accounts, set()
        if accounts:
            self._covers.clear()
        nodes = {
            node
            for account in accounts
            for (node,) in self._database.rows("SELECT DISTINCT node FROM speaks WHERE account = ?", (account,))
        }
        for node in sorted(nodes):
            self._again(node)

    def _again(self, node: int) -> None:
        """Judges every result of a node, without a look at its records, which are at random places of the file."""
        changed, ties = [], []
        for no, seq, tie, time_ms, counts, before in self._database.rows(
            "SELECT x.no, r.seq, x.tie, x.time_ms, x.retracted = 0 AND x.frozen = 0, x.official"
            " FROM records r INDEXED BY records_log CROSS JOIN results x ON x.no = r.no WHERE r.author = ?",
            (node,),
        ):
            ties.append(tie)
            official = bool(counts) and self.official(node, seq, time_ms)
            if official != bool(before):
                changed.append((official, no))
        if len(changed) >= MANY:
            self._database.expect_many()
        self._database.run_many("UPDATE results SET official = ? WHERE no = ?", changed)
        self.trials.respoken(node, ties)

    def official(self, author: int, seq: int, time_ms: int) -> bool:
        """Returns whether a result that counts is official."""
        name, speaks = self._speaker(author)
        account = account_at(speaks, seq)
        if account is None:
            return False
        covers = self._covers.get(account)
        if covers is None:
            covers = self._covers[account] = self._covering(account)
        return bool(covers) and is_official(covers, self.in_force().needed, name, seq, time_ms)

    def _speaker(self, author: int) -> tuple[str, tuple[Span, ...]]:
        found = self._speakers.get(author)
        if found is None:
            rows = self._database.rows(
                "SELECT a.name, s.start, n.name FROM speaks s JOIN names n ON n.no = s.account"
                " JOIN names a ON a.no = s.node WHERE s.node = ? ORDER BY s.start",
                (author,),
            )
            spoken = tuple((start, account) for _, start, account in rows)
            found = self._speakers[author] = (rows[0][0] if rows else "", spoken)
        return found

    def in_force(self) -> InForce:
        """Returns whom the network trusts now."""
        if self._in_force is None:
            self._in_force = read_in_force(self._database, self._network)
        return self._in_force

    def _covering(self, account: str) -> tuple[Cover, ...]:
        return covers_of(account, vouches(self._database, account), self.in_force())
