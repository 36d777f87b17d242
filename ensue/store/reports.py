"""What the store says it has done: frozen figures, apart from the code that makes them.

Left out: everything else. They are apart because queries name them without wanting the import of what writes.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of records that others sent: ids taken in, how many were here already, and why others were not."""

    accepted: tuple[str, ...]
    known: int
    refused: tuple[str, ...]

    def __add__(self, other: "IngestReport") -> "IngestReport":
        return IngestReport(self.accepted + other.accepted, self.known + other.known, self.refused + other.refused)


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """Whether the live tables say what the records say; `damaged` are ids whose bytes no longer verify."""

    records: int
    digest_live: str
    digest_fold: str
    equal: bool
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What was saved, and where the damaged file lies now."""

    records: int
    blobs: int
    damaged_file: Path
