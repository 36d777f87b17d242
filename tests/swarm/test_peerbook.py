"""The book of peers and the addresses in it: bounded, hard to fill with lies, empty rather than wrong when damaged."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensue.identity import Identity
from ensue.store import Store
from node.swarm import peerbook
from node.swarm.address import ADDRESS_CHARS_MAX, BadAddress, parse, parsed
from node.swarm.peerbook import ANCHORS_MAX, PEER_ADDRESSES_MAX, PEERS_MAX, PeerBook

IDS = [Identity(number.to_bytes(32, "big")).peer_id for number in range(1, 1201)]
OWN, PEER, RELAY = IDS[-1], IDS[-2], IDS[-3]
NOW_MS = 1_763_722_000_000
DAY_MS = 86_400_000


def at(host: str, peer_id: str = PEER, port: int = 4001) -> str:
    return f"/ip4/{host}/tcp/{port}/p2p/{peer_id}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "replica.sqlite3", "ab" * 32) as opened:
        yield opened


@pytest.fixture
def book() -> PeerBook:
    return PeerBook(OWN, random.Random(1))


# Addresses


@pytest.mark.parametrize(
    ("text", "scope", "group"),
    [
        (f"/ip4/9.8.7.6/tcp/4001/p2p/{PEER}", "public", "9.8.0.0/16"),
        (f"/ip4/192.168.1.7/udp/65535/quic-v1/p2p/{PEER}", "private", "192.168.0.0/16"),
        (f"/ip4/127.0.0.1/udp/1/quic/p2p/{PEER}", "loopback", "127.0.0.0/16"),
        (f"/ip6/2a01:4f8:1::7/tcp/4001/p2p/{PEER}", "public", "2a01:04f8::/32"),
        (f"/ip6/::1/tcp/4001/p2p/{PEER}", "loopback", "0000:0000::/32"),
        (f"/dns/a.node.example.org/tcp/4001/p2p/{PEER}", "name", "example.org"),
        (f"/dns4/localhost/tcp/4001/p2p/{PEER}", "name", "localhost"),
        (f"/dns6/x--1.org/tcp/4001/p2p/{PEER}", "name", "x--1.org"),
        (f"/ip4/9.8.7.6/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/{PEER}", "public", "9.8.0.0/16"),
    ],
)
def test_addresses_of_peers(text: str, scope: str, group: str):
    address = parse(text)
    assert (address.text, address.peer_id, address.scope, address.group) == (text, PEER, scope, group)
    assert address.relay == (RELAY if "circuit" in text else None)
    assert 0 < address.port <= 65535


def test_one_address_has_one_spelling():
    assert parse(f"/ip6/2A01:04F8:0:0:0:0:0:7/tcp/1/p2p/{PEER}").text == f"/ip6/2a01:4f8::7/tcp/1/p2p/{PEER}"
    assert parse(f"/dns/Node.Example.ORG/tcp/1/p2p/{PEER}").text == f"/dns/node.example.org/tcp/1/p2p/{PEER}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "//",
        "hello",
        PEER,
        f"/p2p/{PEER}",
        "/ip4/9.8.7.6/tcp/4001",
        f"/ip4/9.8.7.6/tcp/0/p2p/{PEER}",
        f"/ip4/9.8.7.6/tcp/65536/p2p/{PEER}",
        f"/ip4/9.8.7.6/tcp/04001/p2p/{PEER}",
        f"/ip4/9.8.7.6/tcp/-1/p2p/{PEER}",
        f"/ip4/9.8.7.6/tcp/٤/p2p/{PEER}",
        f"/ip4/9.8.7/tcp/4001/p2p/{PEER}",
        f"/ip4/9.8.7.006/tcp/4001/p2p/{PEER}",
        f"/ip4/0.0.0.0/tcp/4001/p2p/{PEER}",
        f"/ip4/224.0.0.251/tcp/4001/p2p/{PEER}",
        f"/ip4/255.255.255.255/tcp/4001/p2p/{PEER}",
        f"/ip6/::/tcp/4001/p2p/{PEER}",
        f"/ip6/fe80::1%eth0/tcp/4001/p2p/{PEER}",
        f"/ip6/fe80::1/tcp/4001/p2p/{PEER}",
        f"/ip6/::ffff:9.8.7.6/tcp/4001/p2p/{PEER}",
        f"/ip6/9.8.7.6/tcp/4001/p2p/{PEER}",
        f"/dns/9.8.7.6/tcp/4001/p2p/{PEER}",
        f"/dns/-a.org/tcp/4001/p2p/{PEER}",
        f"/dns/a..org/tcp/4001/p2p/{PEER}",
        f"/dns/{'a' * 64}.org/tcp/4001/p2p/{PEER}",
        f"/dns/{'a.' * 70}org/tcp/4001/p2p/{PEER}",
        f"/dns/bücher.org/tcp/4001/p2p/{PEER}",
        f"/dnsaddr/a.org/tcp/4001/p2p/{PEER}",
        f"/unix/tmp/tcp/4001/p2p/{PEER}",
        f"/ip4/9.8.7.6/udp/4001/p2p/{PEER}",
        f"/ip4/9.8.7.6/udp/4001/webtransport/p2p/{PEER}",
        f"/ip4/9.8.7.6/tcp/4001/ws/p2p/{PEER}",
        f"/ip4/9.8.7.6/tcp/4001/p2p/{PEER[:-1]}",
        f"/ip4/9.8.7.6/tcp/4001/p2p/{PEER[:-1]}0",
        "/ip4/9.8.7.6/tcp/4001/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        f"/ip4/9.8.7.6/tcp/4001/ipfs/{PEER}",
        f"/ip4/9.8.7.6/tcp/4001/p2p/{PEER}/",
        f"/ip4/9.8.7.6/tcp/4001/p2p/{PEER}\n",
        f" /ip4/9.8.7.6/tcp/4001/p2p/{PEER}",
        f"/ip4/9.8.7.6/tcp/4001/p2p/{PEER}/p2p-circuit",
        f"/ip4/9.8.7.6/tcp/4001/p2p/{RELAY}/p2p-circuit/p2p/{PEER}/p2p-circuit/p2p/{RELAY}",
        f"/ip4/9.8.7.6/tcp/4001/p2p/{RELAY}/x/p2p/{PEER}",
        "/ip4/9.8.7.6/tcp/4001/p2p/" + "1" * 100_000,
        "/ip4/\x1b[2J/tcp/4001/p2p/" + PEER,
    ],
)
def test_what_is_no_address_of_a_peer(text: str):
    assert parsed(text) is None
    with pytest.raises(BadAddress) as caught:
        parse(text)
    assert len(str(caught.value)) < 300


@given(
    st.text() | st.text("/ip4dns6tcpudquic-v1.:9 0").map(lambda text: f"/{text}/p2p/{PEER}") | st.none() | st.integers()
)
def test_any_text_is_an_address_or_none(text: object):
    address = parsed(text)
    if address is not None:
        assert parse(address.text) == address
        assert len(address.text) <= ADDRESS_CHARS_MAX
        assert address.text.isascii()
        assert address.text.isprintable()
        assert address.group


# The book


def test_what_is_saved_is_loaded(book: PeerBook, store: Store):
    assert len(PeerBook.load(store, OWN)) == 0
    assert book.add([at("9.8.7.6"), at("9.8.7.6"), "garbage", at("9.9.9.9", IDS[0]), at("1.2.3.4", OWN)], "dht") == 2
    assert book.add([at("9.8.7.6", port=4002)], "invite") == 0
    book.seen(PEER, NOW_MS, address=at("9.8.7.6", port=4002), served_s=60.4)
    book.failed(IDS[0], NOW_MS)
    book.save(store)
    again = PeerBook.load(store, OWN)
    assert again.all() == book.all()
    assert OWN not in again
    peer = again.get(PEER)
    assert peer is not None
    assert peer.addresses == [at("9.8.7.6", port=4002), at("9.8.7.6")]
    assert (peer.learnt, peer.served_s, peer.seen_ms) == ("invite", 60, NOW_MS)
    again.forget(PEER)
    again.forget(PEER)
    assert PEER not in again


def test_a_peer_that_dialed_us_is_noted(book: PeerBook):
    book.seen(PEER, NOW_MS)
    book.seen(PEER, NOW_MS, address=at("9.8.7.6", IDS[0]))
    book.seen(OWN, NOW_MS, address=at("9.8.7.6", OWN))
    assert len(book) == 0
    book.seen(PEER, NOW_MS, address=at("9.8.7.6"))
    assert [peer.peer_id for peer in book.all()] == [PEER]


def test_who_failed_waits_longer_each_time_and_no_longer_than_an_hour(book: PeerBook):
    book.add([at("9.8.7.6")], "invite")
    waits = []
    for _ in range(30):
        book.failed(PEER, NOW_MS)
        waits.append(next(s for s in range(3700) if book.candidates(1, NOW_MS + s * 1000)))
    assert 3 <= waits[0] <= 5
    assert 7 <= waits[1] <= 10
    assert waits[9] > 1800
    assert max(waits) <= 3600
    assert book.candidates(1, NOW_MS) == []
    assert book.candidates(1, NOW_MS - DAY_MS) != []  # the clock was set back
    book.seen(PEER, NOW_MS)
    assert [peer.failures for peer in book.candidates(1, NOW_MS)] == [0]


def test_who_is_never_there_leaves_the_book(book: PeerBook):
    """Those of invites stay, and those met lately; who was met long ago goes."""
    book.add([at("9.8.7.6", name) for name in IDS[:3]], "dht")
    book.add([at("9.8.7.7", IDS[3])], "invite")
    book.seen(IDS[1], NOW_MS - DAY_MS)
    book.seen(IDS[2], NOW_MS - 100 * DAY_MS)
    for _ in range(20):
        for name in IDS[:4]:
            book.failed(name, NOW_MS)
    assert {peer.peer_id for peer in book.all()} == {IDS[1], IDS[3]}
    book.failed(IDS[5], NOW_MS)


def test_anchors_come_first_then_invited_then_all_neighbourhoods_in_turn(book: PeerBook):
    for number in range(60):
        book.add([at(f"9.{number % 6}.1.{number}", IDS[number])], "dht")
    book.add([at("8.8.8.8", IDS[100]), at("8.9.8.8", IDS[101])], "invite")
    for number in range(20):
        book.seen(IDS[number], NOW_MS, address=at(f"9.{number % 6}.1.{number}", IDS[number]), served_s=1000 - number)
    chosen = book.candidates(16, NOW_MS)
    names = [peer.peer_id for peer in chosen]
    assert len(set(names)) == 16
    assert set(names[:8]) == set(IDS[:ANCHORS_MAX])
    assert set(names[8:10]) == {IDS[100], IDS[101]}
    groups = Counter(peer.group for peer in chosen)
    assert len(groups) == 8
    assert max(groups.values()) <= 3
    assert set(IDS[:ANCHORS_MAX]) & {peer.peer_id for peer in book.candidates(4, NOW_MS)}
    fewer = book.candidates(70, NOW_MS, without=IDS[:8])
    assert len(fewer) == 54
    assert not {peer.peer_id for peer in fewer} & set(IDS[:8])
    assert book.candidates(0, NOW_MS) == []


def test_the_same_dice_choose_the_same():
    books = [PeerBook(OWN, random.Random(7)) for _ in range(2)]
    for one in books:
        one.add([at(f"{number % 7 + 1}.2.3.4", IDS[number]) for number in range(300)], "gossip")
    first, second = ([peer.peer_id for peer in one.candidates(20, NOW_MS)] for one in books)
    assert first == second
    assert [peer.peer_id for peer in books[0].candidates(20, NOW_MS)] != first


def test_a_flood_crowds_out_neither_anchors_nor_invited_nor_those_met(book: PeerBook):
    """A thousand made-up peers, each in a neighbourhood of its own, then a thousand that answer from one of them."""
    honest, invited = IDS[:60], IDS[60:70]
    book.add([at(f"{number + 1}.1.1.1", name) for number, name in enumerate(honest)], "dht")
    for number, name in enumerate(honest):
        book.seen(name, NOW_MS, address=at(f"{number + 1}.1.1.1", name), served_s=3600 if number < 8 else 0)
    book.add([at(f"200.{number}.1.1", name) for number, name in enumerate(invited)], "invite")
    book.add([at(f"{100 + number % 100}.{number // 100}.1.1", IDS[100 + number]) for number in range(1000)], "gossip")
    assert len(book) == PEERS_MAX
    assert {*honest, *invited} <= {peer.peer_id for peer in book.all()}
    for number in range(1000):
        where = at(f"66.6.{number // 250}.{number % 250}", IDS[100 + number])
        book.seen(IDS[100 + number], NOW_MS + DAY_MS, address=where)
    left = {peer.peer_id for peer in book.all()}
    assert len(left) == PEERS_MAX
    assert {*honest, *invited} <= left
    groups = Counter(peer.group for peer in book.candidates(24, NOW_MS + DAY_MS))
    assert groups["66.6.0.0/16"] <= 1


def test_one_peer_cannot_be_given_so_many_addresses_that_the_right_one_goes(book: PeerBook):
    book.add([at("9.8.7.6"), at("9.8.7.7")], "invite")
    book.add([at("5.5.5.5")], "dht")
    book.seen(PEER, NOW_MS, address=at("5.5.5.5"))
    book.add([at(f"6.6.{number // 200}.{number % 200 + 1}") for number in range(1000)], "gossip")
    addresses = book.get(PEER).addresses  # type: ignore[union-attr]
    assert len(addresses) == PEER_ADDRESSES_MAX
    assert addresses[:3] == [at("5.5.5.5"), at("9.8.7.6"), at("9.8.7.7")]


def test_a_full_book_fits_its_note(store: Store):
    book = PeerBook(OWN, random.Random(1))
    name = ".".join(["a" * 59, "b" * 56, "org"])
    for peer_id in IDS[:PEERS_MAX]:
        told = [f"/dns6/{name}/udp/{60000 + n}/quic-v1/p2p/{RELAY}/p2p-circuit/p2p/{peer_id}" for n in range(8)]
        book.add(told, "gossip")
        book.seen(peer_id, peerbook.TIME_MS_MAX * 2, address=told[0], served_s=1e30)
        book.failed(peer_id, peerbook.TIME_MS_MAX * 2)
    book.save(store)
    assert len(store.local_get("peers") or "") < peerbook.BOOK_BYTES_MAX
    assert PeerBook.load(store, OWN).all() == book.all()


@pytest.mark.parametrize(
    "note",
    [
        *("", "{", "[]", "5", "null", '{"v":2,"peers":[]}', '{"v":1}', '{"v":1,"peers":5}'),
        '{"v":1,"peers":[5,null,[],{}]}',
        "[" * 100_000,
        '{"v":1,"peers":[' + "0," * 600_000 + "0]}",
    ],
)
def test_a_damaged_note_is_an_empty_book(store: Store, note: str):
    store.local_set("peers", note)
    assert len(PeerBook.load(store, OWN)) == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([at("9.8.7.6"), "dht", PEER]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.sampled_from(["id", "learnt", "places", "seen_ms", "served_s", "failures", "retry_ms"]), JSON, st.integers(0, 3)
)
def test_a_row_of_anything_is_read_or_left_out(name: str, value: object, part: int):
    place = [at("9.8.7.6"), "dht", 5]
    row = {"id": PEER, "learnt": "dht", "places": [place], "seen_ms": 5, "served_s": 5, "failures": 1, "retry_ms": 5}
    if part < 3 and name == "places":
        place[part] = value  # type: ignore[call-overload]
    else:
        row[name] = value
    peer = peerbook._peer(json.loads(json.dumps(row)))
    if peer is not None:
        assert peer.peer_id == PEER
        assert peer.addresses == [at("9.8.7.6")]
        assert peerbook._peer(peerbook._row(peer)) == peer
