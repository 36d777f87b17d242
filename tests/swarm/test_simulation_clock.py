"""The virtual clock: jumps instead of waiting, orders by time, and says when nothing can go on."""

import asyncio
import time

import pytest
from simulation import clock


def test_an_hour_takes_no_time_and_shows_on_every_clock():
    async def main() -> tuple[float, float]:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time(), time.time() - clock.EPOCH_S

    begun = time.monotonic()
    assert clock.run(main()) == (3600.0, 3600.0)
    assert time.monotonic() - begun < 5


def test_what_is_due_first_happens_first():
    async def main() -> list[int]:
        seen: list[int] = []

        async def note(number: int, after_s: float) -> None:
            await asyncio.sleep(after_s)
            seen.append(number)

        async with asyncio.TaskGroup() as group:
            for number, after_s in enumerate((0.3, 0.1, 0.2) + 20 * (0.1,)):
                group.create_task(note(number, after_s))
        return seen

    assert clock.run(main()) == [1, *range(3, 23), 2, 0]


def test_a_deadline_passes_on_the_virtual_clock():
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(20):
                await asyncio.sleep(1000)
        return asyncio.get_running_loop().time()

    assert clock.run(main()) == 20.0


def test_waiting_for_nothing_is_a_deadlock_that_names_who_waits():
    async def main() -> None:
        await asyncio.create_task(asyncio.Event().wait(), name="the patient one")

    with pytest.raises(clock.Deadlock, match="the patient one"):
        clock.run(main())


def test_going_round_in_a_circle_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clock, "TURNS_MAX", 1_000)

    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(clock.Runaway, match="1000 turns"):
        clock.run(main())


def test_work_for_a_thread_is_done_in_no_time_and_its_error_arrives():
    async def main() -> float:
        assert await asyncio.to_thread(sum, (1, 2)) == 3
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)
        return asyncio.get_running_loop().time()

    assert clock.run(main()) == 0.0


def test_an_error_that_no_task_takes_fails_the_run():
    async def fail() -> None:
        raise ValueError("lost")

    async def main() -> None:
        task = asyncio.create_task(fail())
        await asyncio.sleep(1)
        del task

    with pytest.raises(AssertionError, match="lost"):
        clock.run(main())


def test_the_clocks_are_the_machines_again_afterwards():
    before = time.time
    clock.run(asyncio.sleep(5))
    assert time.time is before
    assert abs(time.time() - clock.EPOCH_S) > 1_000
