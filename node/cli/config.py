"""`autoresearch config`: what an owner may decide, listed with its unit and origin, set and unset."""

from __future__ import annotations

from pathlib import Path

import click

from node import settings, text
from node.cli import output
from node.home import default_home


@click.group(short_help="List, set and unset this node's settings.", invoke_without_command=True)
@output.as_json
@click.pass_context
def config(context: click.Context, in_json: bool) -> None:
    """List every setting with its value, or change one.

    A flag goes before the environment (AUTORESEARCH_NAME), that before the file, and the file before the default.
    """
    if context.invoked_subcommand is not None:
        return
    home = default_home()
    found = settings.origins(home.settings)
    if in_json:
        output.print_json(
            {entry.name: {"value": entry.value, "unit": entry.unit, "source": entry.source} for entry in found}
        )
        return
    cells = [
        [
            entry.name,
            shown(entry.value),
            origin(entry.source, str(home.settings)),
            f"{entry.unit}; {entry.about}",
        ]
        for entry in found
    ]
    output.rows(["setting", "value", "from", "unit; meaning"], cells, "<<<<", spare=["from"])
    output.note(f"\nfile: {home.settings}    change: autoresearch config set NAME VALUE")


def origin(source: str, file: str) -> str:
    """Return where a value comes from in a word; nothing for a default."""
    return {"default": "", file: "file"}.get(source, source)


def shown(value: settings.Value) -> str:
    """Return a setting's value for people; an empty text shows as quotes."""
    return text.printable(str(value), 40) if value != "" else '""'


@config.command("set", short_help="Set one setting.")
@click.argument("name")
@click.argument("value")
def set_value(name: str, value: str) -> None:
    """Write one setting to the settings file; a running node reads it at its next start."""
    home = default_home()
    if name == "track" and (Path(value) / "track.toml").is_file():
        value = str(Path(value).resolve())  # a folder is to mean the same from everywhere
    parsed = settings.from_text(name, value, f"config set {name}")
    home.create()
    settings.store_value(home.settings, name, parsed)
    click.echo(f"{name} = {shown(parsed)}")


@config.command("unset", short_help="Go back to a setting's default.")
@click.argument("name")
def unset(name: str) -> None:
    """Take one setting out of the settings file."""
    home = default_home()
    settings.store_value(home.settings, name, None)
    entry = next(entry for entry in settings.origins(home.settings) if entry.name == name)
    click.echo(f"{name} = {shown(entry.value)} ({entry.source})")


@config.command("path", short_help="Print where the settings file is.")
def path() -> None:
    """Print the path of the settings file, whether it exists or not."""
    click.echo(str(default_home().settings))
