"""Executions: where else a prepared query looks, in which order, and what stops it."""

from __future__ import annotations

from typing import Any, TypeVar

import pytest

from mesh.clock import SeededDice
from mesh.errors import Cutoff, MeshError, NoPath, NotFound
from mesh.registry import catalog, coordinates, orders, prepared
from mesh.registry.execution import Caller, Executor, Found
from mesh.registry.health import Instances
from mesh.registry.port import READ, Answer, Query, ReadOptions
from mesh.registry.prepared_rows import Failover, Prepared, ServiceQuery, Target
from tests.registry_memory import MemoryRegistry

T = TypeVar("T")
ID = "5f0f1f5a-4c39-4b1f-9d26-5f0f1f5a4c39"
HERE = Caller("n0", "dc1")


class World(MemoryRegistry):
    """Our datacenter, and others that can be cut off."""

    def __init__(self, failover: Failover, *others: str) -> None:
        super().__init__()
        self.others = {name: MemoryRegistry() for name in others}
        self.cut: set[str] = set()
        self.asked: list[str] = []
        self.outcomes[orders.Datacenters] = ["dc1", *others]
        service = ServiceQuery("web", failover, tags=["v1"])
        self.apply(prepared.Create(Prepared(id=ID, name="q", service=service, token="secret")))

    async def read(self, query: Query[T], options: ReadOptions = READ) -> Answer[T]:
        name = options.datacenter
        if not name or name == "dc1":
            return await super().read(query, options)
        self.asked.append(name)
        if name in self.cut:
            raise Cutoff(name)
        if name not in self.others:
            raise NoPath(name)
        return await self.others[name].read(query, options)

    def run(self, datacenter: str, node: str, *tags: str) -> None:
        registry: MemoryRegistry = self if datacenter == "dc1" else self.others[datacenter]
        place = catalog.Node(name=node, address="10.0.0.1", datacenter=datacenter)
        service = catalog.Service(node="", id="", name="web", tags=list(tags or ("v1",)))
        registry.apply(catalog.Register(place, service))

    async def execute(self, caller: Caller = HERE, **options: Any) -> Found:
        executor = Executor(self, SeededDice(1))
        return (await executor.execute("q", caller, ReadOptions(**options))).value


def nodes(found: Found) -> list[str]:
    return [one.node.name for one in found.instances]


async def test_the_nearest_are_asked_first_then_those_named_each_once() -> None:
    failover = Failover(2, ["dc3", "dc5", "none", "dc1"])
    world = World(failover, "dc2", "dc3", "dc4", "dc5")
    world.run("dc5", "far")
    world.run("dc4", "never")
    found = await world.execute()
    assert world.asked == ["dc2", "dc3", "dc5"]
    assert (nodes(found), found.datacenter, found.failovers) == (["far"], "dc5", 3)


async def test_instances_here_keep_it_here_and_others_are_filtered_too() -> None:
    world = World(Failover(1), "dc2", "dc3")
    world.run("dc2", "wrong", "v2")
    found = await world.execute()
    assert (nodes(found), found.datacenter, found.failovers) == ([], "dc2", 1)
    world.run("dc1", "near")
    found = await world.execute()
    assert (nodes(found), found.datacenter, found.failovers) == (["near"], "dc1", 0)


async def test_those_that_cannot_be_reached_are_skipped_and_counted() -> None:
    world = World(Failover(targets=[Target("dc2"), Target("dc3")]), "dc2", "dc3")
    world.cut = {"dc2"}
    world.run("dc3", "there")
    found = await world.execute()
    assert (nodes(found), found.datacenter, found.failovers) == (["there"], "dc3", 2)
    world.cut = {"dc2", "dc3"}
    found = await world.execute()
    assert (nodes(found), found.datacenter, found.failovers) == ([], "dc1", 2)


async def test_the_limit_counts_abroad_too_and_reads_have_the_token_of_the_query() -> None:
    world = World(Failover(1), "dc2")
    world.run("dc2", "a")
    world.run("dc2", "b")
    caller = Caller("n0", "dc1", limit=1, abroad_seconds=0.5)
    assert len(nodes(await world.execute(caller, cached=True, consistency="stale"))) == 1
    ((question, options),) = world.others["dc2"].reads
    assert question == Instances("web")
    assert (options.token, options.seconds_max, options.cached) == ("secret", 0.5, False)


async def test_in_another_datacenter_the_query_and_all_else_are_those_of_there() -> None:
    world = World(Failover(1), "dc2")
    world.run("dc1", "ours")
    with pytest.raises(NotFound):
        await world.execute(datacenter="dc2")
    service = ServiceQuery("web", near="_agent")
    world.others["dc2"].apply(prepared.Create(Prepared(id=ID, name="q", service=service)))
    world.run("dc2", "a")
    world.run("dc2", "b")
    found = await world.execute(datacenter="dc2")
    assert (sorted(nodes(found)), found.datacenter) == (["a", "b"], "dc2")


async def test_errors_of_the_own_datacenter_are_told() -> None:
    world = World(Failover(1), "dc2")
    world.error = MeshError("no")
    with pytest.raises(MeshError, match="no"):
        await world.execute()


@pytest.mark.parametrize(("nearer", "goes_first"), [(3, True), (9, True), (10, False)])
async def test_the_source_goes_first_if_it_is_among_the_first_ten(
    nearer: int, goes_first: bool
) -> None:
    world = World(Failover())
    # Its height counts twice on the way to itself, so that others seem nearer.
    places = {"source": (0.0, 0.01)}
    places |= {f"n{at}": (0.001 if at < nearer else 0.05, 1e-5) for at in range(12)}
    for name, (x, height) in places.items():
        world.run("dc1", name)
        coordinate = coordinates.Coordinate((x, *(0.0,) * 7), 0.1, 0.0, height)
        world.apply(coordinates.Update((coordinates.Placed(name, coordinate),)))
    found = nodes(await world.execute(Caller("x", "dc1", near="Source")))
    assert (found[0] == "source") is goes_first
    if not goes_first:
        assert found[nearer] == "source"
    assert set(found[1:3]) <= {f"n{at}" for at in range(nearer)}
