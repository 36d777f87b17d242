"""The live view of a node on a terminal, drawn with rich: what runs, its loss, the best, the last results.

Leaves out what to show: the loop says that through `node.view.View`. A full-screen program was rejected: what scrolled
by before stays readable above the panel, and the last picture stays when the node ends.
"""

from collections import deque

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ensue.store import ResultRow
from node.lane import Lane
from node.text import plural, printable
from node.view import Facts, Moment, Standing, Trying, standing_words

RECENT_MAX = 8
NOTES_MAX = 3
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
        self._own = Lane()
        self._lanes: dict[str, Lane] = {}
        self._notes: deque[str] = deque(maxlen=NOTES_MAX)
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

    def of(self, device: str) -> "LaneView":
        """Show one of several devices."""
        return LaneView(self, self._lanes.setdefault(device, Lane(device)))

    def trying(self, trying: Trying) -> None:
        """Begin a new experiment."""
        self._own.trying(trying)

    def phase(self, name: str) -> None:
        """Show which phase runs."""
        self._own.phase(name)

    def progress(self, moment: Moment) -> None:
        """Move the bar and the curve."""
        self._own.progress(moment)

    def finished(self, row: ResultRow, verdict: str, standing: Standing) -> None:
        """Add the result to the list."""
        self._recent.append(row)
        self._standing = standing
        self._own.finished()

    def reran(self, text: str) -> None:
        """Show what came of a rerun below the results."""
        self._own.finished()
        self.note(text)

    def waiting(self, reason: str | None) -> None:
        """Show why nothing runs."""
        self._own.waiting(reason)

    def note(self, text: str) -> None:
        """Show a line below the results."""
        if self._facts is None:  # the panel is not there yet
            self.console.print(printable(text), style="dim", markup=False)
        else:
            self._notes.append(printable(text))

    def closed(self) -> None:
        """Leave the last picture standing."""
        for lane in self._shown():
            lane.closed()
        self._live.stop()

    def render(self) -> RenderableType:
        """Return the whole picture."""
        if self._facts is None:
            return Text("starting…")
        parts: list[RenderableType] = [self._head(), Text()]
        lanes = self._shown()
        for lane in lanes:
            facts, width = self._facts, self.console.width
            parts += lane.render(facts.clock, facts.budget_s, width, whole=len(lanes) == 1)
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

    def _shown(self) -> list[Lane]:
        return list(self._lanes.values()) or [self._own]

    def _head(self) -> Text:
        facts, standing = self._facts, self._standing
        assert facts is not None
        head = Text()
        head.append(standing_words(standing), style="bold green" if standing.best else "dim")
        if standing.best is not None:
            head.append(f"  {printable(standing.best.description)}")
        head.append(f"\n{plural(standing.experiments, 'experiment')}, {standing.kept} kept", style="dim")
        machine = f"{facts.hardware_class} · sandbox {facts.sandbox}"
        head.append(f" · {printable(machine)} · {facts.peer_id[:12]}…{facts.peer_id[-4:]}", style="dim")
        head.append(f" · network {facts.network[:10]}", style="dim")
        return head

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


class LaneView:
    """What one of several devices' loops tells: its own lane, and what belongs to all."""

    def __init__(self, whole: LiveView, lane: Lane) -> None:
        self._whole = whole
        self.trying, self.phase, self.progress, self.waiting = lane.trying, lane.phase, lane.progress, lane.waiting
        self._lane = lane
        self.of, self.opened, self.note, self.closed = whole.of, whole.opened, whole.note, whole.closed

    def finished(self, row: ResultRow, verdict: str, standing: Standing) -> None:
        """Add the result to the list of all."""
        self._lane.finished()
        self._whole.finished(row, verdict, standing)

    def reran(self, text: str) -> None:
        """Show what came of a rerun below the results of all."""
        self._lane.finished()
        self._whole.note(text)
