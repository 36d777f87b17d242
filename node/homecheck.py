"""What the doctor says of a home: its key and who stands behind it, the replica, the node's own log, who is reached.

Left out: the machine around it (doctor). Each check opens what it speaks of, as the doctor's others do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ensue.errors import AutoresearchError, LogInDoubt
from node import lock, text
from node.home import Home, open_replica

if TYPE_CHECKING:
    from node.settings import Settings

Verdict = Literal["ok", "note", "warn", "fail"]

CHECKED_RECORDS_MAX = 3_000  # a larger replica is left to `rebuild --check`
BACKUP_KEY = "key back-up"
VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the verdict; `fix` says what to do unless all is well."""

    name: str
    verdict: Verdict
    found: str
    fix: str = ""


def key(home: Home) -> Iterator[Check]:
    """Say whether the key file is one, and whose."""
    from ensue.identity import Identity

    if not home.key.exists():
        yield Check("key", "ok", "none yet: made at the first `autoresearch join`")
        return
    try:
        identity = Identity.load(home.key)
    except AutoresearchError as error:
        yield Check("key", "fail", str(error), "put the back-up of the key in its place, with mode 600")
        return
    yield Check("key", "ok", f"{identity.peer_id}, mode 600")


def person(home: Home) -> Iterator[Check]:
    """Say whether the account could be brought back, and whether what is published is official."""
    from ensue.identity import Identity
    from node import standing

    if not home.founded or not home.key.exists():
        yield Check(VERIFIED, "note", "not before the first `autoresearch join`")
        return
    try:
        with open_replica(home) as store:
            found = standing.read(home, store, Identity.load(home.key).peer_id)
            copied = store.local_get(BACKUP_KEY)
    except AutoresearchError as error:
        yield Check(VERIFIED, "note", f"unknown: {error}")
        return
    if found.account is None:
        verdict: Verdict = "warn" if copied is None else "ok"
        where = "the node's key is in one place only" if copied is None else f"the node's key: {text.printable(copied)}"
        fix = "autoresearch join makes an account, which outlives this key; or autoresearch doctor --backup-key FILE"
        yield Check(BACKUP_KEY, verdict, where, fix if copied is None else "")
    elif found.saved is None:
        fix = "autoresearch keys backup shows its 24 words; without them the account is lost with this disk"
        yield Check(BACKUP_KEY, "warn", "the account's key is in one place only", fix)
    else:
        more = f"; the node's key {text.printable(copied)}" if copied else ""
        yield Check(BACKUP_KEY, "ok", f"the account's key {found.saved.words}{more}")
    now_ms = standing.now_ms()
    words = found.verified_words(now_ms)
    if found.official and not found.due(now_ms):
        yield Check(VERIFIED, "ok", words)
    elif found.revoked_from is not None:
        yield Check(VERIFIED, "warn", words, "autoresearch keys rotate")
    elif found.trusted:
        how = "autoresearch verify you@example.org; until then results stay at the level recorded"
        yield Check(VERIFIED, "note", words, "autoresearch verify, with the same address" if found.official else how)
    else:
        yield Check(VERIFIED, "note", f"{words}, so results stay at the level recorded")


def back_up_key(home: Home, target: Path) -> None:
    """Copy the node's key to a new file that only its owner can read, and note when and where.

    Raises UserError where there is no key or the file cannot be made.
    """
    from ensue.errors import UserError
    from ensue.identity import Identity

    with open_replica(home) as store:
        Identity.load(home.key)
        try:
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(home.key.read_bytes())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"{target} cannot be made ({error.strerror}): name a new file in a folder you own"
            ) from error
        store.local_set(BACKUP_KEY, f"{target.absolute()} on {text.clock(int(time.time() * 1000))}")


def replica(home: Home) -> Check:
    """Say whether what is derived is what the records say."""
    if not home.founded:
        return Check("replica", "ok", "none yet: founded at the first `autoresearch join`")
    try:
        with open_replica(home) as store:
            count = store.count()
            if count > CHECKED_RECORDS_MAX:
                return Check("replica", "ok", f"{count:,} records; `autoresearch rebuild --check` proves the rest")
            equal = store.rebuild(check=True).equal
    except AutoresearchError as error:
        return Check("replica", "fail", str(error), "restore the home from a back-up, or start with another home")
    if not equal:
        return Check("replica", "fail", "the live state is not what the records say", "autoresearch rebuild")
    return Check("replica", "ok", f"{text.plural(count, 'record')}, the live state is what they say")


def own_log(home: Home) -> Check:
    """Say whether this node knows where its own log ends."""
    from ensue.identity import Identity

    if not home.founded or not home.key.exists():
        return Check("own log", "ok", "none yet")
    try:
        with open_replica(home) as store:
            end = store.own_log.require(Identity.load(home.key).peer_id)
    except LogInDoubt as error:
        return Check("own log", "fail", str(error), "autoresearch doctor --restored, or begin a new log")
    except AutoresearchError:
        return Check("own log", "note", "unknown; what stands above says why")
    if end.missing:
        lost = f"goes on after number {end.seq}; {text.plural(end.missing, 'newer record')} of its own are not here"
        return Check("own log", "warn", lost, "nothing: it is safe; peers that have them give them back")
    return Check("own log", "ok", f"{text.plural(end.seq, 'record')} signed here, the next is number {end.seq + 1}")


def confirm_own_log(home: Home) -> str:
    """Take this home for the one that continues its key's log; return in words where the log goes on.

    Raises UserError where there is no node, BadKeyFile, StoreError, and AlreadyRunning while the node runs.
    """
    from ensue.identity import Identity

    with lock.NodeLock(home.lock), open_replica(home) as store:
        end = store.own_log.confirm(Identity.load(home.key).peer_id)
    return f"the log of this node goes on here, after number {end.seq}"


def state(home: Home, chosen: Settings) -> Iterator[Check]:
    """Say whether a node runs here."""
    pid = lock.holder(home.lock)
    paused = False
    if home.founded:
        try:
            with open_replica(home) as store:
                paused = store.local_get("control") == "pause"
        except AutoresearchError:
            paused = False  # the line on the memory says what is wrong
    running = "stopped" if pid is None else f"running as process {pid}"
    if paused:
        yield Check("node", "warn", f"{running}, paused", "autoresearch resume")
    else:
        yield Check("node", "ok", running + (f", hours {chosen.hours}" if chosen.hours else ""))


def reachability(home: Home, chosen: Settings) -> Check:
    """Say what the running node knows of its peers; a doctor opens no connections."""
    if chosen.swarm == "off":
        return Check("reachability", "note", "the setting swarm is off: this node works alone", "config unset swarm")
    if not home.founded:
        return Check("reachability", "note", "not known before the first `autoresearch join`")
    from node.swarm import status

    with open_replica(home) as store:
        said = status.read(store)
    if said is None or not said.running(time.time_ns() // 1_000_000):
        return Check("reachability", "note", "not known while no node runs", "run this beside `autoresearch join`")
    found = f"{text.plural(said.connected, 'peer')} connected; {said.why}"
    if said.problem:
        return Check("reachability", "warn", said.problem, "see swarm.log in the home")
    if said.reachable == "no":
        return Check("reachability", "note", found, "it works all the same; docs/how-to/join-others.md says what helps")
    return Check("reachability", "ok" if said.reachable == "yes" or said.connected else "note", found)
