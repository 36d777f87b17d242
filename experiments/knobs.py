"""The constants of a script as a typed search space.

A knob is a top-level `UPPER_CASE = literal` line; its trailing comment may say where to look:
`# [0.002 .. 0.2] log; text`, `# [64 .. 512] step 64; text`, `# {relu2, gelu}; text` or `# fixed; text`.
Knows nothing of what a knob means. A separate file for the search space was rejected: it would drift from the script.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeGuard

from ensue.errors import BadScript

Scalar = bool | int | float | str

NAME = re.compile(r"[A-Z][A-Z0-9_]*\Z")
KNOBS_MAX = 200
KNOB_CHARS_MAX = 200  # a literal longer than this is text, not a knob
CHOICES_MAX = 64
WHOLE_MAX = 2**53  # whole numbers beyond it do not survive JSON
SMALLEST = 1e-100  # magnitude of a number that is searched, zero aside; a smaller one underflows as a range is divided
UNHINTED_FACTOR = 4.0  # how far a knob without a hint may go either way

_NUMBER = r"[+-]?(?:\d[\d_]*+(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?"  # possessive: no number is read in two ways
_RANGE = re.compile(rf"#\s*\[\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*\]([^;]*)")
_CHOICES = re.compile(r"#\s*\{([^{}]*)\}")
_FIXED = re.compile(r"#\s*fixed\b")
_STEP = re.compile(rf"\bstep\s+({_NUMBER})")
_NEWLINE = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Knob:
    """One constant: its value, where it may go, and where its literal stands in the UTF-8 source."""

    name: str
    value: Scalar
    kind: str  # "float", "int" or "choice"
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[Scalar, ...] = ()
    hinted: bool = False
    start: int = 0
    stop: int = 0

    def check(self, value: object, *, bounded: bool = True) -> Scalar:
        """Return `value` in this knob's own type; raise BadScript on another type or (when bounded) out of range."""
        if same(value, self.value):
            return self.value
        if self.kind == "choice":
            for choice in self.choices:
                if same(value, choice):
                    return choice
            if not bounded and type(value) is type(self.value):
                return _sayable(self.name, value)
            allowed = ", ".join(str(choice) for choice in self.choices)
            raise BadScript(f"{self.name} cannot be {_short(value)}: give one of {allowed}.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadScript(f"{self.name} cannot be {_short(value)}: give a number.")
        number = float(_sayable(self.name, value))
        if self.kind == "int" and number != int(number):
            raise BadScript(f"{self.name} cannot be {_short(value)}: give a whole number.")
        if bounded and not self.low <= number <= self.high:
            raise BadScript(
                f"{self.name} cannot be {_short(value)}: its range is {self.low:g} to {self.high:g}; "
                "widen the range in its comment to go there."
            )
        return int(number) if self.kind == "int" else number

    def to_unit(self, value: Scalar) -> float:
        """Return where in its range `value` lies, 0 to 1: clipped, on a log knob's log scale, a choice by its index."""
        if self.kind == "choice":
            at = next((i for i, choice in enumerate(self.choices) if same(choice, value)), 0)
            return at / max(1, len(self.choices) - 1)
        if not isinstance(value, int | float) or self.high <= self.low:
            return 0.0
        number = min(max(float(value), self.low), self.high)
        if self.log:
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)

    def from_unit(self, unit: float) -> Scalar:
        """Return the value at `unit` of the range, rounded to what a person would write; undoes `to_unit`."""
        unit = min(max(unit, 0.0), 1.0)
        if self.kind == "choice":
            return self.choices[round(unit * (len(self.choices) - 1))]
        if self.log:
            number = self.low * (self.high / self.low) ** unit
        else:
            number = self.low + (self.high - self.low) * unit
        return self.rounded(number)

    def rounded(self, number: float) -> Scalar:
        """Return the nearest value of this knob that is written with few digits and lies within the range."""
        if self.step:
            number = self.low + round((number - self.low) / self.step) * self.step
            number = min(max(float(f"{number:.10g}"), self.low), self.high)
        if self.kind == "int":
            number = float(f"{number:.1e}") if abs(number) >= 100 and not self.step else number
            return int(min(max(round(number), math.ceil(self.low)), math.floor(self.high)))
        if not self.step:
            if self.log:
                digits = 2 if self.high >= 10 * self.low else 3
                number = float(f"{number:.{digits - 1}e}")
            elif self.high > self.low:
                number = round(number, 2 - math.floor(math.log10(self.high - self.low)))
        return min(max(number, self.low), self.high)

    @property
    def size(self) -> int:
        """How many different values this knob can take, counting no further than 1,000."""
        if self.kind == "choice":
            return len(self.choices)
        if self.high <= self.low:
            return 1
        if self.step:
            return min(1000, int((self.high - self.low) / self.step + 1e-9) + 1)
        if self.kind == "int":
            return int(min(1000, math.floor(self.high) - math.ceil(self.low) + 1))
        return 1000


def same(left: object, right: object) -> bool:
    """Return whether two knob values are the same one: 1 and 1.0 are, 1 and True are not."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, str) != isinstance(right, str):
        return False
    return left == right


def parse(source: str) -> ast.Module:
    """Return the syntax tree of `source`; raise BadScript with the line if it does not compile."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in a script is the script's affair
            return ast.parse(source)
    except SyntaxError as error:
        where = f"line {error.lineno}" if error.lineno else "an unknown line"
        raise BadScript(f"The script does not compile: {error.msg} at {where}; correct it and try again.") from None
    except (ValueError, UnicodeError, RecursionError, MemoryError, OverflowError):
        raise BadScript("The script does not compile: it holds NUL or broken characters or nests too deeply.") from None


def read(source: str) -> dict[str, Knob]:
    """Return the knobs of a script by name, in the order of the text; raise BadScript if it does not compile.

    A name bound more than once at module level is no knob, for then its literal does not say what it is.
    """
    return {knob.name: knob for knob in _knobs(source)}


@lru_cache(maxsize=16)
def _knobs(source: str) -> tuple[Knob, ...]:
    tree = parse(source)
    raw = source.encode()
    starts = [0, *(match.end() for match in _NEWLINE.finditer(raw))]
    bound = _bindings(tree)
    knobs: dict[str, Knob] = {}
    for statement in tree.body:
        found = _literal(statement)
        if found is None or bound.get(found[0], 0) != 1:
            continue
        name, node = found
        start, stop = _span(node, starts)
        knob = _knob(name, raw, start, stop)
        if knob is not None:
            knobs[name] = knob
        if len(knobs) >= KNOBS_MAX:
            break
    return tuple(knobs.values())


def apply(source: str, values: Mapping[str, object], *, bounded: bool = True) -> str:
    """Return `source` with the named knobs set; nothing but the characters of changed literals differs.

    Raises BadScript on an unknown name, a value of the wrong type or (when bounded) out of its range.
    """
    knobs = read(source)
    edits: list[tuple[int, int, bytes]] = []
    for name, value in values.items():
        knob = knobs.get(name)
        if knob is None:
            raise BadScript(f"The script has no knob {_short(name)}: its knobs are {', '.join(knobs) or 'none'}.")
        checked = knob.check(value, bounded=bounded)
        if not same(checked, knob.value):
            old = source.encode()[knob.start : knob.stop].decode()
            edits.append((knob.start, knob.stop, _written(checked, old).encode()))
    raw = source.encode()
    for start, stop, text in sorted(edits, reverse=True):
        raw = raw[:start] + text + raw[stop:]
    return raw.decode()


def _literal(statement: ast.stmt) -> tuple[str, ast.expr] | None:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target, value = statement.targets[0], statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target, value = statement.target, statement.value
    else:
        return None
    if not isinstance(target, ast.Name) or not NAME.match(target.id):
        return None
    inner = value.operand if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub) else value
    if not isinstance(inner, ast.Constant):
        return None
    return target.id, value


def _bindings(tree: ast.Module) -> dict[str, int]:
    """Count how often each upper-case name is bound at module level, `global` statements anywhere included."""
    counts: dict[str, int] = {}
    todo: list[tuple[ast.AST, bool]] = [(tree, True)]
    while todo:
        node, at_module = todo.pop()
        names: list[str] = []
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del) and at_module:
            names = [node.id]
        elif isinstance(node, ast.Global):
            names = node.names
        elif isinstance(node, ast.alias) and at_module:
            names = [(node.asname or node.name).split(".")[0]]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            names = [node.name] if at_module and not isinstance(node, ast.Lambda) else []
            at_module = False
        for name in names:
            counts[name] = counts.get(name, 0) + 1
        todo.extend((child, at_module) for child in ast.iter_child_nodes(node))
    return counts


def _span(node: ast.expr, starts: list[int]) -> tuple[int, int]:
    end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
    if max(node.lineno, end_line) > len(starts):
        return 0, 0
    return starts[node.lineno - 1] + node.col_offset, starts[end_line - 1] + end_column


def _knob(name: str, raw: bytes, start: int, stop: int) -> Knob | None:
    """Build a knob from the literal at raw[start:stop] and the comment behind it; None if it cannot be searched."""
    if not 0 < stop - start <= KNOB_CHARS_MAX:
        return None
    try:
        value = ast.literal_eval(raw[start:stop].decode())
    except (ValueError, SyntaxError, UnicodeError, MemoryError, RecursionError):
        return None
    if not isinstance(value, bool | str) and not _searchable(value):
        return None
    rest = _NEWLINE.split(raw[stop : stop + 1000], maxsplit=1)[0].decode(errors="replace").lstrip(" \t)")
    comment = rest if rest.startswith("#") else ""
    if _FIXED.match(comment):
        return None
    blank = Knob(name, value, "choice", start=start, stop=stop)
    return _from_choices(blank, comment) or _from_range(blank, comment) or _unhinted(blank)


def _from_choices(blank: Knob, comment: str) -> Knob | None:
    match = _CHOICES.match(comment)
    if match is None or isinstance(blank.value, bool):
        return None
    choices: list[Scalar] = []
    words = match.group(1).split(",", CHOICES_MAX)
    if len(words) > CHOICES_MAX:
        return None
    for word in words:
        word = word.strip()
        choice: Scalar | None = word.strip("\"'")
        if not isinstance(blank.value, str):
            choice = _number(word)
        if choice is None or not word:
            return None
        if isinstance(blank.value, float):
            choice = float(choice)
        if not any(same(choice, other) for other in choices):
            choices.append(choice)
    if not any(same(blank.value, choice) for choice in choices):
        choices.append(blank.value)
    return replace(blank, choices=tuple(choices), hinted=True)


def _from_range(blank: Knob, comment: str) -> Knob | None:
    match = _RANGE.match(comment)
    value = blank.value
    if match is None or isinstance(value, bool | str):
        return None
    low, high = _number(match.group(1)), _number(match.group(2))
    if low is None or high is None or low > high:
        return None
    if 0 < high - low < SMALLEST * 1e10:
        return None  # values in there would be too small to be knobs themselves
    stepped = _STEP.search(match.group(3))
    step = _number(stepped.group(1)) if stepped else None
    whole = all(isinstance(number, int) for number in (value, low, high, step or 1))
    log = bool(re.search(r"\blog\b", match.group(3))) and low > 0
    if value > 0 or not log:  # a value outside its own hint widens the range: the script as it stands is always allowed
        low, high = min(low, value), max(high, value)
    return replace(
        blank,
        kind="int" if whole else "float",
        low=float(low),
        high=float(high),
        log=log,
        step=float(step) if step and step > 0 else None,
        hinted=True,
    )


def _unhinted(blank: Knob) -> Knob | None:
    """Guess a range around the value: by a factor either way for a positive number, both ways round for a switch."""
    value = blank.value
    if isinstance(value, bool):
        return replace(blank, choices=(False, True))
    if isinstance(value, str) or value == 0:
        return None
    size = abs(value)
    ends = (max(size / UNHINTED_FACTOR, SMALLEST), min(size * UNHINTED_FACTOR, float(WHOLE_MAX)))
    near, far = sorted(math.copysign(end, value) for end in ends)
    if isinstance(value, int):
        near, far = (float(math.ceil(near)), far) if value > 0 else (near, float(math.floor(far)))
        return replace(blank, kind="int", low=near, high=far, log=value >= 8)
    return replace(blank, kind="float", low=near, high=far, log=value > 0)


def _number(text: str) -> int | float | None:
    try:
        value = ast.literal_eval(text.strip().lstrip("+"))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if _searchable(value) else None


def _searchable(value: object) -> TypeGuard[int | float]:
    """Return whether `value` is a number whose literal is read back as a knob, so that every value of a knob is one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value == 0 or SMALLEST <= abs(value) <= WHOLE_MAX  # not NaN, not infinite


def _sayable(name: str, value: object) -> Scalar:
    """Return a scalar that can be written as a literal of bounded length."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) <= WHOLE_MAX:  # not NaN, not infinite
        return value
    if isinstance(value, str) and value.isprintable() and len(value) <= KNOB_CHARS_MAX // 2:
        return value
    raise BadScript(f"{name} cannot be {_short(value)}: give a short text or a finite number below 2^53.")


def _written(value: Scalar, old: str) -> str:
    """Return the literal for `value` in the manner of the literal it replaces: quotes and thousands marks are kept."""
    if isinstance(value, str):
        quote = '"' if old.endswith('"') else "'"
        body = value.replace("\\", "\\\\").replace(quote, "\\" + quote)
        return f"{quote}{body}{quote}"
    if isinstance(value, int) and not isinstance(value, bool) and ("_" in old or abs(value) >= 10**6):
        return f"{value:_}"
    return repr(value)


def _short(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > WHOLE_MAX:
        return "a number that large"
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
