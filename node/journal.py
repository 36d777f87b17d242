"""What a device's loop is in the middle of, so that the next start can go on after a crash at any moment.

One entry a device, kept in the replica's own facts and written in the same transaction as the record that changes it:
the claim opens the entry, the result (or the retraction of the claim) closes it. In between the entry learns what the
training left behind, so that a crash during scoring costs the scoring and not the training.
"""

from typing import Any

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


def key(device: str) -> str:
    """Return the name under which a device's entry is kept."""
    return f"run/{device}"


def read(store: Store, device: str) -> Entry | None:
    """Return the entry of this device, or None when nothing was going on or the entry makes no sense."""
    text = store.local_get(key(device))
    if text is None:
        return None
    try:
        return Entry.model_validate_json(text)
    except ValidationError:
        return None
