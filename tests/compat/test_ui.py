"""The catalog at a glance, and the mesh's part of it as far as registrations tell."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mesh.registry.levels import HIGHEST, Finalize, Found
from mesh.registry.orders import DefaultAllow
from tests.compat.agent import serving
from tests.compat.conftest import Api, until

SIDECAR = {"Kind": "connect-proxy", "Port": 20000, "Tags": ["v1"]}


@pytest.fixture
async def shop(api: Api) -> Api:
    """web with a sidecar that calls api, which is native; one of two instances of web is ill."""
    await api.register("n1", "web", Instance={"Tags": ["v1"], "Meta": {"external-source": "nomad"}})
    await api.register("n2", "web", Check={"Name": "up", "Status": "critical", "ServiceID": "web"})
    proxy = {
        "DestinationServiceName": "web",
        "Mode": "transparent",
        "Upstreams": [
            {"DestinationName": "api", "LocalBindPort": 1},
            {"DestinationType": "prepared_query", "DestinationName": "geo"},
        ],
    }
    await api.register("n1", "web-sidecar-proxy", Instance={**SIDECAR, "Proxy": proxy})
    await api.register("n2", "api", Instance={"Connect": {"Native": True}})
    node = {"Name": "alive", "Status": "warning"}
    await api.register("n2", Check=node)
    return api


async def test_nodes(shop: Api) -> None:
    found = (await shop.get("/v1/internal/ui/nodes")).json
    assert [one["Node"] for one in found] == ["n1", "n2"]
    assert [one["Service"] for one in found[0]["Services"]] == ["web", "web-sidecar-proxy"]
    assert {one["Name"] for one in found[1]["Checks"]} == {"alive", "up"}
    got = await shop.get("/v1/internal/ui/nodes", filter='Node == "n2"')
    assert [one["Node"] for one in got.json] == ["n2"]
    got = await shop.get("/v1/internal/ui/node/N2")
    assert (got.json, got.index > 1) == (found[1], True)
    got = await shop.get("/v1/internal/ui/node/none")
    assert (got.status, got.body) == (404, b"")


async def test_nodes_show_the_version_of_their_program() -> None:
    async with serving() as api:
        api.node.tags = {"build": "1.2.3:abc"}
        await api.register("n0")
        await api.register("other")
        found = {one["Node"]: one for one in (await api.get("/v1/internal/ui/nodes")).json}
        assert found["n0"]["Meta"]["consul-version"] == "1.2.3"
        assert "consul-version" not in found["other"]["Meta"]


async def test_services(shop: Api) -> None:
    found = {one["Name"]: one for one in (await shop.get("/v1/internal/ui/services")).json}
    assert list(found) == ["api", "web", "web-sidecar-proxy"]
    assert found["web"] == {
        "Name": "web",
        "Datacenter": "dc1",
        "Tags": ["v1"],
        "Nodes": ["n1", "n2"],
        "ExternalSources": ["nomad"],
        "InstanceCount": 2,
        "ChecksPassing": 0,
        "ChecksWarning": 1,
        "ChecksCritical": 1,
        "GatewayConfig": {},
        "TransparentProxy": True,
        "ConnectNative": False,
        "InstanceHealth": {"Passing": 1, "Warning": 0, "Critical": 1, "Maintenance": 0},
        "ConnectedWithProxy": True,
        "ConnectedWithGateway": False,
    }
    assert found["web-sidecar-proxy"]["Kind"] == "connect-proxy"
    assert found["web-sidecar-proxy"]["ProxyFor"] == ["web"]
    assert found["api"]["ConnectNative"]
    got = await shop.get("/v1/internal/ui/services", filter="ConnectedWithProxy == true")
    assert [one["Name"] for one in got.json] == ["web"]
    for path in ("exported-services?peer=x", "gateway-services-nodes/gw", "gateway-intentions/gw"):
        assert (await shop.get(f"/v1/internal/ui/{path}")).json == []


async def test_services_in_few_words(shop: Api) -> None:
    found = {one["Name"]: one for one in (await shop.get("/v1/internal/ui/service-list")).json}
    assert list(found) == ["api", "web", "web-sidecar-proxy"]
    assert found["web"] == {
        "Name": "web",
        "Tags": ["v1"],
        "ExternalSources": ["nomad"],
        "Instances": 2,
        "Passing": 1,
        "Critical": 1,
        "ChecksWarning": 1,
        "ChecksCritical": 1,
        "Mesh": "proxy",
    }
    assert found["api"]["Mesh"] == "native"
    sidecar = found["web-sidecar-proxy"]
    assert (sidecar["Kind"], sidecar["ProxyFor"]) == ("connect-proxy", ["web"])
    assert "Mesh" not in sidecar


async def test_overview(shop: Api) -> None:
    found = (await shop.get("/v1/internal/ui/catalog-overview")).json
    assert found["Nodes"] == [{"Total": 2, "Passing": 1, "Warning": 1, "Critical": 0}]
    assert found["Services"] == [
        {"Name": "api", "Total": 1, "Passing": 0, "Warning": 1, "Critical": 0},
        {"Name": "web", "Total": 2, "Passing": 1, "Warning": 0, "Critical": 1},
        {"Name": "web-sidecar-proxy", "Total": 1, "Passing": 1, "Warning": 0, "Critical": 0},
    ]
    assert [(one["Name"], one["Total"]) for one in found["Checks"]] == [("alive", 1), ("up", 1)]


async def test_topology(shop: Api) -> None:
    got = (await shop.get("/v1/internal/ui/service-topology/web", kind="")).json
    assert (got["Protocol"], got["TransparentProxy"], got["Downstreams"]) == ("tcp", True, [])
    (up,) = got["Upstreams"]
    assert (up["Name"], up["Source"], up["InstanceCount"]) == ("api", "proxy-registration", 1)
    assert up["Intention"]["Allowed"] is True
    got = (await shop.get("/v1/internal/ui/service-topology/api", kind="")).json
    assert ([one["Name"] for one in got["Downstreams"]], got["Upstreams"]) == (["web"], [])
    for query in ("", "?kind=mesh-gateway"):
        got = await shop.get(f"/v1/internal/ui/service-topology/web{query}")
        assert got.status == 400
        assert "service kind" in got.text


async def test_topology_has_what_intentions_decide(shop: Api) -> None:
    body = {"Kind": "service-intentions", "Name": "api"}
    source = {"Name": "web", "Action": "deny", "LegacyMeta": {}}
    assert (await shop.put("/v1/config", body | {"Sources": [source]})).json is True

    async def decided(service: str, side: str, **more: Any) -> Any:
        path = f"/v1/internal/ui/service-topology/{service}"
        got = await shop.get(path, kind="", **more)
        return got, got.json[side][0]["Intention"]

    got, found = await decided("web", "Upstreams")
    assert found == (await decided("api", "Downstreams"))[1]
    assert found == {
        "DefaultAllow": True,
        "Allowed": False,
        "HasPermissions": False,
        "ExternalSource": "",
        "HasExact": True,
        "Verdict": "deny",
        "Rule": 'the intention from "web" to "api" says deny',
        "Entry": "service-intentions/api Sources[web]",
        "Precedence": 9,
        "SourceName": "web",
        "DestinationName": "api",
        "Permissions": [],
    }
    waiting = asyncio.create_task(decided("web", "Upstreams", index=got.index, wait="10s"))
    await until(lambda: shop.registry.blocked == 1)
    await shop.put("/v1/connect/intentions/exact?source=web&destination=api", {"Action": "allow"})
    assert (await waiting)[1]["Verdict"] == "allow"


async def test_settings_of_the_ui() -> None:
    urls = {"service": "https://boards.example/{{Service.Name}}"}
    chosen = {"dashboard_urls": urls, "default_intention_policy": "deny"}
    async with serving(http=chosen) as api:
        got = await api.get("/v1/internal/ui/settings")
        assert got.json == {"DashboardURLTemplates": urls, "DefaultIntentionPolicy": "deny"}


async def test_the_policy_of_another_datacenter_is_that_of_a_server_there(shop: Api) -> None:
    await shop.registry.write(Found(HIGHEST))
    shop.registry.outcomes[DefaultAllow] = False
    got = await shop.get("/v1/internal/ui/settings", dc="dc2")
    assert got.json["DefaultIntentionPolicy"] == "deny"
    matrix = (await shop.get("/v1/internal/ui/intention-matrix", dc="dc2")).json
    others = matrix["Cells"][matrix["Rows"][0]["Others"]]
    assert (matrix["DefaultAllow"], others["Says"]) == (False, "deny")
    path = "/v1/internal/ui/service-topology/web"
    found = (await shop.get(path, kind="", dc="dc2")).json["Upstreams"]
    assert [one["Intention"]["Allowed"] for one in found] == [False]
    assert {options.datacenter for _, options in shop.registry.orders} == {"dc2"}


async def test_connected_instances(shop: Api) -> None:
    got = await shop.get("/v1/catalog/connect/WEB")
    assert [one["ServiceID"] for one in got.json] == ["web-sidecar-proxy"]
    assert got.json[0]["ServiceProxy"]["DestinationServiceName"] == "web"
    got = await shop.get("/v1/health/connect/api")
    assert [one["Service"]["ID"] for one in got.json] == ["api"]
    assert got.headers["x-consul-effective-consistency"] == "leader"
    assert (await shop.get("/v1/health/connect/api", passing="")).json == []
    assert len((await shop.get("/v1/catalog/connect/web", tag="V1")).json) == 1
    assert (await shop.get("/v1/catalog/connect/web", tag="v2")).json == []
    assert (await shop.get("/v1/health/connect/web", passing="x")).status == 400
    for path in ("/v1/health/ingress/web", "/v1/catalog/gateway-services/gw"):
        got = await shop.get(path)
        assert (got.json, got.index >= 1) == ([], True)


async def test_a_watch_of_connected_instances_sleeps_through_other_changes(shop: Api) -> None:
    index = (await shop.get("/v1/health/connect/web")).index
    await shop.register("n3", "db")
    assert (await shop.get("/v1/health/connect/web")).index == index


async def test_federation_states(shop: Api) -> None:
    await shop.register("n1", "gw", Instance={"Kind": "mesh-gateway", "Port": 443})
    (state,) = (await shop.get("/v1/internal/federation-states")).json
    assert (state["Datacenter"], state["UpdatedAt"]) == ("dc1", "0001-01-01T00:00:00Z")
    assert [one["Service"]["ID"] for one in state["MeshGateways"]] == ["gw"]
    got = await shop.get("/v1/internal/federation-state/dc1")
    assert got.json == {"State": state}
    assert (await shop.get("/v1/internal/federation-state/dc9")).status == 404
    got = await shop.get("/v1/internal/federation-states/mesh-gateways")
    assert got.json == {"dc1": state["MeshGateways"]}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/v1/internal/acl/authorize", b"[]", 401, "ACL support disabled"),
        ("POST", "/v1/internal/acl/authorize", b"[" + b"{}," * 64 + b"{}]", 400, "more than 64"),
        ("POST", "/v1/peering/token", b'{"PeerName": "p"}', 500, "peering must be enabled"),
        ("POST", "/v1/peering/establish", b"{}", 500, "peering must be enabled"),
        ("GET", "/v1/peering/p", b"", 500, "peering must be enabled"),
        ("DELETE", "/v1/peering/p", b"", 500, "peering must be enabled"),
        ("GET", "/v1/peerings", b"", 500, "peering must be enabled"),
        ("PUT", "/v1/internal/service-virtual-ip", b"{}", 400, "Service"),
        (
            "PUT",
            "/v1/internal/service-virtual-ip",
            b'{"Service": "a", "ManualVIPs": ["::1"]}',
            400,
            "ManualVIPs",
        ),
    ],
)
async def test_what_there_is_not(
    api: Api, method: str, path: str, body: bytes, status: int, text: str
) -> None:
    got = await api.ask(method, path, body)
    assert (got.status, text in got.text) == (status, True)


async def test_no_service_has_virtual_addresses(api: Api) -> None:
    body: dict[str, Any] = {"Service": "web", "ManualVIPs": ["240.0.0.1"]}
    got = await api.put("/v1/internal/service-virtual-ip", body)
    assert got.json == {"ServiceFound": False, "UnassignedFrom": []}


async def test_nodes_at_a_glance(shop: Api) -> None:
    found = (await shop.get("/v1/internal/ui/node-list")).json
    assert [one["Node"] for one in found] == ["n1", "n2"]
    assert (found[0]["Status"], found[0]["Instances"], found[0]["Meshed"]) == ("passing", 2, 1)
    assert (found[1]["Status"], found[1]["ChecksCritical"]) == ("critical", 1)
    for search in ('Services contains "api"', "ChecksCritical != 0", "Status == critical"):
        got = await shop.get("/v1/internal/ui/node-list", filter=search)
        assert [one["Node"] for one in got.json] == ["n2"]
    assert (await shop.get("/v1/internal/ui/node-list", filter="Odd == 1")).status == 500


async def test_since_when_checks_have_their_status(shop: Api) -> None:
    for level in range(2, HIGHEST + 1):
        await shop.registry.write(Finalize(level))
    path = "/v1/internal/ui/check-dates"
    check = {"Node": "n2", "CheckID": "disk", "Name": "disk", "Status": "warning"}
    entry = {"Node": "n2", "Address": "10.0.0.2", "Check": check}
    assert (await shop.put("/v1/catalog/register", entry)).status == 200
    first = await shop.get(path, node="n2")
    dated = {one["CheckID"]: (one["Status"], one["Since"]) for one in first.json}
    assert dated["disk"][0] == "warning"
    assert dated["disk"][1].endswith("Z")
    check["Output"] = "fuller"
    assert (await shop.put("/v1/catalog/register", entry)).status == 200
    again = (await shop.get(path, node="n2")).json
    assert {one["CheckID"]: (one["Status"], one["Since"]) for one in again} == dated
    assert {one["Node"] for one in (await shop.get(path, service="web")).json} >= {"n2"}
    assert (await shop.get(path)).status == 400
    assert (await shop.get(path, node="n2", service="api")).status == 400


async def test_sessions_with_what_they_hold(shop: Api) -> None:
    body = {"Node": "n1", "NodeChecks": [], "Name": "backup", "TTL": "30s"}
    session = (await shop.put("/v1/session/create", body)).json["ID"]
    await shop.put(f"/v1/kv/locks/backup?acquire={session}", b"x")
    [one] = (await shop.get("/v1/internal/ui/sessions")).json
    assert (one["ID"], one["Name"], one["Held"], one["Keys"]) == (
        session,
        "backup",
        1,
        ["locks/backup"],
    )
    assert one["BegunAfter"] <= one["BegunBefore"]
    assert (await shop.get(f"/v1/internal/ui/session/{session}")).json == [one]
    assert (await shop.get("/v1/internal/ui/session/none")).json == []


async def test_intention_matrix(shop: Api) -> None:
    await shop.registry.write(Found(HIGHEST))
    path = "/v1/internal/ui/intention-matrix"
    got = await shop.get(path)
    assert got.json["Services"] == [
        {"Name": "api", "Kind": "", "Meshed": True, "Calls": []},
        {"Name": "web", "Kind": "", "Meshed": True, "Calls": ["api"]},
    ]
    (row,), (cell,) = got.json["Rows"], got.json["Cells"]
    assert got.json["Intentions"] == 0
    assert (row["Destination"], row["Others"], row["Sources"]) == ("*", 0, {})
    assert (cell["Says"], cell["By"]) == ("allow", "default")
    waiting = asyncio.create_task(shop.get(path, index=str(got.index)))
    body = {"Kind": "service-intentions", "Name": "api"}
    await shop.put("/v1/config", body | {"Sources": [{"Name": "Web", "Action": "deny"}]})
    body["Name"] = "db"
    await waiting
    await shop.put("/v1/config", body | {"Sources": [{"Name": "api", "Action": "deny"}]})
    await shop.put(
        "/v1/config",
        body | {"Name": "*", "Sources": [{"Name": "x", "Action": "deny", "DryRun": True}]},
    )
    found = (await shop.get(path)).json
    listed = (await shop.get("/v1/connect/intentions?dry-run=true")).json
    assert found["Intentions"] == len(listed) == 3
    rows = {one["Destination"]: one for one in found["Rows"]}
    assert found["Cells"][rows["api"]["Sources"]["Web"]] == {
        "Says": "deny",
        "By": "exact",
        "Rule": "",
        "Source": "",
        "Destination": "",
        "Permissions": 0,
        "Token": False,
        "Trial": "",
    }
    assert rows["db"]["Sources"]["api"] == rows["api"]["Sources"]["Web"], "told once"
    assert found["Cells"][rows["api"]["Others"]]["By"] == "default"
