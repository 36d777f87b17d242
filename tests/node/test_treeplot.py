"""The picture of descent: a row for each kept result, the line of the best on top, and no more than can be read."""

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import Invoke, Research
from hamlet import Hamlet

from ensue.store import ResultRow
from node import treeplot
from node.home import Home


@pytest.fixture
def hamlet(home: Home) -> Iterator[Hamlet]:
    made = Hamlet(home, "ada bob cyd dee")
    yield made
    made.store.close()


def test_levels_refutations_and_the_line_of_the_best(hamlet: Hamlet, invoke: Invoke, tmp_path: Path) -> None:
    ada, bob, cyd, _ = hamlet.people
    base = ada.find(1.6, None, "baseline")
    true = bob.find(1.58, base, "true gain")
    lie = cyd.find(1.2, base, "lie $x$")
    hamlet.draw()
    hamlet.rerun({true: 0.02, lie: 0.0})
    ada.find(None, true, "crash")
    path = tmp_path / "tree.svg"
    found = json.loads(invoke("plot", "--lineage", "-o", str(path), "--json").stdout)
    assert found["drawn"] == [base, true, lie]
    assert found["best_line"] == [base, true]
    drawn = path.read_text()
    ElementTree.fromstring(drawn)
    expected = ("1.6000  baseline", "1.2000  lie $x$ [refuted]", "1 confirmed", "2 official", "refuted or worse")
    for words in (*expected, "line of the best", "sotu, 3 kept results", "lower is better, to the right"):
        assert words in drawn
    assert "recorded" not in drawn
    assert list(tmp_path.glob(".tree*")) == []


def test_the_family_of_one_result(research: Research, invoke: Invoke, tmp_path: Path) -> None:
    rows = [row for row in research.store.results(research.track) if row.status == "kept"]
    research.add("kept", 1.5, "alone", "another beginning")
    path = tmp_path / "family.PNG"
    found = json.loads(invoke("plot", "--lineage", rows[1].id[:10], "-o", str(path), "--json").stdout)
    assert found["drawn"] == found["best_line"] == [row.id for row in rows]
    assert path.read_bytes().startswith(b"\x89PNG\r\n")
    whole = invoke("plot", "--lineage", "-o", str(path)).stdout
    assert f"{path}: 4 kept results, 1 in the line of the best" in whole
    invoke("plot", "--lineage", rows[1].id[:10], "-o", str(tmp_path / "family.svg"))
    assert "asked for" in (tmp_path / "family.svg").read_text()


def test_what_cannot_be_drawn(founded: Research, invoke: Invoke, tmp_path: Path) -> None:
    out = str(tmp_path / "a.svg")
    assert "no kept result to draw yet" in invoke("plot", "--lineage", "-o", out, code=1).stderr
    lesson = {"track": founded.track, "text": "x", "evidence": [], "scope": "", "valid_days": None, "agent": ""}
    insight = founded.store.append(founded.identity, "insight", lesson).id
    refused = invoke("plot", "--lineage", insight, "-o", out, code=1).stderr
    assert "is no result but another kind of record, insight" in refused
    assert "is no result" in invoke("lineage", insight, code=1).stderr
    assert invoke("plot", "--lineage", "ffffffff", "-o", out, code=1).stderr.count("\n") == 1
    founded.add("kept", 1.6, "x", "baseline")
    assert "must end in" in invoke("plot", "--lineage", "-o", str(tmp_path / "a.gif"), code=1).stderr
    assert "cannot be written" in invoke("plot", "--lineage", "-o", str(tmp_path / "no" / "a.svg"), code=1).stderr


def many(founded: Research, count: int) -> list[ResultRow]:
    """Return kept results, each grown from the third before it, so that there are three lines."""
    made: list[str] = []
    for number in range(count):
        parent = made[-3] if number > 2 else None
        made.append(founded.add("kept", 1.6 - number / 10_000, f"{number}", f"step {number}", parent))
    return founded.store.results(founded.track)


def test_two_hundred_results_stand_in_rows_of_their_own(founded: Research, tmp_path: Path) -> None:
    rows = many(founded, 200)
    tree = treeplot.grow(rows, rows[-1].id)
    assert [place.at for place in tree.places] == list(range(200))
    assert {place.row.id for place in tree.places} == {row.id for row in rows}
    for place in tree.places:
        above = None if place.above is None else tree.places[place.above].row.id
        assert above == place.row.parent
    assert len(tree.path) == 67
    assert all(place.row.id in tree.path for place in tree.places[:67])
    path = tmp_path / "many.svg"
    treeplot.draw(tree, path, title="many")
    drawn = path.read_text()
    assert all(f"step {number}<" in drawn for number in range(200))
    few = treeplot.grow(rows, rows[-1].id, nodes_max=80)
    assert (len(few.places) <= 80, few.count) == (True, 200)
    assert few.path == tree.path
    assert {place.above is None for place in few.places if place.row.parent is None} == {True}
    assert all(place.above is not None for place in few.places if place.row.parent is not None)
