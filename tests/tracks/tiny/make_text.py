"""Writes this track's text.txt.xz: 96 made-up documents from a fixed seed. Run it only to change the track."""

import lzma
import random
from pathlib import Path

NAMES = ("the river", "a small boat", "our neighbour", "the old mill", "a grey heron", "the ferryman")
DEEDS = ("crosses", "remembers", "follows", "waits for", "carries", "forgets")
TIMES = ("at dawn", "in winter", "before the rain", "once a year", "without a word", "as ever")


def main() -> None:
    """Write the text beside this file."""
    draw = random.Random(20)
    documents = [
        " ".join(
            f"{draw.choice(NAMES)} {draw.choice(DEEDS)} {draw.choice(NAMES)} {draw.choice(TIMES)}.".capitalize()
            for _ in range(draw.randint(6, 12))
        )
        for _ in range(96)
    ]
    packed = lzma.compress("\f".join(documents).encode("ascii"), preset=9 | lzma.PRESET_EXTREME)
    Path(__file__).with_name("text.txt.xz").write_bytes(packed)


if __name__ == "__main__":
    main()
