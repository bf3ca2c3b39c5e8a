"""What a node tells of its workloads: when it changes, and nothing is lost by a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from mesh.clock import SeededDice
from mesh.connect.acks import RETURN_SECONDS, Acks
from mesh.registry.authority import ReportOf
from mesh.registry.workloads import WORKLOADS_MAX
from tests.connect.authority import START
from tests.connect.hand import HandClock
from tests.registry_memory import MemoryRegistry


class Node:
    def __init__(self, registry: MemoryRegistry, clock: HandClock) -> None:
        self.registry, self.clock = registry, clock
        self.acks = Acks(registry, "n1", (clock, SeededDice(1)))
        self.tasks = [asyncio.create_task(one()) for one in (self.acks.run, self.acks.settle)]

    async def told(self, condition: Callable[[dict[str, str]], bool]) -> None:
        def holds() -> bool:
            report = ReportOf("n1").run(self.registry.database.view())
            return condition({ack.id: ack.leaf for ack in report.acks} if report else {})

        for _ in range(2000):
            await asyncio.sleep(0.001)
            await self.clock.advance(0.5)
            if holds():
                return
        raise AssertionError("waited in vain")

    def stop(self) -> None:
        for task in self.tasks:
            task.cancel()


async def test_changes_are_told_together_and_nothing_is_told_twice() -> None:
    node = Node(MemoryRegistry(), HandClock(START))
    for name in ("a", "b"):
        node.acks.proxy(name, ["r1"], "r1")
    await node.told(lambda said: said == {"proxy:a": "r1", "proxy:b": "r1"})
    assert len(node.registry.writes) == 1
    node.acks.proxy("a", ["r1"], "r1")
    await node.clock.advance(10)
    assert len(node.registry.writes) == 1
    node.acks.proxy_gone("a")
    await node.told(lambda said: said == {"proxy:b": "r1"})
    node.acks.proxy_gone("b")
    await node.told(lambda said: said == {})
    node.stop()


async def test_sidecars_that_outlive_the_agent_count_until_they_are_back() -> None:
    registry, clock = MemoryRegistry(), HandClock(START)
    first = Node(registry, clock)
    for name in ("a", "b"):
        first.acks.proxy(name, ["r1"], "r1")
    await first.told(lambda said: len(said) == 2)
    first.stop()
    again = Node(registry, clock)
    again.acks.proxy("a", ["r1", "r2"], "r2")
    await again.told(lambda said: said == {"proxy:a": "r2", "proxy:b": "r1"})
    since = clock.now
    await again.told(lambda said: said == {"proxy:a": "r2"})
    assert since + RETURN_SECONDS - 110 < clock.now
    again.stop()


async def test_whatever_the_names_and_numbers_the_rest_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One row that the servers refuse would be no row at all, and no rotation would end."""
    node = Node(MemoryRegistry(), HandClock(START))
    long = "é" * 2000
    for name in ("web", f"{long}1", f"{long}2"):
        node.acks.leaf(name, ["r1"], "r1")
    await node.told(lambda said: len(said) == 3 and "leaf:web" in said)
    assert node.acks.is_told(f"{long}1")
    for number in range(WORKLOADS_MAX):
        node.acks.proxy(f"{number}", ["r1"], "r1")
    await node.told(lambda said: len(said) == WORKLOADS_MAX and "leaf:web" in said)
    assert "do not wait for 3 workloads" in caplog.text
    node.acks.leaf_gone(f"{long}1")
    await node.told(lambda _: not node.acks.is_told(f"{long}1"))
    node.stop()


async def test_a_node_that_has_none_any_more_says_so() -> None:
    registry, clock = MemoryRegistry(), HandClock(START)
    first = Node(registry, clock)
    first.acks.leaf("web", ["r1"], "r1")
    await first.told(lambda said: len(said) == 1)
    first.stop()
    again = Node(registry, clock)
    await again.told(lambda said: said == {})
    again.stop()
