"""What is wrong now, as the API tells it to the page."""

from __future__ import annotations

import asyncio

import pytest

from mesh.agent.operations import MemberInfo
from mesh.clock import SystemClock
from mesh.errors import NoLeader, Unreachable
from mesh.registry.orders import AutopilotHealth, Health
from mesh.registry.snapshots import Schedules
from tests.compat.agent import serving
from tests.compat.conftest import Api, until


def served(api: Api) -> Api:
    """With servers that answer what only they know."""
    api.registry.outcomes |= {AutopilotHealth: Health(True, 0, []), Schedules: []}
    return api


async def test_findings_with_the_next_step_and_a_summary(api: Api) -> None:
    check = {"Name": "up", "Status": "critical", "ServiceID": "web", "Output": "refused"}
    await served(api).register("n1", "web", Check=check)
    got = (await api.get("/v1/internal/ui/now")).json
    found = next(one for one in got["Findings"] if one["Subject"] == "service")
    assert (found["Kind"], found["Severity"], found["Name"]) == ("failing", "critical", "web")
    assert found["Detail"] == "1 of 1 instance critical on n1: up: refused"
    assert found["SinceAtLeast"]
    assert found["Since"].endswith("Z")
    assert found["Next"][0]["Path"] == ["services", "web", "instances"]
    cluster = got["Cluster"]
    assert (cluster["Instances"], cluster["InstancesPassing"]) == (1, 0)
    assert (cluster["Datacenter"], cluster["Node"]) == ("dc1", "n0")


async def test_what_the_node_asked_knows_by_itself() -> None:
    async with serving() as api:
        served(api)
        gone = MemberInfo("n2", "10.0.0.2", 8301, {}, 4, (1, 5, 2), (2, 5, 4))
        api.node.others = [gone]
        got = (await api.get("/v1/internal/ui/now")).json
        kinds = {(one["Kind"], one["Subject"]) for one in got["Findings"]}
        assert {("gone", "node"), ("frozen", "discovery"), ("rotation", "cluster")} <= kinds
        assert ("expiring", "certificate") in kinds


async def test_a_source_that_cannot_be_asked_is_a_finding_and_the_others_are_told(api: Api) -> None:
    await served(api).register("n1", "web")
    api.registry.outcomes |= {
        AutopilotHealth: NoLeader("no leader"),
        Schedules: Unreachable("s2 is away"),
    }
    got = (await api.get("/v1/internal/ui/now")).json
    found = {one["Kind"]: (one["Severity"], one["Name"]) for one in got["Findings"]}
    assert found == {"no leader": ("critical", "servers"), "not asked": ("warning", "snapshots")}
    assert got["Unasked"] == ["leader", "snapshots"]
    assert got["Cluster"]["Instances"] == 1


async def test_who_asks_at_once_is_told_the_same_and_nobody_else_is_asked_twice(api: Api) -> None:
    begun, end = [], asyncio.Event()

    async def slowly(*_: object) -> Health:
        begun.append(1)
        await end.wait()
        return Health(True, 0, [])

    served(api).registry.outcomes[AutopilotHealth] = slowly
    tasks = [asyncio.create_task(api.get("/v1/internal/ui/now")) for _ in range(5)]
    await until(lambda: api.server.counters["requests"] == 5)
    end.set()
    assert len({(await one).body for one in tasks}) == 1
    assert len(begun) == 1


async def test_an_answer_is_kept_no_longer_when_the_clock_is_put_back(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(api)
    monkeypatch.setattr(SystemClock, "wall", lambda _: 2e9)
    assert (await api.get("/v1/internal/ui/now")).json["Cluster"]["Nodes"] == 0
    monkeypatch.setattr(SystemClock, "wall", lambda _: 1e9)
    await api.register("n1", "web")
    async with asyncio.timeout(30):
        while not (await api.get("/v1/internal/ui/now")).json["Cluster"]["Nodes"]:
            await asyncio.sleep(0.1)


async def test_certificates_that_the_node_shows() -> None:
    async with serving() as api:
        got = (await api.get("/v1/internal/ui/certificates")).json
        assert got["Node"] == "n0"
        assert got["Leaves"] == []
        assert got["Own"] == [{"Option": "tls.cert_file", "ValidBefore": "2023-11-14T22:13:20Z"}]
