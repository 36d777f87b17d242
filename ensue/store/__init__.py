"""The replica on disk: every record and blob this node has, what follows from them, and what waits to be sent."""

from ensue.blobs import Blob
from ensue.search import Hit
from ensue.store.draft import Draft
from ensue.store.reports import IngestReport, RebuildReport, RepairReport
from ensue.store.rows import ClaimRow, HypothesisRow, InsightRow, ResultRow, Stats
from ensue.store.store import Store

__all__ = [
    "Blob",
    "ClaimRow",
    "Draft",
    "Hit",
    "HypothesisRow",
    "IngestReport",
    "InsightRow",
    "RebuildReport",
    "RepairReport",
    "ResultRow",
    "Stats",
    "Store",
]
