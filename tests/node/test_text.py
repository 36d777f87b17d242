"""Strangers' words cannot do anything to a terminal, and figures read well."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import text

ANYTHING = st.text(alphabet=st.characters(exclude_categories=()), max_size=200)


@given(ANYTHING)
def test_printable_is_one_line_without_controls_or_invisibles(words):
    shown = text.printable(words)
    assert all(unicodedata.category(c) not in text.ESCAPED_CATEGORIES for c in shown)
    assert text.printable(shown) == shown


@given(ANYTHING)
def test_block_keeps_only_line_feeds(words):
    assert all(c == "\n" or unicodedata.category(c) not in text.ESCAPED_CATEGORIES for c in text.block(words))


@given(ANYTHING, st.integers(0, 60))
def test_fit_never_exceeds_its_columns(words, columns):
    assert text.width(text.fit(text.printable(words), columns)) <= max(columns, 0)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("plain words", "plain words"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\U000e0041tag", "\\U000e0041tag"),
        ("line\nbreak\r\nand\ttab", "line break and tab"),
        ("a\u2028b", "a\\u2028b"),
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
        ("matrix lr 0.02 → 0.04, σ 数", "matrix lr 0.02 → 0.04, σ 数"),
        ("filler\u3164 blank\u2800 joiner\u034f", "filler\\u3164 blank\\u2800 joiner\\u034f"),
        ("sel\ufe0fector \U000e0100", "sel\\ufe0fector \\U000e0100"),
        ("unassigned \u0378", "unassigned \\u0378"),
        ("wide\u3000and\u00a0unbroken", "wide and unbroken"),
        ("a" + "\u0301" * 5, "a" + "\u0301" * 3 + "\\u0301\\u0301"),
    ],
)
def test_printable(words, shown):
    assert text.printable(words) == shown


@pytest.mark.parametrize("words", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r\n-1", "\uff1d1", "\uff20A"])
def test_a_cell_is_never_calculated(words):
    assert text.cell(words).startswith("'")


@given(ANYTHING)
def test_cells_are_harmless_and_otherwise_as_printed(words):
    shown = text.cell(words)
    assert shown in (text.printable(words), "'" + text.printable(words))
    assert not shown.lstrip().startswith(text.FORMULA_BEGINS)


def test_what_is_typed_is_composed():
    assert text.entered("cafe\u0301") == "caf\u00e9"


def test_wide_characters_count_twice():
    assert text.width("数") == 2
    assert text.fit("数数数", 5) == "数数…"
    assert text.pad("数", 4) == "数  "


def test_table_is_aligned_and_cuts_its_last_column():
    lines = text.table(["n", "what"], [["1", "short"], ["100", "数" * 40]], "><", 30)
    assert lines[1] == "  1  short"
    assert lines[2].startswith("100  数")
    assert max(text.width(line) for line in lines) <= 30


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.25, "0.25 s"), (4.25, "4.2 s"), (61.4, "61 s"), (125, "2 min 05 s"), (7500, "2 h 05 min"), (200000, "2 d 7 h")],
)
def test_seconds(value, shown):
    assert text.seconds(value) == shown


def test_figures():
    assert text.number(1.60001) == "1.6000"
    assert text.number(None) == "–"
    assert text.signed(-0.01234) == "−0.0123"
    assert text.signed(0.5) == "+0.5000"
    assert text.size(900) == "900 bytes"
    assert text.size(64 * 1024) == "64.0 KiB"
    assert text.ago(0, 90_000) == "1 min ago"
    assert text.ago(10**15, 0) == "now"
    assert [text.plural(2, noun) for noun in ("record", "hypothesis", "memory")] == [
        "2 records",
        "2 hypotheses",
        "2 memories",
    ]


@pytest.mark.parametrize("time_ms", [-(2**53), 0, 1_700_000_000_000, 2**53])
def test_any_author_time_can_be_shown(time_ms):
    assert text.iso(time_ms)
    assert text.clock(time_ms)
