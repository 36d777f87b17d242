"""How a device's time is shared between its own research and reruns of others' results, kept in the replica's notes.

Left out: what is done with it (duties). Light, since `status` reads it too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ensue.store import Store
    from node.bench import Place
    from node.home import Home

SAVED_S_MAX = 3600.0
"""Seconds for reruns that may be saved up while there are none to be made."""


@dataclass(frozen=True, slots=True)
class Balance:
    """How a device's time was shared so far, in seconds; `saved_s` is what reruns may take, below 0 what they owe."""

    saved_s: float = 0.0
    reruns_s: float = 0.0
    research_s: float = 0.0
    experiments: int = 0
    blocks: int = 0

    def free(self, share: float) -> bool:
        """Return whether a rerun may begin now."""
        return share > 0 and self.experiments > 0 and self.saved_s >= 0

    def paid_for(self, share: float) -> bool:
        """Return whether a run as long as an experiment is earned already, so that it delays none."""
        return self.free(share) and self.saved_s >= (1.0 - share) * self.research_s / self.experiments

    def researched(self, seconds: float, share: float, experiments: int = 1) -> Balance:
        """Return the balance after so many seconds of research, or of waiting for it."""
        return replace(
            self,
            saved_s=min(SAVED_S_MAX, self.saved_s + share * seconds),
            research_s=self.research_s + seconds,
            experiments=self.experiments + experiments,
        )

    def reran(self, seconds: float, share: float) -> Balance:
        """Return the balance after so many seconds of reruns."""
        return replace(self, saved_s=self.saved_s - (1.0 - share) * seconds, reruns_s=self.reruns_s + seconds)

    @property
    def share(self) -> float:
        """Return the share of the time that reruns took."""
        return self.reruns_s / max(1e-9, self.reruns_s + self.research_s)

    @classmethod
    def read(cls, store: Store, device: str) -> Balance:
        """Return a device's balance; a new one where the note is missing or makes no sense."""
        try:
            known = json.loads(store.local_get(balance_key(device)) or "{}")
            return cls(**{name: type(getattr(cls(), name))(value) for name, value in known.items()})
        except (ValueError, TypeError, AttributeError):
            return cls()

    def text(self) -> str:
        """Return it as text that `read` takes back."""
        return json.dumps(asdict(self))


def balance_key(device: str) -> str:
    """Return the name under which a device's balance is kept."""
    return f"time/{device}"


def note_time(place: Place) -> Callable[[float], None]:
    """Return what counts seconds of a rerun that was made by hand: they are no part of the share, but are told."""

    def spent(seconds: float) -> None:
        before = Balance.read(place.store, place.hardware.device)
        after = replace(before, reruns_s=before.reruns_s + seconds)
        place.store.local_set(balance_key(place.hardware.device), after.text(), durable=False)

    return spent


def devices(home: Home) -> list[str]:
    """Return the devices of this machine that were ever measured."""
    try:
        known = json.loads(home.hardware.read_text(encoding="utf-8"))
        return sorted({str(json.loads(text)["device"]) for text in known.values()})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []
