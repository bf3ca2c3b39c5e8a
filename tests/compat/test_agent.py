"""/v1/agent over a real server, with a real agent behind it, and py-consul as a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import consul
import pytest

from tests.compat.agent import AgentApi, serving
from tests.compat.conftest import Got, until

TTL = {"TTL": "1h"}


@pytest.fixture
async def api() -> AsyncIterator[AgentApi]:
    async with serving() as made:
        yield made


async def test_a_service_as_it_is_shown(api: AgentApi) -> None:
    check = {"CheckID": "c", "Notes": "n", "Timeout": "5s", "Status": "passing"} | TTL
    await api.service(Name="web", ID="web1", Tags=["a"], Port=80, Address="10.0.0.5", Check=check)
    address = {"Address": "10.0.0.5", "Port": 80}
    shown = {
        "ID": "web1",
        "Service": "web",
        "Tags": ["a"],
        "Meta": {},
        "Port": 80,
        "Address": "10.0.0.5",
        "TaggedAddresses": {"lan_ipv4": address, "wan_ipv4": address},
        "Weights": {"Passing": 1, "Warning": 1},
        "EnableTagOverride": False,
        "Datacenter": "dc1",
    }
    assert (await api.get("/v1/agent/services")).json == {"web1": shown}
    got = await api.get("/v1/agent/service/web1")
    digest = got.headers["x-consul-contenthash"]
    assert got.json == shown | {"ContentHash": digest}
    row = (await api.get("/v1/agent/checks")).json["c"]
    expected = {
        "Node": "n0",
        "CheckID": "c",
        "Name": "Service 'web' check",
        "Status": "passing",
        "Notes": "n",
        "Output": "",
        "ServiceID": "web1",
        "ServiceName": "web",
        "ServiceTags": ["a"],
        "Type": "ttl",
        "Timeout": "5s",
    }
    assert {name: row[name] for name in expected} == expected
    await api.service(Name="bare")
    bare = (await api.get("/v1/agent/services")).json["bare"]
    assert (bare["Tags"], bare["Meta"], bare["Address"]) == ([], {}, "")


async def test_a_hash_waits_for_a_change(api: AgentApi) -> None:
    await api.service(Name="web")
    path = "/v1/agent/service/web"
    first = (await api.get(path)).json["ContentHash"]
    assert (await api.get(path, hash="other")).json["ContentHash"] == first
    assert (await api.get(path, hash=first, wait="20ms")).json["ContentHash"] == first
    waiting = asyncio.create_task(api.get(path, hash=first, wait="30s"))
    await until(lambda: bool(api.agent._listeners))
    await api.service(Name="other")
    assert not waiting.done()
    await api.service(Name="web", Port=9)
    assert (await waiting).json["Port"] == 9
    waiting = asyncio.create_task(api.get(path, hash=(await api.get(path)).json["ContentHash"]))
    await until(lambda: bool(api.agent._listeners))
    await api.done("/v1/agent/service/deregister/web")
    assert (await waiting).status == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("service/register", {"ID": "x"}, 400, "Name: a service needs a name"),
        ("service/register", {"Name": "x", "Prot": 1}, 400, "unknown field Prot"),
        ("service/register", {"Name": "x", "Namespace": "n"}, 400, "unknown field Namespace"),
        ("service/register", {"Name": "x", "Address": "::"}, 400, "Address"),
        ("service/register", {"Name": "x", "Check": {"UDP": "a"}}, 400, "UDP: expected"),
        ("service/register", "[]", 400, "Request decode failed"),
        ("service/register", "{", 400, "Request decode failed"),
        ("service/register", b"", 400, "Request decode failed"),
        ("service/register", "[" * 100_000, 400, "Request decode failed"),
        (
            "service/register",
            {"Name": "x", "Check": {"Args": ["true"], "Interval": "1s"}},
            500,
            "Scripts are disabled",
        ),
        ("check/register", {"TTL": "1s"}, 400, "Name: a check needs a name"),
        ("check/register", {"Name": "x"}, 400, "needs one of HTTP"),
        ("check/register", {"Name": "x", "Status": "ok"} | TTL, 400, "Status: expected one of"),
        ("check/register", {"Name": "x", "ServiceID": "y"} | TTL, 404, 'no service "y"'),
        (
            "check/register",
            {"Name": "x", "Args": ["true"], "Interval": "1s"},
            500,
            "Scripts are disabled",
        ),
        ("service/deregister/none", b"", 404, 'Unknown service ID "none"'),
        ("service/deregister/", b"", 400, "Missing service ID"),
        ("check/deregister/none", b"", 404, 'Unknown check ID "none"'),
        ("check/pass/none", b"", 404, 'Unknown check ID "none"'),
        ("check/update/none", {"Status": "passing"}, 404, 'Unknown check ID "none"'),
        ("check/update/none", {"Status": "fine"}, 400, "Invalid check status"),
        ("check/update/none", {"Statsu": "fine"}, 400, "Statsu"),
        ("maintenance", b"", 400, "Missing value for enable"),
        ("maintenance?enable=maybe", b"", 400, "enable"),
        ("maintenance?enable", b"", 400, "enable"),
        ("service/maintenance/none", b"", 400, "enable"),
        ("service/maintenance/none?enable=true", b"", 404, 'Unknown service ID "none"'),
        ("service/maintenance/?enable=true", b"", 400, "Missing service ID"),
    ],
)
async def test_refusals(api: AgentApi, path: str, body: Any, status: int, text: str) -> None:
    got = await api.put(f"/v1/agent/{path}", body)
    assert got.status == status, got
    assert text in got.text
    assert not api.agent.services()


async def test_setting_ttl_checks(api: AgentApi) -> None:
    await api.done("/v1/agent/check/register", {"Name": "c"} | TTL)
    await api.done(
        "/v1/agent/check/register", {"Name": "t", "TCP": "127.0.0.1:1", "Interval": 1e12}
    )
    row = api.agent.checks
    for verb, status in (("pass", "passing"), ("warn", "warning"), ("fail", "critical")):
        await api.done(f"/v1/agent/check/{verb}/c?note=so+{verb}")
        assert (row()["c"].row.status, row()["c"].row.output) == (status, f"so {verb}")
    await api.done("/v1/agent/check/update/c", {"status": "warning", "OUTPUT": "hm"})
    assert (row()["c"].row.status, row()["c"].row.output) == ("warning", "hm")
    got = await api.put("/v1/agent/check/pass/t")
    assert (got.status, got.text) == (500, 'CheckID "t" is not a TTL check')
    await api.done("/v1/agent/check/deregister/c")
    assert "c" not in (await api.get("/v1/agent/checks")).json


async def test_health_codes(api: AgentApi) -> None:
    async def both() -> list[Got]:
        paths = ("service/id/web1", "service/name/web")
        return [await api.get(f"/v1/agent/health/{path}") for path in paths]

    await api.service(Name="web", ID="web1", Check={"CheckID": "c"} | TTL)
    for verb, code, word in (("pass", 200, "passing"), ("warn", 429, "warning")):
        await api.done(f"/v1/agent/check/{verb}/c")
        one, many = await both()
        assert (one.status, many.status) == (code, code)
        assert one.json["AggregatedStatus"] == word
        assert one.json["Service"]["ID"] == "web1"
        assert [check["CheckID"] for check in one.json["Checks"]] == ["c"]
        assert many.json == [one.json]
    await api.done("/v1/agent/check/pass/c")
    await api.service(Name="web", ID="web2", Check={"CheckID": "d"} | TTL)
    one, many = await both()
    assert (one.status, many.status) == (200, 503)
    assert many.headers["x-consul-reason"] == "critical"
    await api.done("/v1/agent/maintenance?enable=true&reason=disks")
    for got in await both():
        assert got.status == 503
    text = await api.get("/v1/agent/health/service/id/web1", format="text")
    assert (text.status, text.text) == (503, "maintenance")
    asked = await api.ask("GET", "/v1/agent/health/service/name/web", b"", {"Accept": "text/plain"})
    assert (asked.status, asked.text) == (503, "maintenance")
    await api.done("/v1/agent/maintenance?enable=false")
    assert (await both())[0].status == 200
    assert (await api.get("/v1/agent/health/service/id/none")).status == 404
    none = await api.get("/v1/agent/health/service/name/none")
    assert (none.status, none.json) == (404, [])


async def test_service_maintenance_and_replacing_checks(api: AgentApi) -> None:
    await api.service(Name="web", Checks=[{"CheckID": "a"} | TTL, {"CheckID": "b"} | TTL])
    await api.done("/v1/agent/service/maintenance/web?enable=true&reason=x")
    path = "/v1/agent/service/register?replace-existing-checks"
    await api.done(path, {"Name": "web", "Check": {"CheckID": "a"} | TTL})
    assert sorted((await api.get("/v1/agent/checks")).json) == ["_service_maintenance:web", "a"]
    await api.done("/v1/agent/service/maintenance/web?enable=false")
    assert sorted((await api.get("/v1/agent/checks")).json) == ["a"]


@pytest.fixture
def client(api: AgentApi) -> Any:
    host, port = api.address
    return consul.Consul(host=host, port=port)


async def test_py_consul_registers_a_service_with_a_check(
    api: AgentApi, client: Any, tmp_path: Path
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    def register() -> None:
        check = consul.Check.http(f"http://127.0.0.1:{port}/", "10s", timeout="2s", deregister="5m")
        assert client.agent.service.register(
            "web", service_id="web1", address="127.0.0.1", port=port, tags=["v1"], check=check
        )

    def healthy() -> bool:
        return bool(client.health.service("web", passing=True)[1])

    await asyncio.to_thread(register)
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(healthy):
            await asyncio.sleep(0.01)
    entry = (await asyncio.to_thread(client.health.service, "web"))[1][0]
    assert (entry["Service"]["ID"], entry["Service"]["Port"]) == ("web1", port)
    assert entry["Checks"][0]["Output"] == f"HTTP GET http://127.0.0.1:{port}/: 200 OK Output: ok"
    server.close()


async def test_py_consul_ttl_maintenance_and_members(api: AgentApi, client: Any) -> None:
    def work() -> None:
        agent = client.agent
        assert agent.service.register("db", check=consul.Check.ttl("1h"))
        assert agent.check.ttl_pass("service:db", notes="fine")
        assert agent.checks()["service:db"]["Output"] == "fine"
        assert agent.check.ttl_warn("service:db")
        assert agent.check.ttl_fail("service:db")
        assert agent.checks()["service:db"]["Status"] == "critical"
        assert agent.check.register("node", check=consul.Check.tcp("127.0.0.1", 1, "1h"))
        assert agent.check.deregister("node")
        assert agent.service.maintenance("db", "true", "why")
        assert agent.maintenance("true", "why")
        assert agent.checks()["_node_maintenance"]["Notes"] == "why"
        assert agent.maintenance("false")
        assert agent.service.maintenance("db", "false")
        assert list(agent.services()) == ["db"]
        assert agent.members()[0]["Name"] == "n0"
        assert agent.self()["Config"]["NodeName"] == "n0"
        assert agent.service.deregister("db")
        assert agent.services() == {}
        assert not agent.service.deregister("db")

    await asyncio.to_thread(work)


async def test_metrics_are_json_or_text_for_prometheus(api: AgentApi) -> None:
    got = await api.get("/v1/agent/metrics")
    assert set(got.json) == {"Timestamp", "Gauges", "Points", "Counters", "Samples"}
    assert got.json["Gauges"] == [{"Name": "mesh.raft.term", "Value": 7, "Labels": {}}]
    text = b"# HELP mesh_raft_term Present term\n# TYPE mesh_raft_term gauge\nmesh_raft_term 7\n"
    asked: list[tuple[str, dict[str, str]]] = [
        ("/v1/agent/metrics?format=prometheus", {}),
        ("/v1/agent/metrics", {"Accept": "text/plain; version=0.0.4"}),
        ("/v1/agent/metrics", {"Accept": "application/openmetrics-text; version=1.0.0"}),
    ]
    for path, headers in asked:
        got = await api.ask("GET", path, headers=headers)
        assert (got.status, got.body) == (200, text)
        assert got.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    got = await api.get("/v1/agent/metrics?format=xml")
    assert got.status == 400
    assert "prometheus" in got.text
