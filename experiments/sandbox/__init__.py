"""Isolation for strangers' code: `detect` what the machine gives, `start` a command in it, watch and end it.

A script in here sees an interpreter, its packages and what it was given; no network, no home, no other process.
Leaves out what the script is for. Rejected: containers, which need a daemon with root that most volunteers lack.
"""

from experiments.sandbox import cgroup, place
from experiments.sandbox.bounds import Level, Limits, Mount
from experiments.sandbox.detect import detect, limits
from experiments.sandbox.devices import device_inside
from experiments.sandbox.removal import remove_tree
from experiments.sandbox.sandboxed import Sandboxed
from experiments.sandbox.starting import start
from experiments.sandbox.visible import interpreter

__all__ = [
    "Level", "Limits", "Mount", "Sandboxed", "detect", "device_inside", "interpreter", "limits", "reap_orphans",
    "remove_tree", "start",
]


def reap_orphans() -> int:
    """Kills what dead nodes left behind, and frees what it held; returns how many processes were killed."""
    return cgroup.reap() + place.reap()
