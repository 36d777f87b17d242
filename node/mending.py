"""Looks after the replica before research begins: what is damaged is mended at the start, without a question.

What follows from the records is derived anew; a file whose records, blobs or notes are damaged is replaced by one with
all that still verifies, and kept beside it. Left out: how (ensue.store.inspection, repair), and asking peers for what
was lost. Rejected: stopping with a sentence, since nobody sits beside a node that runs for weeks.
"""

from collections.abc import Callable

from ensue.errors import ForeignFile, StoreDamaged
from ensue.genesis import Genesis
from ensue.store import RepairReport, Store
from ensue.store.repair import holds_records_of, repair
from node import text
from node.home import Home

LOST_SHOWN_MAX = 3


def look_after(home: Home, note: Callable[[str], None]) -> None:
    """Mend the replica of a home if it is damaged, and say so; the caller holds the node's lock.

    Raises StoreError where the file is not this network's or cannot be written, DiskFull where a copy finds no room.
    """
    if not home.founded or not home.database.exists():
        return
    network = Genesis.load(home.genesis).network_id
    try:
        with Store(home.database, network) as store:
            store.complete()
            report = store.inspect()
            if report.sound:
                return
            if not report.needs_repair:
                note(f"what follows from the records was damaged ({', '.join(report.derived)}); it was derived anew")
                store.rebuild()
                return
    except StoreDamaged:
        pass
    except ForeignFile:  # unless only the place that says so is damaged
        if not holds_records_of(home.database, network):
            raise
    note(said(repair(home.database, network)))


def said(saved: RepairReport) -> str:
    """Return in words what a repair saved, what it could not, and where the damaged file is."""
    whole = f"{text.plural(saved.records, 'record')} and {text.plural(saved.blobs, 'blob')} were saved"
    return f"the replica was damaged: {whole}{_lost(saved)}; the damaged file is kept as {saved.damaged_file}"


def _lost(saved: RepairReport) -> str:
    lost = [*saved.lost_records, *saved.lost_blobs]
    if not lost:
        return ", nothing is known to be lost"
    shown = ", ".join(text.short(one) for one in lost[:LOST_SHOWN_MAX])
    more = f" and {len(lost) - LOST_SHOWN_MAX} more" if len(lost) > LOST_SHOWN_MAX else ""
    counted = f"{text.plural(len(saved.lost_records), 'record')} and {text.plural(len(saved.lost_blobs), 'blob')}"
    return f", {counted} are lost here ({shown}{more}) and only a peer that has them can give them back"
