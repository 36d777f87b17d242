"""What the loop of one device works with, opened and checked before it begins, and what several loops have in common.

Left out: opening it (research), and the loop (agent).
"""

import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from ensue.identity import Identity
from ensue.store import Store
from experiments.device import Hardware
from experiments.proposers import Proposer
from experiments.sandbox import Level
from experiments.track import Track, TrackData
from experiments.workspace import Workspace
from node.quota import Quota
from node.settings import Settings


@dataclass(frozen=True)
class Shared:
    """What the loops of one start have in common."""

    devices: tuple[str, ...] = ()
    """Those that have a loop, where there are several."""
    quota: Quota = field(default_factory=Quota)
    claiming: AbstractContextManager[object] = field(default_factory=threading.Lock)
    """Held by the one that claims, so that no two claim one experiment."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where scripts are run and what comes of it is signed; fixed for one start. Enough for reruns."""

    settings: Settings
    name: str
    identity: Identity
    store: Store
    track: Track
    data: TrackData
    hardware: Hardware
    level: Level
    runs: Path
    """Folder for the runs of this device alone."""
    shared: Shared = field(default_factory=Shared)


@dataclass(frozen=True, kw_only=True)
class Bench(Place):
    """What a device's loop works with."""

    workspace: Workspace
    proposer: Proposer
