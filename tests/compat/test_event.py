"""/v1/event as Consul's clients see it, over a pool of one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import consul
import pytest

from mesh.agent.events import Events, decode
from mesh.clock import SeededDice, SystemClock
from mesh.errors import TooLarge
from mesh.http.server import HttpServer, Options, Parts
from mesh.registry.orders import FireEvent
from tests.compat.conftest import Api, until
from tests.registry_memory import MemoryRegistry


class Node:
    """An agent without services, alone in its pool."""

    def __init__(self) -> None:
        self.operations = self
        self.time = 0
        self.events = Events("n0", dict, self.tell)

    def tell(self, name: str, payload: bytes) -> int:
        if len(name) + len(payload) > 512:
            raise TooLarge("name and payload take 700 bytes; the limit is 512")
        self.time += 1
        self.events.hear(name, payload, self.time)
        return self.time


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    registry = MemoryRegistry()
    parts = Parts(registry, SystemClock(), SeededDice(1), Node())
    options = Options(addresses=[("127.0.0.1", 0)], datacenter="dc1", node_name="n0")
    server = HttpServer(parts, options)
    await server.start()
    yield Api(server, registry)
    await server.stop()


def listeners(api: Api) -> int:
    return len(api.server._parts.agent.events._listeners)


async def test_fire_and_list(api: Api) -> None:
    got = await api.put("/v1/event/fire/deploy?node=^n&service=&tag=", b"v1\x00")
    fired = got.json
    assert UUID(fired.pop("ID")).version == 4
    assert fired == {
        "Name": "deploy",
        "Payload": base64.b64encode(b"v1\x00").decode(),
        "NodeFilter": "^n",
        "ServiceFilter": "",
        "TagFilter": "",
        "Version": 1,
        "LTime": 1,
    }
    assert (await api.put("/v1/event/fire/restart")).json["Payload"] is None
    assert (await api.put("/v1/event/fire/other?node=^db")).status == 200
    got = await api.get("/v1/event/list")
    assert [one["Name"] for one in got.json] == ["deploy", "restart"]
    newest = UUID(got.json[-1]["ID"]).int
    assert got.index == (newest >> 64) ^ (newest % 2**64)
    assert [one["Name"] for one in (await api.get("/v1/event/list?name=deploy")).json] == ["deploy"]
    empty = await api.get("/v1/event/list?name=none")
    assert (empty.json, empty.index) == ([], 1)


async def test_the_list_blocks_only_while_the_index_is_the_same(api: Api) -> None:
    await api.put("/v1/event/fire/a")
    first = await api.get("/v1/event/list?name=a")
    assert (await api.get("/v1/event/list", name="a", index=7, wait="60s")).index == first.index
    asked = {"name": "a", "index": first.index, "wait": "60s"}
    waiting = asyncio.create_task(api.get("/v1/event/list", **asked))
    await until(lambda: listeners(api) == 1)
    await api.put("/v1/event/fire/b")
    await api.put("/v1/event/fire/a?node=nobody")
    await api.get("/v1/event/list")
    assert not waiting.done()
    fired = (await api.put("/v1/event/fire/a")).json
    got = await waiting
    assert got.json[-1]["ID"] == fired["ID"]
    assert got.index != first.index
    same = await api.get("/v1/event/list", name="a", index=got.index, wait="10ms")
    assert (same.status, same.index) == (200, got.index)
    assert listeners(api) == 0


async def test_nothing_heard_blocks_too(api: Api) -> None:
    waiting = asyncio.create_task(api.get("/v1/event/list?index=1&wait=60s"))
    await until(lambda: listeners(api) == 1)
    await api.put("/v1/event/fire/a")
    assert [one["Name"] for one in (await waiting).json] == ["a"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/event/fire/", "Missing name"),
        ("/v1/event/fire/a?tag=v1", "tag filter needs a service filter"),
        ("/v1/event/fire/a?node=(", "node: "),
        ("/v1/event/fire/a?service=a&tag=**", "tag: "),
    ],
)
async def test_events_that_make_no_sense(api: Api, path: str, words: str) -> None:
    got = await api.put(path)
    assert got.status == 400
    assert words in got.text


async def test_too_large(api: Api) -> None:
    got = await api.put("/v1/event/fire/a", b"x" * 700)
    assert got.status == 400
    assert "the limit is 512; send less" in got.text


async def test_elsewhere_and_other_methods(api: Api) -> None:
    assert (await api.put("/v1/event/fire/a?dc=dc1")).status == 200
    assert not api.registry.orders
    api.registry.outcomes[FireEvent] = 7
    got = await api.put("/v1/event/fire/a?dc=dc2&node=^b", b"x")
    assert (got.json["LTime"], got.json["NodeFilter"]) == (7, "^b")
    order, options = api.registry.orders[0]
    assert isinstance(order, FireEvent)
    assert (options.datacenter, options.where) == ("dc2", "here")
    told = decode(order.name, order.payload, 7)
    assert (told.id, told.name, told.payload) == (got.json["ID"], "a", b"x")
    api.registry.outcomes[FireEvent] = TooLarge("the limit is 512")
    assert (await api.put("/v1/event/fire/a?dc=dc2")).status == 400
    assert (await api.put("/v1/event/fire/a?dc=dc2&tag=x")).status == 400
    assert (await api.get("/v1/event/fire/a")).status == 405


async def test_py_consul(api: Api) -> None:
    def work() -> None:
        host, port = api.address
        client: Any = consul.Consul(host=host, port=port)
        assert client.event.fire("deploy", b"v1") is not None
        index, found = client.event.list(name="deploy")
        assert int(index) > 1
        assert found[0]["Name"] == "deploy"

    await asyncio.to_thread(work)
