"""What a node's sidecars refused comes into the tables: soon when new, else now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mesh.clock import SeededDice
from mesh.connect.refusals import COUNTS_SECONDS, NEWS_SECONDS, Refusals
from mesh.connect.xds.seen import Held, Seen
from mesh.registry.intentions import Intention, Policy
from mesh.registry.refusals import All
from tests.connect.authority import START
from tests.connect.hand import HandClock
from tests.registry_memory import MemoryRegistry

POLICY = Policy(
    destination="db", intentions=[Intention(source="*", destination="db", action="deny")]
)


class Node:
    def __init__(self, registry: MemoryRegistry, clock: HandClock) -> None:
        self.registry, self.clock = registry, clock
        self.refusals = Refusals(registry, "n1", (clock, SeededDice(1)))
        self.task = asyncio.create_task(self.refusals.run())

    def deny(self, caller: str) -> None:
        uri = f"spiffe://td.consul/ns/default/dc/dc1/svc/{caller}"
        call = Seen(caller=uri, denied=True, method="GET", path="/")
        self.refusals.note([Held(POLICY, True)], call)

    def counts(self) -> dict[str, int]:
        rows = All().run(self.registry.database.view())
        return {one.source: one.count for row in rows for one in row.found}

    async def after(self, condition: Callable[[dict[str, int]], bool]) -> float:
        """How long it takes until it is so in the tables."""
        since = self.clock.monotonic()
        for _ in range(2000):
            await asyncio.sleep(0.001)
            if condition(self.counts()):
                return self.clock.monotonic() - since
            await self.clock.advance(0.5)
        raise AssertionError("waited in vain")


async def test_new_pairs_are_told_soon_and_numbers_later() -> None:
    node = Node(MemoryRegistry(), HandClock(START))
    node.deny("web")
    assert await node.after(lambda found: found == {"web": 1}) < NEWS_SECONDS
    node.deny("web")
    node.deny("api")
    assert await node.after(lambda found: found == {"api": 1, "web": 2}) >= NEWS_SECONDS - 1
    node.deny("web")
    assert await node.after(lambda found: found["web"] == 3) >= COUNTS_SECONDS - 1
    assert len(node.registry.writes) == 3
    node.task.cancel()


async def test_a_restart_forgets_nothing() -> None:
    registry, clock = MemoryRegistry(), HandClock(START)
    first = Node(registry, clock)
    first.deny("web")
    await first.after(bool)
    first.task.cancel()
    second = Node(registry, clock)
    second.deny("web")
    told = All().run(registry.database.view())[0].found
    assert [one.count for one in second.refusals.here(told)] == [2]
    await second.after(lambda found: found == {"web": 2})
    assert [one.count for one in second.refusals.here(told)] == [2]
    second.task.cancel()
