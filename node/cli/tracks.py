"""Which track a command is about, and what tracks are called.

A track's id is a hash; people say a name, a folder, or the beginning of the id. The track that is installed under a
name goes before the one that the network was founded with, because it is the one that runs here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensue.errors import TrackError, UserError
from node import settings, text
from node.home import Home, default_home

if TYPE_CHECKING:
    from ensue.store import Store

PREFIX_CHARACTERS_MIN = 4
LOOKED_AT_RECORDS = 500  # newest records whose tracks count as known here


@dataclass(frozen=True, slots=True)
class Asked:
    """A track as a command needs it: the id in the records, and what to call it (already harmless)."""

    id: str
    name: str


def names(home: Home) -> dict[str, str]:
    """Return id to name of the tracks that this network was founded with, of those installed, and of the setting."""
    from ensue.genesis import Genesis

    founded = {founded.id: founded.name for founded in Genesis.load(home.genesis).tracks}
    return founded | _installed(settings.load(home.settings).track)


def _installed(setting: str) -> dict[str, str]:
    from experiments import track

    found = {}
    for name in (*track.available(), setting):
        with suppress(TrackError):  # one broken track must not hide the others
            loaded = track.load(name)
            found[loaded.id] = loaded.name
    return found


def call(home: Home, identifier: str) -> str:
    """Return what to call a track: its name, or the beginning of its id."""
    return text.printable(names(home).get(identifier, identifier[:10]), 40)


def asked(home: Home, store: Store, wanted: str | None) -> Asked:
    """Return the track asked for by name, folder or beginning of id, else that of the owner's setting.

    Raises UserError naming the tracks there are.
    """
    from experiments import track

    chosen = wanted or settings.load(home.settings).track
    with suppress(TrackError):
        loaded = track.load(chosen)
        return Asked(loaded.id, text.printable(loaded.name, 40))
    known = names(home)
    found = [identifier for identifier, name in known.items() if name == chosen]
    if not found and len(chosen) >= PREFIX_CHARACTERS_MIN:
        ids = {*known, *recent(store)}
        found = [identifier for identifier in ids if identifier.startswith(chosen.lower())]
    if len(found) == 1:
        return Asked(found[0], text.printable(known.get(found[0], found[0][:10]), 40))
    raise UserError(_unknown(chosen, known, "give a folder"))


def of_peer(wanted: str | None, founded: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the tracks to ask a peer about, the likeliest first, and id to name of all that are known.

    That is the one with this name, in this folder, or with this id, which may be shortened where it is known here; None
    asks for that of the owner's setting, then for those that the network was `founded` with (id to name; empty where
    only an address is known). Raises UserError naming the tracks there are.
    """
    from ensue.record import is_hex64
    from experiments import track

    setting = settings.load(default_home().settings).track
    chosen = wanted or setting
    known = {**founded, **_installed(setting)}
    try:
        loaded = track.load(chosen)
        known[loaded.id] = loaded.name
        found = [loaded.id]
    except TrackError:
        found = [identifier for identifier, name in known.items() if name == chosen]
        if not found and len(chosen) >= PREFIX_CHARACTERS_MIN:
            found = [identifier for identifier in known if identifier.startswith(chosen.lower())]
        if not found and is_hex64(chosen.lower()):
            found = [chosen.lower()]
        if len(found) != 1:
            raise UserError(_unknown(chosen, known, "give a folder or a full id")) from None
    return list(dict.fromkeys([*found, *(founded if wanted is None else ())])), known


def _unknown(chosen: str, known: Mapping[str, str], other: str) -> str:
    choices = ", ".join(sorted(text.printable(name, 40) for name in set(known.values()))) or "none"
    return f"there is no track {text.printable(chosen, 60)!r} here: choose one of {choices}, or {other}"


def recent(store: Store) -> list[str]:
    """Return the tracks of the newest results, the newest first."""
    found: dict[str, None] = {}
    newest = list(store.records(kind="result", after_rowid=max(0, store.count() - LOOKED_AT_RECORDS)))
    for record in reversed(newest):
        found[str(record.body.get("track"))] = None
    return list(found)


def elsewhere(home: Home, store: Store, here: str) -> str:
    """Return a hint at the track with the newest results where it is another one, else nothing."""
    others = [identifier for identifier in recent(store) if identifier != here]
    if not others:
        return ""
    known = names(home)
    name = known.get(others[0], "")
    return (
        f" The newest results here are on {text.printable(name or others[0][:10], 40)}: add --track {others[0][:10]}."
    )


def noise_sd(home: Home, identifier: str) -> float:
    """Return the noise of one run that an installed track states, in the metric's unit; 0 where it is not installed."""
    from experiments import track

    for name in (*track.available(), settings.load(home.settings).track):
        with suppress(TrackError):
            loaded = track.load(name)
            if loaded.id == identifier:
                return loaded.noise_sd
    return 0.0
