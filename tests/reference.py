"""Writes docs/reference/ from the program: `python tests/reference.py`; a test compares the two."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import click

from node.cli.main import SECTIONS, cli
from node.settings import ENVIRONMENT_PREFIX, Settings

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs/reference"
LAYERS = {
    "ensue": "What the memory takes in, and what it spends on it",
    "experiments": "Scripts, tracks and runs",
    "verify": "Verifiers",
    "node": "The node and its command line",
}
UNITS = {
    **{name: name for name in ("bytes", "records", "rows", "lines", "columns", "nats", "share", "points", "files")},
    "chars": "characters",
    "characters": "characters",
    "s": "seconds",
    "depth": "levels",
    "expansion": "times",
    "integer": "magnitude",
    "whole": "magnitude",
    "sds": "standard errors",
}
OPERATIONS = {
    ast.Mult: lambda a, b: a * b,
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Pow: lambda a, b: a**b,
    ast.LShift: lambda a, b: a << b,
}


def command_line() -> str:
    """Return the reference of the command line."""
    parts = [
        "# Command line",
        "`autoresearch COMMAND`. Every query takes `--json`: one JSON document on standard output, nothing else. Exit"
        " code 0 is done, 1 refused or failed with one sentence on standard error, 2 wrong usage, 130 interrupted."
        " `AUTORESEARCH_HOME` names the home folder. IDs may be shortened to any beginning of four or more digits that"
        " only one record has. Every command takes `-h` and `--help`.",
    ]
    context = click.Context(cli, info_name="autoresearch")
    for section, commands in SECTIONS.items():
        parts.append(f"## {section}")
        for name in commands:
            command = cli.get_command(context, name)
            assert command is not None
            parts += _command(command, name, context, "###")
    return "\n\n".join(parts) + "\n"


def _command(command: click.Command, name: str, parent: click.Context, heading: str) -> Iterator[str]:
    """Yield the paragraphs about a command, then those about what a group of commands holds."""
    inner = click.Context(command, info_name=name, parent=parent)
    yield f"{heading} {inner.command_path.removeprefix('autoresearch ')}"
    yield f"`{inner.command_path} {' '.join(command.collect_usage_pieces(inner))}`"
    yield " ".join((command.help or "").replace("\b", "").split())
    rows = [record for p in command.params if (record := p.get_help_record(inner))]
    if rows:
        yield "\n".join(["| option | meaning |", "|---|---|", *(f"| `{a}` | {_cell(b)} |" for a, b in rows)])
    if isinstance(command, click.Group):
        for one in command.list_commands(inner):
            found = command.get_command(inner, one)
            assert found is not None
            yield from _command(found, one, inner, f"{heading}#")


def settings() -> str:
    """Return the reference of the settings."""
    rows = [
        f"| `{f.name}` | `{f.default!r}` | {f.metadata['unit']} | {_cell(f.metadata['about'])} | {_allowed(f)} |"
        for f in fields(Settings)
    ]
    return (
        "# Settings\n\nA flag wins over an environment variable, that over `settings.toml` in the home folder, that"
        f" over the default. The variable of a setting is `{ENVIRONMENT_PREFIX}` and its name in capitals."
        " `autoresearch config` lists what holds and where it comes from.\n\n"
        "| setting | default | unit | meaning | allowed |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _allowed(field: Any) -> str:
    """Return what a setting may be, in the words that refuse everything else."""
    return _cell(field.metadata["check"]("?\n" if isinstance(field.default, str) else -(10**30)) or "anything")


class Limit(NamedTuple):
    """One named bound of a module."""

    module: str
    name: str
    value: float
    about: str


def limits() -> str:
    """Return the reference of every bound that is named in the code."""
    parts = [
        "# Limits",
        "Every size, count and depth that others can drive is bounded by a constant with its unit in its name. What an"
        " owner may want to change is a [setting](settings.md); what belongs to a track is in its `track.toml`"
        " ([own tracks](../how-to/own-track.md)). What peers must agree on is in [PROTOCOL.md](../PROTOCOL.md).",
    ]
    for layer, title in LAYERS.items():
        found = list(limits_of(layer))
        rows = [f"| `{one.module}` | `{one.name}` | {one.value:,} | {unit(one.name)} | {one.about} |" for one in found]
        parts += [
            f"## {title}",
            "\n".join(["| module | limit | value | unit | meaning |", "|---|---|--:|---|---|", *rows]),
        ]
    return "\n\n".join(parts) + "\n"


def limits_of(layer: str) -> Iterator[Limit]:
    """Yield the numbers of a layer whose names end in MAX or are waits, with what is said of them."""
    for path in sorted((ROOT / layer).rglob("*.py")):
        source = path.read_text()
        lines, body = source.splitlines(), ast.parse(source).body
        for statement, following in zip(body, [*body[1:], None], strict=False):
            if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
                continue
            name, value = statement.targets[0].id, _number(statement.value)
            if value is None or not re.fullmatch(r"[A-Z][A-Z0-9_]*(_MAX|TIMEOUT_S|BUSY_S|_FREE_BYTES)", name):
                continue
            about = lines[statement.lineno - 1].partition("#")[2]
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                about = str(following.value.value)
            yield Limit(path.relative_to(ROOT).as_posix(), name, value, _cell(about))


def unit(name: str) -> str:
    """Return the unit in a limit's name; what has none is a number of things that the name says."""
    return next((UNITS[word] for word in reversed(name.lower().split("_")) if word in UNITS), "number")


def _number(node: ast.expr) -> Any:
    """Return the value of an expression of numbers, None for any other."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        left, right = _number(node.left), _number(node.right)
        return None if left is None or right is None else OPERATIONS[type(node.op)](left, right)
    return None


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    REFERENCE.mkdir(parents=True, exist_ok=True)
    (REFERENCE / "cli.md").write_text(command_line())
    (REFERENCE / "settings.md").write_text(settings())
    (REFERENCE / "limits.md").write_text(limits())
