"""What a device's loop is in the middle of, so that the next start can go on after a crash at any moment.

One entry a device for experiments, one for each duty whose block is not signed yet, one a device for a calibration. An
experiment's kept in the replica's own facts and written in the same transaction as the record that changes it:
the claim opens the entry, the result (or the retraction of the claim) closes it. In between the entry learns what the
training left behind, so that a crash during scoring costs the scoring and not the training.
"""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ensue.store import Store


class Entry(BaseModel):
    """One experiment between its claim and its result."""

    model_config = ConfigDict(frozen=True, strict=True)

    claim: str
    track: str
    experiment: str
    parent: str | None
    commit: str | None
    source: str
    description: str
    change: list[dict[str, Any]]
    mean: float | None
    sd: float | None
    hypothesis: str | None
    agent: str
    proposer: str
    seed: int
    device: str
    run_dir: str
    trained: str | None = None  # experiments.runner.Trained as JSON, once the training is over


class Block(BaseModel):
    """One block of reruns between its duty and its replication, with the runs that are over as they will be signed."""

    model_config = ConfigDict(frozen=True, strict=True)

    duty: str
    track: str
    result: str
    parent: str
    source: str
    parent_source: str
    hardware_class: str
    block: int
    seeds: tuple[int, int]
    seat: int | None
    device: str
    run_dir: str
    runs: list[dict[str, Any]] = []
    trained: str | None = None  # of the run after those, once its training is over


class Series(BaseModel):
    """Runs of the baseline from which a calibration is made, with the seed of the one in progress."""

    model_config = ConfigDict(frozen=True, strict=True)

    track: str
    hardware_class: str
    source: str
    run_dir: str
    seed: int
    seeds: list[int] = []
    values: list[float] = []
    tokens: int = 0
    budget_used_s: float = 0.0
    trained: str | None = None


_Note = TypeVar("_Note", bound=BaseModel)


def key(device: str) -> str:
    """Return the name under which a device's entry is kept."""
    return f"run/{device}"


def block_key(duty: str) -> str:
    """Return the name under which the block of a duty is kept."""
    return f"duty/{duty}"


def series_key(device: str) -> str:
    """Return the name under which a device's calibration is kept."""
    return f"calibration/{device}"


def read(store: Store, device: str) -> Entry | None:
    """Return the entry of this device, or None when nothing was going on or the entry makes no sense."""
    return _read(store, key(device), Entry)


def read_block(store: Store, duty: str) -> Block | None:
    """Return the block of a duty, or None where nothing is known of it."""
    return _read(store, block_key(duty), Block)


def read_series(store: Store, device: str) -> Series | None:
    """Return the calibration of a device, or None where none is going on."""
    return _read(store, series_key(device), Series)


def _read(store: Store, name: str, form: type[_Note]) -> _Note | None:
    text = store.local_get(name)
    if text is None:
        return None
    try:
        return form.model_validate_json(text)
    except ValidationError:
        return None
