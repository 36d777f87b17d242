"""`invite` and `peers`: what they say of a running, a stopped and a lonely node, and to whom."""

import fcntl
import json
import os
import pty
import struct
import sys
import termios
import time
from pathlib import Path
from subprocess import Popen

import pytest
from conftest import HARMFUL, Invoke, Research

from ensue.genesis import Genesis
from ensue.identity import Identity
from node.home import Home
from node.swarm import status
from node.swarm.invite import decode
from node.swarm.peerbook import PeerBook
from node.swarm.status import Counters, PeerStatus, SwarmStatus

ADA, BOB, EVE = (Identity(bytes([number]) * 32).peer_id for number in (11, 12, 13))


def at(host: str, peer_id: str) -> str:
    return f"/ip4/{host}/tcp/4001/p2p/{peer_id}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def say(research: Research, **more: object) -> SwarmStatus:
    """Write the status document of a swarm process, which is this very process."""
    own = research.identity.peer_id
    peers = (
        PeerStatus(BOB, "bob", (at("10.0.0.2", BOB),), False, "0.2.0", 90, 10, now_ms() - 3_600_000, None),
        PeerStatus(ADA, "ada", (at("9.8.7.6", ADA),), True, "0.2.0", 100, 1234, now_ms(), 12.4),
    )
    addresses = (at("127.0.0.1", own), at("192.168.1.7", own), at("203.0.114.9", own))
    fields = {"pid": os.getpid(), "updated_ms": now_ms(), "addresses": addresses, "peers": peers}
    said = SwarmStatus(**fields | {"reachable": "yes", "why": "ada dialed it", "counters": Counters(1, 2, 3, 4)} | more)
    status.write(research.store, said)
    return said


def note_peers(research: Research) -> None:
    book = PeerBook(research.identity.peer_id)
    book.add([at("9.8.7.6", ADA)], "dht")
    book.seen(ADA, now_ms() - 60_000, address=at("9.8.7.6", ADA))
    book.add([at("192.0.2.3", EVE)], "gossip")
    book.failed(EVE, now_ms())
    book.save(research.store)


def test_without_a_node_there_is_nothing_to_invite_to(home: Home, invoke: Invoke):
    for command in ("invite", "peers"):
        assert "run `autoresearch join`" in invoke(command, code=1).stderr
    assert not home.path.exists()


def test_the_line_of_a_lonely_node_works_on_the_local_network(founded: Research, invoke: Invoke):
    done = invoke("invite")
    assert done.stdout.count("\n") == 1
    assert decode(done.stdout).genesis == Genesis.load(founded.home.genesis)
    assert decode(done.stdout).addresses == ()
    assert "on the local network only" in done.stderr
    assert "not running" in done.stderr


def test_the_line_of_a_running_node_has_its_widest_addresses(founded: Research, invoke: Invoke):
    own = founded.identity.peer_id
    note_peers(founded)
    say(founded)
    done = invoke("invite")
    assert decode(done.stdout).addresses == (at("203.0.114.9", own), at("192.168.1.7", own), at("9.8.7.6", ADA))
    assert done.stderr == ""
    document = json.loads(invoke("invite", "--json").stdout)
    assert document["invite"] == done.stdout.strip()
    assert document["addresses"] == list(decode(done.stdout).addresses)
    assert document["network"] == founded.store.network
    assert (document["network_name"], document["running"], document["notes"]) == ("autoresearch", True, [])


def test_what_an_owner_should_know_about_an_invite_is_said(founded: Research, invoke: Invoke):
    say(founded, reachable="no")
    assert "docs/how-to/join-others.md" in invoke("invite").stderr
    say(founded, addresses=(at("127.0.0.1", founded.identity.peer_id),))
    done = invoke("invite")
    assert decode(done.stdout).addresses == (at("127.0.0.1", founded.identity.peer_id),)
    assert "this machine only" in done.stderr
    say(founded, updated_ms=now_ms() - 60_000)
    assert "not running" in invoke("invite").stderr


def test_others_can_be_joined_while_this_node_is_off(founded: Research, invoke: Invoke):
    note_peers(founded)
    assert decode(invoke("invite").stdout).addresses == (at("9.8.7.6", ADA),)


def test_peers_of_a_running_node(founded: Research, invoke: Invoke):
    note_peers(founded)
    say(founded, problem="the daemon was started anew")
    shown = invoke("peers").stdout
    assert "1 connected, 3 known; others can reach it (ada dialed it)" in shown
    assert "the daemon was started anew" in shown
    lines = {name: line for name in ("ada", "bob") for line in shown.splitlines() if line.startswith(name)}
    assert lines["ada"].split()[2:] == ["connected", "now", "1,234", "12", "ms", "0.2.0", "/ip4/9.8.7.6/tcp/4001"]
    assert "away" in lines["bob"]
    assert "1 h ago" in lines["bob"]
    assert "failed 1×" in shown
    say(founded, reachable="no", why="")
    assert "others cannot reach it; see docs/how-to/join-others.md" in invoke("peers").stdout


def test_peers_as_json(founded: Research, invoke: Invoke):
    note_peers(founded)
    said = say(founded)
    document = json.loads(invoke("peers", "--json").stdout)
    assert document["running"] is True
    assert document["pid"] == os.getpid()
    assert (document["reachable"], document["why"], document["connected"]) == ("yes", "ada dialed it", 1)
    assert document["addresses"] == list(said.addresses)
    assert document["counters"]["bytes_in"] == 3
    assert [peer["peer_id"] for peer in document["peers"]] == [ADA, BOB, EVE]
    ada, bob, eve = document["peers"]
    assert (ada["connected"], ada["lag_records"], ada["rtt_ms"], ada["learnt"]) == (True, 1234, 12.4, "dht")
    assert ada["addresses"] == [at("9.8.7.6", ADA)]
    assert (bob["connected"], bob["learnt"]) == (False, None)
    assert (eve["failures"], eve["last_seen_at"], eve["addresses"]) == (1, None, [at("192.0.2.3", EVE)])


def test_peers_of_a_stopped_node_are_those_it_knows(founded: Research, invoke: Invoke):
    note_peers(founded)
    say(founded, pid=2**31 - 7)
    shown = invoke("peers").stdout
    assert "The node is not running; 3 peers known." in shown
    assert "connected" not in shown
    document = json.loads(invoke("peers", "--json").stdout)
    assert document["running"] is False
    assert (document["connected"], document["counters"], document["pid"]) == (0, None, None)
    names = {peer["peer_id"]: peer for peer in document["peers"]}
    assert (names[ADA]["name"], names[ADA]["lag_records"], names[ADA]["connected"]) == ("ada", None, False)


@pytest.mark.parametrize("note", ["{", "[]", '{"v":1}', "\x00"])
def test_damaged_notes_count_as_none(founded: Research, invoke: Invoke, note: str):
    founded.store.local_set("swarm", note)
    founded.store.local_set("peers", note)
    assert "Nobody has been met yet" in invoke("peers").stdout
    assert json.loads(invoke("peers", "--json").stdout)["peers"] == []
    assert "local network only" in invoke("invite").stderr


def test_strangers_words_are_written_out(founded: Research, invoke: Invoke):
    stranger = PeerStatus(EVE, HARMFUL, (at("9.8.7.6", EVE),), True, HARMFUL, 5, 5, now_ms(), 5.0)
    say(founded, peers=(stranger,), why=HARMFUL, problem=HARMFUL)
    for arguments in (["peers"], ["peers", "--json"]):
        shown = invoke(*arguments).stdout
        assert not {"\x1b", "\u202e", "\x9b", "\x07"} & set(shown)
    assert "\\x1b[2J" in invoke("peers").stdout


def on_a_terminal(columns: int, rows: int, *arguments: str, **environment: str) -> str:
    """Run the command line on a real terminal of this size and return all that it showed."""
    outside, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    more = {"PYTHONIOENCODING": "utf-8", "TERM": "xterm"} | environment
    variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")} | more
    child = Popen([sys.executable, "-m", "node.cli.main", *arguments], stdout=inside, stderr=inside, env=variables)
    os.close(inside)
    shown = b""
    try:
        while part := os.read(outside, 65536):
            shown += part
    except OSError:  # how Linux says that the other side is closed
        pass
    finally:
        os.close(outside)
    assert child.wait(60) == 0
    return shown.decode()


def test_a_terminal_that_has_room_gets_a_qr_code(founded: Research, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(Path(__file__).parent.parent.parent)
    say(founded)
    assert "▀" in on_a_terminal(120, 60, "invite")
    assert "\x1b[30;47m" in on_a_terminal(120, 60, "invite")
    assert "▀" not in on_a_terminal(80, 24, "invite")
    assert "▀" not in on_a_terminal(120, 60, "invite", "--no-qr")
    assert "▀" not in on_a_terminal(120, 60, "invite", TERM="dumb")
    assert "▀" not in on_a_terminal(120, 60, "invite", PYTHONIOENCODING="ascii")


def test_a_pipe_gets_the_line_alone(founded: Research, program):
    say(founded)
    done = program("invite")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("autoresearch1:")
    assert done.stdout.count("\n") == 1
