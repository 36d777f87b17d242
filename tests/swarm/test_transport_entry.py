"""Entries of the DHT, without a network: what verifies, and that nothing else does."""

import hashlib
import time

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue.identity import Identity
from node.transport import entry

NETWORK, OTHER_NETWORK = "ab" * 32, "cd" * 32
ME, YOU = Identity(b"\1" * 32), Identity(b"\2" * 32)
NOW = 1_800_000_000.0
SUBJECT = "12" * 32
PEER_VALUE = [["/ip4/192.0.2.1/tcp/4001"], "0.1.0", "public", 12, "ef" * 32, "session"]


def digest(kind: str, subject: str, network: str = NETWORK) -> bytes:
    return hashlib.sha1(entry.key_of(network, kind, subject)).digest()


def read(packed: bytes, *, kind="claim", subject=SUBJECT, peer=ME.peer_id, expires=NOW + 60, now=NOW, network=NETWORK):
    return entry.read(network, peer, digest(kind, subject), packed, expires, now)


def claim(expires: float = NOW + 60, identity: Identity = ME, network: str = NETWORK) -> bytes:
    return entry.sign(identity, network, "claim", SUBJECT, "34" * 32, expires)


@pytest.mark.parametrize(
    ("kind", "subject", "value"),
    [
        ("peers", "", PEER_VALUE),
        ("head", YOU.peer_id, [7, 8, "ef" * 32]),
        ("blob", SUBJECT, True),
        ("claim", SUBJECT, "34" * 32),
        ("claim", SUBJECT, None),
    ],
)
def test_what_was_signed_is_read(kind, subject, value):
    packed = entry.sign(ME, NETWORK, kind, subject, value, NOW + 60)
    found = read(packed, kind=kind, subject=subject)
    assert found == entry.Entry(ME.peer_id, kind, subject, value, NOW + 60)


def test_nothing_can_be_moved_or_prolonged():
    packed = claim()
    assert read(packed) is not None
    assert read(packed, peer=YOU.peer_id) is None
    assert read(packed, subject="56" * 32) is None
    assert read(packed, kind="blob") is None
    assert read(packed, expires=NOW + 61) is None
    assert read(packed, network=OTHER_NETWORK) is None
    assert read(claim(network=OTHER_NETWORK)) is None
    assert read(claim(identity=YOU)) is None


def test_expired_entries_and_such_of_the_far_future_are_refused():
    assert read(claim(), now=NOW + 60) is None
    far = NOW + entry.KINDS["claim"].ttl_s_max + entry.CLOCK_S_MAX + 1
    assert read(claim(far), expires=far) is None
    assert read(claim(float("inf")), expires=float("inf")) is None
    assert read(claim(float("nan")), expires=float("nan")) is None


@given(st.integers(0, 10_000))
def test_any_flipped_bit_is_refused(place):
    packed = bytearray(claim())
    place %= len(packed) * 8
    packed[place // 8] ^= 1 << place % 8
    assert read(bytes(packed)) is None


@given(st.binary(max_size=300))
def test_rubbish_is_refused(packed):
    assert read(packed) is None
    assert isinstance(entry.wrapped(packed), int | float | str | bytes | list | dict | None)  # and nothing is raised


@pytest.mark.parametrize(
    ("kind", "subject", "value"),
    [
        ("unknown", SUBJECT, True),
        ("peers", "x", PEER_VALUE),
        ("peers", "", [*PEER_VALUE, 1]),
        ("peers", "", [["/ip4/192.0.2.1/tcp/1"] * 9, *PEER_VALUE[1:]]),
        ("peers", "", [["/" * 201], *PEER_VALUE[1:]]),
        ("head", YOU.peer_id, [True, 1, ""]),
        ("head", YOU.peer_id, [-1, 1, ""]),
        ("head", "../..", [1, 1, ""]),
        ("blob", SUBJECT, 1),
        ("blob", SUBJECT.upper().replace("1", "A"), True),
        ("claim", SUBJECT, "zz" * 32),
        ("claim", SUBJECT, {"a": 1}),
    ],
)
def test_well_signed_values_of_the_wrong_shape_are_refused(kind, subject, value):
    """A node of ours never signs them, so they are signed here by hand."""
    body = msgpack.packb([NETWORK, kind, subject, value, NOW + 60])
    packed = msgpack.packb([body, ME.sign(entry._message(ME.peer_id, body))])
    assert read(packed, kind=kind, subject=subject) is None
    if kind in entry.KINDS:
        with pytest.raises(ValueError, match="no entry of kind"):
            entry.sign(ME, NETWORK, kind, subject, value, NOW + 60)


def test_oversized_and_deep_entries_are_refused_quickly():
    body = msgpack.packb([NETWORK, "claim", SUBJECT, "34" * 32, NOW + 60])
    large = msgpack.packb([body + b"\0" * 20_000, ME.sign(body)])
    deep = b"\x91" * 2_000
    start = time.perf_counter()
    for _ in range(100):
        assert read(large) is None
        assert read(deep) is None
    assert time.perf_counter() - start < 1
