"""One node a home: the lock holds against a second node, and not against those who only look."""

import threading
from pathlib import Path

import pytest

from ensue.errors import AlreadyRunning
from node.lock import NodeLock, holder


def test_a_second_lock_is_refused_and_names_its_holder(tmp_path: Path):
    path = tmp_path / "home" / "node.lock"
    with NodeLock(path), pytest.raises(AlreadyRunning, match="a node already runs on"):
        NodeLock(path)
    with NodeLock(path):
        pass


def test_the_holder_is_known_while_it_holds(tmp_path: Path):
    import os

    path = tmp_path / "node.lock"
    assert holder(path) is None
    with NodeLock(path):
        assert holder(path) == os.getpid()
    assert holder(path) is None


def test_those_who_look_keep_nobody_out(tmp_path: Path):
    path = tmp_path / "node.lock"
    NodeLock(path).close()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            holder(path)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(50):
            NodeLock(path).close()
    finally:
        stop.set()
        for looker in lookers:
            looker.join()
    assert holder(path) is None
