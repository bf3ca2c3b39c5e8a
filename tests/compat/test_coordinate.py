"""/v1/coordinate and ?near as Consul's clients see them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import consul
import pytest

from mesh.errors import Unreachable
from mesh.http.near import SECONDS_MAX
from mesh.registry import coordinates
from mesh.registry.coordinates import Coordinate, DatacenterMap, Placed
from mesh.registry.port import READ, Answer, Query, ReadOptions
from tests.compat.conftest import Api


def at(seconds: float) -> Coordinate:
    return Coordinate((seconds, *[0.0] * 7))


def place(api: Api, **nodes: float) -> None:
    placed = tuple(Placed(name, at(seconds)) for name, seconds in nodes.items())
    api.registry.apply(coordinates.Update(placed))


def coord(seconds: float) -> dict[str, Any]:
    vec = [seconds, *[0.0] * 7]
    return {"Vec": vec, "Error": 1.5, "Adjustment": 0.0, "Height": 1e-5}


async def test_nodes_and_one_node(api: Api) -> None:
    for node in ("web", "db"):
        await api.register(node)
    place(api, web=0.1, db=0.2)
    got = await api.get("/v1/coordinate/nodes")
    assert got.json == [
        {"Node": "db", "Segment": "", "Coord": coord(0.2)},
        {"Node": "web", "Segment": "", "Coord": coord(0.1)},
    ]
    assert got.headers["x-consul-knownleader"] == "true"
    one = await api.get("/v1/coordinate/node/WEB")
    assert one.json == [{"Node": "web", "Segment": "", "Coord": coord(0.1)}]
    missing = await api.get("/v1/coordinate/node/nobody")
    assert (missing.status, missing.body) == (404, b"")
    assert missing.index >= 1
    assert (await api.get("/v1/coordinate/node/")).status == 400
    assert (await api.get("/v1/coordinate/nodes?segment=x")).status == 400


async def test_a_change_wakes_who_waits(api: Api) -> None:
    await api.register("web")
    place(api, web=0.1)
    first = await api.get("/v1/coordinate/nodes")
    waiting = asyncio.create_task(api.get("/v1/coordinate/nodes", index=first.index, wait="5s"))
    await api.blocked()
    place(api, web=0.1)
    await api.register("other")
    assert not waiting.done()
    place(api, web=0.3)
    assert (await waiting).json[0]["Coord"]["Vec"][0] == 0.3


async def test_update_is_told_to_the_leader(api: Api) -> None:
    api.registry.outcomes[coordinates.Report] = True
    body = {"Node": "web", "Segment": "", "Coord": coord(0.5)}
    got = await api.put("/v1/coordinate/update?stale", body)
    assert (got.status, got.body) == (200, b"")
    order, options = api.registry.orders[-1]
    assert order == coordinates.Report(Placed("web", at(0.5)))
    assert options.where == "leader"
    api.registry.outcomes[coordinates.Report] = False
    assert (await api.put("/v1/coordinate/update", body)).status == 429


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "Node"),
        ({"Node": "a", "Coord": {"Vec": [1.0]}}, "Coord.Vec: expected 8 numbers"),
        ({"Node": "a", "Coord": {"Vec": ["x"]}}, "Request decode failed"),
        ({"Node": "a", "Speed": 1}, 'unknown field "Speed"'),
        ({"Node": "a", "Segment": "alpha"}, "segment"),
        ('{"Node": "a", "Coord": {"Vec": [1e999,0,0,0,0,0,0,0]}}', ""),
    ],
)
async def test_updates_that_make_no_sense(api: Api, body: Any, words: str) -> None:
    got = await api.put("/v1/coordinate/update", body)
    assert got.status == 400
    assert words in got.text
    assert not api.registry.orders


async def test_datacenters_are_asked_of_any_server(api: Api) -> None:
    api.registry.outcomes[coordinates.Datacenters] = [
        DatacenterMap("dc1", [Placed("s1.dc1", at(0.1))])
    ]
    got = await api.get("/v1/coordinate/datacenters")
    servers = [{"Node": "s1.dc1", "Coord": coord(0.1)}]
    assert got.json == [{"Datacenter": "dc1", "AreaID": "WAN", "Coordinates": servers}]
    assert api.registry.orders[-1][1].where == "here"


async def names(api: Api, path: str) -> list[str]:
    rows = (await api.get(path)).json
    return [row["Node"]["Node"] if isinstance(row["Node"], dict) else row["Node"] for row in rows]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/catalog/nodes",
        "/v1/catalog/service/web",
        "/v1/health/service/web",
        "/v1/health/checks/web",
        "/v1/health/state/any",
    ],
)
async def test_near_sorts_and_leaves_the_unknown_last(api: Api, path: str) -> None:
    for node in ("a", "b", "c", "d", "n0"):
        check = {"Name": "up", "ServiceID": "web", "Status": "passing"}
        await api.register(node, "web", Check=check)
    place(api, a=0.3, b=0.1, d=0.2, n0=0.0)
    assert await names(api, path) == ["a", "b", "c", "d", "n0"]
    assert await names(api, f"{path}?near=n0") == ["n0", "b", "d", "a", "c"]
    assert await names(api, f"{path}?near=A") == ["a", "d", "b", "n0", "c"]
    assert await names(api, f"{path}?near=_agent") == ["n0", "b", "d", "a", "c"]
    assert await names(api, f"{path}?near=c") == ["a", "b", "c", "d", "n0"]
    assert await names(api, f"{path}?near=ghost") == ["a", "b", "c", "d", "n0"]


async def test_near_among_many(api: Api) -> None:
    nodes = [f"n{number:03}" for number in range(70)]
    for node in nodes:
        await api.register(node)
    place(api, **{node: float(100 - number) for number, node in enumerate(nodes[:40])})
    found = await names(api, "/v1/catalog/nodes?near=n039")
    assert found == [*reversed(nodes[:40]), *nodes[40:]]


async def test_near_keeps_no_answer_back_when_nobody_tells_distances(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node in ("a", "b"):
        await api.register(node)
    place(api, a=0.3, b=0.1)
    read, asked = api.registry.read, list[ReadOptions]()

    async def without_servers(query: Query[Any], options: ReadOptions = READ) -> Answer[Any]:
        if isinstance(query, coordinates.Distances):
            asked.append(options)
            raise Unreachable("No known servers")
        return await read(query, options)

    monkeypatch.setattr(api.registry, "read", without_servers)
    assert await names(api, "/v1/catalog/nodes?near=b&consistent") == ["a", "b"]
    (options,) = asked
    assert (options.consistency, options.seconds_max) == ("stale", SECONDS_MAX)


async def test_disabled(serve: Callable[..., Awaitable[Api]]) -> None:
    api = await serve(disable_coordinates=True)
    await api.register("a")
    await api.register("b")
    place(api, a=0.3, b=0.1)
    for path in ("nodes", "node/a", "datacenters"):
        got = await api.get(f"/v1/coordinate/{path}")
        assert (got.status, "disable_coordinates" in got.text) == (401, True)
    assert (await api.put("/v1/coordinate/update", {"Node": "a"})).status == 401
    assert await names(api, "/v1/catalog/nodes?near=b") == ["a", "b"]


async def test_py_consul(api: Api) -> None:
    await api.register("web")
    place(api, web=0.1)
    api.registry.outcomes[coordinates.Datacenters] = []

    def work() -> None:
        host, port = api.address
        client: Any = consul.Consul(host=host, port=port)
        index, nodes = client.coordinate.nodes()
        assert int(index) > 0
        assert nodes[0]["Coord"]["Vec"] == [0.1, *[0.0] * 7]
        assert client.coordinate.datacenters() == []

    await asyncio.to_thread(work)
