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
    """What was saved, what is lost by id or hash, and where the damaged file lies now."""

    records: int
    blobs: int
    damaged_file: Path
    lost_records: tuple[str, ...] = ()
    lost_blobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InspectionReport:
    """What an inspection found damaged: pages in words, records and blobs by id, the rest by name."""

    records: int
    pages: str | None
    damaged_records: tuple[str, ...]
    damaged_blobs: tuple[str, ...]
    derived: tuple[str, ...]
    own: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged."""
        return not (self.needs_repair or self.derived)

    @property
    def needs_repair(self) -> bool:
        """Whether what is damaged cannot be derived anew from the records."""
        kept = {"records", "names"} & set(self.derived)
        return bool(self.pages or self.damaged_records or self.damaged_blobs or self.own or kept)
