"""One device in the live view: what it tries, how far it is, the loss; with all there is room for, or in two lines.

Left out: the panel around it (live).
"""

import time
from collections import deque

from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from node.curve import draw
from node.text import printable
from node.view import Moment, Trying, budget_words

LOSSES_MAX = 4_000
CURVE_ROWS = 6
BAR_COLUMNS = (8, 30)
WORDS_COLUMNS = 76
"""What the words beside the bar take, and the frame."""


class Lane:
    """Holds what one device's loop told last."""

    def __init__(self, device: str = "") -> None:
        self._device = device
        self._trying: Trying | None = None
        self._phase = "starting"
        self._phase_began = time.monotonic()
        self._moment: Moment | None = None
        self._losses: deque[float] = deque(maxlen=LOSSES_MAX)
        self._waiting: str | None = None

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

    def waiting(self, reason: str | None) -> None:
        """Show why nothing runs."""
        self._waiting = reason

    def finished(self) -> None:
        """Show no experiment."""
        self._trying = None

    def closed(self) -> None:
        """Show that nothing runs any more."""
        self._phase, self._trying = "stopped", None

    def render(self, clock: str, budget_s: float, width: int, *, whole: bool) -> list[RenderableType]:
        """Return the picture for a track's budget on a terminal of so many columns; reason and curve if `whole`."""
        parts: list[RenderableType] = []
        if self._trying is not None:
            parts += self._experiment(self._trying, clock, budget_s, width, whole=whole)
        else:
            parts.append(self._named(Text(self._phase, style="cyan")))
        if self._waiting:
            parts.append(Text(f"waiting: {printable(self._waiting)}", style="bold yellow"))
        return parts

    def _named(self, text: Text) -> Text:
        return Text.assemble((f"{self._device}  ", "bold"), text) if self._device else text

    def _experiment(
        self, trying: Trying, clock: str, budget_s: float, width: int, *, whole: bool
    ) -> list[RenderableType]:
        tag = "" if trying.number is None else f"#{trying.number} "
        what = self._named(Text.assemble((tag, "dim"), (printable(trying.description), "bold")))
        if trying.mean is not None:
            what.append(f"   expecting {trying.mean:.4f} ± {trying.sd or 0.0:.4f}", style="cyan")
        parts: list[RenderableType] = [what]
        if trying.base and whole:
            parts.append(Text(printable(trying.base), style="dim"))
        if trying.why and whole:
            parts.append(Text(printable(trying.why), style="dim italic"))
        parts.append(self._bar(clock, budget_s, max(BAR_COLUMNS[0], min(BAR_COLUMNS[1], width - WORDS_COLUMNS))))
        if len(self._losses) > 1 and whole:
            parts += self._curve(max(20, min(72, width - 24)))
        return parts

    def _curve(self, width: int) -> list[RenderableType]:
        lines = draw(list(self._losses), width=width, height=CURVE_ROWS)
        first, last = self._losses[0], self._losses[-1]
        labels = [f"loss {first:.3f}", *[""] * (CURVE_ROWS - 2), f"now  {last:.3f}"]
        return [
            Text.assemble((f"{label:>11} ", "dim"), (line, "cyan")) for label, line in zip(labels, lines, strict=True)
        ]

    def _bar(self, clock: str, budget_s: float, columns: int) -> RenderableType:
        moment = self._moment
        row = Table.grid(padding=(0, 1))
        if self._phase != "training" or moment is None:
            row.add_row(
                Text(self._phase, style="cyan"), Text(f"{time.monotonic() - self._phase_began:.0f} s", style="dim")
            )
            return row
        words = f"{moment.left_s:.0f} of {budget_words(clock, budget_s)} left"
        if moment.tokens_per_s is not None:
            words += f" · {moment.tokens_per_s:,.0f} tokens/s"
        bar = ProgressBar(total=1.0, completed=min(1.0, moment.fraction), width=columns)
        row.add_row(Text("training", style="cyan"), bar, Text(f"{moment.fraction:4.0%}"), Text(words, style="dim"))
        return row
