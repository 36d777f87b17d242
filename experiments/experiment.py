"""What makes two experiments the same one: track, parent source, changed source, and nothing of who had the idea.

Formatting, comments, docstrings and spellings of one number do not count. Renamed variables and reordered functions do:
proving programs equal is not attempted. `ast.dump` and `ast.unparse` were rejected as the normal form, for both
change with the Python version and two nodes must agree.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache

from ensue.errors import BadScript
from experiments import knobs

KEY_DOMAIN = b"autoresearch-experiment-v1\0"
TREE_DEPTH_MAX = 200  # deeper trees are compared as text: whether Python can parse them depends on its version
DESCRIPTION_CHARS_MAX = 200

_UNSPOKEN = {"ctx", "type_comment", "kind", "type_ignores"}  # fields that say nothing about what runs


def normal_form(source: str) -> str:
    """Return a text equal for scripts that differ only in layout, comments and docstrings, on every Python version.

    A script that does not compile is compared by its lines, without trailing and blank ones.
    """
    try:
        tree = knobs.parse(source)
    except BadScript:
        return _text_form(source)
    _drop_docstrings(tree)
    return _tree_form(tree) or _text_form(source)


@lru_cache(maxsize=64)
def normal_hash(source: str) -> bytes:
    """Return the SHA-256 of a script's normal form."""
    return hashlib.sha256(normal_form(source).encode("utf-8", "surrogatepass")).digest()


def experiment_key(track_id: str, parent_source: str | None, source: str) -> str:
    """Return the key (64 hex digits) of trying `source` as a change to `parent_source` on a track."""
    parent = b"" if parent_source is None else normal_hash(parent_source)
    digest = hashlib.sha256(KEY_DOMAIN)
    for part in (track_id.encode(), parent, normal_hash(source)):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def changes(parent_source: str, source: str) -> list[dict[str, object]]:
    """Return the knobs that differ, as `knob`, `old`, `new` (None where absent); empty if a script is broken."""
    try:
        old, new = knobs.read(parent_source), knobs.read(source)
    except BadScript:
        return []
    found: list[dict[str, object]] = []
    for name in {**old, **new}:
        before = old[name].value if name in old else None
        after = new[name].value if name in new else None
        if before is None or after is None or not knobs.same(before, after):
            found.append({"knob": name, "old": before, "new": after})
    return found


def describe(change: Iterable[Mapping[str, object]]) -> str:
    """Return one line for people, `matrix lr 0.02 → 0.04, depth 4 → 6`, 200 characters at most; empty for no change."""
    parts = []
    for one in change:
        name = str(one["knob"]).lower().replace("_", " ")
        parts.append(f"{name} {_said(one['old'])} → {_said(one['new'])}")
    text = ", ".join(parts)
    return text if len(text) <= DESCRIPTION_CHARS_MAX else text[: DESCRIPTION_CHARS_MAX - 1] + "…"


def _said(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def _text_form(source: str) -> str:
    lines = (line.rstrip() for line in source.splitlines())
    return "text:" + "\n".join(line for line in lines if line)


def _drop_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = node.body[1:]


def _tree_form(tree: ast.Module) -> str | None:
    """Write the tree as `Type(field=…)` without empty fields; None if too deep. Iterative: no stack to overflow."""
    out: list[str] = ["tree:"]
    todo: list[tuple[object, int]] = [(tree, 0)]
    while todo:
        item, depth = todo.pop()
        if depth > TREE_DEPTH_MAX:
            return None
        if isinstance(item, _Mark):
            out.append(item.text)
        elif isinstance(item, ast.AST):
            out.append(type(item).__name__ + "(")
            parts: list[tuple[object, int]] = []
            for field in item._fields:
                value = getattr(item, field, None)
                if isinstance(item, ast.JoinedStr):  # Python 3.12 adds empty pieces to a format specification
                    value = [one for one in item.values if not (isinstance(one, ast.Constant) and one.value == "")]
                constant = isinstance(item, ast.Constant) and field == "value"
                if field in _UNSPOKEN or (not constant and (value is None or value == [])):
                    continue
                parts += [(_Mark(field + "="), depth), (value, depth + 1), (_Mark(","), depth)]
            todo.extend(reversed([*parts, (_Mark(")"), depth)]))
        elif isinstance(item, list):
            parts = [pair for one in item for pair in ((one, depth), (_Mark(";"), depth))]
            todo.extend(reversed([(_Mark("["), depth), *parts, (_Mark("]"), depth)]))
        else:
            out.append(_constant(item))
    return "".join(out)


class _Mark:
    """A piece of punctuation on the stack, told apart from a text constant of the script."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _constant(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"int:{value:x}"  # hexadecimal: Python refuses to print very long numbers in decimal
    return f"{type(value).__name__}:{value!a}"
