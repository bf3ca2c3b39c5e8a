"""The cartographer on a real log: many reports become one entry, at the level that has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.errors import Conflict
from mesh.registry import catalog, coordinates, levels
from mesh.registry.coordinates import Coordinate, Placed
from mesh.registry.levels import level_of
from mesh.registry.port import HERE
from mesh.server.cartographer import Cartographer
from mesh.server.operator import ServerOperator
from tests.rpc.stack import WORLD, Stack, until

HERE_NOW = Coordinate((0.5,) * 8)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Stack]:
    stack = await Stack(tmp_path).start()
    yield stack
    await stack.stop()


def charting(server: Stack, level: int | None = None) -> Cartographer:
    database = server.machine.database
    made = Cartographer(server.forwarded, lambda: level or level_of(database), WORLD, 0.05)
    operator = server.forwarded.operator
    assert isinstance(operator, ServerOperator)
    operator.also(made.orders)
    return made


async def test_many_reports_become_one_log_entry(server: Stack) -> None:
    made = charting(server)
    for name in ("n1", "n2"):
        node = catalog.Node(name=name, address="10.0.0.1")
        await server.router.write(catalog.Register(node=node))
    if level_of(server.machine.database) < levels.COORDINATES:
        await server.router.write(levels.Finalize(2))
        await server.router.write(levels.Finalize(3))
    before = server.raft.applied_index
    for name in ("n1", "n2", "nobody"):
        assert await server.router.operate(coordinates.Report(Placed(name, HERE_NOW)))
    running = asyncio.create_task(made.run())
    answers = server.machine.answers
    await until(lambda: len(answers.read(coordinates.All()).value) == 2)
    assert server.raft.applied_index == before + 1
    assert answers.read(coordinates.Of("n1")).value.coordinate == HERE_NOW
    running.cancel()


async def test_below_the_level_nothing_is_taken(server: Stack) -> None:
    made = charting(server, level=2)
    with pytest.raises(Conflict, match="feature level 3"):
        await server.router.operate(coordinates.Report(Placed("n1", HERE_NOW)))
    assert not made.batch


async def test_datacenters_come_from_whoever_knows_them(server: Stack) -> None:
    made = charting(server)
    assert await server.router.operate(coordinates.Datacenters(), HERE) == []
    known = [coordinates.DatacenterMap("dc2", [Placed("s1", HERE_NOW)])]
    made.datacenters = lambda: known
    assert await server.router.operate(coordinates.Datacenters(), HERE) == known
