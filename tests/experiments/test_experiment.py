"""The experiment key: blind to layout and authorship, sharp for everything that runs."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.experiment import changes, describe, experiment_key, normal_form

SCRIPT = '''"""Text."""
import math

LR = 0.0003  # [1e-5 .. 1e-2] log
NAME = "a"


def f(x: int, *rest, key=None, **more) -> float:
    """Doc."""
    y = [i for i in range(x) if i]  # comment
    return {"a": f"{x!r:>{3}}", **more} and y[1:None:2]


class A:
    "doc"
    z = 1
'''
SAME = (
    SCRIPT.replace("0.0003", "3e-4")
    .replace("  # comment", "")
    .replace('"""Doc."""', "'other'")
    .replace("\n\n\n", "\n")
    .replace("{x!r:>{3}}", "{ x !r:>{ 3 }}")
    .replace('"a"', "'a'")
    .replace("\n", "\r\n")
)


def test_layout_comments_docstrings_and_spelling_do_not_count() -> None:
    assert SAME != SCRIPT
    assert normal_form(SAME) == normal_form(SCRIPT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.0003", "0.0004"),
        ("z = 1", "z = 1.0"),
        ("z = 1", "z = True"),
        ("z = 1", "z = None"),
        ("z = 1", "z = '1'"),
        ("z = 1", "z = b'1'"),
        ("z = 1", "z: int = 1"),
        ("z = 1", "z = -1"),
        ("[1:None:2]", "[1::2]"),
        ("*rest, key=None", "*, rest, key=None"),
        ("if i]", "]"),
        ("!r", "!s"),
        ("import math", "import math as math"),
        ("def f", "async def f"),
    ],
)
def test_what_runs_counts(old: str, new: str) -> None:
    assert old in SCRIPT
    assert normal_form(SCRIPT.replace(old, new)) != normal_form(SCRIPT)


def test_a_text_cannot_imitate_structure() -> None:
    assert normal_form("x = 'a', 'b'") != normal_form("x = 'a;b'")
    assert normal_form("x = '''],Name('''") != normal_form("x = [],Name()")


def test_what_does_not_compile_is_compared_as_text() -> None:
    assert normal_form("def (:\n\n  x \r\n") == normal_form("def (:\n  x\n")
    assert normal_form("def (:") != normal_form("def (::")
    deep = "x = " + "[" * 90 + "]" * 90
    assert normal_form(deep).startswith("tree:")
    assert normal_form("x = " + "-" * 900 + "1").startswith("text:")


def test_a_script_without_statements_has_a_form() -> None:
    assert normal_form("") == normal_form("# only a comment\n")
    assert normal_form('"""only a docstring"""') == normal_form("")


@given(st.text(max_size=100))
def test_any_text_has_a_form(source: str) -> None:
    assert normal_form(source) == normal_form(source)
    assert len(experiment_key("t", source, source)) == 64


def test_the_key_holds_track_parent_and_source() -> None:
    keys = {
        experiment_key("t", None, SCRIPT),
        experiment_key("u", None, SCRIPT),
        experiment_key("t", SCRIPT, SCRIPT),
        experiment_key("t", "", SCRIPT),
        experiment_key("t", SCRIPT, ""),
    }
    assert len(keys) == 5
    assert experiment_key("t", SCRIPT, SAME) == experiment_key("t", SAME, SCRIPT)


def test_the_key_is_the_same_on_every_machine_and_python() -> None:
    key = experiment_key("ab" * 32, "LR = 0.02\n", "LR = 0.04\n")
    assert key == "8d90d810ee8cf276497334516b4cf4c715543dfde66867ed44077d1f0fefa81b"


def test_the_form_is_read_off_the_tree_alone() -> None:
    assert normal_form(ast.unparse(ast.parse(SCRIPT))) == normal_form(SCRIPT)


def test_changes_and_their_description() -> None:
    new = SCRIPT.replace("0.0003", "0.0006").replace("  # [1e-5 .. 1e-2] log", "") + "EXTRA = 2\n"
    change = changes(SCRIPT, new)
    assert change == [{"knob": "LR", "old": 0.0003, "new": 0.0006}, {"knob": "EXTRA", "old": None, "new": 2}]
    assert describe(change) == "lr 0.0003 → 0.0006, extra none → 2"
    assert describe([{"knob": "TIED", "old": True, "new": False}]) == "tied on → off"
    assert changes(SCRIPT, SAME) == []
    assert describe([]) == ""
    assert changes("def (", SCRIPT) == []
    assert len(describe([{"knob": "A" * 30, "old": 1, "new": i} for i in range(50)])) == 200
