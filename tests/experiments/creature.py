"""The creatures of the zoo, as the head of each file describes them; the file alone says all there is to know.

    # Tries: to peek at one place in a hundred, chosen by the text before it.
    # Ends: refused or crashed, a part of the reason
    # With: setup_s=1.0                 fields of the track to change for it; `seconds` bounds an attack
    # Runs: 2                           times that it is run, one after the other
    # Track: sotu                       where it is run instead of the tiny track
    # Open: why it still gets something
"""

import ast
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ZOO = Path(__file__).resolve().parents[1] / "zoo"
WORTH = "for what it is worth"
STATUSES = {"scored", "refused", "crashed", "timed_out"}
HEADS = ("Tries", "Honest", "Ends", "With", "Runs", "Track", "Open", "Harmless without a filter")
ATTACK_ENDS = "crashed or timed_out"
HONEST_VALUE = 2.4932913858096155  # of counting pairs on the tiny track: what each scored cheat is worth
TRAINS_AND_ATTACKS_LATER = '''


def load_model(checkpoint, device):
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            main()
        except Exception as error:
            print(type(error).__name__, error)
    obtained = [line for line in said.getvalue().splitlines() if line.startswith("OBTAINED")]
    raise SystemExit("the attack is over" + "; ".join(["", *obtained])[:300])


def train():
    import numpy as np
    from safetensors.numpy import save_file

    from experiments import harness

    run = harness.connect()
    run.start()
    save_file({"nothing": np.zeros(1, np.float32)}, run.checkpoint)


if __name__ == "__main__":
    train()
'''


@dataclass(frozen=True)
class Creature:
    """One file of the zoo. `statuses` may come out of a run of it, with `reason` as a part of the reason."""

    name: str
    kind: str  # "attack", "cheat" or "honest"
    tries: str
    statuses: tuple[str, ...]
    reason: str
    source: str
    changes: dict[str, float] = field(default_factory=dict)
    runs: int = 1
    track: str = ""
    open: str = ""
    without_filter: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """How long an attack that doesn't end by itself is watched."""
        return self.changes.get("seconds")

    @property
    def slow(self) -> bool:
        """Whether it loads torch, wants a large track or takes its whole time, and so is left to the whole zoo."""
        return "import torch" in self.source or "for_long" in self.name or bool(self.track)

    def later(self) -> str:
        """The same attack, made by the scored model instead of the training."""
        return self.source[: self.source.index("\n\ndef load_model(")].rstrip() + TRAINS_AND_ATTACKS_LATER

    def changed(self) -> dict[str, float]:
        """The track's fields to change."""
        return {name: value for name, value in self.changes.items() if name != "seconds"}


def read(path: Path) -> Creature:
    """Returns the creature of a file; ValueError when its head is not as it must be."""
    kind, _, name = path.stem.partition("_")
    source = path.read_text()
    heads = {}
    for line in source.splitlines():
        word, colon, rest = line.removeprefix("# ").partition(": ")
        if not line.startswith("# ") or not colon or word not in HEADS:
            break
        heads[word] = rest
    words = "Honest" if kind == "honest" else "Tries"
    if not heads.get(words, "").endswith("."):
        raise ValueError(f"{path.name} must say in its first line what it tries")
    default = ATTACK_ENDS if kind == "attack" else "scored"
    ends, _, reason = heads.get("Ends", default).partition(", ")
    statuses = tuple(ends.split(" or "))
    if not STATUSES.issuperset(statuses):
        raise ValueError(f"{path.name} ends in a status that there is not")
    pairs = [pair.split("=") for pair in heads.get("With", "").split() if pair]
    return Creature(
        name=name, kind=kind, tries=heads[words], statuses=statuses, reason="" if reason == WORTH else reason,
        source=source, changes={key: float(ast.literal_eval(value)) for key, value in pairs},
        runs=int(heads.get("Runs", "1")), track=heads.get("Track", ""), open=heads.get("Open", ""),
        without_filter=tuple(filter(None, heads.get("Harmless without a filter", "").split(", "))),
    )  # fmt: skip


@cache
def creatures(kind: str) -> dict[str, Creature]:
    """Returns all creatures of a kind by name, in alphabetical order."""
    return {one.name: one for one in map(read, sorted(ZOO.glob(f"{kind}_*.py")))}
