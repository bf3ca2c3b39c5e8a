"""/v1/catalog as clients see it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.conftest import Api

NODE_ID = "40e4a748-2192-161a-0510-9bf59fe950b5"
FULL: dict[str, Any] = {
    "Datacenter": "dc1",
    "ID": NODE_ID,
    "Node": "n1",
    "Address": "10.0.0.1",
    "TaggedAddresses": {"lan": "10.0.0.1"},
    "NodeMeta": {"rack": "a"},
    "Service": {
        "ID": "web1",
        "Service": "web",
        "Tags": ["v1"],
        "Address": "10.1.0.1",
        "Port": 80,
        "Meta": {"k": "v"},
        "Weights": {"Passing": 5, "Warning": 2},
        "TaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 8080}},
    },
    "Check": {"CheckID": "c1", "Name": "alive", "Status": "passing", "ServiceID": "web1"},
}
NODE = {
    "ID": NODE_ID,
    "Node": "n1",
    "Address": "10.0.0.1",
    "Datacenter": "dc1",
    "TaggedAddresses": {"lan": "10.0.0.1"},
    "Meta": {"rack": "a"},
    "CreateIndex": 1,
    "ModifyIndex": 1,
}
SERVICE = {
    "ID": "web1",
    "Service": "web",
    "Tags": ["v1"],
    "Address": "10.1.0.1",
    "TaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 8080}},
    "Meta": {"k": "v"},
    "Port": 80,
    "Weights": {"Passing": 5, "Warning": 2},
    "EnableTagOverride": False,
    "Proxy": {"Mode": "", "MeshGateway": {}, "Expose": {}},
    "Connect": {},
    "PeerName": "",
    "CreateIndex": 1,
    "ModifyIndex": 1,
}


async def test_what_is_registered_is_listed(api: Api) -> None:
    got = await api.put("/v1/catalog/register", FULL)
    assert (got.status, got.json) == (200, True)
    got = await api.get("/v1/catalog/nodes")
    assert got.json == [NODE]
    assert got.headers["x-consul-effective-consistency"] == "leader"
    assert (await api.get("/v1/catalog/services")).json == {"web": ["v1"]}
    assert (await api.get("/v1/catalog/service/web")).json == [
        {
            "ID": NODE_ID,
            "Node": "n1",
            "Address": "10.0.0.1",
            "Datacenter": "dc1",
            "TaggedAddresses": {"lan": "10.0.0.1"},
            "NodeMeta": {"rack": "a"},
            "ServiceKind": "",
            "ServiceID": "web1",
            "ServiceName": "web",
            "ServiceTags": ["v1"],
            "ServiceAddress": "10.1.0.1",
            "ServiceTaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 8080}},
            "ServiceWeights": {"Passing": 5, "Warning": 2},
            "ServiceMeta": {"k": "v"},
            "ServicePort": 80,
            "ServiceSocketPath": "",
            "ServiceEnableTagOverride": False,
            "ServiceProxy": {"Mode": "", "MeshGateway": {}, "Expose": {}},
            "ServiceConnect": {},
            "CreateIndex": 1,
            "ModifyIndex": 1,
        }
    ]
    assert (await api.get("/v1/catalog/node/n1")).json == {
        "Node": NODE,
        "Services": {"web1": SERVICE},
    }
    by_id = await api.get(f"/v1/catalog/node-services/{NODE_ID[:4]}")
    assert by_id.json == {"Node": NODE, "Services": [SERVICE]}


async def test_what_was_read_can_be_registered_again(api: Api) -> None:
    await api.put("/v1/catalog/register", FULL)
    entry = (await api.get("/v1/health/service/web")).json[0]
    again = {
        "Node": "n1",
        "SkipNodeUpdate": True,
        "Service": entry["Service"],
        "Checks": entry["Checks"],
    }
    assert (await api.put("/v1/catalog/register", again)).json is True


async def test_defaults_are_never_null(api: Api) -> None:
    body = {"Node": "n1", "Address": "10.0.0.1", "Service": {"Service": "web", "Tags": None}}
    await api.put("/v1/catalog/register", body)
    found = (await api.get("/v1/catalog/service/web")).json[0]
    assert (found["ServiceID"], found["ServiceTags"], found["ServiceMeta"]) == ("web", [], {})
    assert found["ServiceWeights"] == {"Passing": 1, "Warning": 1}
    assert found["Datacenter"] == "dc1"
    assert "ServiceTaggedAddresses" not in found
    service = (await api.get("/v1/catalog/node/n1")).json["Services"]["web"]
    assert not {"Kind", "SocketPath", "TaggedAddresses", "Locality"} & set(service)


async def test_a_proxy_keeps_its_block(api: Api) -> None:
    proxy = {"DestinationServiceName": "web", "Config": {"a": 1}}
    instance = {"Kind": "connect-proxy", "Proxy": proxy, "Connect": {"Native": True}}
    await api.register("n1", "web-proxy", Instance=instance)
    service = (await api.get("/v1/catalog/node/n1")).json["Services"]["web-proxy"]
    assert service["Kind"] == "connect-proxy"
    assert service["Proxy"] == {"Mode": "", "MeshGateway": {}, "Expose": {}} | proxy
    assert service["Connect"] == {"Native": True}


async def test_unknown_things_rarely_404(api: Api) -> None:
    for path, body in (
        ("/v1/catalog/nodes", b"[]"),
        ("/v1/catalog/services", b"{}"),
        ("/v1/catalog/service/x", b"[]"),
        ("/v1/catalog/node/x", b"null"),
        ("/v1/catalog/node-services/x", b'{"Node":null,"Services":null}'),
        ("/v1/health/node/x", b"[]"),
        ("/v1/health/checks/x", b"[]"),
        ("/v1/health/service/x", b"[]"),
        ("/v1/health/state/any", b"[]"),
    ):
        got = await api.get(path)
        assert (got.status, got.body, got.index) == (200, body, 1), path


async def test_tags_are_anded_in_any_case(api: Api) -> None:
    await api.register("n1", "web", Instance={"Tags": ["V1", "prod"]})
    await api.register("n2", "web", Instance={"Tags": ["v1"]})
    for path in ("/v1/catalog/service/web", "/v1/health/service/web"):
        assert len((await api.get(path)).json) == 2
        assert len((await api.get(f"{path}?tag=v1")).json) == 2
        assert len((await api.get(f"{path}?tag=v1&tag=PROD")).json) == 1
        assert len((await api.get(f"{path}?tag=none")).json) == 0
    assert (await api.get("/v1/catalog/services")).json == {"web": ["V1", "prod", "v1"]}


async def test_node_meta_is_anded(api: Api) -> None:
    await api.register("n1", "web", NodeMeta={"a": "1", "b": "2"})
    await api.register("n2", "db", NodeMeta={"a": "1"})
    only = "node-meta=a:1&node-meta=b:2"
    assert len((await api.get("/v1/catalog/nodes?node-meta=a:1")).json) == 2
    assert [node["Node"] for node in (await api.get(f"/v1/catalog/nodes?{only}")).json] == ["n1"]
    assert (await api.get(f"/v1/catalog/services?{only}")).json == {"web": []}
    assert (await api.get(f"/v1/catalog/service/db?{only}")).json == []
    assert len((await api.get("/v1/catalog/service/db?node-meta=a:1&near=_agent")).json) == 1


async def test_deregister(api: Api) -> None:
    await api.put("/v1/catalog/register", FULL)
    body = {"Node": "n1", "ServiceID": "web1", "CheckID": "ignored"}
    assert (await api.put("/v1/catalog/deregister", body)).json is True
    assert (await api.get("/v1/catalog/services")).json == {}
    assert (await api.get("/v1/health/node/n1")).json == []
    assert (await api.put("/v1/catalog/deregister", {"Node": "n1"})).json is True
    assert (await api.get("/v1/catalog/nodes")).json == []
    assert (await api.put("/v1/catalog/deregister", {"Node": "none"})).json is True


@pytest.mark.parametrize(
    ("more", "status", "text"),
    [
        ({"Node": ""}, 400, "Node"),
        ({"Address": ""}, 400, "Address"),
        ({"ID": "nonsense"}, 400, "UUID"),
        ({"PeerName": "east"}, 400, "PeerName"),
        ({"Service": {"ID": "x"}}, 400, "needs a name"),
        ({"Check": {"Name": "c", "Node": "other"}}, 400, "not the node registered"),
        ({"Check": {"Name": "c", "Status": "odd"}}, 400, "expected one of"),
        ({"Check": {"Name": "c", "ServiceID": "none"}}, 400, "no service"),
        ({"Partition": "p"}, 400, 'unknown field "Partition"'),
    ],
)
async def test_refused_registrations(
    api: Api, more: dict[str, Any], status: int, text: str
) -> None:
    body = {"Node": "n1", "Address": "10.0.0.1"} | more
    got = await api.put("/v1/catalog/register", body)
    assert got.status == status
    assert text in got.text
    assert (await api.get("/v1/catalog/nodes")).json == []


async def test_a_missing_name_is_400(api: Api) -> None:
    for path in ("catalog/service/", "catalog/node/", "health/service/", "health/state/"):
        got = await api.get(f"/v1/{path}")
        assert got.status == 400
        assert got.text.startswith("Missing ")


async def test_what_is_not_there_yet_is_refused(api: Api) -> None:
    for path in ("catalog/nodes", "catalog/service/web", "health/service/web", "health/state/any"):
        got = await api.get(f"/v1/{path}?peer=east")
        assert got.status == 400
        assert "not available yet" in got.text
    assert (await api.get("/v1/health/service/web?cached&merge-central-config")).status == 200


async def test_token_and_datacenter_of_a_body(api: Api) -> None:
    body = {"Node": "n1", "Address": "a", "Datacenter": "dc2", "WriteRequest": {"Token": "s"}}
    await api.put("/v1/catalog/register", body)
    options = api.registry.writes[-1][1]
    assert (options.datacenter, options.token) == ("dc2", "s")
    assert (await api.get("/v1/catalog/nodes")).json[0]["Datacenter"] == "dc2"
    await api.put("/v1/catalog/register?dc=dc3&token=t", body)
    options = api.registry.writes[-1][1]
    assert (options.datacenter, options.token) == ("dc3", "t")


async def test_status(api: Api) -> None:
    assert (await api.get("/v1/status/leader")).body == b'"127.0.0.1:8300"'
    assert (await api.get("/v1/status/peers")).json == ["127.0.0.1:8300"]
    assert (await api.get("/v1/catalog/datacenters")).json == ["dc1"]


async def test_localities(api: Api) -> None:
    service = {"Service": "web", "Locality": {"Region": "eu", "Zone": "eu-1"}}
    await api.put(
        "/v1/catalog/register",
        {"Node": "n1", "Address": "10.0.0.1", "Locality": {"Region": "eu"}, "Service": service},
    )
    await api.register("n2", "web")
    first, second = (await api.get("/v1/catalog/nodes")).json
    assert (first["Locality"], "Locality" in second) == ({"Region": "eu", "Zone": ""}, False)
    first, second = (await api.get("/v1/catalog/service/web")).json
    assert first["ServiceLocality"] == {"Region": "eu", "Zone": "eu-1"}
    assert "ServiceLocality" not in second
    got = await api.get("/v1/health/service/web", filter='Service.Locality.Zone == "eu-1"')
    assert [one["Service"]["Locality"]["Region"] for one in got.json] == ["eu"]
    got = await api.get("/v1/internal/ui/nodes")
    assert got.json[0]["Locality"]["Region"] == "eu"
