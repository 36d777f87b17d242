"""Reads what the live tables know about people: accounts and their nodes, credentials, and whom the network trusts.

Left out: writing and judging (vouching), and the rules (ensue.people). Times that are compared with now are the
caller's. Rejected: rows with names of people; only keys and digests are ever here.
"""

from collections import defaultdict
from dataclasses import dataclass

from ensue.people import NEVER, Cover, InForce, Vouch, covers_of, is_known
from ensue.store.database import Database
from ensue.store.rows import checked
from ensue.store.trusted import read_epochs, read_in_force, vouches, vouches_of

_NO = "(SELECT no FROM names WHERE name = ?)"


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node that speaks for an account; what it signed from number `void_from` on does not count."""

    node: str
    head_seq: int
    void_from: int | None


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """One credential; `counts`: its verifier is trusted in it, and did not take it back."""

    id: str
    verifier: str
    seq: int
    account: str
    address: str
    issued_ms: int
    expires_ms: int
    superseded: bool
    counts: bool


@dataclass(frozen=True, slots=True)
class AccountStanding:
    """Who vouches for an account now, of how many that are needed, and until when that is enough."""

    covering: tuple[str, ...]
    needed: int
    expires_ms: int | None
    official: bool


@dataclass(frozen=True, slots=True)
class Announced:
    """Where a verifier says that it is reached, in its own words."""

    url: str
    name: str
    contact: str


class People:
    """Answers about people in one replica; reads only."""

    def __init__(self, database: Database, network: str) -> None:
        self._database = database
        self._network = network

    def account_of(self, node: str, seq: int = NEVER) -> str | None:
        """Returns the account for which a node speaks, now or in its record of a number; None for none."""
        row = self._database.row(
            "SELECT n.name FROM speaks s JOIN names n ON n.no = s.account"
            f" WHERE s.node = {_NO} AND s.start <= ? ORDER BY s.start DESC LIMIT 1",
            (node, seq),
        )
        return str(row[0]) if row else None

    def nodes(self, account: str) -> list[NodeRow]:
        """Returns the nodes that speak for an account now, or spoke for it once, in order of peer id."""
        rows = self._database.rows(
            "SELECT DISTINCT n.name, (SELECT max(seq) FROM records WHERE author = s.node), f.from_seq FROM speaks s"
            f" JOIN names n ON n.no = s.node LEFT JOIN frozen f ON f.author = s.node WHERE s.account = {_NO}"
            " ORDER BY n.name",
            (account,),
        )
        return [NodeRow(str(node), int(head or 0), void_from) for node, head, void_from in rows]

    def credentials(self, account: str) -> list[CredentialRow]:
        """Returns every credential that names an account, in order of verifier and number."""
        trusted = self.in_force()
        live = [one for one in vouches(self._database, account) if one.seq <= trusted.limit(one.verifier)]
        counting = {(one.verifier, one.seq) for one in live}
        found = []
        for key, verifier, seq, address, issued_ms, expires_ms in self._database.rows(
            "SELECT r.id, v.name, c.seq, c.address, c.issued_ms, c.expires_ms FROM credentials c"
            " JOIN records r ON r.no = c.no JOIN names v ON v.no = c.verifier"
            f" WHERE c.account = {_NO} ORDER BY v.name, c.seq, r.id",
            (account,),
        ):
            later = any(
                one.verifier == verifier and one.address == address.hex() and one.seq > seq and one.account != account
                for one in live
            )
            counts = (verifier, seq) in counting
            found.append(
                CredentialRow(
                    *(key.hex(), verifier, seq, account, address.hex(), issued_ms, expires_ms), later and counts, counts
                )
            )
        return found

    def holder(self, verifier: str, address: str) -> str | None:
        """Returns the account that the newest credential of a verifier for an address's digest names."""
        row = self._database.row(
            "SELECT n.name FROM credentials c JOIN names n ON n.no = c.account"
            f" WHERE c.verifier = {_NO} AND c.address = ? ORDER BY c.seq DESC LIMIT 1",
            (verifier, bytes.fromhex(address)),
        )
        return str(row[0]) if row else None

    def in_force(self) -> InForce:
        """Returns whom the network trusts, by all records here."""
        return read_in_force(self._database, self._network)

    def epochs(self) -> list[InForce]:
        """Returns whom the network trusted from its genesis on, by all records here; the last is now."""
        return read_epochs(self._database, self._network)

    def covers(self, account: str) -> tuple[Cover, ...]:
        """Returns how far the trusted verifiers' words for an account reach."""
        return covers_of(account, vouches(self._database, account), self.in_force())

    def standing(self, account: str, now_ms: int) -> AccountStanding:
        """Returns who vouches for an account at a time, for records that its nodes make then."""
        trusted = self.in_force()
        until: dict[str, int] = {}
        for cover in covers_of(account, vouches(self._database, account), trusted):
            if cover.heads is None and cover.expires_ms > now_ms:
                until[cover.verifier] = max(cover.expires_ms, until.get(cover.verifier, 0))
        ends = sorted(until.values(), reverse=True)
        official = len(ends) >= trusted.needed
        return AccountStanding(
            tuple(sorted(until)), trusted.needed, ends[trusted.needed - 1] if official else None, official
        )

    def verified(self, node: str) -> bool:
        """Returns whether a key is no stranger's: enough trusted verifiers vouch, or once did, for its account.

        Its account is one that it speaks for or spoke for, or one whose credential names it, so that a node is known
        before its own log is here. The founder and whoever was ever trusted to vouch are known too.
        """
        trusted = self.in_force()
        if node == trusted.founder or trusted.limit(node):
            return True
        accounts = {
            str(account)
            for (account,) in self._database.rows(
                f"SELECT DISTINCT n.name FROM speaks s JOIN names n ON n.no = s.account WHERE s.node = {_NO}", (node,)
            )
        }
        for verifier, seq, account in self._database.rows(
            "SELECT v.name, c.seq, a.name FROM listed l JOIN credentials c ON c.no = l.no JOIN names v ON v.no ="
            f" c.verifier JOIN names a ON a.no = c.account WHERE l.node = {_NO}",
            (node,),
        ):
            if seq <= trusted.limit(verifier) and any(
                (one.verifier, one.seq, one.account) == (verifier, seq, account)
                for one in vouches(self._database, account)
            ):
                accounts.add(account)
        return any(
            is_known(covers_of(account, vouches(self._database, account), trusted), trusted.needed, node)
            for account in accounts
        )

    def verified_nodes(self) -> set[str]:
        """Returns every key that is `verified`; time is linear in the number of credentials."""
        trusted = self.in_force()
        live = [one for one in vouches_of(self._database, trusted.limits) if one.seq <= trusted.limit(one.verifier)]
        by_address: dict[tuple[str, str], list[Vouch]] = defaultdict(list)
        addresses: dict[str, set[tuple[str, str]]] = defaultdict(set)
        nodes: dict[str, set[str]] = defaultdict(set)
        for one in live:
            by_address[one.verifier, one.address].append(one)
            addresses[one.account].add((one.verifier, one.address))
            nodes[one.account].update(one.nodes)
        for node, account in self._database.rows(
            "SELECT n.name, a.name FROM speaks s JOIN names n ON n.no = s.node JOIN names a ON a.no = s.account"
        ):
            if account in addresses:
                nodes[account].add(node)
        found = {trusted.founder, *(verifier for verifier, limit in trusted.limits.items() if limit)} - {""}
        for account, places in addresses.items():
            covers = covers_of(account, (one for place in places for one in by_address[place]), trusted)
            found.update(node for node in nodes[account] if is_known(covers, trusted.needed, node))
        return found

    def announced(self, verifier: str) -> Announced | None:
        """Returns where a verifier said last that it is reached."""
        row = self._database.row(
            "SELECT r.id, plain(r.raw, r.form) FROM announcements a JOIN records r ON r.no = a.no"
            f" WHERE a.verifier = {_NO} ORDER BY a.seq DESC LIMIT 1",
            (verifier,),
        )
        if row is None:
            return None
        body = checked(self._database.path, *row).body
        return Announced(body["url"], body["name"], body.get("contact", ""))

    def issued(self, verifier: str, since_ms: int) -> int:
        """Returns how many credentials a verifier has issued since a time by its own clock."""
        row = self._database.row(
            f"SELECT count(*) FROM credentials WHERE verifier = {_NO} AND issued_ms >= ?", (verifier, since_ms)
        )
        return int(row[0]) if row else 0
