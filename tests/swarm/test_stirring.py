"""A look at the files tells whether the replica may have changed; a write is never missed for long."""

import os
import time
from pathlib import Path

import pytest

from node.swarm import stirring
from node.swarm.stirring import ANYWAY_NS, SETTLED_NS, Stirring

NOW_NS = 1_800_000_000_000_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [NOW_NS]
    monkeypatch.setattr(stirring.time, "time_ns", lambda: now[0])
    return now


def touched(file: Path, when_ns: int, text: str = "x") -> None:
    file.write_text(text)
    os.utime(file, ns=(when_ns, when_ns))


def test_it_is_quiet_until_a_file_changes(tmp_path: Path, clock: list[int]) -> None:
    path, wal = tmp_path / "replica", tmp_path / "replica-wal"
    touched(path, NOW_NS - 10**9)
    look = Stirring(path)
    assert look(), "nothing was seen before"
    assert not look()
    touched(wal, NOW_NS - 10**9)
    assert look()
    assert not look()
    touched(wal, NOW_NS - 10**9, "longer")
    assert look()
    wal.unlink()
    assert look()
    assert not look()
    clock[0] += ANYWAY_NS
    assert look(), "nothing is relied upon for long"


def test_a_change_just_now_may_hide_another_one(tmp_path: Path, clock: list[int]) -> None:
    path = tmp_path / "replica"
    touched(path, NOW_NS)
    look = Stirring(path)
    assert look()
    assert look()
    clock[0] += SETTLED_NS
    assert not look()


def test_clocks_that_jump_back_silence_nothing(tmp_path: Path, clock: list[int]) -> None:
    touched(tmp_path / "replica", NOW_NS - 10**9)
    look = Stirring(tmp_path / "replica")
    assert look()
    clock[0] -= 10**15
    assert look()


def test_a_look_costs_little(tmp_path: Path) -> None:
    touched(tmp_path / "replica", NOW_NS)
    look = Stirring(tmp_path / "replica")
    began = time.process_time()
    for _ in range(1_000):
        look()
    assert time.process_time() - began < 0.5
