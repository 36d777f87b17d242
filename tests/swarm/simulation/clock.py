"""An event loop on a virtual clock: nothing waits, and one seed gives one order of everything that happens.

Time jumps to the next timer as soon as nothing is ready. What asks for a thread is run at once, as far as the clock is
concerned, in no time. Left out: sockets and signals, which a simulation has none of. Rejected: a real loop with short
sleeps, in which the order of two events depends on how busy the machine is.
"""

import asyncio
import gc
import heapq
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any, TypeVar
from unittest import mock

_T = TypeVar("_T")

EPOCH_S = 1_800_000_000.0
"""The wall clock's reading, in seconds since 1970, when a simulation begins."""
TURNS_MAX = 5_000_000
"""Turns of one loop, after which what it runs is taken to go round in a circle."""


OWNED: ContextVar[dict["asyncio.Task[Any]", None] | None] = ContextVar("OWNED", default=None)
"""Where tasks that are made in a context are noted, so that a node that dies takes all of its tasks along."""


class Deadlock(RuntimeError):
    """Everything waits for something that nothing will ever bring about."""


class Runaway(RuntimeError):
    """The simulation goes on without an end."""


class _Timer(asyncio.TimerHandle):
    number = 0

    def __lt__(self, other: Any) -> bool:
        return (self._when, self.number) < (other._when, other.number)


class _Task(asyncio.Task[Any]):
    """A task whose place in a set depends on its number, and not on where it lies in memory."""

    def __init__(self, number: int, work: Coroutine[Any, Any, Any], **more: Any) -> None:
        self.number = number
        super().__init__(work, **more)

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in the order in which they became due, on a clock that only they move.

    `faults` holds what no task of its own took: an error that would be a line in a log is one that a test must see.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.turns = 0
        self.tasks = 0
        self._timers = 0
        self.faults: list[str] = []
        self._clock_resolution = 1e-9
        self._selector = self  # what BaseEventLoop asks for input and output, of which there is none
        self.set_exception_handler(_note_fault)
        self.set_task_factory(_owned)  # type: ignore[arg-type]

    def time(self) -> float:
        """Returns the seconds since the simulation began."""
        return self.now_s

    def select(self, timeout: float | None) -> list[Any]:
        """Moves the clock to the next timer where nothing is ready; raises Deadlock where there is none either."""
        self.turns += 1
        if self.turns > TURNS_MAX:
            raise Runaway(f"No end after {TURNS_MAX} turns of the loop, at {self.now_s:.3f} s: something goes round.")
        if timeout is None:
            waiting = sorted(task.get_name() for task in asyncio.all_tasks(self))
            raise Deadlock(f"At {self.now_s:.3f} s nothing is due, and these tasks wait: {', '.join(waiting)}.")
        if timeout > 0:
            self.now_s = max(self.now_s, self._scheduled[0].when())
        return []

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Calls back at a time; of those that are due together, who asked first comes first."""
        self._timers += 1
        timer = _Timer(when, callback, args, self, context)
        timer.number = self._timers
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def run_in_executor(self, executor: Executor | None, func: Callable[..., _T], *args: Any) -> "asyncio.Future[_T]":
        """Does at once what a thread would do."""
        future: asyncio.Future[_T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  the one who waits gets it
            future.set_exception(error)
        return future

    def _process_events(self, event_list: list[Any]) -> None:
        assert not event_list

    def _write_to_self(self) -> None:
        if threading.get_ident() == self._thread_id:
            return  # a generator that was left is being closed
        raise RuntimeError("Another thread called into the simulation, whose order would then be chance.")


def _owned(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, _T], *, context: Context | None = None, **more: Any
) -> "asyncio.Task[_T]":
    assert isinstance(loop, VirtualLoop)
    loop.tasks += 1
    task = _Task(loop.tasks, work, loop=loop, context=context, **more)
    tasks = OWNED.get() if context is None else context.get(OWNED)
    if tasks is not None:
        tasks[task] = None
        task.add_done_callback(lambda done: tasks.pop(done, None))
    return task


def _note_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    assert isinstance(loop, VirtualLoop)
    error = context.get("exception")
    loop.faults.append(f"{context.get('message')}: {error!r}" if error else str(context.get("message")))


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Runs a coroutine on a clock of its own and returns its result; `time.time` reads that clock meanwhile."""
    loop = VirtualLoop()
    with _collected_later(), _clocks(loop), asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(main)
    if loop.faults:
        raise AssertionError("Errors that nobody took: " + "; ".join(loop.faults[:5]))
    return result


@contextmanager
def _clocks(loop: VirtualLoop) -> Iterator[None]:
    """Lets the clocks that records are stamped with read virtual time."""

    def wall_s() -> float:
        return EPOCH_S + loop.now_s

    def wall_ns() -> int:
        return round((EPOCH_S + loop.now_s) * 1e6) * 1_000

    with mock.patch.object(time, "time", wall_s), mock.patch.object(time, "time_ns", wall_ns):
        yield


@contextmanager
def _collected_later() -> Iterator[None]:
    """Keeps cycles from being collected at a moment that depends on what ran before."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
