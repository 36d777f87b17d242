"""What a verifier must not forget: open challenges, letters that wait, and which address has which account.

One SQLite file in the verifier's folder. Addresses stand in it only while their letter waits, and are overwritten when
they are deleted; codes never do, only their keyed digests. Left out: what is allowed (issuing), and the credentials
themselves, which are records in the replica. Rejected: keeping this in the replica, which is copied, exported and asked
by every command; and in memory, where a restart would give everybody five more tries.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ensue.errors import ForeignFile, NewerVersion, StoreDamaged
from ensue.store.database import Database, Row

APPLICATION_ID = 0x76726679  # "vrfy", in the file's header
VERSION = 1
CHALLENGES_MAX = 200_000
"""Challenges of about a day; then no more are taken until old ones are forgotten."""
LETTERS_MAX = 10_000
"""Letters that wait for the mail server; then no more challenges are taken."""
KEPT_S = 25 * 3600
"""How long a challenge is remembered: a day, over which letters are counted, and an hour to fetch the credential."""

_TABLES = (
    """CREATE TABLE challenges(
    no INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL, nodes TEXT NOT NULL,
    address BLOB NOT NULL, domain BLOB NOT NULL, at_provider INTEGER NOT NULL, tag TEXT NOT NULL, code BLOB,
    created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, silent INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL DEFAULT 'waiting', said TEXT, credential BLOB)""",
    "CREATE INDEX challenges_by_address ON challenges(address, created_ms) WHERE NOT silent",
    "CREATE INDEX challenges_by_state ON challenges(state, created_ms)",
    "CREATE TABLE nonces(id BLOB PRIMARY KEY, until_ms INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX nonces_by_end ON nonces(until_ms)",
    """CREATE TABLE letters(
    no INTEGER PRIMARY KEY, challenge TEXT NOT NULL UNIQUE, email TEXT NOT NULL, silent INTEGER NOT NULL,
    due_ms INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0)""",
    "CREATE INDEX letters_by_time ON letters(due_ms)",
    """CREATE TABLE addresses(
    address BLOB PRIMARY KEY, account TEXT NOT NULL, domain BLOB NOT NULL, first_ms INTEGER NOT NULL,
    moved_ms INTEGER NOT NULL, issued_ms INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX addresses_by_domain ON addresses(domain, first_ms)",
    # Guesses at challenges that are none are counted in this row, so that they take as long as others.
    f"""INSERT INTO challenges(no, id, account, nodes, address, domain, at_provider, tag, code, created_ms, expires_ms,
    silent, state) VALUES
    (0, '', '{"-" * 52}', '[]', zeroblob(32), zeroblob(32), 0, '00', zeroblob(32), 1 << 62, 0, 1, 'none')""",
)
_FIELDS = (
    "id, account, nodes, address, domain, at_provider, tag, code, "  # in the order of Challenge
    "created_ms, expires_ms, silent, tries, state, said, credential"
)
_THIS_OR_NONE = "coalesce((SELECT id FROM challenges WHERE id = ?), '')"


@dataclass(frozen=True, slots=True)
class Challenge:
    """A request for a code, and what became of it.

    `state`: waiting, right (the code came, the credential not yet), done, refused (`said` why), or expired.
    """

    id: str
    account: str
    nodes: tuple[str, ...]
    address: bytes
    domain: bytes
    at_provider: bool
    tag: str
    code: bytes | None
    created_ms: int
    expires_ms: int
    silent: bool = False
    """Whether its letter is never sent, and no code ever right."""
    tries: int = 0
    state: str = "waiting"
    said: str | None = None
    credential: bytes | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A letter that waits; a silent one is thrown away instead of sent."""

    no: int
    challenge: str
    email: str
    silent: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Which account has an address, since when, and when it last changed hands (0: never)."""

    account: str
    first_ms: int
    moved_ms: int


class Ledger:
    """One verifier's file; for several threads and processes. Raises StoreError, as the replica does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with suppress(FileExistsError):  # the log beside it gets the same rights
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            self._database = Database(path, APPLICATION_ID)
            try:
                self._database.check(thorough=False)
                self._prepare()
            except BaseException:
                self._database.close()
                raise
        except ForeignFile:
            raise ForeignFile(f"{path} is no verifier's ledger: move it away, and restore the right one.") from None
        except StoreDamaged as error:
            raise StoreDamaged(
                f"The verifier's ledger {path} is damaged: restore it from a back-up, or move it away to begin anew, "
                "with every quota at zero."
            ) from error

    def _prepare(self) -> None:
        self._database.rows("PRAGMA secure_delete=ON")
        version = self._database.pragma("user_version")
        if version > VERSION:
            raise NewerVersion(f"The verifier's ledger {self.path} is of a later version: update this program.")
        if version == 0:
            with self._database.write():
                if self._database.pragma("user_version") == 0:
                    self._database.run(f"PRAGMA application_id={APPLICATION_ID}")
                    for statement in _TABLES:
                        self._database.run(statement)
                    self._database.run(f"PRAGMA user_version={VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[None]:
        """Hold one transaction: all of it, or nothing. One at a time, over all processes."""
        with self._database.write(durable=durable):
            yield

    # Challenges; what changes them belongs inside `write`

    def full(self) -> bool:
        """Return whether no more challenges or letters are taken."""
        row = self._database.row(
            "SELECT coalesce((SELECT max(no) FROM challenges) - (SELECT min(no) FROM challenges WHERE no > 0), 0),"
            " (SELECT count(*) FROM letters)"
        )
        return row is not None and (row[0] >= CHALLENGES_MAX or row[1] >= LETTERS_MAX)

    def first_use(self, nonce: bytes, until_ms: int) -> bool:
        """Note a nonce until a time; return False where it is noted already."""
        if self._database.row("SELECT 1 FROM nonces WHERE id = ?", (nonce,)):
            return False
        self._database.run("INSERT INTO nonces(id, until_ms) VALUES (?, ?)", (nonce, until_ms))
        return True

    def add(self, one: Challenge, email: str) -> None:
        """Add a challenge and its letter, which is due at once."""
        self._database.run(
            f"INSERT INTO challenges({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(one.id, one.account, json.dumps(one.nodes), one.address, one.domain, int(one.at_provider), one.tag),
                *(one.code, one.created_ms, one.expires_ms, int(one.silent), one.tries, one.state, one.said),
                one.credential,
            ),
        )
        self._database.run(
            "INSERT INTO letters(challenge, email, silent, due_ms) VALUES (?, ?, ?, ?)",
            (one.id, email, int(one.silent), one.created_ms),
        )

    def challenge(self, challenge: str) -> Challenge | None:
        """Return a challenge, None where there is none, or none any more; it takes as long either way."""
        row = self._database.row(f"SELECT {_FIELDS} FROM challenges WHERE id = {_THIS_OR_NONE}", (challenge,))
        found = None if row is None else _challenge(row)
        return found if found and found.id else None

    def letters(self, address: bytes, since_ms: int, enough: int) -> int:
        """Return how many letters went to an address, or wait, that were asked for since a time; at most `enough`."""
        return self._number(
            "SELECT count(*) FROM"
            " (SELECT 1 FROM challenges WHERE address = ? AND created_ms > ? AND NOT silent LIMIT ?)",
            *(address, since_ms, enough),
        )

    def guessed(self, challenge: str) -> None:
        """Count a wrong code; of a challenge that is none, too, so that both take as long."""
        self._database.run(
            "UPDATE challenges SET tries = tries + 1 WHERE id = coalesce((SELECT id FROM challenges WHERE id = ?), '')",
            (challenge,),
        )

    def change(self, challenge: str, state: str, *, said: str | None = None, credential: bytes | None = None) -> None:
        """Move a challenge on to a state; its code is of no use from then on."""
        self._database.run(
            "UPDATE challenges SET state = ?, said = ?, credential = ?, code = NULL WHERE id = ?",
            (state, said, credential, challenge),
        )

    def recode(self, challenge: str, code: bytes) -> None:
        """Give a waiting challenge another code; the tries go on counting."""
        self._database.run("UPDATE challenges SET code = ? WHERE id = ? AND state = 'waiting'", (code, challenge))

    def right(self) -> list[str]:
        """Return the challenges whose code came and whose credential is not noted yet."""
        return [row[0] for row in self._database.rows("SELECT id FROM challenges WHERE state = 'right'")]

    def issued(self, since_ms: int) -> int:
        """Return how many challenges that were asked since a time ended in a credential."""
        return self._number("SELECT count(*) FROM challenges WHERE state = 'done' AND created_ms > ?", since_ms)

    # Letters

    def take_letter(self, now_ms: int, lease_ms: int) -> Waiting | None:
        """Return the letter that is due first, kept from others for a while; None where none is."""
        with self._database.write(durable=False):
            row = self._database.row(
                "SELECT no, challenge, email, silent, attempts FROM letters"
                " WHERE due_ms <= ? ORDER BY due_ms, no LIMIT 1",
                (now_ms,),
            )
            if row is None:
                return None
            self._database.run("UPDATE letters SET due_ms = ? WHERE no = ?", (now_ms + lease_ms, row[0]))
        return Waiting(row[0], row[1], row[2], bool(row[3]), row[4])

    def letter_done(self, number: int) -> None:
        """Forget a letter, and with it the address."""
        with self._database.write(durable=False):
            self._database.run("DELETE FROM letters WHERE no = ?", (number,))

    def letter_failed(self, number: int, due_ms: int) -> None:
        """Try a letter again at a time."""
        with self._database.write(durable=False):
            self._database.run("UPDATE letters SET due_ms = ?, attempts = attempts + 1 WHERE no = ?", (due_ms, number))

    def letters_due(self, now_ms: int) -> None:
        """Make every letter due, as at the start of a service."""
        with self._database.write(durable=False):
            self._database.run("UPDATE letters SET due_ms = ? WHERE due_ms > ?", (now_ms, now_ms))

    def next_due_ms(self) -> int | None:
        """Return when the next letter is due, None where none waits."""
        row = self._database.row("SELECT min(due_ms) FROM letters")
        return row[0] if row else None

    def delayed(self) -> int:
        """Return how many letters a mail server did not take at the first attempt and still wait."""
        return self._number("SELECT count(*) FROM letters WHERE attempts > 0")

    # Addresses

    def holder(self, address: bytes) -> Holder | None:
        """Return which account has an address."""
        row = self._database.row("SELECT account, first_ms, moved_ms FROM addresses WHERE address = ?", (address,))
        return Holder(*row) if row else None

    def hold(self, address: bytes, account: str, domain: bytes, now_ms: int, *, moved: bool) -> None:
        """Note that an address has an account."""
        self._database.run(
            "INSERT INTO addresses(address, account, domain, first_ms, moved_ms, issued_ms) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT(address) DO UPDATE SET account = excluded.account, issued_ms = excluded.issued_ms,"
            " moved_ms = max(moved_ms, excluded.moved_ms)",
            (address, account, domain, now_ms, now_ms if moved else 0, now_ms),
        )

    def accounts(self, domain: bytes, since_ms: int = 0) -> int:
        """Return how many addresses of a domain had their first credential since a time."""
        return self._number("SELECT count(*) FROM addresses WHERE domain = ? AND first_ms > ?", domain, since_ms)

    # Forgetting

    def tidy(self, now_ms: int) -> None:
        """Forget what is over: codes that expired, with their addresses; old challenges and nonces."""
        old_ms = now_ms - KEPT_S * 1000
        with self._database.write(durable=False):
            self._database.run(
                "UPDATE challenges SET state = 'expired', code = NULL WHERE state = 'waiting' AND expires_ms <= ?",
                (now_ms,),
            )
            self._database.run(
                "DELETE FROM letters WHERE challenge NOT IN (SELECT id FROM challenges WHERE state = 'waiting')"
            )
            self._database.run("DELETE FROM challenges WHERE created_ms <= ? AND state != 'right'", (old_ms,))
            self._database.run("DELETE FROM nonces WHERE until_ms <= ?", (now_ms,))
        self.scrub()

    def scrub(self) -> None:
        """Fold the write-ahead log into the file and cut it off: it holds pages as they were before a deletion."""
        self._database.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def _number(self, sql: str, *values: bytes | int | str) -> int:
        row = self._database.row(sql, values)
        return int(row[0]) if row else 0


def _challenge(row: Row) -> Challenge:
    values = list(row)
    values[2], values[5], values[10] = tuple(json.loads(values[2])), bool(values[5]), bool(values[10])
    return Challenge(*values)
