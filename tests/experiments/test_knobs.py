"""Constants as a search space: what is read is what stands there, and only changed literals change."""

import ast
import random
import time

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ensue.errors import BadScript
from experiments import knobs
from experiments.knobs import Knob, apply, read, same

SCRIPT = '''# -*- coding: utf-8 -*-
"""Ein Skript mit Umläuten — and a LR = 5 in its text."""
import math

MATRIX_LR = 0.02  # [0.002 .. 0.2] log; Muon's learning rate
DEPTH = 4  # [2 .. 8]; blocks
WIDTH = 128  # [64 .. 512] step 64; channels
ACTIVATION = "relu2"  # {relu2, gelu, silu} ; nonlinearity
BATCH: int = 8  # {4, 8, 16}
TIED = True  # whether
BIAS = -0.5  # [-1 .. 1]; ümlaut
PLAIN = 3e-4
SEQ = 256  # fixed; frozen
lower = 1
DERIVED = DEPTH * 2
TWICE = 1
TWICE = 2


def f(x, LOCAL=3):
    INNER = 4
    return x * MATRIX_LR
'''


def test_kinds_and_ranges() -> None:
    found = read(SCRIPT)
    assert list(found) == ["MATRIX_LR", "DEPTH", "WIDTH", "ACTIVATION", "BATCH", "TIED", "BIAS", "PLAIN"]
    rate = found["MATRIX_LR"]
    assert (rate.kind, rate.low, rate.high, rate.log, rate.value) == ("float", 0.002, 0.2, True, 0.02)
    assert (found["DEPTH"].kind, found["DEPTH"].low, found["DEPTH"].high, found["DEPTH"].size) == ("int", 2, 8, 7)
    assert (found["WIDTH"].step, found["WIDTH"].size) == (64, 8)
    assert found["ACTIVATION"].choices == ("relu2", "gelu", "silu")
    assert found["BATCH"].choices == (4, 8, 16)
    assert found["TIED"].choices == (False, True)
    assert found["BIAS"].low == -1
    assert (found["PLAIN"].low, found["PLAIN"].high) == (3e-4 / 4, 3e-4 * 4)


def test_only_the_literal_changes() -> None:
    new = apply(SCRIPT, {"MATRIX_LR": 0.05, "ACTIVATION": "silu", "BATCH": 16, "BIAS": 0.25, "TIED": False})
    expected = (
        SCRIPT.replace("MATRIX_LR = 0.02", "MATRIX_LR = 0.05")
        .replace('"relu2"', '"silu"')
        .replace("int = 8", "int = 16")
        .replace("-0.5", "0.25")
        .replace("= True", "= False")
    )
    assert new == expected


def test_reading_back_what_was_applied() -> None:
    values = {"MATRIX_LR": 0.1, "DEPTH": 6, "WIDTH": 512, "ACTIVATION": "gelu", "TIED": False}
    found = read(apply(SCRIPT, values))
    assert {name: found[name].value for name in values} == values


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"NOPE": 1}, "no knob"),
        ({"DEPTH": 9}, "range is 2 to 8"),
        ({"DEPTH": 4.5}, "whole number"),
        ({"DEPTH": True}, "give a number"),
        ({"DEPTH": "4"}, "give a number"),
        ({"DEPTH": None}, "give a number"),
        ({"MATRIX_LR": float("nan")}, "finite"),
        ({"MATRIX_LR": float("inf")}, "finite"),
        ({"MATRIX_LR": 10**400}, "finite"),
        ({"ACTIVATION": "tanh"}, "give one of"),
        ({"ACTIVATION": 1}, "give one of"),
        ({"TIED": 1}, "give one of"),
        ({"BATCH": 5}, "give one of"),
        ({"lower": 2}, "no knob"),
    ],
)
def test_what_a_knob_cannot_be(values: dict[str, object], said: str) -> None:
    with pytest.raises(BadScript, match=said):
        apply(SCRIPT, values)


def test_beyond_the_hint_when_asked_but_never_beyond_the_type() -> None:
    assert read(apply(SCRIPT, {"DEPTH": 12}, bounded=False))["DEPTH"].value == 12
    assert read(apply(SCRIPT, {"ACTIVATION": 'a"\\b'}, bounded=False))["ACTIVATION"].value == 'a"\\b'
    for values in ({"DEPTH": 1.5}, {"DEPTH": float("inf")}, {"ACTIVATION": "x\n"}, {"ACTIVATION": "x" * 500}):
        with pytest.raises(BadScript):
            apply(SCRIPT, values, bounded=False)


@pytest.mark.parametrize(
    "source",
    [
        "def f(:\n",
        "A = 1\x00",
        "A = '\ud800'",
        "(" * 5000,
        "-" * 100_000 + "1",
        "A = " + "1+" * 50_000 + "1",
        "A = 'unclosed",
        "\tA = 1",
        "A = 08",
    ],
)
def test_what_does_not_compile_is_one_sentence(source: str) -> None:
    with pytest.raises(BadScript) as caught:
        read(source)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "source",
    [
        "A = 1e999",
        "A = 1" + "0" * 400,
        "A = 0x" + "f" * 150,
        "A = None",
        "A = 1j",
        "A = b'x'",
        "A = ...",
        "A = not 1",
        "A = 'no hint'",
        "A = 0",
        "A = (1, 2)",
        "A = B = 1",
        "A = f'{1}'",
        "for A in (1, 2): pass\nA = 1",
        "A = 1\ndef f():\n    global A\n    A = 2",
        "A = 1\nimport math as A",
        "A = 1\nA += 1",
        "if True:\n    A = 1",
        "A = 'x' # {}",
    ],
)
def test_what_is_no_knob(source: str) -> None:
    assert read(source) == {}


@pytest.mark.parametrize(
    "comment",
    ["# [..]", "# [1 .. ]", "# [2 .. 1]", "# [a .. b]", "# [1e999 .. 1]", "# {", "# {,}", "# {a, b}", "# [1 .. 2"],
)
def test_a_broken_hint_is_no_hint(comment: str) -> None:
    knob = read(f"A = 2  {comment}\n")["A"]
    assert not knob.hinted
    assert knob.low <= 2 <= knob.high


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("lead", ["", "\f", "é = 'ü'; ", "'''a\nb'''\n"])
def test_line_ends_and_odd_beginnings(ends: str, lead: str) -> None:
    text = "AÉ = 1\nA = 1  # [1 .. 5]; é\nB = (2)  # [1 .. 5]\nC = 3; D = 4  # [1 .. 5]\n"
    source = (lead + text).replace("\n", ends)
    found = read(source)
    assert {name: found[name].value for name in "ABCD"} == {"A": 1, "B": 2, "C": 3, "D": 4}
    assert found["B"].hinted
    assert apply(source, {"B": 5}) == source.replace("(2)", "(5)")
    assert apply(source, {"D": 5}) == source.replace("D = 4", "D = 5")


def test_a_value_outside_its_hint_widens_it() -> None:
    assert read("A = 9  # [1 .. 5]")["A"].high == 9
    assert read("A = 'z'  # {x, y}")["A"].choices == ("x", "y", "z")
    outside = read("A = 0.0  # [0.001 .. 1] log")["A"]
    assert outside.check(0.0) == 0.0
    assert outside.to_unit(0.0) == 0.0


def test_a_step_on_a_log_range_stays_on_the_grid() -> None:
    knob = read("A = 64  # [64 .. 512] log step 64")["A"]
    assert {knob.from_unit(i / 50) for i in range(51)} <= set(range(64, 513, 64))


numbers = st.one_of(st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False))
literals = st.one_of(numbers, st.booleans(), st.text(max_size=30)).map(repr)
hints = st.one_of(
    st.just(""),
    st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n\0"), max_size=30).map("# ".__add__),
    st.tuples(numbers, numbers, st.sampled_from(["", " log", " step 3", " log step 0.1; x"])).map(
        lambda t: f"# [{t[0]} .. {t[1]}]{t[2]}"
    ),
    st.lists(st.one_of(numbers.map(str), st.sampled_from(["a", "'b'", ""])), max_size=5).map(
        lambda words: "# {" + ", ".join(words) + "}; text"
    ),
)
lines = st.tuples(st.sampled_from("ABCDE"), literals, hints).map(lambda t: f"{t[0]} = {t[1]}  {t[2]}")
others = st.sampled_from(["x = 1", "# ü", "", "def f():\n    G = 1"])
scripts = st.lists(st.one_of(lines, others), max_size=8).map("\n".join)


@given(scripts)
def test_applying_what_was_read_changes_nothing(source: str) -> None:
    found = read(source)
    assert apply(source, {name: knob.value for name, knob in found.items()}) == source


@example("A = 0  # [-1.5665945457908892e-277 .. 0]", random.Random(1))
@example("A = 1.0  # [1e-200 .. 1] log", random.Random(1))
@example("A = 0  # {0, 1.6e-133, 1}; text", random.Random(1))
@example("A = 1.0  # {9e15}", random.Random(2))
@example("A = 9007199254740992", random.Random(1))
@example("A = -1e-100", random.Random(1))
@given(scripts, st.randoms(use_true_random=False))
def test_only_named_literals_differ_and_are_read_back(source: str, random: random.Random) -> None:
    found = read(source)
    assume(found)
    wanted = {name: knob.from_unit(random.random()) for name, knob in found.items() if random.random() < 0.5}
    changed = apply(source, wanted)
    again = read(changed)
    for name, value in wanted.items():
        assert same(again[name].value, value)
    assert _without_literals(changed, again) == _without_literals(source, found)
    assert set(again) >= set(wanted)


def _without_literals(source: str, found: dict[str, Knob]) -> bytes:
    raw = source.encode()
    for knob in sorted(found.values(), key=lambda knob: -knob.start):
        raw = raw[: knob.start] + b"?" + raw[knob.stop :]
    return raw


@given(scripts, st.floats(0, 1))
def test_every_unit_is_a_legal_value_and_goes_there_and_back(source: str, unit: float) -> None:
    for knob in read(source).values():
        value = knob.from_unit(unit)
        assert same(knob.check(value), value)
        assert 0 <= knob.to_unit(value) <= 1
        assert same(knob.from_unit(knob.to_unit(value)), value) or knob.kind != "choice"


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda data: data.decode("latin-1"))))
def test_any_text_is_read_or_refused(source: str) -> None:
    try:
        found = read(source)
    except BadScript:
        return
    assert apply(source, {name: knob.value for name, knob in found.items()}) == source


@given(st.dictionaries(st.sampled_from([*read(SCRIPT), "x"]), st.one_of(st.none(), numbers, st.text()), max_size=3))
def test_any_change_is_applied_or_refused(values: dict[str, object]) -> None:
    try:
        changed = apply(SCRIPT, values, bounded=False)
    except BadScript:
        return
    ast.parse(changed)


def test_the_number_of_knobs_is_bounded() -> None:
    source = "\n".join(f"A{i} = 1.5" for i in range(1000))
    assert len(read(source)) == knobs.KNOBS_MAX


def test_hints_made_to_be_slow_are_not():
    """Once three seconds for a script of allowed size; the time is the processor's, and bounded generously."""
    for hint in ("[" + "1" * 960, "[1 .. " + "2" * 900, "[" + "1." * 400, "{" + ",".join(map(str, range(260))) + "}"):
        source = "".join(f"A{number} = 1  # {hint}\n" for number in range(130))
        began = time.process_time()
        found = knobs.read(source)
        assert time.process_time() - began < 1.0
        assert len(found) == 130
        assert not any(knob.hinted for knob in found.values())


@pytest.mark.parametrize("hint", ["[1..5]", "[1 .. 5]", "[1.0..5.]", "[ 1e0 .. 5_0 ]", "[1...5e1]", "[+1 .. +5]"])
def test_ranges_may_be_spelled_in_many_ways(hint):
    assert knobs.read(f"A = 2  # {hint}\n")["A"].hinted


def test_a_choice_of_more_than_anyone_lists_is_no_hint():
    few, many = (", ".join(str(number) for number in range(count)) for count in (knobs.CHOICES_MAX, 65))
    assert len(knobs.read(f"A = 1  # {{{few}}}\n")["A"].choices) == knobs.CHOICES_MAX
    assert not knobs.read(f"A = 1  # {{{many}}}\n")["A"].hinted
