"""How many faults are wanted, and the tables that the fault tests end with."""

import os
from pathlib import Path

import pytest

FEW = {"KILLS": 6, "WRITER_KILLS": 12, "CUTS": 30, "FULL": 20, "PAGES": 5}
MANY = {"KILLS": 1000, "WRITER_KILLS": 1000, "CUTS": 1000, "FULL": 100_000, "PAGES": 100_000}


def wanted(name: str, *, soak: bool) -> int:
    """Return how many faults of a sort to bring about: AUTORESEARCH_SOAK_<name>, or what this run has time for."""
    said = os.environ.get(f"AUTORESEARCH_SOAK_{name}", "")
    return int(said) if soak and said else (MANY if soak else FEW)[name]


few_or_many = pytest.mark.parametrize(
    "soak", [pytest.param(False, id="few"), pytest.param(True, id="many", marks=pytest.mark.soak)]
)


def table(title: str, **figures: object) -> None:
    """Print one row of figures as a Markdown table; AUTORESEARCH_SOAK_TABLES names a file to add it to."""
    names = [name.replace("_", " ") for name in figures]
    lines = [f"| {title} |", *(f" {name} |" for name in names), "\n|:--|", *("--:|" for _ in names), "\n| |"]
    text = "".join([*lines, *(f" {value} |" for value in figures.values())])
    print(f"\n{text}")
    if file := os.environ.get("AUTORESEARCH_SOAK_TABLES"):
        with Path(file).open("a", encoding="utf-8") as out:
            out.write(f"{text}\n\n")
