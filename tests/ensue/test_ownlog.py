"""A key's log never forks because a file of its home was restored, copied or lost."""

import os
import shutil
from pathlib import Path

import pytest
from bodies import AUTHORS, NETWORK, insight, record, sha

from ensue.errors import LogInDoubt
from ensue.store import Store
from ensue.store.ownlog import SLOT_BYTES, begin, mark_path

ME, OTHER, _ = AUTHORS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home / "replica.sqlite3"


def add(path: Path, count: int = 1) -> list[str]:
    with Store(path, NETWORK) as store:
        return [store.append(ME, "insight", insight(f"{number} of {count}")).id for number in range(count)]


def mark(path: Path) -> Path:
    return mark_path(path, NETWORK, ME.peer_id)


def test_a_restored_replica_goes_on_after_the_last_number(path: Path) -> None:
    add(path, 3)
    shutil.copy(path, path.with_name("back-up"))
    *_, last = add(path, 4)
    os.replace(path.with_name("back-up"), path)
    with Store(path, NETWORK) as store:
        end = store.own_log.end(ME.peer_id)
        assert (end.seq, end.id, end.doubt, end.missing) == (7, last, None, 4)
        made = store.append(ME, "insight", insight())
        assert (made.seq, made.prev) == (8, last)
        assert store.own_log.end(ME.peer_id).missing == 0


def test_a_lost_replica_goes_on_after_the_last_number(path: Path) -> None:
    *_, last = add(path, 3)
    path.unlink()
    with Store(path, NETWORK) as store:
        made = store.append(ME, "insight", insight())
        assert (made.seq, made.prev) == (4, last)


def test_a_restored_home_signs_nothing_until_it_is_confirmed(path: Path) -> None:
    add(path, 3)
    shutil.copytree(path.parent, path.parent.with_name("back-up"))
    add(path, 4)
    shutil.rmtree(path.parent)
    shutil.copytree(path.parent.with_name("back-up"), path.parent)
    with Store(path, NETWORK) as store:
        for _ in range(2):
            with pytest.raises(LogInDoubt, match="is a copy"):
                store.append(ME, "insight", insight())
        with pytest.raises(LogInDoubt):
            store.own_log.seal(ME.peer_id)
        assert store.count() == 3  # reading goes on, and so does taking in
        store.ingest([record(1, 1, "insight", insight()).raw])
        assert store.own_log.confirm(ME.peer_id).seq == 3
        assert store.append(ME, "insight", insight()).seq == 4
    assert len(add(path, 2)) == 2


def test_peers_that_know_more_are_believed(path: Path) -> None:
    add(path, 3)
    mark(path).unlink()
    with Store(path, NETWORK) as store:
        end = store.own_log.confirm(ME.peer_id, 7, sha("seven"))
        assert (end.seq, end.missing) == (7, 4)
        made = store.append(ME, "insight", insight())
        assert (made.seq, made.prev) == (8, sha("seven"))


def test_the_owners_word_never_takes_numbers_back(path: Path) -> None:
    add(path, 3)
    with Store(path, NETWORK) as store:
        assert store.own_log.confirm(ME.peer_id, 1, sha("one")).seq == 3
        assert store.append(ME, "insight", insight()).seq == 4


@pytest.mark.parametrize("content", [b"", b"\0" * 2 * SLOT_BYTES, b"\xff" * 100])
def test_a_damaged_mark_is_in_doubt(path: Path, content: bytes) -> None:
    add(path, 3)
    mark(path).write_bytes(content)
    with Store(path, NETWORK) as store, pytest.raises(LogInDoubt, match="damaged"):
        store.append(ME, "insight", insight())


@pytest.mark.parametrize("slot", [0, 1])
def test_a_torn_write_of_the_mark_leaves_the_other_half(path: Path, slot: int) -> None:
    add(path, 3)
    with mark(path).open("r+b") as file:
        file.seek(slot * SLOT_BYTES + 40)
        file.write(b"\0" * 60)
    with Store(path, NETWORK) as store:
        assert store.append(ME, "insight", insight()).seq == 4


def test_a_mark_that_is_gone_and_one_of_another_home_are_in_doubt(path: Path) -> None:
    add(path, 3)
    kept = mark(path).with_name("kept")
    os.rename(mark(path), kept)
    with Store(path, NETWORK) as store, pytest.raises(LogInDoubt, match="gone"):
        store.append(ME, "insight", insight())
    begin(path, NETWORK, ME.peer_id)
    with Store(path, NETWORK) as store, pytest.raises(LogInDoubt, match="two different homes"):
        store.append(ME, "insight", insight())
    os.rename(kept, mark(path))
    assert len(add(path)) == 1


def test_a_key_that_was_restored_alone_is_in_doubt(path: Path) -> None:
    with Store(path, NETWORK) as store:
        with pytest.raises(LogInDoubt):
            store.own_log.require(ME.peer_id)
        with pytest.raises(LogInDoubt):
            store.append(ME, "insight", insight())
        store.own_log.confirm(ME.peer_id, 12, sha("twelve"))
        assert store.own_log.require(ME.peer_id).seq == 12
        assert store.append(ME, "insight", insight()).seq == 13


def test_each_key_and_network_has_a_log_of_its_own(path: Path) -> None:
    add(path, 3)
    with Store(path, NETWORK) as store:
        assert store.append(OTHER, "insight", insight()).seq == 1
    path.unlink()
    with Store(path, sha("another network")) as store:
        assert store.append(ME, "insight", insight()).seq == 1


def test_a_replica_of_a_version_without_marks_gets_one(path: Path) -> None:
    add(path, 3)
    mark(path).unlink()
    with Store(path, NETWORK) as store:
        store.local_set(f"own mark {ME.peer_id}", None)
        assert store.own_log.require(ME.peer_id).seq == 3
        assert store.append(ME, "insight", insight()).seq == 4
    assert mark(path).exists()


def test_a_sealed_mark_holds_the_last_number_even_where_the_writer_was_killed_before_it(path: Path) -> None:
    add(path, 2)
    old = mark(path).read_bytes()
    *_, last = add(path, 2)
    mark(path).write_bytes(old)  # as after a kill between the commit and the mark
    with Store(path, NETWORK) as store:
        store.own_log.seal(ME.peer_id)
    path.unlink()
    with Store(path, NETWORK) as store:
        assert store.own_log.end(ME.peer_id).id == last
