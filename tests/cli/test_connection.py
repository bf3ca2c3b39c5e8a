"""meshctl and both clients against the real HTTP server, over a registry in memory."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator

import pytest

from mesh.cli import main
from mesh.client import Client, ReadOptions, Settings, kv
from mesh.client.aio import AsyncClient
from mesh.clock import SeededDice, SystemClock
from mesh.errors import Invalid, NoLeader
from mesh.http.server import HttpServer, Options, Parts
from tests.compat.conftest import Api
from tests.registry_memory import MemoryRegistry

REGISTRATION = {
    "Node": "n1",
    "Address": "10.0.0.1",
    "NodeMeta": {"rack": "a"},
    "Service": {"ID": "web-1", "Service": "web", "Port": 80, "Tags": ["v1"]},
    "Check": {"CheckID": "up", "Name": "up", "Status": "warning", "ServiceID": "web-1"},
}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    registry = MemoryRegistry()
    parts = Parts(registry, SystemClock(), SeededDice(1))
    options = Options(datacenter="dc1", node_name="n0", addresses=[("127.0.0.1", 0)])
    server = HttpServer(parts, options)
    await server.start()
    yield Api(server, registry)
    await server.stop()


def settings(api: Api) -> Settings:
    host, port = api.address
    return Settings(address=f"{host}:{port}")


async def test_the_awaiting_client(api: Api) -> None:
    async with AsyncClient(settings(api)) as client:
        assert await client.catalog.register(REGISTRATION)
        assert [node.meta for node in (await client.catalog.nodes()).value] == [{"rack": "a"}]
        assert (await client.catalog.services()).value == {"web": ["v1"]}
        instance = (await client.health.service("web", tags=["v1"])).value[0]
        assert (instance.address, instance.service.port, instance.status) == (
            "10.0.0.1",
            80,
            "warning",
        )
        assert (await client.health.service("web", passing=True)).value == []
        assert [check.check_id for check in (await client.health.node("n1")).value] == ["up"]
        node = (await client.catalog.node("n1")).value
        assert node is not None
        assert [service.id for service in node.services] == ["web-1"]
        assert (await client.catalog.node("none")).value is None
        assert await client.catalog.deregister("n1")
        with pytest.raises(Invalid):
            await client.catalog.register({"Node": ""})


async def test_following_a_key(api: Api) -> None:
    async with AsyncClient(settings(api)) as client:
        # An index is never 0, so the very first write of a database cannot be told from none.
        assert await client.kv.put("first", "")
        answers = client.follow(kv.get("a/b c", ReadOptions(wait_seconds=30)))
        assert (await anext(answers)).value is None
        following = asyncio.ensure_future(anext(answers))
        await api.blocked()
        assert await client.kv.put("a/b c", "x", flags=3, cas=0)
        pair = (await asyncio.wait_for(following, 10)).value
        assert pair is not None
        assert (pair.value, pair.flags) == (b"x", 3)
        assert not await client.kv.put("a/b c", "y", cas=0)
        assert await client.kv.delete("a/b c", cas=pair.modify_index)


async def test_the_blocking_client_and_errors_in_words(api: Api) -> None:
    leader = (await api.registry.status()).leader

    def work() -> None:
        with Client(settings(api)) as client:
            assert client.kv.put("a/1", b"\0\xff")
            assert client.kv.put("a/b/2", "")
            assert client.kv.keys("a/", "/").value == ["a/1", "a/b/"]
            assert [pair.value for pair in client.kv.under("a/").value] == [b"\0\xff", b""]
            assert client.kv.delete_under("a/")
            assert client.kv.under("a/").value == []
            assert client.status.leader() == leader
            api.registry.error = NoLeader("No cluster leader")
            with pytest.raises(NoLeader):
                client.kv.get("a/1")

    await asyncio.to_thread(work)


async def meshctl(api: Api, *words: str) -> tuple[int, str, str]:
    host, port = api.address
    stdout, stderr = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    process = main.Process({"MESH_HTTP_ADDR": f"{host}:{port}"}, io.BytesIO(), stdout, stderr)
    code = await asyncio.to_thread(main.run, list(words), process)
    stdout.seek(0)
    return code, stdout.read(), stderr.getvalue()


async def test_meshctl(api: Api) -> None:
    await api.put("/v1/catalog/register", REGISTRATION)
    assert await meshctl(api, "kv", "put", "a", "b") == (0, "Wrote a.\n", "")
    assert await meshctl(api, "kv", "get", "a") == (0, "b\n", "")
    assert await meshctl(api, "kv", "list") == (0, "a\n", "")
    assert await meshctl(api, "kv", "delete", "a") == (0, "Deleted a.\n", "")
    code, said, wrong = await meshctl(api, "kv", "get", "a")
    assert (code, said, wrong) == (1, "", 'meshctl: there is no key "a"\n')
    assert await meshctl(api, "catalog", "services", "-tags") == (
        0,
        "Service  Tags\nweb      v1\n",
        "",
    )
    code, said, _ = await meshctl(api, "catalog", "nodes", "--format", "json")
    assert [node["Node"] for node in json.loads(said)] == ["n1"]
    code, said, _ = await meshctl(api, "catalog", "nodes", "-service", "web", "-stale")
    assert "n1" in said
