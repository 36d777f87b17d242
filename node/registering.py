"""The registrar of a verifier in a home, at work while the verifier is served: tests are listed, draws are made.

Left out: what is listed (verify.registrar). Rejected: a process of its own; it looks at the memory every few seconds
and has nothing to do but sign now and then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ensue.errors import StoreError, TrackError
from node import settings

if TYPE_CHECKING:
    from ensue.identity import Identity
    from ensue.store import Store
    from node.home import Home

LOOK_EVERY_S = 2.0
_log = logging.getLogger(__name__)


def registered(home: Home, store: Store, identity: Identity, wait: Callable[[float], bool]) -> None:
    """Do a registrar's work until `wait`, which sleeps for so many seconds, says that it is over.

    What cannot be written, as on a full disk, is tried again.
    """
    from verify.registrar import Registrar

    registrar = Registrar(store, identity, noises(home))
    while not wait(LOOK_EVERY_S):
        try:
            registrar.step(time.time_ns() // 1_000_000)
        except StoreError as error:
            _log.warning("nothing was listed for reruns: %s", error)


def noises(home: Home) -> dict[str, float]:
    """Return the tracks known here, the owner's own among them, by id, with the noise of a run that each states."""
    from experiments import track

    found = {}
    for name in {*track.available(), settings.load(home.settings).track}:
        with suppress(TrackError):
            loaded = track.load(name)
            if loaded.noise_sd > 0:
                found[loaded.id] = loaded.noise_sd
    return found
