"""What the swarm process says of itself: read whole or not at all, and never believed when it is old."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue.identity import Identity
from ensue.store import Store
from node.swarm import status
from node.swarm.status import Counters, PeerStatus, SwarmStatus, Unverified

PEER = Identity(bytes([1]) * 32).peer_id
ADDRESS = f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}"
NOW_MS = 1_763_722_000_000
SAID = SwarmStatus(
    pid=os.getpid(),
    updated_ms=NOW_MS,
    addresses=(ADDRESS,),
    reachable="no",
    why="two peers dialed in vain",
    peers=(
        PeerStatus(PEER, "ada", (ADDRESS,), True, "0.2.0", 1000, 5, NOW_MS, 12.5),
        PeerStatus(Identity(bytes([2]) * 32).peer_id, last_seen_ms=5),
    ),
    counters=Counters(1, 2, 3, 4, 5, 6),
    unverified=Unverified(1, 2, 3, 4, 5, 6),
    problem="the daemon was started anew",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "replica.sqlite3", "ab" * 32) as opened:
        yield opened


def test_what_is_written_is_read(store: Store):
    assert status.read(store) is None
    status.write(store, SAID)
    assert status.read(store) == SAID
    assert SAID.connected == 1
    status.write(store, SwarmStatus(1, 0))
    assert status.read(store) == SwarmStatus(1, 0)


def test_it_runs_while_it_writes_and_its_process_lives():
    assert SAID.running(NOW_MS)
    assert SAID.running(NOW_MS + status.STALE_MS)
    assert not SAID.running(NOW_MS + status.STALE_MS + 1)
    assert not SAID.running(NOW_MS - status.STALE_MS - 1)
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert not SwarmStatus(ended.pid, NOW_MS).running(NOW_MS)
    assert not SwarmStatus(2**53 - 1, NOW_MS).running(NOW_MS)
    assert status.is_alive(1)


def test_strangers_cannot_make_it_large(store: Store):
    words = "\U0001f600" * 100_000
    peers = [
        PeerStatus(PEER, words, (ADDRESS,) * 1000, number % 7 == 0, words, 5, 5, number, 1.0) for number in range(5000)
    ]
    status.write(store, SwarmStatus(5, 5, (ADDRESS,) * 1000, "yes", words, tuple(peers), problem=words))
    said = status.read(store)
    assert said is not None
    assert len(said.peers) == status.PEERS_SHOWN_MAX
    assert said.connected == status.PEERS_SHOWN_MAX  # those that are connected go first
    assert len(said.peers[0].name) == status.NAME_CHARS_MAX
    assert len(store.local_get("swarm") or "") < status.STATUS_BYTES_MAX


@pytest.mark.parametrize("note", ["", "{", "[]", "5", "null", "{}", '{"v":1}', "[" * 100_000, " " * 3_000_000])
def test_a_damaged_document_is_none(store: Store, note: str):
    store.local_set("swarm", note)
    assert status.read(store) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["yes", ADDRESS, 1, 2**60]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(st.data())
def test_a_document_of_anything_is_read_or_none(data: st.DataObject):
    document = json.loads(json.dumps({"v": 1} | status.asdict(SAID)))
    place = data.draw(st.sampled_from([document, document["peers"][0], document["counters"]]))
    name = data.draw(st.sampled_from(sorted(place)))
    if data.draw(st.booleans()):
        del place[name]
    else:
        place[name] = json.loads(json.dumps(data.draw(JSON)))
    try:
        said = status._status(document)
    except ValueError:
        return
    assert len(said.why) <= status.WORDS_CHARS_MAX
    assert all(type(number) is int for number in (said.pid, said.updated_ms, said.counters.refused))
    assert all(address == ADDRESS for peer in said.peers for address in peer.addresses)
