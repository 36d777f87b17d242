"""What the owner sees: the curve, the plain lines and the live panel, also when strangers' texts are hostile."""

import io
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ensue.store import ResultRow
from node.curve import draw, thin
from node.live import LiveView
from node.view import Facts, Moment, PlainView, Standing, Trying, View

HOSTILE = "lr \x1b[2J\x1b]0;owned\x07 \u202e dlrow \x00"
FACTS = Facts(
    name="ada",
    peer_id="12D3KooWDNpXPosiDqkASuKWmuRDiRYNyyWQ9UoEBpMGg1EBp2fd",
    network="c" * 64,
    network_name="autoresearch",
    track="sotu",
    track_title="State of the Union",
    metric="val_bpb",
    clock="cpu",
    budget_s=120.0,
    device="cpu",
    hardware_class="cpu-2t-avx512-128",
    sandbox="bubblewrap",
    home="/somewhere",
    founded=True,
)


def row(**known: Any) -> ResultRow:
    values: dict[str, Any] = {field.name: None for field in fields(ResultRow)}
    values |= {
        "id": "ab" * 32,
        "status": "kept",
        "metric": "val_bpb",
        "value": 1.6,
        "description": "baseline",
        "flags": (),
    }
    return ResultRow(**{**values, **known})


def tell_everything(view: View) -> None:
    """One experiment kept, one refused, a pause and a note."""
    first, second = row(), row(id="cd" * 32, value=1.59, description=HOSTILE)
    view.note(f"before the start {HOSTILE}")
    view.opened(FACTS, Standing(None, None, 0, 0), [])
    view.trying(Trying(1, HOSTILE, f"because {HOSTILE}", 1.6, 1.58, 0.01))
    view.phase("set-up")
    view.phase("training")
    for step in range(50):
        view.progress(Moment(step / 50, 120 - step, 8 / (step + 1), step, 15_000.0))
    view.waiting("paused")
    view.waiting(None)
    view.finished(second, "better by 0.0100", Standing(second, first, 2, 2))
    refused = row(id="ef" * 32, status="refused", value=None, reason=HOSTILE)
    view.finished(refused, "no value", Standing(second, first, 3, 2))
    view.note(HOSTILE)
    view.closed()


def test_plain_lines_tell_the_whole_story():
    stream = io.StringIO()
    tell_everything(PlainView(stream))
    text = stream.getvalue()
    assert "founded the network autoresearch (cccccccccc)" in text
    assert "#1 lr" in text
    assert "expecting 1.5800 ± 0.0100" in text
    assert "kept · val_bpb 1.5900" in text
    assert "best 1.5900, better by 0.0100 than the baseline's 1.6000" in text
    assert "refused: " in text
    assert text.count("waiting: paused") == 1


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_live_panel_shows_what_runs_and_what_was_found(width: int):
    console = Console(file=io.StringIO(), width=width, force_terminal=False, record=True)
    view = LiveView(console)
    tell_everything(view)
    view.trying(Trying(4, "width 128 → 160", "why not", 1.59, 1.58, 0.01))
    view.phase("training")
    for loss in (4.0, 3.0, 2.5):
        view.progress(Moment(0.5, 60.0, loss, 10, 15_000.0))
    console.print(view.render())
    text = console.export_text()
    assert "1.5900" in text
    assert "width 128 → 160" in text
    assert "50%" in text


def test_nothing_hostile_reaches_the_terminal():
    stream = io.StringIO()
    tell_everything(PlainView(stream))
    console = Console(file=io.StringIO(), width=120, force_terminal=True, record=True)
    view = LiveView(console)
    tell_everything(view)
    shown = stream.getvalue() + console.export_text(styles=False)
    for forbidden in ("\x1b]0;", "\x1b[2J", "\x07", "\u202e", "\x00"):
        assert forbidden not in shown


@given(st.lists(st.floats(-1e6, 1e6), max_size=300), st.integers(1, 60), st.integers(1, 12))
def test_a_curve_has_the_size_that_was_asked_for(values: list[float], width: int, height: int):
    lines = draw(values, width=width, height=height)
    assert len(lines) == height
    assert all(len(line) == width for line in lines)


def test_a_falling_curve_begins_on_top_and_ends_below():
    lines = draw([float(v) for v in range(100, 0, -1)], width=20, height=4)
    assert lines[0][0] != " "
    assert lines[0][-1] == " "
    assert lines[-1][-1] != " "


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=200), st.integers(1, 50))
def test_thinning_keeps_the_mean_of_every_stretch(values: list[float], count: int):
    thinned = thin(values, count)
    assert len(thinned) == min(len(values), count)
    assert min(values) - 1e-9 <= min(thinned)
    assert max(thinned) <= max(values) + 1e-9
