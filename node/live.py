"""The live view of a node on a terminal, drawn with rich: what runs, its loss, the best, the last results.

Leaves out what to show: the loop says that through `node.view.View`. A full-screen program was rejected: what scrolled
by before stays readable above the panel, and the last picture stays when the node ends.
"""

import time
from collections import deque

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ensue.store import ResultRow
from node.curve import draw
from node.text import printable
from node.view import Facts, Moment, Standing, Trying, budget_words, standing_words

LOSSES_MAX = 4_000
RECENT_MAX = 8
NOTES_MAX = 3
CURVE_ROWS = 6
REFRESH_PER_S = 4
METRIC_COLUMNS = 16
ECHO_COLUMNS = 4  # left free, so that the terminal's echo of ^C does not wrap and shift the picture
COLOURS = {"kept": "bold green", "discarded": "yellow", "crashed": "red", "timed_out": "red", "refused": "bold red"}


class LiveView:
    """Redraws one panel in place; the lines above it stay as they are."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._facts: Facts | None = None
        self._standing = Standing(None, None, 0, 0)
        self._recent: deque[ResultRow] = deque(maxlen=RECENT_MAX)
        self._verdict = ""
        self._trying: Trying | None = None
        self._phase = "starting"
        self._phase_began = time.monotonic()
        self._moment: Moment | None = None
        self._losses: deque[float] = deque(maxlen=LOSSES_MAX)
        self._notes: deque[str] = deque(maxlen=NOTES_MAX)
        self._waiting: str | None = None
        self._live = Live(get_renderable=self.render, console=self.console, refresh_per_second=REFRESH_PER_S)

    def opened(self, facts: Facts, standing: Standing, recent: list[ResultRow]) -> None:
        """Draw the panel for the first time."""
        self._facts, self._standing = facts, standing
        self._recent.extend(recent[-RECENT_MAX:])
        if facts.founded:
            self.console.print(
                f"Founded the network {printable(facts.network_name)} ({facts.network[:10]}).", markup=False
            )
        self._live.start()

    def trying(self, trying: Trying) -> None:
        """Begin a new experiment."""
        self._trying, self._moment = trying, None
        self._losses.clear()

    def phase(self, name: str) -> None:
        """Show which phase runs."""
        self._phase, self._phase_began = name, time.monotonic()

    def progress(self, moment: Moment) -> None:
        """Move the bar and the curve."""
        self._moment = moment
        if moment.loss is not None:
            self._losses.append(moment.loss)

    def finished(self, row: ResultRow, verdict: str, standing: Standing) -> None:
        """Add the result to the list."""
        self._recent.append(row)
        self._standing, self._verdict = standing, verdict
        self._trying = None

    def waiting(self, reason: str | None) -> None:
        """Show why nothing runs."""
        self._waiting = reason

    def note(self, text: str) -> None:
        """Show a line below the results."""
        if self._facts is None:  # the panel is not there yet
            self.console.print(printable(text), style="dim", markup=False)
        else:
            self._notes.append(printable(text))

    def closed(self) -> None:
        """Leave the last picture standing."""
        self._phase = "stopped"
        self._trying = None
        self._live.stop()

    def render(self) -> RenderableType:
        """Return the whole picture."""
        if self._facts is None:
            return Text("starting…")
        parts: list[RenderableType] = [self._head(), Text()]
        if self._trying is not None:
            parts += self._experiment(self._trying)
        else:
            parts.append(Text(self._phase, style="cyan"))
        if self._waiting:
            parts.append(Text(f"waiting: {printable(self._waiting)}", style="bold yellow"))
        parts += [Text(), self._results()]
        parts += [Text(note, style="dim") for note in self._notes]
        where = f" · {printable(self._facts.name)} · {printable(self._facts.track)}"
        title = Text.assemble(("autoresearch", "bold"), where)
        return Panel(
            Group(*parts),
            title=title,
            title_align="left",
            subtitle=Text("Ctrl-C stops after tidying up"),
            padding=(0, 1),
            width=max(20, self.console.width - ECHO_COLUMNS),
        )

    def _head(self) -> Text:
        facts, standing = self._facts, self._standing
        assert facts is not None
        head = Text()
        head.append(standing_words(standing), style="bold green" if standing.best else "dim")
        if standing.best is not None:
            head.append(f"  {printable(standing.best.description)}")
        head.append(f"\n{standing.experiments} experiments, {standing.kept} kept", style="dim")
        machine = f"{facts.hardware_class} · sandbox {facts.sandbox}"
        head.append(f" · {printable(machine)} · {facts.peer_id[:12]}…{facts.peer_id[-4:]}", style="dim")
        head.append(f" · network {facts.network[:10]}", style="dim")
        return head

    def _experiment(self, trying: Trying) -> list[RenderableType]:
        what = Text.assemble((f"#{trying.number} ", "dim"), (printable(trying.description), "bold"))
        if trying.mean is not None:
            what.append(f"   expecting {trying.mean:.4f} ± {trying.sd or 0.0:.4f}", style="cyan")
        parts: list[RenderableType] = [what]
        if trying.why:
            parts.append(Text(printable(trying.why), style="dim italic"))
        parts.append(self._bar())
        width = max(20, min(72, self.console.width - 24))
        if len(self._losses) > 1:
            lines = draw(list(self._losses), width=width, height=CURVE_ROWS)
            first, last = self._losses[0], self._losses[-1]
            labels = [f"loss {first:.3f}", *[""] * (CURVE_ROWS - 2), f"now  {last:.3f}"]
            parts += [
                Text.assemble((f"{label:>11} ", "dim"), (line, "cyan"))
                for label, line in zip(labels, lines, strict=True)
            ]
        return parts

    def _bar(self) -> RenderableType:
        facts, moment = self._facts, self._moment
        assert facts is not None
        row = Table.grid(padding=(0, 1))
        if self._phase != "training" or moment is None:
            row.add_row(
                Text(self._phase, style="cyan"), Text(f"{time.monotonic() - self._phase_began:.0f} s", style="dim")
            )
            return row
        words = f"{moment.left_s:.0f} of {budget_words(facts.clock, facts.budget_s)} left"
        if moment.tokens_per_s is not None:
            words += f" · {moment.tokens_per_s:,.0f} tokens/s"
        bar = ProgressBar(total=1.0, completed=min(1.0, moment.fraction), width=30)
        row.add_row(Text("training", style="cyan"), bar, Text(f"{moment.fraction:4.0%}"), Text(words, style="dim"))
        return row

    def _results(self) -> RenderableType:
        if not self._recent:
            return Text("no results yet: the first run is the unchanged train.py", style="dim")
        table = Table(box=None, padding=(0, 1), header_style="dim", expand=True)
        metric = printable(self._facts.metric, METRIC_COLUMNS) if self._facts else "value"
        for heading, options in (
            ("result", {"no_wrap": True}),
            (metric, {"justify": "right", "no_wrap": True}),
            ("status", {"no_wrap": True}),
            ("what was tried", {"ratio": 1, "overflow": "ellipsis", "no_wrap": True}),
        ):
            table.add_column(heading, **options)
        for row in reversed(self._recent):
            value = "–" if row.value is None else f"{row.value:.4f}"
            what = row.description if row.value is not None else f"{row.description}: {row.reason}"
            table.add_row(
                Text(row.id[:10], style="dim"),
                Text(value),
                Text(row.status.replace("_", " "), style=COLOURS.get(row.status, "")),
                Text(printable(what)),
            )
        return table
