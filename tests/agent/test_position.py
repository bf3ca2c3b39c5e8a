"""Position: how often a node tells where it is, and when it rather does not."""

from __future__ import annotations

import asyncio

from mesh.agent.position import Pace, Position
from mesh.clock import SeededDice, SystemClock
from mesh.errors import NoLeader
from mesh.registry.coordinates import Coordinate, Placed, Report
from tests.registry_memory import MemoryRegistry

PLACE = Coordinate((0.25,) * 8)


async def until(condition: object) -> None:
    assert callable(condition)
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("waited in vain")


def test_all_nodes_together_stay_below_a_rate() -> None:
    pace = Pace()
    assert pace.interval(1) == pace.interval(960) == 15.0
    assert pace.interval(9600) == 150.0


async def test_it_reports_while_the_servers_know_how_and_survives_refusals() -> None:
    registry = MemoryRegistry()
    registry.outcomes[Report] = NoLeader("no leader")
    speaking = False
    asked = 0

    def taken() -> bool:
        nonlocal asked
        asked += 1
        return speaking

    world = (SystemClock(), SeededDice(1))
    position = Position("n1", registry, lambda: PLACE, world, Pace(64.0, 0.001))
    running = asyncio.create_task(position.run(lambda: 0, taken))
    await until(lambda: asked > 3)
    assert not registry.orders
    speaking = True
    await until(lambda: len(registry.orders) > 3)
    assert registry.orders[0][0] == Report(Placed("n1", PLACE))
    assert not running.done()
    running.cancel()
