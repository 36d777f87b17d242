"""One stream on which another node is asked: hello, requests and answers with deadlines, and what they cost.

Left out: what to ask in which order (pull, fetch). Rejected: one stream for each question, which doubles the round
trips; here the first question travels with the hello.
"""

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from ensue.errors import NetworkError, RecordError
from ensue.record import Record, decode
from node.sync import wire
from node.sync.budget import Budget
from node.transport.ports import Stream, TransportError

ANSWER_TIMEOUT_S = 30.0
"""Seconds until an answer must have come whole."""
SEND_TIMEOUT_S = 20.0

_AFTER_ALL = b"\xff" * wire.HASH_BYTES
_A = TypeVar("_A", bound=wire.Answer)


@dataclass(slots=True)
class Traffic:
    """Bytes that one stream has carried, lengths included."""

    bytes_in: int = 0
    bytes_out: int = 0


class Asker:
    """Asks one peer; `begin` first. Every method raises PeerFault, PeerRefused or TransportError, and then it is over.

    What a peer did wrong is taken off its budget here, once.
    """

    def __init__(self, stream: Stream, network: bytes, budget: Budget, software: str = "") -> None:
        self.stream, self.budget = stream, budget
        self.traffic = Traffic()
        self.theirs: wire.Welcome | None = None
        self._hello = wire.Hello(wire.VERSION, network, software[: wire.SOFTWARE_CHARS_MAX])
        self._waiting = b""

    async def __aenter__(self) -> "Asker":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stream.close()

    async def begin(self) -> wire.Welcome:
        """Returns what the peer has, as it says; on a stream that was begun before, what it said then or last."""
        if self.theirs is None:
            self.greet()
            await self._flush()
            self.theirs = await self._receive(wire.Welcome)
        return self.theirs

    async def again(self) -> wire.Welcome:
        """Returns what the peer has now."""
        if self.theirs is None:
            return await self.begin()
        self.theirs = await self.ask(self._hello, wire.Welcome)
        return self.theirs

    def greet(self) -> None:
        """Lets the hello travel with the first question, where nothing depends on its answer."""
        if self.theirs is None and not self._waiting:
            self._waiting = wire.frame(self._hello)

    async def ask(self, request: wire.Request, kind: type[_A]) -> _A:
        """Sends a request and returns its answer."""
        await self.send(request)
        return await self.receive(kind)

    async def send(self, request: wire.Request) -> None:
        """Sends a request, whose answer is to be received later; one at a time."""
        self._waiting += wire.frame(request)
        await self._flush()

    async def receive(self, kind: type[_A]) -> _A:
        """Returns the next answer."""
        if self.theirs is None:
            self.theirs = await self._receive(wire.Welcome)
        return await self._receive(kind)

    async def _flush(self) -> None:
        data, self._waiting = self._waiting, b""
        self.traffic.bytes_out += len(data)
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self.stream.send(data)
        except TimeoutError:
            self.budget.fault("slow")
            raise TransportError("The peer takes nothing: ask another peer, or try later.") from None

    async def _receive(self, kind: type[_A]) -> _A:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer, size = await wire.receive_answer(self.stream)
        except TimeoutError:
            self.budget.fault("slow")
            raise TransportError(
                f"The peer did not answer within {ANSWER_TIMEOUT_S:.0f} s: ask another peer, or try later."
            ) from None
        except wire.PeerFault:
            self.budget.fault("garbage")
            raise
        self.traffic.bytes_in += size
        if isinstance(answer, wire.Refused):
            raise wire.PeerRefused(answer.code, answer.retry_s, answer.network)
        if not isinstance(answer, kind):
            raise self.fault("another answer than asked for", "garbage")
        return answer

    def fault(self, code: str, cost: str) -> wire.PeerFault:
        """Returns the error of something that no honest peer does, and takes it off the peer's budget."""
        self.budget.fault(cost)
        return wire.PeerFault(code)

    async def doubt(self, code: str) -> wire.PeerFault:
        """Returns the error of a peer that does not have what it said.

        A peer may forget strangers between two answers. One that says by now that it has something else is believed,
        as often as its budget allows, and so is one whose line broke; every other has that held against it.
        """
        before, changed = self.theirs, False
        try:
            changed = before is not None and (await self.ask(self._hello, wire.Welcome)).logs != before.logs
        except TransportError:
            changed = True
        except NetworkError:
            changed = False
        if changed and self.budget.may_change():
            return wire.PeerFault(code)
        return self.fault(code, "not kept")

    def rows(self, layout: struct.Struct, data: bytes) -> list[tuple[int | bytes, ...]]:
        """Returns the rows in a field of an answer."""
        try:
            return wire.split(layout, data)
        except wire.PeerFault as fault:
            raise self.fault(fault.code, "garbage") from None

    def hashes(self, data: bytes) -> list[bytes]:
        """Returns the hashes in a field of an answer."""
        return [bytes(row[0]) for row in self.rows(wire.HASH, data)]

    # For those who keep no replica

    async def best(self, network: str, track: str, hardware_class: str = "") -> list[Record]:
        """Returns the best result of a track and its claim, verified; that none is better is the peer's word alone."""
        return await self._shown(network, wire.Best(bytes.fromhex(track), hardware_class))

    async def top(self, network: str, track: str, by: str = "result", limit: int = 20) -> list[Record]:
        """Returns a leaderboard: its results in order, then their claims, each verified, the order the peer's word."""
        return await self._shown(network, wire.Top(bytes.fromhex(track), by, limit))

    async def records(self, network: str, ids: Sequence[str]) -> list[Record]:
        """Returns records by their ids, verified; those that the peer does not have are left out."""
        found: list[Record] = []
        waiting = [bytes.fromhex(one) for one in ids]
        while waiting:
            some = waiting[: wire.IDS_MAX]
            answer = await self.ask(wire.Get(b"".join(some)), wire.Records)
            got = self._verified(network, answer)
            if not 0 < answer.at <= len(some) or not {one.id for one in got} <= set(ids):
                raise self.fault("records that were not asked for", "garbage")
            found += got
            waiting = waiting[answer.at :]
        return found

    async def newest(self, network: str, heads: Sequence[tuple[bytes, int]], count: int) -> list[Record]:
        """Returns some `count` records from the end of each log (public key, highest number), as many as fit."""
        if not heads:
            return []
        tails = [wire.Tail(key, max(0, seq - count), _AFTER_ALL) for key, seq in heads[: wire.TAILS_MAX]]
        return self._verified(network, await self.ask(wire.Tails(tails), wire.Records))

    async def _shown(self, network: str, request: wire.Best | wire.Top) -> list[Record]:
        self.greet()
        return self._verified(network, await self.ask(request, wire.Records))

    def _verified(self, network: str, answer: wire.Records) -> list[Record]:
        try:
            return [decode(raw, network) for raw in wire.unpack_records(answer.records)]
        except (RecordError, wire.PeerFault):
            raise self.fault("records that do not verify", "garbage") from None

    async def give(self, raw: bytes) -> wire.Took:
        """Hands over one record, for a node that nobody can ask, and returns what became of it."""
        self.greet()
        return await self.ask(wire.Give(wire.pack_records([raw])), wire.Took)
