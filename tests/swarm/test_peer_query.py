"""`best --peer` and `leaderboard --peer`, from machines where nothing was founded, against real nodes and liars."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from nodes import ROOT, TINY, Node, wait_for
from peer_world import FOUNDER, GENESIS, SCRIPTS, Loop, World, also, indexed, liar, says
from sync_replicas import bodies

from ensue.genesis import found
from ensue.record import sign
from experiments import track as tracks
from node.cli.main import cli
from node.cli.peer import ROWS_MAX
from node.swarm import inquiry, invite
from node.sync import wire
from node.transport.ports import Stream

OTHER = found(FOUNDER, "other", [], created_ms=1_700_000_000_001)
WORD = "this peer's word alone"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    loop = Loop()
    try:
        made = World(tmp_path_factory.mktemp("world"), loop)
        yield made
    finally:
        loop.end()
    made.store.close()


Ask = Callable[..., Result]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Runs a command on a machine without anything; afterwards there must be nothing still."""
    scratch = Path(tempfile.mkdtemp())  # a socket's path has at most a hundred characters
    for name in [name for name in os.environ if name.startswith("AUTORESEARCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AUTORESEARCH_HOME", str(tmp_path / "none"))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def call(*arguments: str, code: int = 0) -> Result:
        done = CliRunner().invoke(cli, list(arguments), prog_name="autoresearch")
        unexpected = done.exception is not None and not isinstance(done.exception, SystemExit)
        assert not unexpected, f"{arguments}: {done.exception!r}"
        assert done.exit_code == code, f"{arguments}: {done.exit_code}\n{done.output}"
        if code == 1:
            assert done.stdout == ""
            assert done.stderr.startswith("autoresearch: ")
            assert done.stderr.count("\n") == 1
        return done

    yield call
    scratch.rmdir()
    assert not (tmp_path / "none").exists()


def local(world: World, *arguments: str) -> Result:
    """Returns what the same command says beside the replica."""
    done = CliRunner(env={"AUTORESEARCH_HOME": str(world.home.path)}).invoke(cli, list(arguments))
    assert done.exit_code == 0, done.output
    return done


def without(text: str) -> Any:
    """Returns JSON without what only a replica knows: when records came, and what became of those they name."""
    document = json.loads(text)
    for row in document if isinstance(document, list) else [document]:
        for field in ("received_at", "flags"):
            assert field in row
            del row[field]
    return document


def bare(row: str) -> list[str]:
    """Returns the words of a row but for when it came, which goes on while it is asked twice."""
    return re.sub(r"\bnow\b|\d+ (s|min) ago", "", row).split()


def line(*addresses: str, genesis: Any = GENESIS) -> str:
    return invite.encode(genesis, addresses)


# What an honest peer answers


@pytest.mark.parametrize("more", [[], ["--by", "agent"], ["--by", "class"], ["--limit", "2"]], ids=" ".join)
def test_a_leaderboard_is_that_of_the_peer(world, ask, more):
    here = local(world, "leaderboard", "--json", "--track", bodies.TRACK, *more)
    there = ask("leaderboard", "--json", "--track", bodies.TRACK, *more, "--peer", world.address)
    assert without(there.stdout) == without(here.stdout)
    assert world.line[3] not in [row["id"] for row in json.loads(there.stdout)]
    assert WORD in there.stderr


def test_the_table_and_the_facts_look_the_same(world, ask):
    here = local(world, "leaderboard", "--track", bodies.TRACK).stdout.splitlines()
    there = ask("leaderboard", "--peer", line(world.address)).stdout.splitlines()
    assert there[0] == f"made-up · {here[0].partition(' · ')[2]}"
    assert [bare(row) for row in there[2:]] == [bare(row.replace(" [descends from retracted]", "")) for row in here[2:]]
    assert there[2].split()[:3] == ["1", "1.5500", "−0.0500"]  # against a parent that ranks nowhere
    facts = ask("best", "--peer", world.address, "--track", bodies.TRACK).stdout
    assert "1.6000 ± 0.1000, said before the run" in facts
    assert "autoresearch show" not in facts


def test_the_best_result_its_script_and_its_change(world, ask):
    asked = ["best", "--peer", world.address, "--track", bodies.TRACK]
    assert without(ask(*asked, "--json").stdout) == without(local(world, *asked[:1], *asked[3:], "--json").stdout)
    assert ask(*asked, "--source").stdout == "LR = 3\n"
    assert ask(*asked, "--class", "cpu-2t", "--source").stdout == SCRIPTS[2]
    diff = ask(*asked, "--class", "cpu-2t", "--diff").stdout.splitlines()
    assert diff[0].split()[:3] == [world.line[0][:10], "→", world.line[2][:10]]
    assert [row for row in diff if row[:1] in "+-"][2:] == ["-LR = 1", "-DEPTH = 1", "+LR = 2", "+DEPTH = 2"]
    assert "there are cpu-2t, gpu-x" in ask(*asked, "--class", "tpu").stdout
    assert json.loads(ask(*asked, "--class", "tpu", "--json").stdout) is None


def test_tracks_are_named_as_people_name_them(world, ask, tmp_path):
    asked = ["leaderboard", "--json", "--limit", "1", "--peer"]
    second = bodies.sha("second track")
    assert json.loads(ask(*asked, world.address, "--track", second).stdout)[0]["value"] == 1.4
    assert json.loads(ask(*asked, line(world.address), "--track", "made-up").stdout)[0]["id"] == world.heir
    assert json.loads(ask(*asked, line(world.address), "--track", bodies.TRACK[:6]).stdout)[0]["id"] == world.heir
    unnamed = ask(*asked, world.address)  # the setting's track is sotu, of which nobody there knows
    assert json.loads(unnamed.stdout)[0]["track"] in (second, bodies.TRACK)
    assert "It has no results on sotu, so these are on" in unnamed.stderr
    for folder in ("sotu", str(TINY), "0" * 64):
        told = ask("leaderboard", "--peer", world.address, "--track", folder, code=1).stderr
        assert "has no results on" in told
        assert second in told
    assert "there is no track 'nonsense' here" in ask(*asked, world.address, "--track", "nonsense", code=1).stderr
    for more in (["--limit", str(ROWS_MAX + 1)], ["--level", "official"]):
        assert "at most 100 rows" in ask("leaderboard", "--peer", world.address, *more, code=2).stderr
    assert ROWS_MAX == wire.TOP_MAX


def test_the_peer_lets_us_finish_and_forgets_us(world, ask):
    for _ in range(3):
        ask("best", "--peer", world.address, "--track", bodies.TRACK, "--json")
    wait_for(lambda: world.peer.neighbours.all() == [], "nobody there", 20)
    assert len(world.peer.book) == 0


# Who does not answer


def dead() -> str:
    """Returns an address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"/ip4/127.0.0.1/tcp/{probe.getsockname()[1]}/p2p/{bodies.AUTHORS[0].peer_id}"


def test_what_cannot_be_asked_is_said_in_a_sentence(world, ask):
    def told(peer: str) -> str:
        return ask("best", "--track", bodies.TRACK, "--peer", peer, code=1).stderr

    assert "cannot be reached (connection refused)" in told(dead())
    assert "it has another key" in told(world.address.rpartition("/")[0] + f"/{bodies.AUTHORS[1].peer_id}")
    assert "belongs to another network" in told(line(world.address, genesis=OTHER))
    assert "names no address" in told(line())
    for text in ("", "nonsense", "autoresearch1:zzz"):
        assert "invite" in told(text)
    for text in ("/", "/ip4/127.0.0.1/tcp/1", "/ip4/nowhere/tcp/1/p2p/x", world.address + "/x"):
        assert "is no address of a peer" in told(text)


def test_of_several_peers_one_that_answers_is_enough(world, ask, monkeypatch):
    async def silent(stream: Stream) -> None:
        await stream.receive(2**20)

    monkeypatch.setattr(inquiry, "HELLO_TIMEOUT_S", 2.0)
    with socket.socket() as hole, also(world, liar(world, silent)) as quiet:
        hole.bind(("127.0.0.1", 0))
        hole.listen()  # takes the connection, and says nothing
        mute = f"/ip4/127.0.0.1/tcp/{hole.getsockname()[1]}/p2p/{bodies.AUTHORS[2].peer_id}"
        row = json.loads(ask("best", "--json", "--peer", line(dead(), mute, quiet, world.address)).stdout)
        assert row["id"] == world.heir
        told = ask("best", "--peer", line(dead(), quiet), code=1).stderr
        assert "None of 2 addresses led to an answer; of one: The peer said nothing within" in told


def test_whoever_is_turned_away_finds_others_in_the_index(world, ask):
    """The only peer that the invite names is busy; who else there is stands in the index, of which it is a part."""

    async def busy(stream: Stream) -> None:
        await wire.receive_request(stream)
        await stream.send(wire.frame(wire.Refused("busy", 60)))

    @contextlib.asynccontextmanager
    async def turned_away():
        async with liar(world, busy, whole=True) as (running, address):
            await running.connect(world.address)
            async with indexed(running, world.home.path.parent / "busy.key"):
                await world.index.announce([world.address], version="0")
                yield address

    with also(world, turned_away()) as address:
        found = ask("best", "--json", "--peer", line(address))
        assert json.loads(found.stdout)["id"] == world.heir
        assert f"From …{world.transport.peer_id[-8:]}" in found.stderr
        assert "answered enough for now" in ask("best", "--peer", address, code=1).stderr  # and so with no index


# Peers that lie


WELCOME = wire.Welcome(wire.VERSION, "", 9, bytes(32), 0, bytes(32))


def signed(network: str = GENESIS.network_id, seq: int = 1, kind: str = "result", **more: Any) -> bytes:
    body = bodies.result(**more) if kind == "result" else {"text": "x"}
    before = bodies.sha("x") if seq > 1 else None
    author = bodies.AUTHORS[2]
    return sign(author, network=network, seq=seq, prev=before, time_ms=1, kind=kind, body=body).raw


def records(*raws: bytes) -> wire.Records:
    return wire.Records(wire.pack_records(raws), 1)


FORGED = bytes([signed()[0] ^ 1]) + signed()[1:]
ZERO = wire.Refused("network", network=bytes(32))


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([b"\x00\x00\x00\x01\xff"], "broke the protocol of nodes (no message)"),
        ([b"\xff" * 64], "broke the protocol of nodes (frame too large)"),
        ([wire.Took(1, 2, 3)], "broke the protocol of nodes (another answer"),
        ([WELCOME, wire.Took(1, 2, 3)], "broke the protocol of nodes (another answer"),
        ([WELCOME, records(b"rubbish")], "records that do not verify"),
        ([WELCOME, records(FORGED)], "records that do not verify"),
        ([WELCOME, records(signed(OTHER.network_id))], "records that do not verify"),
        ([WELCOME, records(signed(value="1.5"))], "records that do not verify"),
        ([WELCOME, records(signed(track=bodies.sha("z")))], "records that were not asked for"),
        ([WELCOME, records(signed(kind="insight"))], "records that were not asked for"),
        ([WELCOME, records(signed(), signed(seq=2, seed=2))], "records that were not asked for"),
        ([WELCOME, records(signed(status="discarded"))], "a best result that is none"),
        ([WELCOME, records(signed(parent="0" * 64)), records(signed(seq=3))], "records that were not asked for"),
        ([WELCOME, wire.Refused("cut off", 60)], "answers this node no more for a while"),
        ([wire.Refused("network")], "belongs to another network"),
        ([wire.Refused("trouble")], "has trouble with its own replica"),
        ([], "said nothing within"),
    ],
)
def test_a_peer_that_lies_is_found_out(world, ask, monkeypatch, answers, words):
    if not answers:
        monkeypatch.setattr(inquiry, "HELLO_TIMEOUT_S", 0.5)
    with also(world, liar(world, says(*answers))) as address:
        assert words in ask("best", "--peer", line(address), "--track", bodies.TRACK, code=1).stderr


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([wire.Refused("network")], "ask it with an invite"),
        ([wire.Refused("network", network=b"short")], "ask it with an invite"),
        ([ZERO], "belongs to another network"),
        ([WELCOME], "a network that is none"),
        ([wire.Refused("busy", 9)], "ask again later"),
    ],
)
def test_which_network_it_is_must_be_said_rightly(world, ask, answers, words):
    with also(world, liar(world, says(*answers))) as address:
        assert words in ask("best", "--peer", address, code=1).stderr


def test_a_peer_that_takes_too_long_is_left(world, ask, monkeypatch):
    monkeypatch.setattr(inquiry, "DEADLINE_TIMEOUT_S", 2.5)
    with also(world, liar(world, says(WELCOME))) as address:
        began = time.monotonic()
        assert "no whole answer within" in ask("best", "--peer", line(address), code=1).stderr
        assert time.monotonic() - began < 15


# In a process of its own


@pytest.fixture
def ada(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path / "ada")
    yield node
    if node.process is not None and node.process.poll() is None:
        node.process.kill()
        node.process.communicate()


@pytest.mark.slow
def test_a_researching_node_is_asked_from_a_machine_without_anything(ada: Node, tmp_path: Path) -> None:
    ada.join("--name", "ada")
    wait_for(ada.addresses, "an address")
    scratch, visitor = Path(tempfile.mkdtemp()), tmp_path / "none"
    program = (
        "import sys, tempfile; tempfile.tempdir = sys.argv.pop(1)\n"
        "from node.cli.main import cli\n"
        "cli.main(sys.argv[1:], standalone_mode=False)\n"
        "sys.exit('torch' in sys.modules)"
    )
    environment = {**os.environ, "AUTORESEARCH_HOME": str(visitor)}

    def asked(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, str(scratch), *arguments]
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=40)

    wait_for(lambda: ada.read(lambda store: list(store.records(kind="result"))), "a result")
    board = asked("leaderboard", "--json", "--track", str(TINY), "--peer", ada.addresses()[0])
    assert board.returncode == 0, board.stderr
    assert {row["name"] for row in json.loads(board.stdout)} == {"ada"}
    source = asked("best", "--source", "--track", str(TINY), "--peer", ada.invite())
    assert source.returncode == 0, source.stderr
    kept = ada.read(lambda store: [store.blob(row.source).decode() for row in store.results(tracks.load(TINY).id)])
    assert source.stdout in kept
    scratch.rmdir()
    assert not visitor.exists()


@pytest.mark.parametrize(("number", "said"), [(signal.SIGTERM, "interrupted\n"), (signal.SIGINT, "interrupted\n")])
def test_whoever_does_not_wait_leaves_nothing_behind(tmp_path: Path, number: int, said: str) -> None:
    scratch = Path(tempfile.mkdtemp())
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        mute = f"/ip4/127.0.0.1/tcp/{hole.getsockname()[1]}/p2p/{bodies.AUTHORS[2].peer_id}"
        command = [sys.executable, "-m", "node.cli.main", "best", "--peer", mute]
        environment = {**os.environ, "AUTORESEARCH_HOME": str(tmp_path / "none"), "TMPDIR": str(scratch)}
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
        connection, _ = wait_for(hole.accept, "a connection")
        process.send_signal(number)
        assert process.communicate(timeout=30) == ("", said)
        connection.close()
    assert process.returncode == 130
    scratch.rmdir()
    assert not (tmp_path / "none").exists()
