"""The tables, and how a file of an earlier version becomes one of today.

Three sorts: what is kept (records, blobs), what is this node's own (outbox, local), and what is derived from the
records (live tables, search indexes), which may be thrown away at any time. A migration and its number commit together.
Ids are 32-byte blobs; authors, tracks and other repeated names are numbers into `names`, and records that name each
other do so by row number, so that indexes stay small and grow at their end.
Rejected: one wide table of result columns; bodies stay in the records, and only what is sorted or sought is a column.
"""

from ensue.errors import ForeignFile, NewerVersion
from ensue.store.database import APPLICATION_ID, Database

V1 = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE names(no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    """CREATE TABLE records(
        no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, author INTEGER NOT NULL, seq INTEGER NOT NULL,
        kind INTEGER NOT NULL, received_ms INTEGER NOT NULL, raw BLOB NOT NULL)""",
    "CREATE INDEX records_log ON records(author, seq)",
    "CREATE INDEX records_kind ON records(kind)",
    "CREATE INDEX records_author ON records(author)",
    """CREATE TABLE blobs(
        no INTEGER PRIMARY KEY, sha BLOB NOT NULL UNIQUE, base INTEGER, depth INTEGER NOT NULL, data BLOB NOT NULL)""",
    "CREATE TABLE outbox(no INTEGER PRIMARY KEY)",
    "CREATE TABLE local(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE frozen(author INTEGER PRIMARY KEY, from_seq INTEGER NOT NULL)",
    """CREATE TABLE retractions(
        no INTEGER PRIMARY KEY, author INTEGER NOT NULL, seq INTEGER NOT NULL, target BLOB NOT NULL)""",
    "CREATE INDEX retractions_target ON retractions(target)",
    # place: 0 kept, 1 discarded, 2 without a value; tie: the id's first 7 bytes, which order as the id does
    """CREATE TABLE results(
        no INTEGER PRIMARY KEY, author INTEGER NOT NULL, track INTEGER NOT NULL, class INTEGER NOT NULL,
        agent INTEGER NOT NULL, status INTEGER NOT NULL, place INTEGER NOT NULL, score REAL, tie INTEGER NOT NULL,
        experiment BLOB NOT NULL, claim BLOB, parent BLOB,
        retracted INTEGER NOT NULL, frozen INTEGER NOT NULL, tainted INTEGER NOT NULL)""",
    "CREATE INDEX results_track ON results(track)",
    "CREATE INDEX results_best ON results(track, place, score, tie) WHERE retracted = 0 AND frozen = 0",
    "CREATE INDEX results_class ON results(track, class, place, score, tie) WHERE retracted = 0 AND frozen = 0",
    "CREATE INDEX results_author ON results(track, author, place, score, tie) WHERE retracted = 0 AND frozen = 0",
    "CREATE INDEX results_experiment ON results(experiment)",
    "CREATE INDEX results_claim ON results(claim) WHERE claim IS NOT NULL",
    "CREATE INDEX results_parent ON results(parent) WHERE parent IS NOT NULL",
    """CREATE TABLE claims(
        no INTEGER PRIMARY KEY, author INTEGER NOT NULL, track INTEGER NOT NULL, experiment BLOB NOT NULL,
        hypothesis BLOB, ttl_s INTEGER NOT NULL, open INTEGER NOT NULL)""",
    "CREATE INDEX claims_open ON claims(track) WHERE open = 1",
    "CREATE INDEX claims_experiment ON claims(experiment) WHERE open = 1",
    "CREATE INDEX claims_hypothesis ON claims(hypothesis) WHERE hypothesis IS NOT NULL",
    """CREATE TABLE texts(
        no INTEGER PRIMARY KEY, kind INTEGER NOT NULL, track INTEGER NOT NULL,
        retracted INTEGER NOT NULL, frozen INTEGER NOT NULL)""",
    "CREATE INDEX texts_track ON texts(track, kind)",
    "CREATE VIRTUAL TABLE words USING fts5(text, content='', tokenize='porter unicode61 remove_diacritics 2')",
    "CREATE TABLE vocabulary(no INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE)",
    "CREATE VIRTUAL TABLE spellings USING fts5(word, content='', tokenize='trigram')",
)

WORDS = "USING fts5(text, content='', columnsize=0, tokenize='porter unicode61 remove_diacritics 2')"
"""How texts are cut into words: the index of all texts, and that of a search."""

V2 = (
    # form: 0 as it came, else the number of the dictionary that `raw` is packed with; each dictionary is kept twice
    "ALTER TABLE records ADD COLUMN form INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE dictionaries(no INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE dictionaries_copy(no INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "ALTER TABLE blobs ADD COLUMN wanted BLOB",  # what it resembles, where that is not here yet
    "CREATE INDEX blobs_wanted ON blobs(wanted) WHERE wanted IS NOT NULL",
    "CREATE INDEX blobs_base ON blobs(base) WHERE base IS NOT NULL",
    *(f"DROP TABLE {name}" for name in ("retractions", "results", "claims", "texts", "words", "spellings")),
    "CREATE TABLE totals(kind INTEGER PRIMARY KEY, number INTEGER NOT NULL)",
    """CREATE TABLE counts(
        track INTEGER, author INTEGER, agent INTEGER, status INTEGER, number INTEGER NOT NULL,
        PRIMARY KEY (track, author, agent, status)) WITHOUT ROWID""",
    # what records name that is not here yet
    "CREATE TABLE missing(target BLOB, no INTEGER, PRIMARY KEY (target, no)) WITHOUT ROWID",
    """CREATE TABLE retractions(
        no INTEGER PRIMARY KEY, author INTEGER NOT NULL, seq INTEGER NOT NULL, target BLOB NOT NULL)""",
    "CREATE INDEX retractions_target ON retractions(target)",
    "CREATE INDEX retractions_author ON retractions(author, seq)",
    # experiment: its key's first 8 bytes; parent, claim: row numbers of records that are here
    # place: 0 kept, 1 discarded, 2 without a value; tie: the id's first 7 bytes, which order as the id does
    """CREATE TABLE results(
        no INTEGER PRIMARY KEY, author INTEGER NOT NULL, track INTEGER NOT NULL, class INTEGER NOT NULL,
        agent INTEGER NOT NULL, status INTEGER NOT NULL, place INTEGER NOT NULL, score REAL, tie INTEGER NOT NULL,
        experiment INTEGER NOT NULL, claim INTEGER, parent INTEGER,
        retracted INTEGER NOT NULL, frozen INTEGER NOT NULL, tainted INTEGER NOT NULL)""",
    "CREATE INDEX results_track ON results(track)",
    "CREATE INDEX results_best ON results(track, place, score, tie) WHERE retracted = 0 AND frozen = 0",
    "CREATE INDEX results_class ON results(track, class, place, score, tie) WHERE retracted = 0 AND frozen = 0",
    "CREATE INDEX results_agent ON results(track, author, agent, place, score, tie) WHERE retracted = 0 AND frozen = 0",
    "CREATE INDEX results_experiment ON results(experiment)",
    "CREATE INDEX results_claim ON results(claim) WHERE claim IS NOT NULL",
    "CREATE INDEX results_parent ON results(parent) WHERE parent IS NOT NULL",
    """CREATE TABLE claims(
        no INTEGER PRIMARY KEY, author INTEGER NOT NULL, track INTEGER NOT NULL, experiment INTEGER NOT NULL,
        hypothesis INTEGER, ttl_s INTEGER NOT NULL, open INTEGER NOT NULL)""",
    "CREATE INDEX claims_open ON claims(track) WHERE open = 1",
    "CREATE INDEX claims_experiment ON claims(experiment) WHERE open = 1",
    "CREATE INDEX claims_hypothesis ON claims(hypothesis) WHERE hypothesis IS NOT NULL",
    """CREATE TABLE texts(
        no INTEGER PRIMARY KEY, kind INTEGER NOT NULL, track INTEGER NOT NULL,
        retracted INTEGER NOT NULL, frozen INTEGER NOT NULL)""",
    "CREATE INDEX texts_track ON texts(track, kind)",
    f"CREATE VIRTUAL TABLE words {WORDS}",
    "DELETE FROM vocabulary",
    "CREATE VIRTUAL TABLE spellings USING fts5(word, content='', tokenize='trigram')",
)
V3 = (
    # the number of the last record whose text is in the search indexes
    "INSERT OR REPLACE INTO meta(key, value) SELECT 'indexed', ifnull(max(no), 0) FROM records",
    # how long this node takes a claim for live, heard from its author after the claim itself
    "CREATE TABLE leases(claim INTEGER PRIMARY KEY, until_ms INTEGER NOT NULL)",
)
V4 = (
    # by its author's clock, for the expiry of credentials; official: enough trusted verifiers vouch for its author
    "ALTER TABLE results ADD COLUMN time_ms INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE results ADD COLUMN official INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX results_official ON results(track, place, score, tie) WHERE official = 1",
    "CREATE INDEX results_official_class ON results(track, class, place, score, tie) WHERE official = 1",
    # frozen: from which number on records are void, for whatever reason; forked: the same where two have one number
    "CREATE TABLE forked(author INTEGER PRIMARY KEY, from_seq INTEGER NOT NULL)",
    "INSERT INTO forked SELECT author, from_seq FROM frozen",
    "CREATE TABLE delegations(no INTEGER PRIMARY KEY, node INTEGER NOT NULL, seq INTEGER NOT NULL, account INTEGER)",
    "CREATE INDEX delegations_node ON delegations(node, seq)",
    """CREATE TABLE revocations(
        no INTEGER PRIMARY KEY, node INTEGER NOT NULL, account INTEGER NOT NULL, last_seq INTEGER NOT NULL)""",
    "CREATE INDEX revocations_node ON revocations(node, account, last_seq)",
    # from which number on a node speaks for an account, by delegations that count
    """CREATE TABLE speaks(
        node INTEGER, start INTEGER, account INTEGER NOT NULL, PRIMARY KEY (node, start)) WITHOUT ROWID""",
    "CREATE INDEX speaks_account ON speaks(account, node)",
    # superseded: the account that held the address before; leaves: up to where its nodes' records still count
    """CREATE TABLE credentials(
        no INTEGER PRIMARY KEY, verifier INTEGER NOT NULL, seq INTEGER NOT NULL, account INTEGER NOT NULL,
        address BLOB NOT NULL, issued_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, superseded INTEGER)""",
    "CREATE INDEX credentials_account ON credentials(account)",
    "CREATE INDEX credentials_address ON credentials(verifier, address, seq)",
    "CREATE INDEX credentials_issued ON credentials(verifier, issued_ms)",
    "CREATE TABLE leaves(no INTEGER, node INTEGER, last_seq INTEGER NOT NULL, PRIMARY KEY (no, node)) WITHOUT ROWID",
    # the nodes that a credential's account named when it asked
    "CREATE TABLE listed(no INTEGER, node INTEGER, PRIMARY KEY (no, node)) WITHOUT ROWID",
    "CREATE INDEX listed_node ON listed(node)",
    """CREATE TABLE quorums(
        no INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, previous BLOB NOT NULL, statement BLOB NOT NULL,
        says TEXT NOT NULL)""",
    "CREATE INDEX quorums_place ON quorums(epoch, previous)",
    "CREATE TABLE announcements(no INTEGER PRIMARY KEY, verifier INTEGER NOT NULL, seq INTEGER NOT NULL)",
    "CREATE INDEX announcements_verifier ON announcements(verifier, seq)",
    # scripts and logs that records which were forgotten named, until it is known whether others name them too
    "CREATE TABLE unnamed(sha BLOB PRIMARY KEY) WITHOUT ROWID",
)
V5 = (
    # which records on reruns are about which result (of an assessment the insight, of a calibration the track)
    """CREATE TABLE about(
        target BLOB, no INTEGER, kind INTEGER NOT NULL, PRIMARY KEY (target, no)) WITHOUT ROWID""",
    "CREATE INDEX about_record ON about(no)",
    # what is to be judged again, and what was found; kept for speed, and no part of what the records amount to here
    "CREATE TABLE stale(target BLOB PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE verdicts(no INTEGER PRIMARY KEY, answer INTEGER NOT NULL, score REAL, said TEXT NOT NULL)",
    "CREATE INDEX verdicts_answer ON verdicts(answer)",
)
LIVE_TABLES = (
    *("totals", "counts", "missing", "frozen", "retractions", "results", "claims", "texts", "vocabulary"),
    *("forked", "delegations", "revocations", "speaks", "credentials", "leaves", "listed", "quorums"),
    *("announcements", "about"),
)
SEARCH_TABLES = ("words", "spellings")
_QUERIED = (
    *("results_track", "results_best", "results_class", "results_agent", "results_experiment", "claims_experiment"),
    "texts_track",
)
QUERY_INDEXES = {name: sql for sql in V2 if (name := sql.split()[2]) in _QUERIED}
"""Indexes over live tables, with the statement of each, that nothing needs while the tables are written."""

DERIVATION = 6
"""Version of the rules (tables, fold, verdicts); with another one in a file the store derives its live tables anew."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (V1, V2, V3, V4, V5)
"""Statements that lead from version i to version i + 1. Never edited once released, only appended to."""


def migrate(database: Database, network: str, derivation: int) -> bool:
    """Brings the file to today's version; returns whether its live tables follow older rules and must be derived anew.

    Raises StoreError when the file belongs to another network or was written by a newer version.
    """
    if database.pragma("user_version") < len(MIGRATIONS):
        with database.write():
            version = database.pragma("user_version")  # again: another process may have been faster
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    database.run(statement)
            if version == 0:
                for key, value in (("network", network), ("derivation", str(derivation))):
                    database.run("INSERT INTO meta(key, value) VALUES (?, ?)", (key, value))
            database.run(f"PRAGMA application_id = {APPLICATION_ID}")
            database.run(f"PRAGMA user_version = {max(version, len(MIGRATIONS))}")
    if database.pragma("user_version") > len(MIGRATIONS):
        raise NewerVersion(f"{database.path} was written by a newer version: upgrade autoresearch to read it.")
    meta = {str(key): str(value) for key, value in database.rows("SELECT key, value FROM meta")}
    if meta.get("network") != network:
        raise ForeignFile(
            f"{database.path} holds network {meta.get('network', '?')[:12]}, not {network[:12]}: choose another home."
        )
    return meta.get("derivation") != str(derivation)
