"""`export` and `import` as a person meets them, and the tables for other programs."""

import csv
import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import HARMFUL, Invoke, Research

from ensue.store import Store
from node import tabular, text
from node.home import Home, open_replica


def test_export_and_import_into_an_empty_home(
    research: Research, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "memory.tar.zst"
    said = invoke("export", str(file)).stdout
    assert "7 records" in said
    held = json.loads(invoke("export", str(file), "--force", "--json").stdout)
    assert (held["records"], held["missing"], held["format"]) == (7, 0, "archive")
    digest = research.store.digest()

    other = Home(tmp_path / "other")
    monkeypatch.setenv("AUTORESEARCH_HOME", str(other.path))
    done = invoke("import", str(file))
    assert "joining the network autoresearch" in done.stderr
    assert done.stdout.startswith("7 records taken in, 0 known already, 0 refused")
    with open_replica(other) as store:
        assert store.digest() == digest
    again = json.loads(invoke("import", str(file), "--json").stdout)
    assert again["adopted"] is False
    assert again["records"] == {"accepted": 0, "known": 7, "refused": 0}
    assert again["blobs"]["accepted"] == 0
    assert other.key.read_bytes() != research.home.key.read_bytes()
    assert json.loads(invoke("leaderboard", "--json").stdout)[0]["value"] == 1.5991
    assert json.loads(invoke("status", "--json").stdout)["records"] == 7


def test_import_refuses_another_network_and_changes_nothing(
    research: Research, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ensue.genesis import found
    from ensue.identity import Identity

    file = tmp_path / "memory.tar.zst"
    invoke("export", str(file))
    other = Home(tmp_path / "other")
    other.create()
    genesis = found(Identity.load_or_create(other.key), "elsewhere\u202etxt"[:9], [], created_ms=1)
    genesis.save(other.genesis)
    monkeypatch.setenv("AUTORESEARCH_HOME", str(other.path))
    refused = invoke("import", str(file), code=1)
    assert "holds the network autoresearch" in refused.stderr
    assert "AUTORESEARCH_HOME" in refused.stderr
    assert refused.stderr.count("\n") == 1
    with Store(other.database, genesis.network_id) as store:
        assert store.count() == 0


def test_import_refuses_a_replica_without_its_genesis(
    research: Research, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("export", str(tmp_path / "a"))
    other = Home(tmp_path / "other")
    other.create()
    Store(other.database, "ab" * 32).close()
    monkeypatch.setenv("AUTORESEARCH_HOME", str(other.path))
    assert "another home" in invoke("import", str(tmp_path / "a"), code=1).stderr
    assert not other.founded


def test_export_says_what_it_cannot_do(research: Research, invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "memory.tar.zst"
    file.write_bytes(b"mine")
    assert "--force" in invoke("export", str(file), code=1).stderr
    assert file.read_bytes() == b"mine"
    assert "leave out --track" in invoke("export", str(file), "--track", "sotu", code=2).stderr
    assert "cannot be read" in invoke("import", str(tmp_path / "nothing"), code=1).stderr
    assert "no export of ours" in invoke("import", str(file), code=1).stderr
    for ending in ("parquet", "csv"):
        table = tmp_path / f"results.{ending}"
        table.write_bytes(b"mine")
        assert "--force" in invoke("export", str(table), code=1).stderr
        assert table.read_bytes() == b"mine"


def test_parquet_has_every_result_with_types_and_meanings(research: Research, invoke: Invoke, tmp_path: Path) -> None:
    from pyarrow import parquet

    research.store.append(
        research.identity, "retraction", {"target": research.store.head(research.identity.peer_id).id, "reason": "no"}
    )
    file = tmp_path / "results.parquet"
    assert "6 results" in invoke("export", str(file), "--track", "sotu").stdout
    table = parquet.read_table(file)
    assert table.column_names == [column.name for column in tabular.COLUMNS]
    assert all(field.metadata[b"about"] for field in table.schema)
    rows = table.to_pylist()
    assert [row["value"] for row in rows] == [1.6123, 1.605, 1.6201, None, None, 1.5991]
    assert rows[-1]["flags"] == ["retracted"]
    assert rows[1]["parent"] == rows[0]["id"]
    assert isinstance(rows[0]["created_at"], datetime.datetime)
    assert HARMFUL in rows[4]["description"]  # for programs, as it was signed
    wanted = {row["id"]: row for row in json.loads(invoke("leaderboard", "--json", "--limit", "9").stdout)}
    assert {row["id"] for row in rows} - {rows[-1]["id"]} == set(wanted)
    for row in rows[:-1]:
        for name in ("value", "seed", "cpu_s", "hardware_class", "source", "status", "name"):
            assert row[name] == wanted[row["id"]][name]


def test_csv_is_harmless_to_terminals_and_spreadsheets(research: Research, invoke: Invoke, tmp_path: Path) -> None:
    for words in ('=HYPERLINK("http://x","y")', "+1", "-1+1|cmd", "@SUM(A1)", "\t=1", "\uff1d1", "a\nb", '"quoted", 1'):
        research.add("kept", 1.7, f"x = {len(words)}", words, agent="ada")
    file = tmp_path / "results.csv"
    invoke("export", str(file))
    raw = file.read_bytes()
    assert b"\x1b" not in raw
    assert "\u202e".encode() not in raw
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 14
    assert all(not row["description"].lstrip().startswith(text.FORMULA_BEGINS) for row in rows)
    assert rows[6]["description"] == '\'=HYPERLINK("http://x","y")'
    assert rows[12]["description"] == "a b"
    assert rows[13]["description"] == '"quoted", 1'
    assert float(rows[0]["value"]) == 1.6123
    assert rows[3]["value"] == ""
    assert rows[0]["contended"] == "false"
    assert rows[0]["created_at"].endswith("Z")


def test_times_beyond_the_calendar_and_bodies_of_other_rules(
    research: Research, invoke: Invoke, tmp_path: Path
) -> None:
    from pyarrow import parquet

    from ensue.identity import Identity
    from ensue.record import sign

    stranger = Identity(bytes([9]) * 32)
    body = dict(research.store.get(research.store.results(research.track)[0].id).body)
    for seq, time_ms in ((1, 2**53 - 1), (2, 0)):
        prev = None if seq == 1 else "ab" * 32
        made = sign(
            stranger, network=research.store.network, seq=seq, prev=prev, time_ms=time_ms, kind="result", body=body
        )
        assert research.store.ingest([made.raw]).accepted
    invoke("export", str(tmp_path / "a.parquet"))
    invoke("export", str(tmp_path / "a.csv"))
    times = parquet.read_table(tmp_path / "a.parquet").column("created_at").to_pylist()
    assert [moment.year for moment in times[-2:]] == [9999, 1970]


def test_the_tables_columns_are_documented() -> None:
    document = (Path(__file__).resolve().parents[2] / "docs/how-to/export.md").read_text()
    for column in tabular.COLUMNS:
        assert f"| `{column.name}` | {column.about} |" in document


def test_the_programs_in_the_document_run(research: Research, invoke: Invoke, tmp_path: Path) -> None:
    document = (Path(__file__).resolve().parents[2] / "docs/how-to/export.md").read_text()
    reader = next(part for part in document.split("```python\n")[1:] if "tarfile" in part).split("```")[0]
    invoke("export", str(tmp_path / "memory.tar.zst"))
    done = subprocess.run([sys.executable, "-c", reader], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == ["insight", *["result"] * 6]
