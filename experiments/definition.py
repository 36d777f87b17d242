"""Reading a track.toml key by key, each with its bounds, so that a mistake is named in one sentence.

Leaves out what the keys mean (`track`). Rejected: a schema library, whose messages speak of its own types rather than
of the line that a person has to correct.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensue.errors import TrackError

DEFINITION_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Number:
    """One number in track.toml: where it stands, its bounds, and what it is when left out."""

    section: str
    key: str
    low: float
    high: float
    default: float | None = None
    whole: bool = True
    field: str = ""


class Definition:
    """The content of a track.toml, read key by key so that a key nobody read is found to be a mistake."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                raw = file.read(DEFINITION_BYTES_MAX + 1)
        except OSError as error:
            raise TrackError(f"{path} cannot be read ({error.strerror}); check its rights.") from error
        if len(raw) > DEFINITION_BYTES_MAX:
            raise TrackError(
                f"{path} is larger than {DEFINITION_BYTES_MAX} bytes; move what is not a setting out of it."
            )
        try:
            self._content: dict[str, Any] = tomllib.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError) as error:  # too many digits are no TOMLDecodeError
            raise TrackError(f"{path} is not TOML ({error}); correct it.") from error

    def fail(self, what: str) -> TrackError:
        return TrackError(f"{self.path}: {what}; correct it.")

    def take(self, section: str, key: str, default: Any = None) -> Any:
        table = self._content.get(section, {}) if section else self._content
        if not isinstance(table, dict):
            raise self.fail(f"[{section}] must be a table")
        value = table.pop(key, default)
        if value is None:
            raise self.fail(f"{key}{f' is missing from [{section}]' if section else ' is missing'}")
        return value

    def text(self, section: str, key: str, default: str | None = None, *, chars_max: int = 200) -> str:
        value = self.take(section, key, default)
        if not isinstance(value, str) or len(value) > chars_max or not value.isprintable():
            raise self.fail(f"{key} must be one line of at most {chars_max} characters")
        return value

    def choice(self, section: str, key: str, choices: tuple[str, ...], default: str | None = None) -> Any:
        value = self.take(section, key, default)
        if value not in choices:
            raise self.fail(f"{key} must be one of {', '.join(choices)}")
        return value

    def number(self, spec: Number) -> float | int:
        value = self.take(spec.section, spec.key, spec.default)
        if isinstance(value, bool) or not isinstance(value, int if spec.whole else (int, float)):
            raise self.fail(f"{spec.key} must be a {'whole ' if spec.whole else ''}number")
        if not spec.low <= value <= spec.high:  # nor is NaN
            raise self.fail(f"{spec.key} must lie between {spec.low:g} and {spec.high:g}")
        return int(value) if spec.whole else float(value)

    def done(self) -> None:
        for section, table in self._content.items():
            if not isinstance(table, dict):
                raise self.fail(f"unknown key {section}")
            for key in table:
                raise self.fail(f"unknown key {key} in [{section}]")
