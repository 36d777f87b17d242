"""Peers that lie, flood, stall or talk nonsense: each costs little, is told apart from a bad line, and loses budget."""

import asyncio
import hashlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from sync_replicas import Clock, bodies, chain_of_scripts, lineage, raws, stores, streams
from sync_replicas import budgets as fresh_budgets

from ensue import packing
from ensue.blobs import BLOB_BYTES_MAX
from ensue.identity import Identity
from ensue.record import sign
from node.sync import answer as answering
from node.sync import ask, wire
from node.sync.answer import answer
from node.sync.budget import STANDING_MAX, STREAMS_MAX, Budgets, Limits
from node.sync.pull import PullReport, pull, pull_heads
from node.sync.summary import log_digest, place
from node.sync.tree import branch_digest, leaf_digest
from node.transport.ports import TransportError

KEY = bodies.AUTHORS[0].public_key
GOOD = [bodies.record(0, seq, "x", {"n": seq}) for seq in range(1, 6)]
FAKE = b"\x07" * 32
Reply = Callable[[wire.Request], "list[wire.Answer | bytes]"]


def head(count: int, seq: int, digest: bytes = FAKE, key: bytes = KEY) -> bytes:
    return wire.LOG.pack(key, count, seq, digest)


def has(entry: bytes, missing: int = 0, sources: bytes = bytes(32)) -> wire.Welcome:
    return wire.Welcome(1, "liar", wire.LOG.unpack(entry)[1], leaf_digest([entry]), missing, sources)


def serving(entry: bytes, **replies: "wire.Answer | bytes | Callable[[wire.Request], wire.Answer | bytes]") -> Reply:
    """Returns a peer with one log that answers some requests as told, and the others with nothing."""
    usual: dict[str, wire.Answer] = {
        "hello": has(entry), "walk": wire.Nodes([wire.Leaf(entry)]), "tails": wire.Records(b"", 99),
        "blocks": wire.BlockList(b"", False), "keys": wire.KeyList(b"", False), "get": wire.Records(b"", 1),
        "blobs": wire.Pieces([], [0], 1, False),
    }  # fmt: skip

    def reply(request: wire.Request) -> list[wire.Answer | bytes]:
        name = type(request).__name__.lower()
        made = replies.get(name, usual[name])
        return [made(request) if callable(made) else made]

    return reply


async def lie(end, reply: Reply) -> None:
    try:
        while True:
            request, _ = await wire.receive_request(end)
            for one in reply(request):
                await end.send(one if isinstance(one, bytes) else wire.frame(one))
    except TransportError:
        return


def meet(replica, reply: Reply, budgets: Budgets | None = None, work=pull, **more) -> tuple[PullReport, float]:
    """Lets a replica pull from a liar; returns the report, and the points that the liar has left."""
    clock = Clock()
    budgets = budgets or Budgets(clock, clock.sleep)

    async def both() -> PullReport:
        mine, theirs = streams()
        liar = asyncio.create_task(lie(theirs, reply))
        report = await work(mine, replica, budgets.of("liar"), **more)
        await liar
        return report

    return asyncio.run(both()), budgets.of("liar").standing


def endless_branch(request: wire.Walk) -> wire.Nodes:
    """Every node has sixteen children, each with more below it."""
    children = b"".join(wire.CHILD.pack(10**9 + len(request.prefixes[0]) + digit, FAKE) for digit in range(16))
    return wire.Nodes([wire.Branch(children)] * len(request.prefixes))


def on_and_on(request: wire.Tails) -> wire.Records:
    return wire.Records(wire.pack_records(raws(GOOD)), 0, request.logs[0].seq + 5, FAKE)


def fork(number: int) -> bytes:
    return bodies.record(0, 1, "x", {"fork": number}).raw


def foreign(request: wire.Request) -> wire.Records:
    made = [sign(bodies.AUTHORS[0], network=bodies.sha("another"), seq=n, prev=None if n == 1 else bodies.sha("p"),
                 time_ms=1, kind="x", body={}).raw for n in range(1, 40)]  # fmt: skip
    return wire.Records(wire.pack_records(made), 1)


BOMB = packing.pack(bytes(wire.BATCH_BYTES_MAX + 1), None)
TOO_LONG = (2**31).to_bytes(4, "big") + b"x"
BLOCK = wire.BLOCK.pack(0, 7, FAKE)
LISTED = wire.KeyList(b"".join(wire.KEY.pack(n, hashlib.sha256(b"%d" % n).digest()) for n in range(1, 8)), False)
BLOCKS = wire.BlockList(BLOCK, False)
SEVEN = head(7, 7, log_digest([(0, 7, FAKE)]))

LIARS: dict[str, tuple[Reply, str]] = {
    "garbage": (lambda _: [b"\x00\x00\x00\x05hello"], "no message"),
    "an empty frame": (lambda _: [bytes(4)], "frame too large"),
    "a frame of 2 GiB": (lambda _: [TOO_LONG], "frame too large"),
    "another answer than asked for": (lambda _: [wire.Took(1, 1, 1)], "another answer"),
    "a request as an answer": (lambda _: [wire.frame(wire.Walk("logs", [""]))], "no message"),
    "nodes nobody asked for": (serving(head(9, 9), walk=wire.Nodes([wire.Leaf(b"")] * 3)), "not asked for"),
    "less than it said": (serving(head(9, 9), walk=wire.Nodes([wire.Leaf(b"")])), "another tree"),
    "another digest than it said": (serving(head(9, 9), walk=wire.Nodes([wire.Leaf(head(9, 9, KEY))])), "another tree"),
    "a tree without leaves": (serving(head(9, 9), walk=endless_branch), "without leaves"),
    "half a row": (serving(head(9, 9), walk=wire.Nodes([wire.Leaf(head(9, 9) + b"x")])), "cut short"),
    "a number beyond all": (serving(head(9, 2**63)), "cannot be"),
    "records that it lacks": (serving(head(9, 9)), "another log"),
    "a count beyond all": (serving(head(2**63, 9)), "no message"),
    "records without an end": (serving(head(2**40, 2**40), tails=on_and_on), "here already"),
    "a cursor that stands still": (serving(head(9, 9), tails=wire.Records(wire.pack_records([fork(1)]), 0)), "an end"),
    "a bomb": (serving(head(9, 9), tails=wire.Records(BOMB, 1)), "do not unpack"),
    "lengths that are wrong": (
        serving(head(9, 9), tails=wire.Records(packing.pack(b"\xff" * 99, None), 1)), "wrong lengths",
    ),
    "another network's records": (serving(head(99, 99), tails=foreign), "do not verify"),
    "no such ids": (serving(SEVEN, blocks=BLOCKS, keys=LISTED), "does not have"),
    "other records than asked for": (
        serving(SEVEN, blocks=BLOCKS, keys=LISTED, get=wire.Records(wire.pack_records([fork(2)] * 7), 7)),
        "does not have",
    ),
    "blocks out of order": (serving(SEVEN, blocks=wire.BlockList(BLOCK * 2, False)), "out of order"),
    "an empty block": (serving(SEVEN, blocks=BLOCKS), "another block"),
    "places out of order": (
        serving(SEVEN, blocks=BLOCKS, keys=wire.KeyList(LISTED.keys[40:] + LISTED.keys[:40], True)), "out of order",
    ),
    "places of another block": (
        serving(SEVEN, blocks=BLOCKS, keys=wire.KeyList(wire.KEY.pack(1025, FAKE), True)), "out of order",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIARS)
def test_a_liar_is_found_out_at_a_small_cost(tmp_path, name):
    reply, why = LIARS[name]
    with stores(tmp_path, "here") as (here,):
        here.store.ingest(raws(GOOD[:2]))
        report, standing = meet(here, reply)
        assert isinstance(report.problem, wire.PeerFault)
        assert why in str(report.problem)
        assert standing < STANDING_MAX
        assert not report.equal
        assert report.bytes_in < 6_000_000
        assert report.bytes_out < 1_000_000
        assert here.store.count() <= 6
        assert here.store.rebuild(check=True).equal


def test_who_keeps_on_lying_is_cut_off_for_longer_each_time(tmp_path):
    clock = Clock()
    budgets = Budgets(clock, clock.sleep)
    lengths = []
    with stores(tmp_path, "here") as (here,):
        for _ in range(3):
            while not budgets.of("liar").cut_off:
                assert meet(here, LIARS["garbage"][0], budgets)[0].problem.code == "no message"
            report, _ = meet(here, LIARS["garbage"][0], budgets)
            assert report.problem.code == "cut off for now"
            assert report.bytes_out == 0
            lengths.append(budgets.of("liar").cut_off_s)
            clock.now_s += lengths[-1]
    assert all(b == 2 * a for a, b in pairwise(lengths))


SCRIPTS = chain_of_scripts(3)
SOURCES = [bytes.fromhex(script.sha256) for script in SCRIPTS]
PACKED = packing.pack(b"something else", None)


def blob_liar(here, pieces: "list[wire.Answer]") -> Reply:
    """Returns a peer with the very records that are here, and answers to requests for scripts, one after the other."""
    rest = iter(pieces)

    def reply(request: wire.Request) -> list[wire.Answer]:
        if isinstance(request, wire.Hello):
            records, logs = here.logs.root()
            return [wire.Welcome(1, "liar", records, logs, 0, bytes(32))]
        return [one for one in (next(rest, None),) if one is not None] if isinstance(request, wire.Blobs) else []

    return reply


BLOB_LIARS = {
    "another script": ([wire.Pieces([wire.Piece(0, False, 0, PACKED)], [], 3, False)], "do not match"),
    "no script at all": ([wire.Pieces([wire.Piece(0, False, 0, b"nonsense")], [], 3, False)], "do not unpack"),
    "a script against one unknown": (
        [wire.Pieces([wire.Piece(2, True, 0, packing.pack(SCRIPTS[2].data, SCRIPTS[1].data))], [], 3, False)],
        "do not match",
    ),
    "a bomb": (
        [wire.Pieces([wire.Piece(0, False, 0, packing.pack(bytes(BLOB_BYTES_MAX + 1), None))], [], 3, False)],
        "do not unpack",
    ),
    "too much": ([wire.Pieces([wire.Piece(0, False, 2**40, b"x")], [], 0, True)], "not asked for"),
    "one not asked for": ([wire.Pieces([wire.Piece(3, False, 0, b"x")], [], 3, False)], "not asked for"),
    "pieces that do not fit": (
        [wire.Pieces([wire.Piece(0, False, 9, b"x"), wire.Piece(0, False, 9, b"x")], [], 0, True)], "do not fit",
    ),
    "cut short": ([wire.Pieces([wire.Piece(0, False, 9, b"x")], [], 1, False)], "cut short"),
    "no end": ([wire.Pieces([], [], 0, True)], "without an end"),
    "no progress": ([wire.Pieces([], [], 0, False)], "cut short"),
    "scripts that it has not": ([wire.Pieces([], [0, 1, 2], 3, False)], "does not have"),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOB_LIARS)
def test_scripts_that_do_not_match_are_not_stored(tmp_path, name):
    pieces, why = BLOB_LIARS[name]
    with stores(tmp_path, "here") as (here,):
        here.store.ingest(raws(lineage(SCRIPTS)))
        asyncio.run(here.current())
        report, standing = meet(here, blob_liar(here, pieces))
        assert isinstance(report.problem, wire.PeerFault)
        assert why in str(report.problem)
        assert standing < STANDING_MAX
        assert here.store.exchange.lacking_blobs(SOURCES) == SOURCES


def test_heads_that_a_peer_does_not_have_bring_nothing_and_end(tmp_path):
    with stores(tmp_path, "here") as (here,):
        heads = [(bodies.AUTHORS[0].peer_id, 10**9)]
        report, _ = meet(here, serving(head(9, 9)), work=pull_heads, heads=heads)
        assert (report.records, report.equal, report.problem) == (0, False, None)
        assert report.bytes_in < 300


# Stalling


def test_a_peer_that_says_nothing_costs_a_deadline(tmp_path, monkeypatch):
    monkeypatch.setattr(ask, "ANSWER_TIMEOUT_S", 0.02)
    with stores(tmp_path, "here") as (here,):
        for silent in (lambda _: [], lambda _: [b"\x00"]):
            report, standing = meet(here, silent)
            assert isinstance(report.problem, TransportError)
            assert "did not answer" in str(report.problem)
            assert standing < STANDING_MAX


def test_a_peer_that_drips_ends_with_the_deadline_of_the_pull(tmp_path):
    def drip(request: wire.Request) -> list[wire.Answer]:
        if isinstance(request, wire.Tails):
            at = request.logs[0].seq + 1
            return [wire.Records(wire.pack_records([fork(at)]), 0, at, FAKE)]
        return serving(head(2**40, 2**40))(request)

    with stores(tmp_path, "here") as (here,):
        report, _ = meet(here, drip, deadline_s=0.3)
        assert isinstance(report.problem, TransportError)
        assert "took more than" in str(report.problem)


async def asked(replica, budgets: Budgets, *sent: bytes, peer: str = "asks") -> bytes:
    """Returns all that a node answers to bytes, until it closes or has nothing more to say."""
    mine, theirs = streams()
    serving = asyncio.create_task(answer(theirs, replica, budgets.of(peer)))
    got = bytearray()
    try:
        for data in sent:
            await mine.send(data)
        while True:
            await asyncio.wait_for(mine.receive(1), 0.05)
    except (TransportError, TimeoutError):
        got += b"." * theirs.sent
    await mine.close()
    await serving
    return bytes(got)


HELLO = wire.frame(wire.Hello(1, bytes.fromhex(bodies.NETWORK)))


@pytest.mark.parametrize(
    "sent",
    [b"\xff" * 8, TOO_LONG, HELLO + b"\x00\x00\x00\x02hi", wire.frame(wire.Walk("logs", [""])), HELLO + bytes(4),
     HELLO + wire.frame(wire.Get(b"x" * 33))],
)  # fmt: skip
def test_who_asks_nonsense_is_answered_little_and_loses_budget(tmp_path, sent):
    with stores(tmp_path, "here") as (here,):
        here.store.ingest(raws(GOOD))
        clock = Clock()
        budgets = Budgets(clock, clock.sleep)
        assert len(asyncio.run(asked(here, budgets, sent))) < 200
        assert budgets.of("asks").standing < STANDING_MAX


@pytest.mark.parametrize("fault", ["network", "version"])
def test_another_network_or_version_is_told_so(tmp_path, fault):
    with stores(tmp_path, "here", "there") as (here, there):
        there.store.ingest(raws(GOOD))
        hello = wire.Hello(1 + (fault == "version"), FAKE if fault == "network" else there.network)

        async def meets():
            mine, theirs = streams()
            clock = Clock()
            budgets = Budgets(clock, clock.sleep)
            task = asyncio.create_task(answer(theirs, there, budgets.of("asks")))
            asker = ask.Asker(mine, here.network, budgets.of("answers"))
            asker._hello = hello
            report = await pull(asker, here, budgets.of("answers"))
            await mine.close()
            await task
            return report

        report = asyncio.run(meets())
        assert isinstance(report.problem, wire.PeerRefused)
        assert (report.problem.code, here.store.count()) == (fault, 0)


def test_who_asks_too_much_waits_and_is_then_sent_away(tmp_path):
    clock = Clock()
    limits = Limits(peer_bytes=20_000, peer_bytes_s=10, strangers_bytes=1e9, strangers_bytes_s=1e9)
    budgets = Budgets(clock, clock.sleep, limits)
    wide = [bodies.record(0, seq, "x", {"n": hashlib.sha256(b"%d" % seq).hexdigest() * 100}) for seq in range(1, 4)]
    tails = wire.frame(wire.Tails([wire.Tail(KEY, 0)]))
    with stores(tmp_path, "here") as (here,):
        here.store.ingest(raws(wide))
        once = len(asyncio.run(asked(here, budgets, HELLO, tails, peer="another")))
        many = len(asyncio.run(asked(here, budgets, HELLO, *[tails] * 50)))
        assert many <= limits.peer_bytes + clock.now_s * limits.peer_bytes_s + once
        assert len(asyncio.run(asked(here, budgets, HELLO))) < 40


def test_a_thousand_fresh_keys_draw_on_one_account(tmp_path):
    clock = Clock()
    budgets = Budgets(clock, clock.sleep, Limits(strangers_bytes=40_000, strangers_bytes_s=1))
    tails = wire.frame(wire.Tails([wire.Tail(KEY, 0)]))
    friend = budgets.of("friend")
    friend.earned(1_000)
    with stores(tmp_path, "here") as (here,):
        here.store.ingest(raws(GOOD))
        sizes = [len(asyncio.run(asked(here, budgets, HELLO, tails, peer=f"key {n}"))) for n in range(60)]
        assert sum(sizes) < 40_000 + 60 * 40
        assert sizes[-1] < 40
        assert len(asyncio.run(asked(here, budgets, HELLO, tails, peer="friend"))) == sizes[0]


def test_a_peer_that_is_cut_off_is_answered_less_than_it_sends(tmp_path):
    clock = Clock()
    budgets = Budgets(clock, clock.sleep)
    for _ in range(3):
        budgets.of("asks").fault("garbage")
    with stores(tmp_path, "here") as (here,):
        assert len(asyncio.run(asked(here, budgets, HELLO))) < len(HELLO)


def test_streams_of_one_peer_are_bounded_and_silent_ones_are_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(answering, "IDLE_TIMEOUT_S", 0.1)
    clock = Clock()
    budget = Budgets(clock, clock.sleep).of("asks")

    async def many(replica) -> None:
        pairs = [streams() for _ in range(STREAMS_MAX + 1)]
        tasks = [asyncio.create_task(answer(theirs, replica, budget)) for _, theirs in pairs]
        await pairs[0][0].send(HELLO[:7])  # and then nothing
        await asyncio.sleep(0)
        await pairs[-1][0].send(HELLO)
        last, _ = await wire.receive_answer(pairs[-1][0])
        assert last == wire.Refused("busy", 1)
        await asyncio.gather(*tasks)
        assert budget.streams == 0

    with stores(tmp_path, "here") as (here,):
        asyncio.run(many(here))


# Those who keep no replica


def test_who_keeps_no_replica_gets_records_that_verify_and_can_give_one(tmp_path):
    stranger = Identity(b"\x09" * 32)
    idea = sign(stranger, network=bodies.NETWORK, seq=1, prev=None, time_ms=1, kind="hypothesis",
                body=bodies.hypothesis())  # fmt: skip
    claim = bodies.record(0, 1, "claim", bodies.claim())
    results = [bodies.record(0, seq, "result", bodies.result(value=2 - seq / 10, claim=claim.id)) for seq in (2, 3, 4)]

    async def visit(there):
        mine, theirs = streams()
        known = fresh_budgets()
        task = asyncio.create_task(answer(theirs, there, known.of("asks")))
        async with ask.Asker(mine, there.network, known.of("answers")) as asker:
            best = await asker.best(bodies.NETWORK, bodies.TRACK)
            top = await asker.top(bodies.NETWORK, bodies.TRACK, limit=2)
            took = [await asker.give(raw) for raw in (idea.raw, idea.raw, idea.raw[:-1] + b"x")]
        await task
        return best, top, took, known.of("asks").standing

    with stores(tmp_path, "there") as (there,):
        there.store.ingest(raws([claim, *results]))
        best, top, took, standing = asyncio.run(visit(there))
        assert [one.id for one in best] == [results[2].id, claim.id]
        assert [one.id for one in top] == [results[2].id, results[1].id, claim.id]
        assert [(one.accepted, one.known, one.refused) for one in took] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
        assert there.store.has(idea.id)
        assert standing < STANDING_MAX


def test_places_in_the_tree_cannot_be_chosen():
    assert place(KEY) == hashlib.sha256(KEY).digest()
    assert branch_digest(bytes(16 * 40)) != leaf_digest([bytes(16 * 40)])
