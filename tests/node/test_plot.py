"""The picture of progress: a staircase of kept results, as PNG or SVG."""

import json
from xml.etree import ElementTree

import pytest

from node import plot


def test_svg_shows_the_staircase_with_harmless_labels(research, invoke, tmp_path):
    path = tmp_path / "progress.svg"
    document = json.loads(invoke("plot", "-o", str(path), "--json").stdout)
    assert document["results"] == 6
    assert len(document["steps"]) == 3
    drawn = path.read_text()
    ElementTree.fromstring(drawn)
    for words in ("baseline", "depth 4 → 5", "3 kept", "1 discarded", "2 failed, no value", "1.6123 → 1.5991"):
        assert words in drawn
    assert list(tmp_path.glob(".progress*")) == []


def test_png(research, invoke, tmp_path):
    path = tmp_path / "progress.PNG"
    assert "6 experiments, 3 steps of the best" in invoke("plot", "-o", str(path)).stdout
    assert path.read_bytes().startswith(b"\x89PNG\r\n")


def test_what_cannot_be_drawn(research, invoke, tmp_path):
    assert "must end in .png or .svg" in invoke("plot", "-o", str(tmp_path / "a.gif"), code=1).stderr
    assert "cannot be written" in invoke("plot", "-o", str(tmp_path / "none" / "a.svg"), code=1).stderr


def test_nothing_to_draw_yet(founded, invoke, tmp_path):
    assert "nothing to draw yet" in invoke("plot", "-o", str(tmp_path / "a.svg"), code=1).stderr
    founded.add("crashed", None, "x", "first")
    assert "nothing to draw yet" in invoke("plot", "-o", str(tmp_path / "a.svg"), code=1).stderr


def test_mathematical_text_and_many_results_are_drawn(founded, tmp_path):
    founded.add("kept", 1.6, "a", "cost $5 \\alpha_{ and_under ^ 数")
    parent = "b"
    for number in range(60):
        founded.add("kept" if number % 3 == 0 else "discarded", 1.6 - number / 1000, f"{number}", f"step {number} $x$")
    founded.add("discarded", 900.0, "c", "hopeless", None, parent)
    shown = plot.sample(founded.store.history(founded.track))
    plot.draw(shown, tmp_path / "many.svg", title="so_tu $")
    ElementTree.parse(tmp_path / "many.svg")
    assert len(plot.staircase(shown)) == 20
    few = plot.sample(founded.store.history(founded.track), dots_max=25)
    assert (few.count, few.numbers[0], few.numbers[-1]) == (62, 1, 62)
    assert len(few.rows) == len(few.numbers) < 50
    assert plot.staircase(few) == plot.staircase(shown)
    plot.draw(few, tmp_path / "few.svg", title="few")
    assert f"62 experiments ({len(few.rows)} drawn)" in (tmp_path / "few.svg").read_text()


@pytest.mark.parametrize(
    ("values", "direction", "inside", "outside"),
    [
        ([1.6, 1.59, 1.61, 1.62, 900.0], "min", [1.59, 1.62], [900.0]),
        ([0.1, 0.5, 0.6, 0.55, -900.0], "max", [0.5, 0.6], [-900.0]),
        ([1.6], "min", [1.6], []),
        ([0.0, 0.0], "max", [0.0], []),
    ],
)
def test_hopeless_values_do_not_flatten_the_picture(values, direction, inside, outside):
    low, high = plot.limits(values, direction)
    assert all(low < value < high for value in inside)
    assert all(not low <= value <= high for value in outside)


def test_the_staircase_leaves_out_what_does_not_count(research):
    best = research.store.best(research.track)
    research.store.append(research.identity, "retraction", {"target": best.id, "reason": "wrong"})
    shown = plot.sample(research.store.history(research.track))
    assert [step.value for step in plot.staircase(shown)] == [1.6123, 1.605]
