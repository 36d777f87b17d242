"""What a node keeps of the DHT for others: bounded, newest first, and fair under a flood."""

import pytest

from node.transport import shelf
from node.transport.shelf import Shelf


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def make(clock: Clock) -> Shelf:
    return Shelf(dict, lambda values, expires: (values, expires), clock)


def test_the_newer_entry_stays_and_the_older_does_not_shorten_its_life():
    clock = Clock()
    one = make(clock)
    assert one.store(1, b"new", 1_100.0, subkey="a")
    assert not one.store(1, b"old", 1_050.0, subkey="a")
    assert not one.store(1, b"same", 1_100.0, subkey="a")
    clock.now = 1_060.0
    assert one.get(1) == ({"a": (b"new", 1_100.0)}, 1_100.0)
    clock.now = 1_100.0
    assert one.get(1) is None


def test_nothing_expired_and_nothing_without_a_subkey_is_kept():
    one = make(Clock())
    assert not one.store(1, b"x", 1_100.0)
    assert not one.store(1, b"x", 999.0, subkey="a")
    assert len(one) == 0
    assert 1 not in one


def test_what_is_given_out_is_a_copy():
    one = make(Clock())
    one.store(1, b"x", 1_100.0, subkey="a")
    one.get(1)[0]["b"] = (b"y", 2_000.0)
    assert dict(one.items()) == {1: ({"a": (b"x", 1_100.0)}, 1_100.0)}


def test_a_flood_on_one_key_leaves_the_first_comers_their_share():
    """600 honest entries of which 512 fit, then 4,608 of a flood: about a ninth of the places stays honest."""
    one = make(Clock())
    for number in range(shelf.ENTRIES_OF_KEY_MAX):
        assert one.store(1, b"x", 1_100.0, subkey=f"honest {number}")
    for number in range(8 * shelf.ENTRIES_OF_KEY_MAX):
        one.store(1, b"x", 1_200.0, subkey=f"flood {number}")
    kept = one.get(1)[0]
    honest = sum(name.startswith("honest") for name in kept)
    assert len(kept) == len(one) == shelf.ENTRIES_OF_KEY_MAX
    assert 25 < honest < 105  # 57 expected, six standard deviations either way


def test_the_whole_is_bounded_and_fair_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shelf, "ENTRIES_MAX", 1_000)
    clock = Clock()
    one = make(clock)
    for number in range(1_000):
        assert one.store(number, b"x", 1_100.0, subkey="honest")
    for number in range(9_000):
        one.store(10_000 + number, b"x", 1_200.0, subkey="flood")
        assert len(one) <= 1_000
    honest = sum(key < 1_000 for key, _ in one.items())
    assert 45 < honest < 160  # 100 expected
    clock.now = 1_150.0
    one.store(99_999, b"x", 1_200.0, subkey="late")
    assert len(one) == sum(1 for _ in one.items())
