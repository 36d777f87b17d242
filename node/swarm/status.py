"""What the swarm process says of itself: one document in the replica's notes, written every few seconds.

Commands read it, so they need no socket and work while nothing runs. Strangers' texts are in it (names, versions), so
whoever shows it writes them out with `node.text`. Left out: what was done when (logs), who is known but not met (the
peer book). Rejected: pydantic, whose import takes longer than the command that shows this.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from node.swarm.address import parsed

if TYPE_CHECKING:
    from ensue.store import Store

Reachable = Literal["yes", "no", "unknown"]

NOTE: Final = "swarm"
VERSION: Final = 1
STALE_MS: Final = 20_000
"""A document older than this, or from a later time, is of a process that no longer runs; to be written every 5 s."""
STATUS_BYTES_MAX = 2 * 1024 * 1024
"""The note as JSON; a larger one is taken for damaged."""
PEERS_SHOWN_MAX = 256
"""Peers in one document."""
ADDRESSES_SHOWN_MAX = 8
"""Addresses in one document of each peer, and twice as many of this node itself."""
WORDS_CHARS_MAX = 400
"""A reason, a problem; names and versions are cut to NAME_CHARS_MAX."""
NAME_CHARS_MAX = 64
_WHOLE_MAX: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One peer as the swarm process sees it, None where it does not know; `lag_records`: theirs that are not here."""

    peer_id: str
    name: str = ""
    addresses: tuple[str, ...] = ()
    connected: bool = False
    version: str = ""
    records: int | None = None
    lag_records: int | None = None
    last_seen_ms: int = 0
    rtt_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals since the process began: records and bytes in and out, records refused, peers cut off for a while."""

    records_in: int = 0
    records_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    refused: int = 0
    cut_off: int = 0


@dataclass(frozen=True, slots=True)
class Unverified:
    """What is kept of unverified keys, and its bound; `forgotten`: logs that are not fetched again for a day."""

    records: int = 0
    logs: int = 0
    bytes: int = 0
    bytes_max: int = 0
    forgotten: int = 0
    relied: int = 0


@dataclass(frozen=True, slots=True)
class SwarmStatus:
    """The document; `why` says in words how it is known whether this node is reachable, or what to do about it."""

    pid: int
    updated_ms: int
    addresses: tuple[str, ...] = ()
    reachable: Reachable = "unknown"
    why: str = ""
    peers: tuple[PeerStatus, ...] = ()
    counters: Counters = field(default_factory=Counters)
    unverified: Unverified = field(default_factory=Unverified)
    problem: str | None = None

    def running(self, now_ms: int, alive: Callable[[int], bool] | None = None) -> bool:
        """Returns whether the process that wrote this still runs: it wrote lately, and its number is in use."""
        return abs(now_ms - self.updated_ms) <= STALE_MS and (alive or is_alive)(self.pid)

    @property
    def connected(self) -> int:
        """Returns the number of peers connected."""
        return sum(peer.connected for peer in self.peers)


def write(store: Store, status: SwarmStatus) -> None:
    """Writes the document, cut to its bounds: peers that are connected, then those seen last, come first."""
    first = sorted(status.peers, key=lambda peer: (not peer.connected, -peer.last_seen_ms, peer.peer_id))
    bounded = replace(
        status,
        addresses=status.addresses[: 2 * ADDRESSES_SHOWN_MAX],
        why=status.why[:WORDS_CHARS_MAX],
        problem=status.problem and status.problem[:WORDS_CHARS_MAX],
        peers=tuple(_cut(peer) for peer in first[:PEERS_SHOWN_MAX]),
    )
    store.local_set(NOTE, json.dumps({"v": VERSION} | asdict(bounded), separators=(",", ":")), durable=False)


def read(store: Store) -> SwarmStatus | None:
    """Returns the last document, whoever wrote it; None where there is none or any of it is not what it should be."""
    text = store.local_get(NOTE)
    if text is None or len(text) > STATUS_BYTES_MAX:
        return None
    try:
        return _status(json.loads(text))
    except (ValueError, RecursionError):
        return None


def is_alive(pid: int) -> bool:
    """Returns whether a process has this number."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _cut(peer: PeerStatus) -> PeerStatus:
    return replace(
        peer,
        name=peer.name[:NAME_CHARS_MAX],
        version=peer.version[:NAME_CHARS_MAX],
        addresses=peer.addresses[:ADDRESSES_SHOWN_MAX],
    )


def _status(parsed_json: object) -> SwarmStatus:
    """Returns the document in parsed JSON; raises ValueError for any other JSON."""
    found = _table(parsed_json)
    reachable, problem, counters = found.get("reachable"), found.get("problem"), _table(found.get("counters"))
    unverified = _table(found.get("unverified", asdict(Unverified())))
    if found.get("v") != VERSION or reachable not in ("yes", "no", "unknown"):
        raise ValueError("no document of this version")
    return SwarmStatus(
        pid=_whole(found.get("pid"), 1),
        updated_ms=_whole(found.get("updated_ms")),
        addresses=_addresses(found.get("addresses"), 2 * ADDRESSES_SHOWN_MAX),
        reachable=reachable,
        why=_words(found.get("why"), WORDS_CHARS_MAX),
        peers=tuple(_peer(_table(peer)) for peer in _list(found.get("peers"), PEERS_SHOWN_MAX)),
        counters=Counters(**{entry.name: _whole(counters.get(entry.name)) for entry in fields(Counters)}),
        unverified=Unverified(**{entry.name: _whole(unverified.get(entry.name)) for entry in fields(Unverified)}),
        problem=None if problem is None else _words(problem, WORDS_CHARS_MAX),
    )


def _peer(found: dict[str, Any]) -> PeerStatus:
    rtt_ms = found.get("rtt_ms")
    if rtt_ms is not None and (type(rtt_ms) not in (int, float) or not 0 <= rtt_ms < 1e9):
        raise ValueError("no time in milliseconds")
    if type(found.get("connected")) is not bool:
        raise ValueError("neither connected nor not")
    records, lag = (None if found.get(name) is None else _whole(found[name]) for name in ("records", "lag_records"))
    return PeerStatus(
        peer_id=_words(found.get("peer_id"), NAME_CHARS_MAX),
        name=_words(found.get("name"), NAME_CHARS_MAX),
        addresses=_addresses(found.get("addresses"), ADDRESSES_SHOWN_MAX),
        connected=found["connected"],
        version=_words(found.get("version"), NAME_CHARS_MAX),
        records=records,
        lag_records=lag,
        last_seen_ms=_whole(found.get("last_seen_ms")),
        rtt_ms=None if rtt_ms is None else float(rtt_ms),
    )


def _table(found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError("no table")
    return found


def _addresses(found: Any, most: int) -> tuple[str, ...]:
    return tuple(address.text for text in _list(found, most) if (address := parsed(text)) is not None)


def _list(found: Any, most: int) -> list[Any]:
    if not isinstance(found, list) or len(found) > most:
        raise ValueError("no list, or a longer one")
    return found


def _words(found: Any, most: int) -> str:
    if not isinstance(found, str) or len(found) > most:
        raise ValueError("no text, or a longer one")
    return found


def _whole(found: Any, least: int = 0) -> int:
    if type(found) is not int or not least <= found <= _WHOLE_MAX:
        raise ValueError("no whole number, or a larger one")
    return found
