"""How far something is, on stderr: one line redrawn on a terminal, else one line for each new phase.

The live view of a researching node is another module; this one serves commands that do a single thing.
"""

from __future__ import annotations

import sys
import time

import click

from node import text

BAR_CELLS = 24
WORDS_COLUMNS = 60
REDRAW_EVERY_S = 0.1


class Meter:
    """Shows progress; a silent one shows nothing, so that stdout and stderr stay clean for programs."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._redraws = sys.stderr.isatty()
        self._what = ""
        self._drawn_at = float("-inf")

    def __call__(self, what: str, done: float, words: str = "") -> None:
        """Show that `done` (0 to 1) of `what` is done; `words` say more on a terminal."""
        fresh = what != self._what
        now = time.monotonic()
        due = self._redraws and (done >= 1.0 or now - self._drawn_at >= REDRAW_EVERY_S)
        if self._silent or not (fresh or due):
            return
        if not self._redraws:
            click.echo(text.printable(what), err=True)
        else:
            percent = int(max(0.0, min(1.0, done)) * 100)
            filled = percent * BAR_CELLS // 100
            bar = "█" * filled + "░" * (BAR_CELLS - filled)
            if fresh and self._what:
                click.echo(err=True)
            shown = text.printable(f"{what}  {words}".rstrip(), WORDS_COLUMNS)
            click.echo(f"\r\x1b[2K{bar} {percent:3d}%  {shown}", nl=False, err=True)
        self._what, self._drawn_at = what, now

    def end(self) -> None:
        """Leave the last line standing."""
        if self._redraws and self._what and not self._silent:
            click.echo(err=True)
        self._what = ""
