"""Waits on local answers: woken by what is newer, computed once, and by nothing else."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest

from mesh.errors import Conflict
from mesh.registry import kv
from mesh.registry.port import Answer, Query, ReadOptions
from mesh.rpc.local import LocalReader
from mesh.store.database import View
from mesh.store.live import Answers
from tests.registry_memory import MemoryRegistry


class Counted(Query[bytes], frozen=True):
    """A key's value; counts how often it was computed."""

    answer = bytes
    runs: ClassVar[list[int]] = []

    def run(self, view: View) -> bytes:
        self.runs.append(1)
        pair = view.get(kv.PAIRS, "a")
        if pair is not None and pair.value == b"bad":
            raise Conflict("bad")
        return pair.value if pair is not None else b""


def _set(registry: MemoryRegistry, key: str, value: bytes) -> None:
    registry.apply(kv.Set(key, value))


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def _wait(
    registry: MemoryRegistry, count: int, index: int, wait: float = 60.0
) -> list[asyncio.Task[Answer[bytes]]]:
    options = ReadOptions(index=index, wait=wait)
    before = registry.reader.waiting
    tasks = [asyncio.create_task(registry.reader.read(Counted(), options)) for _ in range(count)]
    await _settled()
    assert registry.reader.waiting == before + count
    return tasks


async def test_many_who_wait_cost_one_computation() -> None:
    registry = MemoryRegistry()
    _set(registry, "a", b"1")
    tasks = await _wait(registry, 50, 1)
    Counted.runs.clear()
    _set(registry, "a", b"2")
    _set(registry, "a", b"3")
    answers = await asyncio.gather(*tasks)
    assert {(answer.value, answer.index) for answer in answers} == {(b"3", 3)}
    assert len(Counted.runs) == 1
    assert registry.reader.woken == 50
    assert registry.reader.waiting == 0


async def test_only_those_are_woken_for_whom_it_is_newer() -> None:
    registry = MemoryRegistry()
    _set(registry, "a", b"1")
    (early,), (late,) = await _wait(registry, 1, 1), await _wait(registry, 1, 9)
    _set(registry, "a", b"1")
    _set(registry, "b", b"1")
    await _settled()
    assert registry.reader.woken == 0
    _set(registry, "a", b"2")
    assert (await early).index == 4
    assert not late.done()
    registry.reader.interrupt()
    assert (await late).index == 4


async def test_time_out_answers_what_is_there() -> None:
    registry = MemoryRegistry()
    (task,) = await _wait(registry, 1, 5, wait=0.01)
    assert (await task).value == b""
    assert registry.reader.woken == 0


async def test_tables_replaced_end_every_wait_and_the_index_may_go_back() -> None:
    registry = MemoryRegistry()
    _set(registry, "b", b"1")
    _set(registry, "a", b"1")
    tasks = await _wait(registry, 2, 2)
    other = MemoryRegistry()
    _set(other, "a", b"old")
    registry.database.contents = other.database.contents
    registry.answers.restored(other=True)
    assert {(one.value, one.index) for one in await asyncio.gather(*tasks)} == {(b"old", 1)}


async def test_a_query_that_fails_fails_for_all_who_wait() -> None:
    registry = MemoryRegistry()
    tasks = await _wait(registry, 2, 1)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    _set(registry, "a", b"bad")
    for task in tasks:
        with pytest.raises(Conflict):
            await task
    assert registry.reader.waiting == 0


async def test_who_leaves_leaves_nothing_behind() -> None:
    registry = MemoryRegistry()
    for task in await _wait(registry, 3, 1):
        task.cancel()
    await _settled()
    assert registry.reader.waiting == 0
    _set(registry, "a", b"1")
    (task,) = await _wait(registry, 1, 1)
    _set(registry, "a", b"2")
    assert (await task).value == b"2"


async def test_who_asks_again_and_again_is_told_what_at_once_says() -> None:
    registry = MemoryRegistry()
    query = kv.Get("a")
    ask = registry.reader.asking(query)
    seen = []
    for step in range(6):
        if step % 2 == 0:
            _set(registry, "a", b"%d" % step)
        elif step == 3:
            _set(registry, "b", b"else")
        seen.append(ask())
        assert seen[-1] is registry.reader.at_once(query) is ask()
    assert seen[0] is seen[1]
    assert seen[1] is not seen[2] is seen[3]
    assert [answer.index for answer in seen] == sorted(answer.index for answer in seen)


async def test_who_asks_again_and_again_survives_that_the_answer_is_dropped() -> None:
    registry = MemoryRegistry()
    answers = Answers(registry.database, limit=1)
    reader = LocalReader(answers)
    _set(registry, "a", b"1")
    ask = reader.asking(kv.Get("a"))
    before = ask()
    reader.at_once(kv.Get("b"))  # Pushes it out.
    registry.apply(kv.Set("a", b"2"))  # Of which those answers hear nothing.
    after = ask()
    assert before.value is not None
    assert after.value is not None
    assert (before.value.value, after.value.value) == (b"1", b"2")
    assert ask() is reader.at_once(kv.Get("a"))
