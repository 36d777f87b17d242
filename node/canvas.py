"""A picture as a file: PNG or SVG by its ending, whole or not at all.

The only module that imports matplotlib, and only when a picture is drawn. The Agg backend needs no display. Leaves out
what is in the picture (plot, treeplot). An interactive chart was rejected: a file can be put into a README or a letter.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensue.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes

SUFFIXES = (".png", ".svg")
DOTS_PER_INCH = 150


def check(path: Path) -> None:
    """Raise UserError where the file's ending is none that can be drawn."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path} must end in .png or .svg: those are the pictures that can be drawn")


def paint(path: Path, inches: tuple[float, float], fill: Callable[[Axes], None]) -> None:
    """Write a picture of a width and height that `fill` draws; raise UserError for a file that cannot be written."""
    check(path)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    looks: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "autoresearch", "text.parse_math": False}
    with matplotlib.rc_context(looks), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands for a letter that no font has
        scratch = path.with_name(f".{path.name}.unfinished")
        figure, axes = pyplot.subplots(figsize=inches, layout="constrained")
        try:
            fill(axes)
            metadata: dict[str, Any] = {"Date": None} if path.suffix.lower() == ".svg" else {}
            figure.savefig(scratch, format=path.suffix[1:].lower(), dpi=DOTS_PER_INCH, metadata=metadata)
            scratch.replace(path)
        except OSError as error:
            raise UserError(f"{path} cannot be written ({error.strerror}): choose another with --output") from error
        finally:
            pyplot.close(figure)
            with suppress(OSError):  # it is there only where the picture failed
                scratch.unlink()


def whole_numbers(axes: Axes) -> None:
    """Number the lower axis with whole numbers, thousands set apart."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
