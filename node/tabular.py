"""The results of a track as a table in a file: Parquet for pandas and DuckDB, CSV for everything else.

Left out: the records themselves (`ensue.archive` keeps those). One row a result in order of arrival, read one by one,
so memory stays flat. Parquet has strangers' words as they are, because programs read it; CSV has them harmless, because
spreadsheets show and calculate them. Rejected: one row a record of any kind, which is empty in most of its columns.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ensue.errors import UnknownId
from ensue.wholefile import Replacing
from node import text
from node.levels import ruling_of

if TYPE_CHECKING:
    from ensue.store import ResultRow, Store
    from verify.ruling import ClassRuling

ROWS_AT_ONCE = 5_000
"""Rows of one group of a Parquet file; they are held in memory."""
TIME_MS_MIN, TIME_MS_MAX = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, milliseconds since 1970: other times of authors are moved to the nearer end."""

Kind = Literal["text", "number", "whole", "flag", "time", "texts"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, what sort of value it has, what it means with its unit, and where it comes from."""

    name: str
    kind: Kind
    about: str
    take: Callable[[ResultRow, ClassRuling | None], Any]
    """From a result and what reruns say about it in its own class."""


def _field(name: str, kind: Kind, about: str, field: str = "") -> Column:
    return Column(name, kind, about, lambda row, _: getattr(row, field or name))


def _time(name: str, about: str, field: str) -> Column:
    return Column(name, "time", about, lambda row, _: min(max(getattr(row, field), TIME_MS_MIN), TIME_MS_MAX))


def _rerun(name: str, kind: Kind, about: str, field: str) -> Column:
    return Column(name, kind, about, lambda _, found: None if found is None else getattr(found, field))


COLUMNS: tuple[Column, ...] = (
    _field("id", "text", "hash of the result's record, 64 hexadecimal digits"),
    _field("experiment", "text", "key of the experiment: the same for the same change to the same parent"),
    _field("track", "text", "id of the track"),
    _field("author", "text", "peer id of the node that signed it"),
    _field("name", "text", "what the node calls itself; anybody may choose the same", "agent"),
    _field("seq", "whole", "number of the record in its author's log, from 1"),
    _field("status", "text", "kept, discarded, crashed, timed_out or refused"),
    _field("level", "text", "how far it is believed: recorded, official or confirmed"),
    Column("flags", "texts", "what is said against it: retracted, frozen, refuted …", lambda row, _: row.flags),
    _rerun("verdict", "text", "what reruns by others say: better, tie, worse, not yet; empty without any", "answer"),
    _rerun("rerun_pairs", "whole", "pairs of reruns of parent and script that count", "pairs"),
    _rerun("rerun_gain", "number", "gain over the parent in those pairs, in the metric's unit", "gain"),
    _rerun("rerun_gain_sd", "number", "standard error of that gain, in the metric's unit", "gain_sd"),
    _rerun("evidence", "number", "how much better a gain explains the pairs than none", "evidence"),
    _field("metric", "text", "name of the metric, such as val_bpb (bits per byte of validation text)"),
    _field("direction", "text", "min or max: which values are better"),
    _field("value", "number", "the metric, in its unit; empty unless kept or discarded"),
    _field("holdout", "number", "the metric on rows held out, in its unit"),
    _field("holdout_gap", "number", "holdout less value, in the metric's unit"),
    _field("holdout_gap_sd", "number", "standard deviation of the gap by chance, in the metric's unit"),
    _field("seed", "whole", "seed that the runner drew"),
    _field("clock", "text", "cpu or wall: what the budget counts"),
    _field("budget_s", "number", "budget of training, seconds of the clock"),
    _field("setup_s", "number", "set-up before the clock ran, real seconds"),
    _field("train_wall_s", "number", "training, real seconds"),
    _field("cpu_s", "number", "training, processor seconds of all threads"),
    _field("score_s", "number", "scoring, real seconds"),
    _field("overhead_s", "number", "work of the node itself, real seconds"),
    _field("wall_s", "number", "the whole experiment, real seconds"),
    _field("cpu_share", "number", "share of the promised processors that the run had, 0 to 1"),
    _field("contended", "flag", "whether others used the machine so much that it may have mattered"),
    _field("tokens_reported", "whole", "tokens trained on, by the script's own account"),
    _field("hardware_class", "text", "results compare best within one"),
    _field("device", "text", "cpu, or the model of the accelerator"),
    _field("sandbox", "text", "what held the script"),
    _field("software", "text", "versions of interpreter and libraries"),
    _field("source", "text", "SHA-256 of the script"),
    _field("source_bytes", "whole", "size of the script, bytes"),
    _field("log", "text", "SHA-256 of what the run printed"),
    _field("claim", "text", "id of the claim that announced it"),
    _field("parent", "text", "id of the result that the script was made from"),
    _field("description", "text", "the change in one line"),
    Column(
        "change",
        "text",
        "constants that changed, JSON: a list of {knob, old, new}",
        lambda row, _: json.dumps(list(row.change)),
    ),
    _field("reason", "text", "why it has no value"),
    _field("proposer", "text", "what proposed the change"),
    _time("created_at", "when its author signed it, by the author's clock, UTC", "created_ms"),
    _time("received_at", "when it arrived here, by this node's clock, UTC", "received_ms"),
)


def write(store: Store, track: str, path: Path, form: str, *, force: bool, on_rows: Callable[[int], None]) -> int:
    """Write a track's results to a "parquet" or "csv" file and return their number.

    The file appears whole or not at all; `on_rows` hears how many rows are done. Raises UserError where a file is in
    the way and `force` is not given, and DiskFull.
    """
    with Replacing(path, force=force) as stream:
        return (_write_parquet if form == "parquet" else _write_csv)(_results(store, track), stream, on_rows)


_Rows = Iterator[tuple["ResultRow", "ClassRuling | None"]]


def _results(store: Store, track: str) -> _Rows:
    for record in store.records(kind="result"):
        if record.body.get("track") == track:
            try:
                row = store.result(record.id)
            except UnknownId:  # its body breaks the rules of its kind; it is kept, and no result
                continue
            ruling = ruling_of(store, row.id)
            yield row, ruling.own if ruling is not None else None


def _write_parquet(results: _Rows, stream: Any, on_rows: Callable[[int], None]) -> int:
    import pyarrow as arrow
    from pyarrow import parquet

    kinds: dict[Kind, Any] = {
        "text": arrow.string(),
        "number": arrow.float64(),
        "whole": arrow.int64(),
        "flag": arrow.bool_(),
        "time": arrow.timestamp("ms", tz="UTC"),
        "texts": arrow.list_(arrow.string()),
    }
    schema = arrow.schema([arrow.field(c.name, kinds[c.kind], metadata={"about": c.about}) for c in COLUMNS])
    done = 0
    with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        while batch := list(islice(results, ROWS_AT_ONCE)):
            taken = {column.name: [column.take(*row) for row in batch] for column in COLUMNS}
            writer.write_table(arrow.table(taken, schema=schema))
            done += len(batch)
            on_rows(done)
    return done


def _write_csv(results: _Rows, stream: Any, on_rows: Callable[[int], None]) -> int:
    lines = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow([column.name for column in COLUMNS])
    done = 0
    while batch := list(islice(results, ROWS_AT_ONCE)):
        writer.writerows([[_cell(column, column.take(*row)) for column in COLUMNS] for row in batch])
        done += len(batch)
        on_rows(done)
    lines.detach()
    return done


def _cell(column: Column, value: Any) -> str | float | int | None:
    if column.kind == "time":
        return text.iso(value)
    if column.kind == "texts":
        return text.cell("; ".join(value))
    if column.kind == "flag":
        return str(value).lower()
    return text.cell(value) if isinstance(value, str) else value
