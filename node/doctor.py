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
from pathlib import Path
from typing import TYPE_CHECKING

from ensue.errors import AutoresearchError, TrackError
from node import homecheck, machine, settings, text
from node.home import Home, open_replica
from node.homecheck import Check, Verdict

if TYPE_CHECKING:
    from experiments.track import Track
    from node.settings import Settings

DISK_SPARE_BYTES = 1 << 30  # what the data and a few hundred experiments take
LOAD_SHARE_MAX = 0.5
YEAR_2024_S = 1_704_067_200
FIX_SANDBOX = "install bubblewrap (apt install bubblewrap)"
GIT_TIMEOUT_S = 10.0


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
    yield from homecheck.key(home)
    yield homecheck.replica(home)
    yield homecheck.own_log(home)
    yield from homecheck.person(home)
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
    yield from homecheck.state(home, chosen)
    yield homecheck.reachability(home, chosen)


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
            if track is not None and home.founded and home.key.exists():
                yield _speed(home, track, found.hardware_class)
    except AutoresearchError as error:
        yield Check("device", "fail", str(error), "mend its driver, or autoresearch config set device cpu")


def _speed(home: Home, track: Track, hardware_class: str) -> Check:
    """Say how fast this machine is on the track, and how much one run varies."""
    from ensue.identity import Identity
    from node import calibrating
    from verify.trust import Judge

    try:
        own = Identity.load(home.key).peer_id
        with open_replica(home) as store:
            known = calibrating.known(store, own, track.id, hardware_class)
            run_sd, _ = Judge(store).run_noise(track.id, hardware_class, track.noise_sd)
    except AutoresearchError as error:
        return Check("speed", "note", f"unknown: {error}")
    noise = f"a run on {hardware_class} varies by {run_sd:.4f} by what all machines told"
    if known.sd is None:
        now = "a node finds out by the way; at once: autoresearch doctor --calibrate"
        return Check("speed", "note", f"{track.name}: not measured here yet; {noise}", now)
    speed = "" if known.tokens_per_s is None else f"{known.tokens_per_s:,.0f} tokens a second, "
    here = f"{track.name}: {speed}{text.plural(known.runs, 'run')} here varied by {known.sd:.4f}"
    return Check("speed", "ok", f"{here}; {noise}")


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
