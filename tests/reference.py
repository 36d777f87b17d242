"""Writes docs/reference/cli.md and settings.md from the program: `python tests/reference.py`; a test compares them."""

from dataclasses import fields
from pathlib import Path

import click

from node.cli.main import SECTIONS, cli
from node.settings import ENVIRONMENT_PREFIX, Settings

REFERENCE = Path(__file__).resolve().parent.parent / "docs/reference"


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
            inner = click.Context(command, info_name=name, parent=context)
            usage = " ".join(command.collect_usage_pieces(inner))
            parts.append(f"### {name}")
            parts.append(f"`autoresearch {name} {usage}`")
            parts.append(" ".join((command.help or "").replace("\b", "").split()))
            rows = [record for p in command.params if (record := p.get_help_record(inner))]
            parts.append(
                "\n".join(["| option | meaning |", "|---|---|", *(f"| `{a}` | {_cell(b)} |" for a, b in rows)])
            )
    return "\n\n".join(parts) + "\n"


def settings() -> str:
    """Return the reference of the settings."""
    rows = [
        f"| `{f.name}` | `{f.default!r}` | {f.metadata['unit']} | {_cell(f.metadata['about'])} |"
        for f in fields(Settings)
    ]
    return (
        "# Settings\n\nA flag wins over an environment variable, that over `settings.toml` in the home folder, that"
        f" over the default. The variable of a setting is `{ENVIRONMENT_PREFIX}` and its name in capitals."
        " `autoresearch config` lists what holds and where it comes from.\n\n"
        "| setting | default | unit | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    REFERENCE.mkdir(parents=True, exist_ok=True)
    (REFERENCE / "cli.md").write_text(command_line())
    (REFERENCE / "settings.md").write_text(settings())
