"""`watch` as people run it, on py-libp2p in a process of its own, against real nodes on p2pd.

The two libraries cannot be loaded into one process. LIGHT_PYTHON names another interpreter that has py-libp2p; without
it and without the `light` extra these tests are skipped, but for what is said to whoever lacks it.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sync_replicas import bodies
from transport_peers import LOCAL, key, until

from ensue.genesis import Genesis, TrackRef, found
from ensue.identity import Identity
from ensue.store import Store, ownlog
from node.swarm import invite
from node.swarm.peer import Peer
from node.swarm.peerbook import PeerBook
from node.transport.daemon import P2pdTransport

ROOT = Path(__file__).resolve().parents[2]
LIGHT = os.environ.get("LIGHT_PYTHON") or (sys.executable if importlib.util.find_spec("libp2p") else None)
needs_libp2p = pytest.mark.skipif(
    LIGHT is None, reason="py-libp2p is not installed: its need fastecdsa wants a C compiler and the headers of libgmp"
)
GENESIS = found(Identity(bytes([7]) * 32), "test", [TrackRef("tiny", bodies.TRACK)], created_ms=1_700_000_000_000)


class Node:
    """A node without research: real transport, real store, the swarm's own Peer."""

    def __init__(self, transport: P2pdTransport, store: Store, identity: Identity) -> None:
        self.transport, self.store, self.identity = transport, store, identity
        book = PeerBook(identity.peer_id)
        self.peer = Peer(
            transport, store, book, clock=time.monotonic, wall_ms=lambda: time.time_ns() // 10**6, dice=Random(7)
        )

    def add(self, value: float, **more: Any) -> str:
        """Signs a result, which the herald tells of; returns its id."""
        number = self.store.count()
        body = bodies.result(
            value=value, seed=number, experiment=bodies.sha(f"{self.identity.peer_id} {number}"), **more
        )
        return self.store.append(self.identity, "result", body).id

    async def address(self) -> str:
        return (await self.transport.addresses())[0]


@contextlib.asynccontextmanager
async def running(folder: Path, name: str, genesis: Genesis = GENESIS, **options: Any) -> AsyncIterator[Node]:
    """Runs a node; the same name in the same folder is the same node again."""
    path = key(folder, name)
    identity, database = Identity.load(path), folder / f"{name}.sqlite3"
    if not database.exists():
        ownlog.begin(database, genesis.network_id, identity.peer_id)
    transport = await P2pdTransport.start(path, **{**LOCAL, **options})
    try:
        with Store(database, genesis.network_id) as store:
            node = Node(transport, store, identity)
            work = asyncio.create_task(node.peer.run())
            try:
                yield node
            finally:
                work.cancel()
                await asyncio.wait([work])
    finally:
        await transport.close()


class Watch:
    """One `autoresearch watch` in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        environment = {**os.environ, "AUTORESEARCH_HOME": str(folder / "light"), "PYTHONPATH": str(ROOT)}
        command = [LIGHT or sys.executable, "-m", "node.cli.main", "watch", *arguments]
        self.out = folder / f"out-{time.monotonic_ns()}"
        self.err = self.out.with_suffix(".err")
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(command, env=environment, cwd=folder, stdout=out, stderr=err)

    async def ended(self, code: int, within_s: float = 60.0) -> tuple[str, str]:
        """Returns what it printed, once it has ended with that code."""
        await asyncio.to_thread(self.process.wait, within_s)
        assert self.process.returncode == code, self.out.read_text() + self.err.read_text()
        return self.out.read_text(), self.err.read_text()

    async def lines(self, count: int, within_s: float = 30.0) -> list[dict[str, Any]]:
        """Returns the JSON lines printed so far, once there are so many."""

        def enough() -> list[str]:
            assert self.process.poll() is None, self.err.read_text()
            whole = self.out.read_text().split("\n")[:-1]
            return whole if len(whole) >= count else []

        return [json.loads(line) for line in await until(enough, within_s)]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextlib.asynccontextmanager
async def watching(folder: Path, *arguments: str) -> AsyncIterator[Watch]:
    watch = Watch(folder, *arguments)
    try:
        yield watch
    finally:
        watch.end()


async def watched(folder: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    """Returns what `watch` prints until it ends by itself."""
    async with watching(folder, *arguments) as watch:
        return await watch.ended(code)


@needs_libp2p
def test_a_laptop_and_a_node_agree_on_the_leaderboard(tmp_path):
    async def go() -> None:
        async with running(tmp_path, "ada") as ada, running(tmp_path, "bob", bootstrap=[await ada.address()]) as bob:
            for number in range(6):
                ada.add(1.6 - number / 100, hardware_class=f"cpu-{number % 2}")
                bob.add(1.59 - number / 100, status="discarded" if number == 3 else "kept")
            ada.add(0.1, status="crashed")
            await until(lambda: bob.store.count() == ada.store.count() == 13, 30)
            address = await ada.address()
            out, err = await watched(tmp_path, address, "--once", "--json", "--limit", "50")
            assert err == ""
            rows = bob.store.leaderboard(bodies.TRACK, limit=50)
            assert [row["id"] for row in json.loads(out)] == [row.id for row in rows]
            table, _ = await watched(tmp_path, address, "--once", "--limit", "3")
            assert "lower is better" in table
            assert rows[0].id[:10] in table.splitlines()[2]
            with Store(tmp_path / f"light/watch/{GENESIS.network_id}.sqlite3", GENESIS.network_id) as kept:
                assert kept.digest() == ada.store.digest() == bob.store.digest()

    asyncio.run(go())


@needs_libp2p
def test_an_idea_of_a_laptop_verifies_everywhere_and_no_number_is_signed_twice(tmp_path):
    async def go() -> None:
        async with running(tmp_path, "ada") as ada, running(tmp_path, "bob", bootstrap=[await ada.address()]) as bob:
            best = ada.add(1.5)
            address = await ada.address()
            said = json.loads((await watched(tmp_path, address, "--hypothesis", "Wärm up longer.", "--json"))[0])
            light = tmp_path / "light/watch" / GENESIS.network_id
            with Store(light.with_suffix(".sqlite3"), GENESIS.network_id) as store:  # as when the node goes away
                kept_back = bodies.hypothesis("Kept back.")
                store.append(Identity.load(light.with_suffix(".key")), "hypothesis", kept_back)
            again, _ = await watched(tmp_path, address, "--hypothesis", "Cool down later.")
            assert "published hypothesis" in again
            await until(lambda: bob.store.count() == 4, 30)
            ideas = list(bob.store.records(kind="hypothesis"))
            assert [idea.body["text"] for idea in ideas] == ["Wärm up longer.", "Kept back.", "Cool down later."]
            assert [(idea.author, idea.seq) for idea in ideas] == [(said["author"], seq) for seq in (1, 2, 3)]
            assert [idea.prev for idea in ideas[1:]] == [idea.id for idea in ideas[:2]] == [said["id"], ideas[1].id]
            assert ideas[0].body["parent"] == best
            assert bob.store.frozen_from(said["author"]) is None
            assert bob.store.rebuild(check=True).equal
            made, _ = await watched(tmp_path, address, "--hypothesis", "Third.", "--key", "mine.key", "--json")
            third = json.loads(made)
            assert third["author"] == Identity.load(tmp_path / "mine.key").peer_id != said["author"]
            (tmp_path / "elsewhere.key").write_bytes((tmp_path / "ada.key").read_bytes())
            (tmp_path / "elsewhere.key").chmod(0o600)
            _, refused = await watched(
                tmp_path, address, "--hypothesis", "As somebody else.", "--key", "elsewhere.key", code=1
            )
            assert "may have signed elsewhere" in refused
            assert refused.count("\n") == 1
            assert ada.store.count() == 5

    asyncio.run(go())


@needs_libp2p
def test_results_come_live_and_the_node_may_go_away_and_come_back(tmp_path):
    async def go() -> None:
        async with running(tmp_path, "ada") as ada:
            address = await ada.address()
            async with watching(tmp_path, address, "--json") as watch:
                (first,) = await watch.lines(1)
                assert first == {"network": GENESIS.network_id, "track": None, "leaderboard": []}
                best = ada.add(1.5)
                board = (await watch.lines(2))[1]
                assert [row["id"] for row in board["leaderboard"]] == [best]
                began = time.monotonic()
                worse = ada.add(1.7)
                _, _, third = await watch.lines(3)
                assert (third["result"]["id"], third["best"]) == (worse, False)
                assert time.monotonic() - began < 15  # gossip brought it: without, it is asked for after 30 s
                await ada.peer.neighbours.meet()
                (light,) = ada.peer.neighbours.all()
                await ada.peer.neighbours.check(light.peer)  # asks it what it has, and lets go of who does not answer
                assert ada.peer.neighbours.all() == [light]
                assert watch.err.read_text() == ""
                port = address.split("/")[4]
                await ada.transport.close()
                await until(lambda: "went away" in watch.err.read_text(), 30)
                async with running(tmp_path, "ada", listen=[f"/ip4/127.0.0.1/tcp/{port}"]) as again:
                    better = again.add(1.4)
                    fourth = (await watch.lines(4, 60))[3]
                    assert (fourth["result"]["id"], fourth["best"]) == (better, True)
                    watch.process.send_signal(signal.SIGINT)
                    _, err = await watch.ended(130, 10)
                    assert "Traceback" not in err

    asyncio.run(go())


@needs_libp2p
def test_an_invite_serves_as_an_address_and_another_network_is_refused(tmp_path):
    other = found(Identity(bytes([8]) * 32), "other", [TrackRef("tiny", bodies.TRACK)], created_ms=1_700_000_000_000)

    async def go() -> None:
        async with running(tmp_path, "ada") as ada:
            address = await ada.address()
            nobody = "/ip4/127.0.0.1/tcp/1/p2p/" + address.split("/")[-1]
            line = invite.encode(GENESIS, [nobody, address])
            assert (await watched(tmp_path, line, "--once", "--track", "tiny"))[0] == "No results on tiny yet.\n"
            _, err = await watched(tmp_path, invite.encode(other, [address]), "--once", code=1)
            assert "another network" in err
            _, err = await watched(tmp_path, address, "--once", "--track", "huge", code=1)
            assert "there is no track 'huge' here" in err

    asyncio.run(go())


@needs_libp2p
@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("/ip4/127.0.0.1/tcp/1", 1, "is no address of a peer"),
        (
            "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWHwjbSqZZb5ctB47vthgMsG9SVMtr9h7k4hGbX7TxB9Zi",
            1,
            "see whether the node runs",
        ),
        ("/ip4/127.0.0.1/udp/1/quic-v1/p2p/12D3KooWHwjbSqZZb5ctB47vthgMsG9SVMtr9h7k4hGbX7TxB9Zi", 1, "no plain TCP"),
        ("somewhere", 1, "This is no invite"),
        ("", 1, "This is no invite"),
    ],
)
def test_a_wrong_address_gets_one_sentence(tmp_path, address, code, words):
    out, err = asyncio.run(watched(tmp_path, address, code=code))
    assert out == ""
    assert err.startswith("autoresearch: ")
    assert words in err
    assert err.count("\n") == 1


def test_who_lacks_the_library_is_told_what_to_install(tmp_path):
    (tmp_path / "libp2p.py").write_text("raise ImportError('no libgmp.so.10')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "AUTORESEARCH_HOME": str(tmp_path / "home")}
    address = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWHwjbSqZZb5ctB47vthgMsG9SVMtr9h7k4hGbX7TxB9Zi"
    command = [sys.executable, "-m", "node.cli.main", "watch", address]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'autoresearch[light]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_of_a_node_is_loaded_to_watch():
    """Neither hivemind nor torch, nor the node's own side of the protocol."""
    modules = "node.cli.watch, node.light.catchup, node.light.digests, node.light.library, node.light.wire"
    forbidden = (
        "{'torch', 'hivemind', 'libp2p', 'trio', 'asyncio', 'node.sync.wire', 'node.sync.pull', 'node.sync.answer'}"
    )
    program = f"import sys, {modules}; sys.exit(str({forbidden} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == "set()\n"
