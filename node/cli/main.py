"""Entry point of the command line: which commands there are, and how each failure ends.

A command's module is imported when it is used, so that a query starts without what training needs. The one-line helps
stand here for the same reason; a test compares them with the commands.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import IO, Any, Final

import click

from ensue.errors import AutoresearchError

INTERRUPTED: Final = 130

SECTIONS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Research": {
        "join": ("node.cli.join:join", "Become a node and research until stopped."),
        "status": ("node.cli.control:status", "Say what this node is doing, and what it has found."),
        "pause": ("node.cli.control:pause", "Hold research at once; the run in progress waits."),
        "resume": ("node.cli.control:resume", "Let research go on after a pause."),
        "leave": ("node.cli.control:leave", "Say good-bye: send what waits, and end the node."),
        "run": ("node.cli.run:run", "Run one train.py as the agent would; publishes nothing."),
        "replicate": ("node.cli.replicate:replicate", "Rerun a result here, and sign what was seen."),
        "prepare": ("node.cli.prepare:prepare", "Fetch and prepare the data of a track."),
    },
    "The collective memory": {
        "leaderboard": ("node.cli.ranking:leaderboard", "Rank results, agents, authors or hardware classes."),
        "best": ("node.cli.ranking:best", "Show the best result, its script, or its change."),
        "show": ("node.cli.records:show", "Show one record in full."),
        "diff": ("node.cli.records:diff", "Compare the scripts of two results."),
        "log": ("node.cli.records:log", "List records, newest last."),
        "lineage": ("node.cli.records:lineage", "Draw a result's ancestors and descendants."),
        "compare": (
            "node.cli.compare:compare",
            "Compare agents, proposers or accounts under equal conditions.",
        ),
        "search": ("node.cli.search:search", "Find what was tried and learnt."),
        "plot": ("node.cli.plot:plot", "Draw the progress so far as PNG or SVG."),
    },
    "Take part without a GPU": {
        "hypothesis": ("node.cli.publish:hypothesis", "Publish an idea for others to try."),
        "insight": ("node.cli.publish:insight", "Publish a lesson with the results that carry it."),
        "assess": ("node.cli.assess:assess", "Confirm or contradict a lesson, with results that show it."),
        "submit": ("node.cli.publish:submit", "Publish a ready train.py for nodes to run."),
        "retract": ("node.cli.publish:retract", "Withdraw a record of one's own."),
        "watch": ("node.cli.watch:watch", "Follow a network, or give it an idea, without a node."),
    },
    "People": {
        "verify": ("node.cli.verify:verify", "Become a verified participant by e-mail."),
        "keys": ("node.cli.keys:keys", "The account behind this node, and its keys."),
        "contributions": (
            "node.cli.contributions:contributions",
            "List your own records, and what became of them.",
        ),
        "reputation": ("node.cli.reputation:reputation", "Say what became of all that accounts did."),
        "verifier": ("node.cli.verifier:verifier", "Run a verifier, or see and change whom the network trusts."),
    },
    "The network": {
        "invite": ("node.cli.swarm:invite", "Print one line that lets others join."),
        "peers": ("node.cli.swarm:peers", "Show who is there."),
    },
    "This machine": {
        "doctor": ("node.cli.doctor:doctor", "Check whether research can run here, and what to mend."),
        "config": ("node.cli.config:config", "List, set and unset this node's settings."),
        "rebuild": ("node.cli.rebuild:rebuild", "Derive the state anew from the records."),
        "export": ("node.cli.archive:export_", "Write the memory, or a track's results, to one file."),
        "import": ("node.cli.archive:import_", "Take in the memory that a file holds."),
    },
}


class Sentence(click.ClickException):
    """A failure of ours as click ends it: one sentence on stderr, exit 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence after the program's name."""
        from node import text

        click.secho("autoresearch: ", fg="red", nl=False, err=True)
        click.echo(text.printable(self.message), err=True)


class LazyGroup(click.Group):
    """A group that imports the module of a subcommand when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of SECTIONS."""
        return [name for commands in SECTIONS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, imported now; None where there is none."""
        for commands in SECTIONS.values():
            if cmd_name in commands:
                module, attribute = commands[cmd_name][0].split(":")
                command: click.Command = getattr(importlib.import_module(module), attribute)
                return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command named first; an unknown one fails with the nearest names."""
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], names, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else "`autoresearch --help` lists them."
            ctx.fail(f"No such command {args[0][:40]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of each section without importing them."""
        longest = max(len(name) for name in self.list_commands(ctx))
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(longest), about) for name, (_, about) in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; our errors become one sentence, an interrupt exit code 130."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except AutoresearchError as error:
            raise Sentence(str(error)) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Sentence(_of_system(error)) from error


def _of_system(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"the system refused{where}: {error.strerror or error}: check the path, its rights and the room on the disk"


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="autoresearch", prog_name="autoresearch")
def cli() -> None:
    """Research language models with everyone: agents edit train.py, a scorer out of its reach measures it, and what was
    found is kept by all.

    \b
    autoresearch join          start research; Ctrl-C ends it
    autoresearch leaderboard   see what was found
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    try:
        cli.main(args=None if arguments is None else list(arguments), prog_name="autoresearch")
    except BrokenPipeError:  # the reader of a pipe left; what it wanted it has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
