"""?filter= on every list that has it, through a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.compat.agent import AgentApi, serving
from tests.compat.conftest import Api, Got


async def _fill(api: Api) -> None:
    for number, rack in ((1, "a"), (2, "b")):
        await api.register(
            f"n{number}",
            "web",
            NodeMeta={"rack": rack},
            Instance={"ID": f"web-{number}", "Tags": [f"v{number}"], "Port": 8000 + number},
            Checks=[
                {"Name": "up", "Status": "passing"},
                {"Name": "http", "ServiceID": f"web-{number}", "Status": "warning"},
            ],
        )
    await api.register("n1", "db", NodeMeta={"rack": "a"})


async def _filtered(api: Api, path: str, expression: str) -> Got:
    return await api.get(path, filter=expression)


@pytest.mark.parametrize(
    ("path", "expression", "field", "found"),
    [
        ("/v1/catalog/nodes", "Meta.rack == b", "Node", ["n2"]),
        ("/v1/catalog/service/web", "NodeMeta.rack != b", "ServiceID", ["web-1"]),
        ("/v1/catalog/service/web", '"v2" in ServiceTags', "ServiceID", ["web-2"]),
        ("/v1/catalog/service/none", "ServicePort == 1", "ServiceID", []),
        ("/v1/health/node/n1", "ServiceName == web", "CheckID", ["http"]),
        ("/v1/health/checks/web", 'Node matches "2$"', "Node", ["n2"]),
        ("/v1/health/state/any", "Status == passing and Node == n1", "CheckID", ["up"]),
    ],
)
async def test_lists(api: Api, path: str, expression: str, field: str, found: list[str]) -> None:
    await _fill(api)
    got = await _filtered(api, path, expression)
    assert [row[field] for row in got.json] == found
    assert got.index == (await api.get(path)).index


async def test_instances(api: Api) -> None:
    await _fill(api)
    for expression in (
        "Service.Port == 8002",
        "Node.Meta[`rack`] == b",
        'Checks.Status == warning and Service.Tags contains "v2"',
    ):
        got = await _filtered(api, "/v1/health/service/web", expression)
        assert [row["Node"]["Node"] for row in got.json] == ["n2"]


async def test_services_of_a_node(api: Api) -> None:
    await _fill(api)
    as_map = (await _filtered(api, "/v1/catalog/node/n1", "Service == db")).json
    assert (as_map["Node"]["Node"], list(as_map["Services"])) == ("n1", ["db"])
    as_list = (await _filtered(api, "/v1/catalog/node-services/n1", "Port == 8001")).json
    assert [row["ID"] for row in as_list["Services"]] == ["web-1"]
    assert (await _filtered(api, "/v1/catalog/node/none", "Port == 1")).json is None


async def test_service_names(api: Api) -> None:
    await _fill(api)
    got = await _filtered(api, "/v1/catalog/services", "ServicePort != 8001")
    assert got.json == {"db": [], "web": ["v2"]}
    got = await api.get("/v1/catalog/services", filter="Node == n1", **{"node-meta": "rack:a"})
    assert got.json == {"db": [], "web": ["v1"]}


PATHS = (
    *("/v1/catalog/nodes", "/v1/catalog/services", "/v1/catalog/service/x", "/v1/catalog/node/x"),
    *("/v1/catalog/node-services/x", "/v1/health/node/x", "/v1/health/checks/x"),
    *("/v1/health/service/x", "/v1/health/state/any"),
)


@pytest.mark.parametrize("path", PATHS)
async def test_a_bad_filter_is_refused_at_once(api: Api, path: str) -> None:
    for expression in ("Wrong == 1", "Node =="):
        got = await api.get(path, filter=expression, index=1_000_000)
        assert got.status == 500
        first, shown, caret, *_ = got.text.splitlines()
        assert first.startswith("Invalid filter: ")
        assert shown.strip() == expression
        assert caret.strip() == "^"
    assert (await api.get(f"{path}?filter=")).status == 200


async def test_a_blocking_query_has_the_index_of_all_rows(api: Api) -> None:
    await _fill(api)
    path = "/v1/health/service/web"
    index = (await _filtered(api, path, "Node.Node == n1")).index
    task = asyncio.create_task(api.get(path, filter="Node.Node == n1", index=index, wait="1m"))
    await api.blocked()
    await api.register("n2", "web", Instance={"ID": "web-2", "Port": 1})
    async with asyncio.timeout(30):
        got = await task
    assert got.index > index
    assert len(got.json) == 1


@pytest.fixture
async def agent_api() -> AsyncIterator[AgentApi]:
    async with serving() as api:
        yield api


async def test_agent(agent_api: AgentApi) -> None:
    api = agent_api
    await api.service(Name="web", Tags=["v1"], Meta={"a": "1"}, Check={"TTL": "1h"})
    await api.service(Name="db")
    assert list((await _filtered(api, "/v1/agent/services", "Meta.a == 1")).json) == ["web"]
    got = await _filtered(api, "/v1/agent/checks", 'ServiceTags contains "v1"')
    assert list(got.json) == ["service:web"]
    members = await _filtered(api, "/v1/agent/members", "Tags.role == consul")
    assert [row["Name"] for row in members.json] == ["n0"]
    assert (await _filtered(api, "/v1/agent/members", 'Name != "n0"')).json == []
    for path in ("services", "checks", "members"):
        assert (await _filtered(api, f"/v1/agent/{path}", "No == 1")).status == 500
