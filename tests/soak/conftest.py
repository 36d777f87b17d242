"""Lets the fault tests use the bodies of records that the tests of the memory have."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "ensue"))
