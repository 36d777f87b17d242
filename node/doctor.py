"""Whether research can run on this machine, and what to mend where it cannot.

Each check tries the thing itself: a kernel is run, a sandbox is started, a file is written. Reading version numbers was
rejected, because what is installed and what works are two things. Leaves out repairing: the owner decides.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ensue.errors import AutoresearchError, LogInDoubt, TrackError
from node import lock, machine, settings, text
from node.home import Home, open_replica

if TYPE_CHECKING:
    from experiments.track import Track
    from node.settings import Settings

Verdict = Literal["ok", "note", "warn", "fail"]

DISK_SPARE_BYTES = 1 << 30  # what the data and a few hundred experiments take
LOAD_SHARE_MAX = 0.5
YEAR_2024_S = 1_704_067_200
CHECKED_RECORDS_MAX = 3_000  # a larger replica is left to `rebuild --check`
BACKUP_KEY = "key back-up"
VERIFIED = "verified"
FIX_SANDBOX = "install bubblewrap (apt install bubblewrap)"
GIT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the verdict; `fix` says what to do unless all is well."""

    name: str
    verdict: Verdict
    found: str
    fix: str = ""


def examine(home: Home, *, quick: bool = False) -> Iterator[Check]:
    """Yield the checks one by one, as they are made; `quick` leaves out the device, which takes seconds."""
    yield _python()
    try:
        chosen = settings.load(home.settings)
    except AutoresearchError as error:
        yield Check("settings", "fail", str(error), f"mend {home.settings}")
        chosen = settings.Settings()
    else:
        yield Check("settings", "ok", f"{home.settings}" if home.settings.exists() else "all at their defaults")
    yield _home(home)
    yield _disk(home, chosen)
    yield from _key(home)
    yield _replica(home)
    yield _own_log(home)
    yield from _person(home)
    track, check = _track(home, chosen)
    yield check
    if track is not None:
        yield _memory(track, chosen)
        yield _processors(track)
    yield _git()
    yield from _sandbox(chosen)
    if not quick:
        yield from _devices(home, chosen, track)
    yield _clock(home)
    yield from _state(home, chosen)
    yield _reachability(home, chosen)


def worst(checks: list[Check]) -> Verdict:
    """Return the verdict over all: fail means that research cannot run."""
    order: tuple[Verdict, ...] = ("fail", "warn")
    return next((verdict for verdict in order if any(check.verdict == verdict for check in checks)), "ok")


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Check("python", "ok", version)
    return Check("python", "fail", version, "use Python 3.11, 3.12 or 3.13: make setup PYTHON=python3.12")


def _home(home: Home) -> Check:
    there = _nearest(home.path)
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
        mode = home.path.stat().st_mode & 0o777 if there == home.path else 0o700
    except (AutoresearchError, OSError) as error:
        return Check("home", "fail", f"{home.path}: {error}", "set AUTORESEARCH_HOME to a folder that you can write")
    if mode & 0o022:
        return Check("home", "warn", f"{home.path} can be written by others", f"chmod 700 '{home.path}'")
    return Check("home", "ok", str(home.path) if there == home.path else f"{home.path}, made at the first start")


def _nearest(path: Path) -> Path:
    """Return the path, or the closest folder above it that exists."""
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), Path("/"))


def _disk(home: Home, chosen: Settings) -> Check:
    try:
        free = shutil.disk_usage(_nearest(home.path)).free
    except OSError as error:
        return Check("disk", "fail", f"{home.path}: {error.strerror}", "check that the disk is there")
    if free < chosen.disk_free_bytes:
        kept = text.size(chosen.disk_free_bytes)
        return Check(
            "disk", "fail", f"{text.size(free)} free, and {kept} are to stay free", "make room, or move the home"
        )
    if free < chosen.disk_free_bytes + DISK_SPARE_BYTES:
        return Check("disk", "warn", f"{text.size(free)} free", "make room: about 1 GiB is comfortable")
    return Check("disk", "ok", f"{text.size(free)} free")


def _key(home: Home) -> Iterator[Check]:
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


def _person(home: Home) -> Iterator[Check]:
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


def _replica(home: Home) -> Check:
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


def _own_log(home: Home) -> Check:
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


def _track(home: Home, chosen: Settings) -> tuple[Track | None, Check]:
    from experiments import track as tracks

    try:
        track = tracks.load(chosen.track)
    except TrackError as error:
        return None, Check("track", "fail", str(error), "autoresearch config set track sotu")
    fix = f"autoresearch prepare {track.name}"
    if any(source.sha256 is None for source in track.recipe.sources):
        return track, Check("track", "fail", f"{track.name}: its data has no hashes yet", f"{fix} --pin")
    if not (home.data / track.data_id).is_dir() and any(source.url is not None for source in track.recipe.sources):
        return track, Check("track", "warn", f"{track.name}: its data is not here yet", fix)
    return track, Check("track", "ok", f"{track.name}: {track.budget_s:g} {_clock_words(track)} an experiment")


def _clock_words(track: Track) -> str:
    return "processor seconds" if track.clock == "cpu" else "seconds"


def _memory(track: Track, chosen: Settings) -> Check:
    wanted = chosen.memory_bytes or track.memory_bytes
    free = _available_bytes()
    if free is None:
        return Check("memory", "note", "this system does not say how much memory is free")
    found = f"{text.size(free)} free, an experiment may take {text.size(wanted)}"
    if free < wanted:
        return Check("memory", "warn", found, "close other programs, or autoresearch config set memory_bytes N")
    return Check("memory", "ok", found)


def _available_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if found is None else int(found) * 1024


def _processors(track: Track) -> Check:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0]
    found = f"{text.plural(count, 'processor')}, load {load:.1f}; the track uses {text.plural(track.threads, 'thread')}"
    if count < track.threads:
        return Check("processors", "warn", found, "runs will be contended and compare badly; use a larger machine")
    if load > count * LOAD_SHARE_MAX + track.threads:
        return Check("processors", "warn", found, "other programs slow the runs down; stop them while research runs")
    return Check("processors", "ok", found)


def _git() -> Check:
    try:
        done = subprocess.run(["git", "--version"], capture_output=True, timeout=GIT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return Check(
            "git", "fail", "git does not run", "install it: apt install git, dnf install git or brew install git"
        )
    return Check(
        "git", "ok", text.printable(done.stdout.decode("utf-8", "replace").strip().removeprefix("git version "))
    )


def _sandbox(chosen: Settings) -> Iterator[Check]:
    from experiments import sandbox

    level = sandbox.detect()
    gaps = "; ".join(level.gaps)
    if level.strength < machine.STRENGTH_MIN:
        fix = "install bubblewrap (apt install bubblewrap); no script is run until something holds it"
        yield Check("sandbox", "fail", f"{level.name}; open: {gaps}", fix)
        return
    best = level.strength >= machine.STRENGTH_BEST
    found = f"{level.name} ({level.label}); {'what remains' if best else 'it does not stop'}: {gaps}"
    if not machine.accepts(level, chosen):
        yield Check("sandbox", "fail", f"{found}; your settings want {chosen.sandbox}", FIX_SANDBOX)
    else:
        yield Check("sandbox", "ok" if best else "warn", found, "" if best else FIX_SANDBOX)
    yield Check("limits", "ok" if "cgroup" in level.features else "note", sandbox.limits(level))


def _devices(home: Home, chosen: Settings, track: Track | None) -> Iterator[Check]:
    threads = 2 if track is None else track.threads
    try:
        for name in machine.devices(chosen):
            found = machine.hardware(home, name, threads=threads)
            words = f"{found.device}: {text.printable(found.model)}, {found.gflops:,.0f} GFLOP/s in {found.dtype}"
            yield Check("device", "ok", f"{words}; class {found.hardware_class}")
    except AutoresearchError as error:
        yield Check("device", "fail", str(error), "mend its driver, or autoresearch config set device cpu")


def _clock(home: Home) -> Check:
    began, used = time.monotonic(), time.process_time()
    while time.monotonic() - began < 0.01:
        pass
    if time.process_time() <= used:
        return Check("clock", "fail", "processor time does not advance", "run on a kernel that counts processor time")
    now_s = time.time()
    founded_s = 0.0
    if home.founded:
        from ensue.genesis import Genesis

        try:
            founded_s = Genesis.load(home.genesis).created_ms / 1000
        except AutoresearchError:
            founded_s = 0.0  # the line on the memory says what is wrong
    if now_s < max(YEAR_2024_S, founded_s):
        return Check(
            "clock", "warn", f"the clock says {text.clock(int(now_s * 1000))}", "set the time: records carry it"
        )
    return Check("clock", "ok", f"{text.clock(int(now_s * 1000))}; processor time is counted")


def _state(home: Home, chosen: Settings) -> Iterator[Check]:
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


def _reachability(home: Home, chosen: Settings) -> Check:
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
