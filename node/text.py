"""Text for terminals: strangers' words made harmless, and figures made readable.

Everything that came from a record passes `printable` or `block` before it is printed, so no description can move the
cursor, hide or reorder what stands beside it. Dropping such characters was rejected: what is odd should be seen.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Controls, bidi and other formats, surrogates, private and unassigned characters, separators of lines."""
INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Letters, marks and a symbol that show nothing; variation selectors are escaped by their ranges."""
SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
SPACES = "Zs"  # every width of space is shown as the plain one: a wider or unbreakable one tells two texts apart unseen
MARKS_MAX = 3  # combining marks on one character; more of them climb into the neighbouring lines
KNOWN_CHARACTERS_MAX = 4096
FORMULA_BEGINS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also in the full width of East Asia
ID_CHARACTERS = 10
NONE = "–"


@lru_cache(maxsize=KNOWN_CHARACTERS_MAX)
def _sort(character: str) -> str:
    """Return what a character is to a terminal: "plain", "mark", "space" or "odd"."""
    category = unicodedata.category(character)
    if category in ESCAPED_CATEGORIES or character in INVISIBLE or any(ord(character) in span for span in SELECTORS):
        return "odd"
    return {"Mn": "mark", "Me": "mark", SPACES: "space"}.get(category, "plain")


def _visible(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _cleaned(text: str, allowed: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    out: list[str] = []
    marks = 0
    for character in text:
        sort = _sort(character)
        marks = marks + 1 if sort == "mark" else 0
        if character in allowed or sort == "plain" or (sort == "mark" and marks <= MARKS_MAX):
            out.append(character)
        else:
            out.append(" " if sort == "space" else _visible(character))
    return "".join(out)


def printable(text: str, columns: int | None = None) -> str:
    """Return text on one line with every control, bidi and invisible character written out, cut to `columns`."""
    cleaned = _cleaned(" ".join(text.split()) if any(c in text for c in "\t\n\r\f\v") else text, "")
    return cleaned if columns is None else fit(cleaned, columns)


def block(text: str) -> str:
    """Return text of several lines, harmless as in `printable`; line feeds stay and tabs become spaces."""
    return _cleaned(text.replace("\r\n", "\n").expandtabs(4), "\n")


def cell(text: str) -> str:
    """Return text for a cell of a CSV file: harmless as in `printable`, and nothing that a spreadsheet calculates."""
    shown = printable(text)
    return f"'{shown}" if shown.lstrip().startswith(FORMULA_BEGINS) else shown


def entered(text: str) -> str:
    """Return what a person typed in Unicode's normal form C, so that the same words are the same bytes."""
    return unicodedata.normalize("NFC", text)


def width(text: str) -> int:
    """Return how many terminal columns a text takes: wide characters two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, columns: int) -> str:
    """Return the text cut to at most `columns` columns; what was cut ends with an ellipsis."""
    if width(text) <= columns:
        return text
    kept, used = [], 1
    for character in text:
        used += _columns(character)
        if used > columns:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…"[: max(columns, 0)]


def pad(text: str, columns: int, align: str = "<") -> str:
    """Return the text filled with spaces to `columns` columns; align is "<" or ">"."""
    space = " " * (columns - width(text))
    return space + text if align == ">" else text + space


def short(identifier: str | None) -> str:
    """Return the first ten characters of an id; enough to name it on the command line."""
    return NONE if not identifier else printable(identifier)[:ID_CHARACTERS]


def number(value: float | None, digits: int = 4) -> str:
    """Return a figure with four decimals, a dash for none."""
    return NONE if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 4) -> str:
    """Return a difference with its sign, a true minus and four decimals, a dash for none."""
    return NONE if value is None else f"{value:+.{digits}f}".replace("-", "−")


def seconds(value: float | None) -> str:
    """Return a span of seconds in the units that people use for it."""
    if value is None:
        return NONE
    if value < 10:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    value = round(value)
    minutes = value // 60
    if minutes < 120:
        return f"{minutes} min {value - minutes * 60:02.0f} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def size(count: float) -> str:
    """Return a number of bytes with a binary unit."""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    scale = 0
    while abs(count) >= 1024 and scale < len(units) - 1:
        count, scale = count / 1024, scale + 1
    return f"{count:.0f} {units[scale]}" if scale == 0 or count >= 100 else f"{count:.1f} {units[scale]}"


def iso(time_ms: int) -> str:
    """Return a time in milliseconds since 1970 as ISO 8601 in UTC, the ends of the calendar where it lies beyond."""
    return _moment(time_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(time_ms: int) -> str:
    """Return a time in milliseconds since 1970 as local date and minute."""
    moment = _moment(time_ms)
    return (moment if moment.year in {1, 9999} else moment.astimezone()).strftime("%Y-%m-%d %H:%M")


def _moment(time_ms: int) -> datetime:
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return datetime.max.replace(tzinfo=UTC) if time_ms > 0 else datetime.min.replace(tzinfo=UTC)


def ago(time_ms: int, now_ms: int) -> str:
    """Return how long ago a time was, in one unit; a time that lies ahead counts as now."""
    passed = (now_ms - time_ms) / 1000
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if passed >= length:
            return f"{passed // length:.0f} {unit} ago"
    return "now" if passed < 5 else f"{passed:.0f} s ago"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: "1 result", "2 results", "3 hypotheses"."""
    if count == 1:
        return f"1 {noun}"
    if noun.endswith("is"):
        return f"{count} {noun[:-2]}es"
    return f"{count} {noun[:-1]}ies" if noun.endswith("ry") else f"{count} {noun}s"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], aligns: str, columns: int) -> list[str]:
    """Return a heading and rows in aligned columns, at most `columns` wide: the last column is cut to what is left.

    `aligns` has one of "<" and ">" for each column; the cells are clean text without colours.
    """
    widths = [max(width(cell) for cell in cells) for cells in zip(heads, *rows, strict=True)]
    left = columns - sum(widths[:-1]) - 2 * (len(widths) - 1)
    widths[-1] = max(min(widths[-1], left), 12)
    return ["  ".join(_cells(row, widths, aligns)).rstrip() for row in [heads, *rows]]


def _cells(row: Sequence[str], widths: Sequence[int], aligns: str) -> list[str]:
    return [pad(fit(cell, columns), columns, align) for cell, columns, align in zip(row, widths, aligns, strict=True)]
