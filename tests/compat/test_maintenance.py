"""/v1/maintenance over a real server, and what an agent makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mesh.registry.health import Instances
from tests.compat.agent import AgentApi, serving
from tests.compat.conftest import until

PATH = "/v1/maintenance"
HEALTH = "/v1/agent/health/service/id/web"


@pytest.fixture
async def api() -> AsyncIterator[AgentApi]:
    async with serving() as made:
        yield made


def status(api: AgentApi, service: str) -> list[str]:
    found = api.registry.answers.read(Instances(service)).value
    return [one.status for one in found]


async def test_a_node_goes_and_comes_back(api: AgentApi) -> None:
    await api.service(Name="web")
    await until(lambda: status(api, "web") == ["passing"])
    assert (await api.get(PATH)).json == []
    body = {"Node": "n0", "reason": "new disk", "Owner": "ann", "For": "2h"}
    begun = (await api.put(PATH, body)).json
    assert begun["Instances"] == 1
    row = {name: begun[name] for name in ("Node", "Service", "ServiceID", "Reason", "Owner")}
    wanted = {"Node": "n0", "Service": "", "ServiceID": "", "Reason": "new disk", "Owner": "ann"}
    assert row == wanted
    assert begun["Since"] < begun["Until"]
    listed = await api.get(PATH)
    del begun["Instances"]
    assert listed.json == [begun]
    assert listed.index == begun["ModifyIndex"]
    assert status(api, "web") == ["maintenance"]
    assert (await api.get("/v1/health/service/web", passing="1")).json == []
    checks = (await api.get("/v1/health/node/n0")).json
    shown = {check["CheckID"]: check for check in checks}["_cluster_maintenance"]
    assert (shown["Status"], shown["Notes"]) == ("critical", "new disk")
    assert (shown["Type"], shown["Output"]) == ("maintenance", f"by ann, until {begun['Until']}")
    assert (await api.delete(f"{PATH}?node=n0")).json is True
    assert (await api.delete(f"{PATH}?node=n0")).json is False
    assert status(api, "web") == ["passing"]


async def test_the_agent_knows_and_leaves_the_checks_alone(api: AgentApi) -> None:
    await api.service(Name="web")
    await api.put(PATH, {"Service": "web", "Reason": "upgrade"})
    await until(lambda: bool(api.agent.maintained("web")))
    got = await api.get(HEALTH)
    assert got.status == 503
    assert got.json["AggregatedStatus"] == "maintenance"
    assert got.headers["x-consul-reason"] == "maintenance"
    assert [check["CheckID"] for check in got.json["Checks"]] == ["_cluster_maintenance:web"]
    assert (await api.get("/v1/agent/health/service/name/web", format="text")).text == "maintenance"
    assert (await api.get("/v1/agent/checks")).json == {}
    await api.service(Name="web", Port=9, ID="web-2")
    await until(lambda: status(api, "web") == ["maintenance", "maintenance"])
    await api.delete(f"{PATH}?service=web")
    await until(lambda: status(api, "web") == ["passing", "passing"])


async def test_a_list_that_waits_and_filters(api: AgentApi) -> None:
    await api.put(PATH, {"Service": "web"})
    before = await api.get(PATH)
    waiting = asyncio.create_task(api.get(PATH, index=before.index, wait="30s"))
    await until(lambda: api.registry.blocked > 0)
    await api.put(PATH, {"Node": "n7", "ServiceID": "db-1"})
    after = (await waiting).json
    assert [(one["Node"], one["ServiceID"], one["Service"]) for one in after] == [
        ("", "", "web"),
        ("n7", "db-1", ""),
    ]
    found = (await api.get(PATH, filter='Service == "web"')).json
    assert [one["Service"] for one in found] == ["web"]
    assert (await api.get(PATH, filter="Nonsense == 1")).status == 500


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "Node: give a Node"),
        ({"Service": "a", "Node": "b"}, "Service: names all instances"),
        ({"Node": "a", "For": "soon"}, "For: expected a duration"),
        ({"Node": "a", "For": "-1s"}, "For: expected a duration above 0"),
        ({"Node": "a", "Until": "tomorrow"}, "Until: expected a time such as"),
        ({"Node": "a", "Until": "2030-01-01T00:00:00"}, "Until: expected a time such as"),
        ({"Node": "a", "Until": "2001-01-01T00:00:00Z"}, "Until: expected a time to come"),
        ({"Node": "a", "Until": "9999-01-01T00:00:00Z"}, "For: expected a time from now"),
        ({"Node": "a", "For": "1h", "Until": "2030-01-01T00:00:00Z"}, "exclude each other"),
        ({"Noed": "a"}, "unknown field"),
    ],
)
async def test_refusals(api: AgentApi, body: dict[str, Any], text: str) -> None:
    got = await api.put(PATH, body)
    assert (got.status, text in got.text) == (400, True), got
    assert (await api.delete(PATH)).status == 400


async def test_its_checks_belong_to_it(api: AgentApi) -> None:
    await api.put(PATH, {"Node": "n0"})
    check = {"Node": "n0", "CheckID": "_cluster_maintenance"}
    for path in ("register", "deregister"):
        body = check if path == "deregister" else {"Node": "n0", "Address": "a", "Check": check}
        got = await api.put(f"/v1/catalog/{path}", body)
        assert (got.status, "belongs to cluster-wide" in got.text) == (400, True), got
    got = await api.put("/v1/agent/check/register", {"Name": "_cluster_maintenance", "TTL": "1s"})
    assert got.status == 400
