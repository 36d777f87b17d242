"""Answers one stream of another node: what is here, record by record and blob by blob, within that peer's budget.

Each request is answered with frames that are bounded, whatever was asked, and waits for nothing without a deadline.
Left out: asking (pull). Rejected: sending what a peer might lack unasked, which whoever opens a stream could aim at
others.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

from ensue import blobs
from ensue.errors import BlobMissing, StoreDamaged, StoreError
from ensue.identity import peer_id_from_public_key, public_key_from_peer_id
from ensue.store.exchange import Key
from node.sync import wire
from node.sync.budget import FLOOD_S, REQUEST_COST_BYTES, STREAMS_MAX, Budget
from node.sync.replica import Replica
from node.sync.summary import span
from node.transport.ports import Stream, TransportError

IDLE_TIMEOUT_S = 120.0
"""A stream on which nothing is asked is closed after so many seconds."""
FRAME_TIMEOUT_S = 20.0
"""Seconds for one frame to be taken by the other side."""
PIECES_FILL_BYTES = 384 * 1024
"""Where a frame with parts of blobs is full."""
RUN_BYTES_MAX = 8 * 1024 * 1024
"""Packed blobs sent for one request; who asked goes on with another one."""
RUN_PLAIN_BYTES_MAX = 32 * 1024 * 1024
"""The same before packing, where packing has to be done anew."""

_log = logging.getLogger(__name__)
_FIRST: Key = (0, b"")


async def answer(stream: Stream, replica: Replica, budget: Budget, software: str = "") -> None:
    """Answers what comes on a stream until it ends, falls silent or breaks the protocol; closes it."""
    budget.streams += 1
    try:
        async with asyncio.timeout(IDLE_TIMEOUT_S):
            request, _ = await wire.receive_request(stream)
        refusal = _refusal(request, replica, budget)
        if refusal is not None:
            await _send(stream, budget, refusal)
            return
        while True:
            if (wait_s := await budget.room()) > 0:
                await _send(stream, budget, wire.Refused("busy", min(86_400, int(wait_s) + 1)))
                return
            if budget.flooding and not isinstance(request, wire.Hello | wire.Give):
                await _send(stream, budget, wire.Refused("busy", int(FLOOD_S)))
                return
            budget.sent(REQUEST_COST_BYTES)
            async for message in _answers(request, replica, budget, software):
                await _send(stream, budget, message)
                if isinstance(request, wire.Tails) and isinstance(message, wire.Records):
                    await _note_received(stream.peer, request, message, replica)
            if budget.cut_off:
                return
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                request, _ = await wire.receive_request(stream)
    except (TransportError, TimeoutError):
        return
    except wire.PeerFault as fault:
        _log.info("peer %s: %s", stream.peer, fault.code)
        budget.fault("garbage")
        await _last_word(stream, budget, "protocol")
    except StoreError as error:
        _log.error("%s", error)
        await _last_word(stream, budget, "trouble")
    finally:
        budget.streams -= 1
        await stream.close()


def _refusal(request: wire.Request, replica: Replica, budget: Budget) -> wire.Refused | None:
    """Returns why a stream that begins like this is not answered, None if it is."""
    if budget.cut_off:
        return wire.Refused("cut off", min(86_400, int(budget.cut_off_s) + 1))
    if budget.streams > STREAMS_MAX:
        return wire.Refused("busy", 1)
    if not isinstance(request, wire.Hello):
        raise wire.PeerFault("no hello")
    if request.version != wire.VERSION:
        return wire.Refused("version")
    if request.network != replica.network:
        return wire.Refused("network", network=replica.network)
    return None


async def _send(stream: Stream, budget: Budget, message: wire.Answer) -> None:
    data = wire.frame(message)
    budget.sent(len(data))
    async with asyncio.timeout(FRAME_TIMEOUT_S):
        await stream.send(data)


async def _last_word(stream: Stream, budget: Budget, code: str) -> None:
    try:
        await _send(stream, budget, wire.Refused(code))
    except (TransportError, TimeoutError):
        return


async def _answers(
    request: wire.Request, replica: Replica, budget: Budget, software: str
) -> AsyncIterator[wire.Answer]:
    if isinstance(request, wire.Blobs):
        async for pieces in _pieces(request, replica):
            yield pieces
    elif isinstance(request, wire.Give):
        yield await _taken(request, replica, budget)
    elif isinstance(request, wire.Best | wire.Top):
        yield wire.Records(wire.pack_records(await replica.off(_shown, replica, request)), 1)
    elif isinstance(request, wire.Hello):
        yield await _welcome(replica, software)
    elif isinstance(request, wire.Walk):
        yield await _nodes(request, replica)
    elif isinstance(request, wire.Tails):
        yield await replica.off(_tails, replica, request)
    elif isinstance(request, wire.Get):
        ids = [bytes(row[0]) for row in wire.split(wire.HASH, request.ids)]
        raws, at = await replica.off(replica.store.exchange.raws, ids, wire.BATCH_FILL_BYTES)
        yield wire.Records(await replica.off(wire.pack_records, raws), at)
    elif isinstance(request, wire.Blocks):
        yield await _blocks(request, replica)
    else:
        yield await _keys(request, replica)


async def _welcome(replica: Replica, software: str) -> wire.Welcome:
    records, logs = (await replica.current()).root()
    missing, sources = (await replica.missing()).tree.node()
    return wire.Welcome(wire.VERSION, software[: wire.SOFTWARE_CHARS_MAX], records, logs, missing, sources)


async def _nodes(request: wire.Walk, replica: Replica) -> wire.Nodes:
    tree = (await replica.current()).tree() if request.tree == "logs" else (await replica.missing()).tree
    return wire.Nodes([tree.described(prefix) for prefix in request.prefixes])


def _tails(replica: Replica, request: wire.Tails) -> wire.Records:
    """Returns records of the logs asked for, one log after the other, until the answer is full."""
    raws: list[bytes] = []
    room = wire.BATCH_FILL_BYTES
    for at, log in enumerate(request.logs):
        author = peer_id_from_public_key(log.author)
        some, end = replica.store.exchange.tail(author, (log.seq, log.id), room)
        size = sum(map(len, some))
        if raws and size > room:  # one record is returned even where there is no room
            return wire.Records(wire.pack_records(raws), at, log.seq, log.id)
        raws += some
        room -= size
        if end is not None:
            return wire.Records(wire.pack_records(raws), at, *end)
    return wire.Records(wire.pack_records(raws), len(request.logs))


async def _note_received(peer: str, request: wire.Tails, answer: wire.Records, replica: Replica) -> None:
    """Notes how far a peer has this node's own log, with what it was sent just now."""
    received = replica.received
    if received is None:
        return
    own = public_key_from_peer_id(received.author)
    at = next((at for at, log in enumerate(request.logs) if log.author == own), len(request.logs))
    if at == len(request.logs) or at > answer.at:
        return
    log = (await replica.current()).log(received.author)
    if log is not None:
        received.has(peer, log.seq if at < answer.at else min(answer.seq, log.seq))


async def _blocks(request: wire.Blocks, replica: Replica) -> wire.BlockList:
    log = (await replica.current()).log(peer_id_from_public_key(request.author))
    found = log.described(request.first) if log else []
    some = found[: wire.BLOCKS_MAX]
    return wire.BlockList(wire.joined(wire.BLOCK, some), len(found) > len(some))


async def _keys(request: wire.Keys, replica: Replica) -> wire.KeyList:
    await replica.current()
    first, last = span(request.block)
    author, after = peer_id_from_public_key(request.author), (request.seq, request.id)
    if last >= 2**63:
        return wire.KeyList(b"", False)
    found = await replica.off(
        replica.store.exchange.keys, author, first, last, replica.logs.upto, wire.KEYS_MAX + 1, after
    )
    some = found[: wire.KEYS_MAX]
    return wire.KeyList(wire.joined(wire.KEY, some), len(found) > len(some))


async def _taken(request: wire.Give, replica: Replica, budget: Budget) -> wire.Took:
    budget.sent(len(request.records))  # what must be verified counts like what is sent
    raws = await replica.off(wire.unpack_records, request.records)
    report = await replica.take(raws)
    budget.earned(len(report.accepted))
    if report.accepted:
        replica.given(report.accepted)
    budget.fault("refused record", len(report.refused))
    budget.fault("record known already", report.known)
    return wire.Took(len(report.accepted), report.known, len(report.refused))


def _shown(replica: Replica, request: wire.Best | wire.Top) -> list[bytes]:
    """Returns the records of the best results of a track, then the claims that they name, as far as there is room."""
    store, track = replica.store, request.track.hex()
    if isinstance(request, wire.Best):
        best = store.best(track, request.hardware_class or None)
        rows = [] if best is None else [best]
    else:
        rows = store.leaderboard(track, by=request.by, limit=request.limit)
    ids = dict.fromkeys([row.id for row in rows] + [row.claim for row in rows if row.claim is not None])
    return store.exchange.raws([bytes.fromhex(one) for one in ids], wire.BATCH_FILL_BYTES)[0]


async def _pieces(request: wire.Blobs, replica: Replica) -> AsyncIterator[wire.Pieces]:
    """Yields the blobs asked for in frames, until all are sent or RUN_BYTES_MAX are."""
    pieces: list[wire.Piece] = []
    absent: list[int] = []
    room, left, plain_left, done = PIECES_FILL_BYTES, RUN_BYTES_MAX, RUN_PLAIN_BYTES_MAX, 0
    for at, want in enumerate(request.wants):
        found, plain = await replica.off(_packed, replica, want)
        if found is None:
            absent.append(at)
        else:
            based, data = found
            left -= len(data)
            while True:
                part, data = data[:room], data[room:]
                pieces.append(wire.Piece(at, based, len(data), part))
                room -= len(part)
                if room > 0 and not data:
                    break
                yield wire.Pieces(pieces, absent, at, True)
                pieces, absent, room = [], [], PIECES_FILL_BYTES
                if not data:
                    break
        done, plain_left = at + 1, plain_left - plain
        if left <= 0 or plain_left <= 0:
            break
    yield wire.Pieces(pieces, absent, done, False)


def _packed(replica: Replica, want: wire.Want) -> tuple[tuple[bool, bytes] | None, int]:
    """Returns whether a blob is packed against the base that is named, and its bytes; and how much was unpacked."""
    store = replica.store
    kept = store.exchange.packed(want.hash)
    if kept is None:
        return None, 0
    if kept.base is None or kept.base == want.base:
        return (kept.base is not None, kept.data), 0
    try:
        data = store.blob(want.hash.hex())
        base = store.blob(want.base.hex()) if want.base and store.has_blob(want.base.hex()) else None
    except (BlobMissing, StoreDamaged):
        return None, 0
    return (base is not None, blobs.pack(data, base)), len(data) + len(base or b"")
