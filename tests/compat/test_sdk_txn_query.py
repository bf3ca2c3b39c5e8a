"""Transactions and prepared queries through the Python client, over a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import consul
import pytest

from mesh.client import Client, ReadOptions, Settings
from mesh.client import txn as ops
from mesh.client.aio import AsyncClient
from mesh.client.query import Definition, Dns, ServiceQuery, Template
from mesh.errors import Internal, Invalid, NotFound
from tests.compat.conftest import Api


def settings(api: Api) -> Settings:
    host, port = api.address
    return Settings(address=f"{host}:{port}")


@pytest.fixture
async def client(api: Api) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(settings(api)) as client:
        yield client


async def test_a_transaction(client: AsyncClient) -> None:
    outcome = await client.txn.apply(
        [
            ops.kv("set", "a", "1", flags=3),
            ops.kv("get", "a"),
            ops.node("set", {"Node": "n1", "Address": "10.0.0.1"}),
            ops.service("set", "n1", {"Service": "web", "Port": 80}),
            ops.check("set", {"Node": "n1", "CheckID": "c", "Status": "passing"}),
            ops.end_session("5f0f1f5a-4c39-4b1f-9d26-5f0f1f5a4c39"),
        ]
    )
    assert outcome.done
    written, got, node, service, check = outcome.results
    assert written.kv is not None
    assert got.kv is not None
    assert (written.kv.value, got.kv.value, got.kv.flags) == (b"", b"1", 3)
    assert node.node is not None
    assert service.service is not None
    assert check.check is not None
    assert (node.node.name, service.service.port, check.check.check_id) == ("n1", 80, "c")


async def test_what_failed_is_told(client: AsyncClient) -> None:
    outcome = await client.txn.apply([ops.kv("get", "x"), ops.kv("cas", "y", "1", index=7)])
    assert not outcome.done
    assert [(one.op, one.what) for one in outcome.errors] == [
        (0, 'key "x" does not exist'),
        (1, 'index is stale: key "y" does not exist, so its modify index is not 7'),
    ]
    stale = ReadOptions(consistency="stale")
    assert (await client.txn.apply([ops.kv("get-tree", "x")], stale)).results == []
    with pytest.raises(Invalid, match="decode"):
        await client.txn.apply([{"Odd": {}}])


async def test_prepared_queries(client: AsyncClient, api: Api) -> None:
    await api.register("n1", "web")
    definition = Definition(
        name="w-",
        template=Template(type="name_prefix_match"),
        service=ServiceQuery(service="${name.suffix}"),
        dns=Dns(ttl="5s"),
    )
    made = await client.query.create(definition)
    assert [one.id for one in (await client.query.listed()).value] == [made]
    found = (await client.query.get(made)).value
    assert found is not None
    assert found.template.type == "name_prefix_match"
    changed = {"Name": "v-", "Template": {"Type": "name_prefix_match"}}
    await client.query.update(made, changed | {"Service": {"Service": "${name.suffix}"}})
    executed = (await client.query.execute("v-web", limit=3)).value
    assert [one.node.name for one in executed.nodes] == ["n1"]
    assert (executed.datacenter, executed.failovers) == ("dc1", 0)
    assert (await client.query.explain("v-db")).service.service == "db"
    with pytest.raises(NotFound):
        await client.query.execute("w-web")
    await client.query.delete(made)
    assert (await client.query.get(made)).value is None
    with pytest.raises(Internal, match="non-existent"):
        await client.query.delete(made)


async def test_the_client_that_blocks_has_them_too(api: Api) -> None:
    def work() -> list[str]:
        with Client(settings(api)) as client:
            client.txn.apply([ops.kv("set", "a", "1")])
            client.query.create({"Name": "q", "Service": {"Service": "web"}})
            return [one.name for one in client.query.listed().value]

    assert await asyncio.to_thread(work) == ["q"]
    assert (await api.get("/v1/kv/a?raw")).body == b"1"


async def test_py_consul_has_them_too(api: Api) -> None:
    host, port = api.address
    client = consul.Consul(host=host, port=port)

    def work() -> None:
        op = {"KV": {"Verb": "set", "Key": "k", "Value": "eA=="}}
        assert client.txn.put([op])["Results"][0]["KV"]["Key"] == "k"
        with pytest.raises(consul.ConsulException, match="409"):
            client.txn.put([{"KV": {"Verb": "check-not-exists", "Key": "k"}}])
        made = client.query.create("web", "q", tags=["v1"], ttl="10s", onlypassing=True)["ID"]
        made_too = client.query.create("${name.suffix}", "t-", regexp="^(.*)$", nearestn=3)["ID"]
        assert {one["ID"] for one in client.query.list()} == {made, made_too}
        assert client.query.get(made)[0]["DNS"]["TTL"] == "10s"
        assert client.query.execute("q", near="_agent", limit=1)["Nodes"][0]["Node"]["Node"] == "n1"
        assert client.query.explain("t-db")["Query"]["Service"]["Service"] == "db"
        client.query.update(made, "web", name="r")
        client.query.delete(made)
        assert client.query.get(made) is None

    await api.register("n1", "web", Instance={"Tags": ["v1"]})
    await asyncio.to_thread(work)
