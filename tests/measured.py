"""Measures this machine once for all homes that tests make: three seconds each, most of it importing torch."""

import functools
import tempfile
from pathlib import Path

from node import machine
from node.home import Home

THREADS = 1  # of the tiny track


@functools.cache
def _measured(device: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        machine.hardware(home, device, threads=THREADS)
        return home.hardware.read_text(encoding="utf-8")


def put(folder: Path, device: str = "auto") -> None:
    """Make a home, on which nothing was done yet but measuring."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    Home(folder).hardware.write_text(_measured(device), encoding="utf-8")
