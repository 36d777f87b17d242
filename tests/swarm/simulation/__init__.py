"""A swarm on one virtual clock: the real store and the real sync code over a wire that a seed decides."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "ensue"))  # the bodies that the tests of the memory use
