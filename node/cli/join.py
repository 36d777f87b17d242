"""`autoresearch join`: become a node and research until stopped."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from node.home import default_home
from node.settings import load

if TYPE_CHECKING:
    from node.view import View

SECONDS_AN_HOUR = 3600.0


@click.command(short_help="Become a node and research until stopped.")
@click.argument("invite", required=False)
@click.option("--experiments", metavar="N", type=click.IntRange(0), help="Stop after N experiments; 0: go on.")
@click.option("--hours", "for_hours", metavar="H", type=click.FloatRange(0, min_open=True), help="Stop after H hours.")
@click.option("--device", metavar="D", help="auto, cpu, mps, cuda:N, several with commas between, or all.")
@click.option("--track", metavar="T", help="The research problem: a track's name or folder.")
@click.option("--proposer", metavar="P", help="optuna, or command:PROGRAM.")
@click.option("--name", metavar="NAME", help="How others see this node.")
@click.option("--plain", is_flag=True, help="Plain lines instead of the live view.")
@click.pass_context
def join(ctx: click.Context, /, invite: str | None, for_hours: float | None, plain: bool, **flags: Any) -> None:
    """Become a node and research until stopped.

    The first start makes a key and joins the network of the INVITE, a line that `autoresearch invite` prints there;
    without one it founds a network of its own. Ctrl-C ends cleanly: the run in
    progress is recorded as abandoned. A second Ctrl-C ends at once; the next start goes on either way.
    """
    home = default_home()
    chosen = load(home.settings, flags=flags)
    from node.research import research
    from node.swarm.invite import decode

    invited = decode(invite) if invite else None
    view = _view(plain)
    stop_after_s = None if for_hours is None else for_hours * SECONDS_AN_HOUR
    received = research(home, chosen, view, stop_after_s=stop_after_s, invite=invited)
    if received is not None:
        ctx.exit(130 if received == signal.SIGINT else 0)


def _view(plain: bool) -> View:
    """Return the live view on a terminal, else the plain one."""
    if plain or not sys.stdout.isatty():
        from node.view import PlainView

        return PlainView()
    from node.live import LiveView

    return LiveView()
