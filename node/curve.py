"""A curve drawn with braille characters: two columns and four rows of dots to each character cell.

Used for the loss in the terminal view. A plotting library would bring axes and a second way to write to the terminal,
and nothing here needs them.
"""

from collections.abc import Sequence
from itertools import pairwise

DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # [column][row from the top]


def thin(values: Sequence[float], count: int) -> list[float]:
    """Return at most `count` values: the means of equally long stretches, so that no part of the curve is left out."""
    if len(values) <= count:
        return list(values)
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]


def draw(values: Sequence[float], *, width: int, height: int) -> list[str]:
    """Return `height` lines of `width` characters that show the values from left to right, the largest on top.

    The top of the range is cut at the 95th percentile: the first losses of a run are so high that they would
    flatten everything that follows.
    """
    if width < 1 or height < 1:
        return []
    points = thin(values, width * 2)
    if not points:
        return [" " * width] * height
    ordered = sorted(points)
    low, high = ordered[0], ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    span = (high - low) or 1.0
    cells = [[0] * width for _ in range(height)]
    rows = height * 4
    previous: int | None = None
    for x, value in enumerate(points):
        row = min(rows - 1, max(0, round((high - value) / span * (rows - 1))))
        # The line is kept whole by filling the steps between neighbouring points.
        for y in range(min(row, row if previous is None else previous), max(row, previous or 0) + 1):
            cells[y // 4][x // 2] |= DOTS[x % 2][y % 4]
        previous = row
    return ["".join(chr(0x2800 + cell) if cell else " " for cell in line) for line in cells]
