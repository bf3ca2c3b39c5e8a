"""The worker thread: order, errors, the end."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

from mesh.raft.worker import Worker


async def test_work_is_done_in_order_in_one_other_thread_and_told_in_the_loop() -> None:
    worker = Worker("w")
    done: list[tuple[int, int]] = []
    told: list[tuple[BaseException | None, bool]] = []
    here = threading.get_ident()
    everything = asyncio.Event()

    def tell(error: BaseException | None) -> None:
        told.append((error, threading.get_ident() == here))
        if len(told) == 100:
            everything.set()

    def note(number: int) -> None:
        done.append((number, threading.get_ident()))

    for number in range(100):
        worker.do(partial(note, number), tell)
    await everything.wait()
    assert [number for number, _ in done] == list(range(100))
    assert len({thread for _, thread in done} | {here}) == 2
    assert told == [(None, True)] * 100
    await asyncio.to_thread(worker.stop)


async def test_an_error_is_told_and_the_work_goes_on() -> None:
    worker, told = Worker("w"), asyncio.Queue[BaseException | None]()

    def fail() -> None:
        raise OSError("no space")

    worker.do(fail, told.put_nowait)
    worker.do(lambda: None, told.put_nowait)
    assert str(await told.get()) == "no space"
    assert await told.get() is None
    await asyncio.to_thread(worker.stop)


async def test_stop_returns_when_all_is_done() -> None:
    worker, may = Worker("w"), threading.Event()
    done: list[int] = []
    worker.do(may.wait, lambda _: None)
    worker.do(lambda: done.append(1), lambda _: None)
    stopping = asyncio.create_task(asyncio.to_thread(worker.stop))
    await asyncio.sleep(0)
    assert not done
    may.set()
    await stopping
    assert done == [1]


def test_a_worker_that_never_worked_stops() -> None:
    Worker("w").stop()


def test_work_that_outlives_the_loop_is_done() -> None:
    worker, may = Worker("w"), threading.Event()
    done: list[int] = []

    async def give() -> None:
        worker.do(may.wait, lambda _: None)
        worker.do(lambda: done.append(1), lambda _: None)

    asyncio.run(give())
    may.set()
    worker.stop()
    assert done == [1]
