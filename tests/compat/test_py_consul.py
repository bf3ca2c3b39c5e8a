"""py-consul from PyPI, unmodified, against a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import consul
import pytest

from tests.compat.conftest import Api


@pytest.fixture
def client(api: Api) -> Any:
    host, port = api.address
    return consul.Consul(host=host, port=port)


async def test_kv_with_cas(client: Any) -> None:
    def work() -> None:
        assert client.kv.get("a/x") == ("1", None)
        assert client.kv.put("a/x", "one", cas=0) is True
        assert client.kv.put("a/x", "two", cas=0) is False
        index, pair = client.kv.get("a/x")
        assert (pair["Value"], index) == (b"one", str(pair["ModifyIndex"]))
        assert client.kv.put("a/x", b"\x00\xff", cas=pair["ModifyIndex"], flags=7) is True
        _, pair = client.kv.get("a/x", consistency="consistent")
        assert (pair["Value"], pair["Flags"]) == (b"\x00\xff", 7)
        client.kv.put("a/y", None)
        assert client.kv.get("", keys=True)[1] == ["a/x", "a/y"]
        assert client.kv.get("", keys=True, separator="/")[1] == ["a/"]
        _, pairs = client.kv.get("a/", recurse=True)
        assert [pair["Value"] for pair in pairs] == [b"\x00\xff", None]
        assert client.kv.delete("a/x", cas=1) is False
        assert client.kv.delete("a/", recurse=True) is True
        assert client.kv.get("a/", recurse=True)[1] is None
        with pytest.raises(consul.ConsulException, match="invalid session"):
            client.kv.put("a/x", "1", acquire="session")

    await asyncio.to_thread(work)


async def test_a_watch(api: Api, client: Any) -> None:
    await api.put("/v1/kv/x", "1")
    index, _ = await asyncio.to_thread(client.kv.get, "x")
    waiting = asyncio.create_task(asyncio.to_thread(client.kv.get, "x", index=index, wait="30s"))
    await api.blocked()
    await api.put("/v1/kv/x", "2")
    newer, pair = await waiting
    assert int(newer) > int(index)
    assert pair["Value"] == b"2"


async def test_catalog_and_health(client: Any) -> None:
    def work() -> None:
        service = {"Service": "web", "ID": "web1", "Tags": ["v1"], "Port": 80}
        check = {"Name": "probe", "Status": "passing", "ServiceID": "web1"}
        assert client.catalog.register("n1", "10.0.0.1", service=service, check=check, token="t")
        _, nodes = client.catalog.nodes(near="_agent")
        assert [node["Node"] for node in nodes] == ["n1"]
        assert client.catalog.services()[1] == {"web": ["v1"]}
        index, instances = client.catalog.service("web", tag="v1")
        assert instances[0]["ServicePort"] == 80
        assert int(index) >= 1
        assert client.catalog.node("n1")[1]["Services"]["web1"]["Service"] == "web"
        assert client.catalog.node("none")[1] is None
        _, entries = client.health.service("web", passing=True, tag="v1")
        assert entries[0]["Checks"][0]["Name"] == "probe"
        assert len(client.health.checks("web")[1]) == 1
        assert len(client.health.node("n1")[1]) == 1
        assert len(client.health.state("passing")[1]) == 1
        assert client.catalog.deregister("n1", service_id="web1") is True
        assert client.health.service("web")[1] == []
        assert client.status.leader() == "127.0.0.1:8300"
        assert client.status.peers() == ["127.0.0.1:8300"]
        assert client.catalog.datacenters() == ["dc1"]
        assert client.catalog.nodes(filter_expr="Node == n2")[1] == []
        with pytest.raises(consul.ConsulException, match="Invalid filter"):
            client.health.service("web", filter_expr="Nod.Node == n1")

    await asyncio.to_thread(work)
