"""What this machine is: its device with its measured speed, and the wall that it can put around scripts.

The measurement is taken once and kept in the home folder, because a speed at the border between two classes would
otherwise move a machine from one to the other between two starts.
"""

import contextlib
import json
import os
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from ensue.errors import ExperimentError, SandboxUnavailable
from experiments import device, sandbox
from experiments.device import Hardware
from experiments.sandbox import Level
from experiments.track import Track
from node.home import Home
from node.settings import Settings

STRENGTH_MIN = 1  # files, network and memory are held back
STRENGTH_BEST = 3
STRENGTH_WANTED = {"any": STRENGTH_MIN, "namespaces": 2, "bubblewrap": STRENGTH_BEST}  # by the owner's setting


def devices(chosen: Settings) -> list[str]:
    """Return the devices that get a worker each, as the settings name them; raises ExperimentError if none works."""
    return device.every() if chosen.device == "all" else chosen.device.split(",")


def hardware(home: Home, named: str, *, threads: int) -> Hardware:
    """Return a device, measured at the first call and remembered; raises ExperimentError if no kernel runs on it.

    `named` is "auto" or a device's name. A new name, number of threads or version of torch measures anew.
    """
    wanted = None if named == "auto" else named
    key = f"{named} {threads} threads torch {metadata.version('torch')} by processor time"
    known = _read(home.hardware)
    if key in known:
        with contextlib.suppress(ExperimentError):
            return Hardware.from_json(known[key])
    found = device.probe(wanted, threads=threads)
    if home.path.is_dir():
        known[key] = found.to_json()
        scratch = home.hardware.with_name(f".{home.hardware.name}.{os.getpid()}")
        scratch.write_text(json.dumps(known, indent=1), encoding="utf-8")
        scratch.replace(home.hardware)
    return found


def wall(chosen: Settings) -> Level:
    """Return the strongest isolation here; raises SandboxUnavailable if it is weaker than the owner accepts."""
    level = sandbox.detect()
    if level.strength < STRENGTH_MIN:
        raise SandboxUnavailable(
            "nothing on this machine holds a stranger's script: install bubblewrap (apt install bubblewrap), allow "
            "user namespaces (sysctl kernel.unprivileged_userns_clone=1), or use Linux 6.2 or later with Landlock"
        )
    if not accepts(level, chosen):
        raise SandboxUnavailable(
            f"{chosen.sandbox} cannot be used here, only {level.name}, and your settings want nothing weaker: install "
            "bubblewrap, or run `autoresearch config unset sandbox`"
        )
    return level


def accepts(level: Level, chosen: Settings) -> bool:
    """Return whether a level is as strong as the owner's setting wants it."""
    return level.strength >= STRENGTH_WANTED[chosen.sandbox]


def bounded(track: Track, chosen: Settings) -> Track:
    """Return the track with the memory that its owner allows an experiment, if that is less than the track's own."""
    if not chosen.memory_bytes:
        return track
    return replace(track, memory_bytes=min(track.memory_bytes, chosen.memory_bytes))


def weakness(level: Level) -> str | None:
    """Return one line that says what a level below the best does not stop, or None."""
    if level.strength >= STRENGTH_BEST:
        return None
    return f"sandbox {level.name} is weaker than bubblewrap, which could not be used: {'; '.join(level.gaps)}"


def _read(path: Path) -> dict[str, str]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
