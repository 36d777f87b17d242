"""A verifier for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from office import Office


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A verifier whose letters go into a folder."""
    made = Office(tmp_path)
    yield made
    made.close()
