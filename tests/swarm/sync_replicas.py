"""Replicas and streams in memory for the tests of sync: bytes are counted, and a line can be cut at any of them."""

import asyncio
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

from ensue.blobs import Blob
from ensue.people import Trust
from ensue.record import Record
from ensue.store import Store
from node.sync.answer import answer
from node.sync.budget import Budgets
from node.sync.pull import PullReport, pull
from node.sync.replica import Replica, inline
from node.transport.ports import TransportError

sys.path.append(str(Path(__file__).resolve().parents[1] / "ensue"))

import bodies

WINDOW_BYTES = 256 * 1024


class End:
    """One end of a stream in memory; at most WINDOW_BYTES wait to be taken, as on a real one."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.other: End = self
        self.sent = self.sends = 0
        self.cut_at: int | None = None  # how many sends get through
        self._buffer = bytearray()
        self._wanted = 0
        self._gone = False
        self._changed = asyncio.Event()

    async def send(self, data: bytes) -> None:
        if self.cut_at is not None and self.sends >= self.cut_at:
            await self.close()
        other = self.other
        while not self._gone and len(other._buffer) >= max(WINDOW_BYTES, other._wanted):
            await self._change()
        if self._gone:
            raise TransportError("The stream is gone: open another one.")
        other._buffer += data
        self.sent += len(data)
        self.sends += 1
        other._changed.set()

    async def receive(self, size: int) -> bytes:
        self._wanted = size
        while len(self._buffer) < size:
            if self._gone:
                raise TransportError("The stream is gone: open another one.")
            self.other._changed.set()
            await self._change()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._wanted = 0
        self.other._changed.set()
        return data

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def close(self) -> None:
        for end in (self, self.other):
            end._gone = True
            end._changed.set()


def streams() -> tuple[End, End]:
    """Returns the two ends of a stream."""
    one, two = End("the one who answers"), End("the one who asks")
    one.other, two.other = two, one
    return one, two


class Clock:
    """A clock that only its owner moves."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def budgets() -> Budgets:
    clock = Clock()
    return Budgets(clock, clock.sleep)


@contextmanager
def stores(folder: Path, *names: str, trust: Trust | None = None):
    """Opens a store for each name."""
    opened = [Store(folder / f"{name}.sqlite3", bodies.NETWORK, trust) for name in names]
    try:
        yield [Replica(store, inline) for store in opened]
    finally:
        for store in opened:
            store.close()


async def pulled(here: Replica, there: Replica, cut_at: int | None = None, work: Callable = pull, **more) -> PullReport:
    """Lets one replica pull from another over a stream that is cut after so many frames of the one who answers."""
    mine, theirs = streams()
    theirs.cut_at = cut_at
    known = budgets()
    serving = asyncio.create_task(answer(theirs, there, known.of("asks")))
    report = await work(mine, here, known.of("answers"), **more)
    await mine.close()
    await serving
    assert (known.of("asks").standing, known.of("answers").standing) == (100, 100), report.problem
    assert report.bytes_out == mine.sent
    if report.problem is None:
        assert report.bytes_in == theirs.sent
    return report


def raws(records: Iterable[Record]) -> list[bytes]:
    return [record.raw for record in records]


def ids(replica: Replica) -> set[str]:
    return {record.id for record in replica.store.records()}


def chain_of_scripts(count: int, bytes_each: int = 2_000) -> list[Blob]:
    """Returns scripts, each the one before with a line changed."""
    lines = [f"line_{number} = {number * 7919 % 104729}" for number in range(bytes_each // 18)]
    made: list[Blob] = []
    for number in range(count):
        lines[number * 31 % len(lines)] = f"edited_{number} = {number * number}"
        made.append(Blob("\n".join(lines).encode(), made[-1].sha256 if made else None))
    return made


def lineage(scripts: Sequence[Blob], author: int = 0) -> list[Record]:
    """Returns results of one author, each with the next script and the one before as its parent."""
    made: list[Record] = []
    for seq, script in enumerate(scripts, 1):
        parent = made[-1].id if made else None
        body = bodies.result(source=script.sha256, parent=parent, experiment=bodies.sha(f"experiment {seq}"), seed=seq)
        made.append(bodies.record(author, seq, "result", body))
    return made
