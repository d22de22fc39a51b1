"""The virtual clock: exact times, no waiting, real sockets and threads, and no hanging."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from agentkit.testing.clock import Deadlock, OutOfTime, VirtualLoop, in_virtual_time, run_virtual


def now() -> float:
    return asyncio.get_running_loop().time()


def test_hours_pass_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(10 * 3600)
        return now()

    before = time.monotonic()
    assert run_virtual(main()) == 36000.0
    assert time.monotonic() - before < 2.0


def test_the_clock_shows_exactly_the_time_a_timer_was_set_for() -> None:
    async def main() -> list[float]:
        seen: list[float] = []
        for when in (0.1, 0.3, 0.7, 1.1, 2.3, 4.7):
            asyncio.get_running_loop().call_at(when, lambda: seen.append(now()))
        await asyncio.sleep(5)
        return seen

    assert run_virtual(main()) == [0.1, 0.3, 0.7, 1.1, 2.3, 4.7]


def test_the_clock_starts_where_it_is_told() -> None:
    async def main() -> float:
        await asyncio.sleep(0.5)
        return now()

    assert run_virtual(main(), start=100.0) == 100.5


def test_time_stands_still_while_there_is_work() -> None:
    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return now()

    assert run_virtual(main()) == 0.0


def test_timers_of_the_same_time_run_in_the_order_they_were_set() -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        loop = asyncio.get_running_loop()
        for number in range(200):
            loop.call_at(1.0, seen.append, number)
            loop.call_at(0.5 + number / 1000, lambda: None)  # shuffles the heap
        await asyncio.sleep(2)
        return seen

    assert run_virtual(main()) == list(range(200))


def test_cancelled_timers_do_not_move_the_clock() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        for number in range(300):
            loop.call_later(number + 1, lambda: None).cancel()
        await asyncio.sleep(0.25)
        return now()

    assert run_virtual(main()) == 0.25


def test_task_groups_and_timeouts_use_the_virtual_clock() -> None:
    async def main() -> tuple[float, bool]:
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(asyncio.sleep(30, "slow"))
            group.create_task(asyncio.sleep(20))
        assert slow.result() == "slow"
        timed_out = False
        try:
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        except TimeoutError:
            timed_out = True
        return now(), timed_out

    assert run_virtual(main()) == (35.0, True)


def test_the_clock_waits_for_a_thread_of_an_executor() -> None:
    async def main() -> tuple[float, float]:
        quick = asyncio.create_task(asyncio.sleep(1))
        await asyncio.to_thread(time.sleep, 0.05)
        at = now()
        await quick
        return at, now()

    assert run_virtual(main()) == (0.0, 1.0)


def test_a_cancelled_job_gives_the_clock_free() -> None:
    async def main() -> float:
        release = threading.Event()
        job = asyncio.create_task(asyncio.to_thread(release.wait, 5))
        await asyncio.sleep(0)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        await asyncio.sleep(3)
        release.set()
        return now()

    assert run_virtual(main()) == 3.0


def test_the_clock_can_be_held_for_a_thread_of_ones_own() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        answered = asyncio.Event()
        loop.call_later(1, lambda: None)
        thread = threading.Timer(0.05, lambda: loop.call_soon_threadsafe(answered.set))
        thread.start()
        with loop.hold():
            await answered.wait()
        thread.join()
        return now()

    assert run_virtual(main()) == 0.0


async def echo(peer: ServerConnection) -> None:
    async for message in peer:
        await peer.send(message)


async def talk(count: int, apart: float) -> AsyncIterator[float]:
    async with serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}") as peer:
            for number in range(count):
                await asyncio.sleep(apart)
                await peer.send(f"{number}")
                assert await peer.recv() == f"{number}"
                yield now()


@pytest.mark.parametrize("debug", [False, True])
def test_websockets_on_loopback_take_no_virtual_time(debug: bool) -> None:
    """An answer over a socket comes in the instant of the question, also with timers running."""

    async def main() -> list[float]:
        async def tick() -> None:
            for _ in range(500):
                await asyncio.sleep(0.005)

        ticking = asyncio.create_task(tick())
        times = [at async for at in talk(20, 0.1)]
        await ticking
        return times

    times = run_virtual(main(), until=60, debug=debug)
    assert times == pytest.approx([0.1 * n for n in range(1, 21)], abs=0.001)


def test_keepalive_pings_of_websockets_live_in_virtual_time() -> None:
    async def main() -> float:
        async for at in talk(1, 600):
            last = at
        return last

    assert run_virtual(main(), until=700) == pytest.approx(600, abs=0.1)


@pytest.mark.parametrize("timer", [True, False])
def test_bytes_of_another_thread_are_waited_for(timer: bool) -> None:
    """``settle`` covers a peer outside the loop; without any timer the loop waits in any case."""

    async def main() -> float:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        if timer:
            asyncio.get_running_loop().call_later(5, lambda: None)
        sending = threading.Timer(0.03, theirs.sendall, [b"x"])
        sending.start()
        assert await reader.readexactly(1) == b"x"
        at = now()
        sending.join()
        theirs.close()
        writer.close()
        await writer.wait_closed()
        return at

    assert run_virtual(main(), settle=2.0 if timer else 0.001) == 0.0


def test_a_deadlock_names_the_tasks_and_the_lines_they_wait_in() -> None:
    async def wait_for_godot() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for_godot(), name="vladimir")
            await asyncio.sleep(2)

    with pytest.raises(Deadlock) as caught:
        run_virtual(main())
    text = str(caught.value)
    assert "at 2 s of virtual time, 2 tasks wait" in text
    assert "vladimir: " in text
    assert "wait_for_godot" in text
    assert "Event.wait" in text
    assert "test_clock.py" in text


def test_a_deadlock_with_open_sockets_is_found_too() -> None:
    async def main() -> None:
        async with serve(echo, "127.0.0.1", 0):
            await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"main .*test_clock\.py"):
        run_virtual(main())


def test_a_deadlock_still_closes_what_the_tasks_hold() -> None:
    closed: list[float] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1.5)
            closed.append(now())

    with pytest.raises(Deadlock):
        run_virtual(main())
    assert closed == [1.5]


def test_until_ends_what_would_go_on_for_ever() -> None:
    closed: list[float] = []

    async def main() -> None:
        try:
            for _ in range(1000):
                await asyncio.sleep(7)
        finally:
            await asyncio.sleep(1)
            closed.append(now())

    with pytest.raises(OutOfTime, match=r"not done at 60 s\n.*\n.*main"):
        run_virtual(main(), until=60)
    assert closed == [57.0]


def test_what_is_done_at_until_exactly_is_in_time() -> None:
    assert run_virtual(asyncio.sleep(60, "done"), until=60) == "done"


def test_errors_of_the_coroutine_come_out() -> None:
    async def main() -> None:
        await asyncio.sleep(1)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run_virtual(main())


async def test_it_refuses_to_run_inside_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="running already"):
        run_virtual(asyncio.sleep(1))


@pytest.fixture
def double() -> Callable[[float], float]:
    return lambda value: 2 * value


@in_virtual_time(until=50)
async def test_a_decorated_test_runs_in_virtual_time(double: Callable[[float], float]) -> None:
    await asyncio.sleep(double(10))
    assert now() == 20.0


def test_a_sleep_without_end_is_a_deadlock() -> None:
    with pytest.raises(Deadlock, match="at 0 s of virtual time"):
        run_virtual(asyncio.sleep(math.inf))


def test_a_wait_of_less_than_the_real_clocks_resolution_comes_to_its_end() -> None:
    """A loop that waits until its time has come does not wait at one time for ever."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        due = loop.time() + 1e-10
        rounds = 0
        while loop.time() < due:
            rounds += 1
            assert rounds < 10
            await asyncio.sleep(due - loop.time())
        return due

    assert run_virtual(main(), start=1.0) > 1.0
