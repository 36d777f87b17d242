"""A place for runs that a person asks for outside the loop, and whose outcome is signed: a rerun, a calibration.

It holds the home as a running node does, so that two runs never disturb each other; beside a node that only serves
others it works too. Left out: what is run. `node.tryout` is for what is published nowhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ensue.errors import AlreadyRunning, UserError
from ensue.identity import Identity
from experiments import track as tracks
from node import machine, settings
from node.bench import Place
from node.control import Control
from node.home import Home
from node.lock import NodeLock, holder
from node.measuring import Measuring
from node.patience import Patience
from node.report import STATUS_KEY
from node.settings import SERVING, Settings

if TYPE_CHECKING:
    from ensue.store import Store
    from experiments.runner import OnEvent
    from experiments.track import Track

HAND_LOCK = "byhand.lock"


@contextmanager
def held(home: Home, store: Store) -> Iterator[None]:
    """Hold a home for one run by hand; raise UserError where a node or another such run is at work."""
    lock = _lock(home, store)
    with lock:
        yield


def _lock(home: Home, store: Store) -> NodeLock:
    try:
        return NodeLock(home.lock)
    except AlreadyRunning:
        if _serving(store):
            try:
                return NodeLock(home.path / HAND_LOCK)
            except AlreadyRunning:
                raise UserError("another run by hand is at work on this home: wait until it has ended") from None
        raise UserError(
            f"a node is at work here (process {holder(home.lock)}), and two runs at once would disturb each other: "
            "it does the reruns that it is drawn for by itself, or end it first with `autoresearch leave`"
        ) from None


def _serving(store: Store) -> bool:
    try:
        return bool(json.loads(store.local_get(STATUS_KEY) or "{}").get("phase") == SERVING)
    except (ValueError, AttributeError):
        return False


def place(home: Home, chosen: Settings, store: Store, track: Track, preparing: Callable[[str, float], None]) -> Place:
    """Return this machine as a place for runs that are signed, on the first of the devices that the settings name.

    Raises LogInDoubt, ExperimentError where no kernel runs, SandboxUnavailable, DataDamaged and DownloadFailed.
    """
    identity = Identity.load(home.key)
    store.own_log.require(identity.peer_id)
    level = machine.wall(chosen)
    hardware = machine.hardware(home, machine.devices(chosen)[0], threads=track.threads)
    home.runs.mkdir(exist_ok=True)
    return Place(
        settings=chosen,
        name=settings.own_name(chosen, identity.peer_id),
        identity=identity,
        store=store,
        track=machine.bounded(track, chosen),
        data=tracks.prepare(track, home.data, preparing),
        hardware=hardware,
        level=level,
        runs=home.runs,
    )


def measuring(place: Place, on_event: OnEvent, tell: Callable[[str | None], None]) -> Measuring:
    """Return what runs scripts there, until Ctrl-C; `tell` hears why it waits. Takes over the signals."""
    control = Control(place.store)
    control.install()
    return Measuring(place, control, Patience(place.runs, place.settings.disk_free_bytes, control, tell), on_event)
