"""/v1/health as clients see it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.conftest import Api

SERF = {"CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "passing"}


def probe(status: str) -> dict[str, Any]:
    return {"CheckID": "service:web", "Name": "probe", "Status": status, "ServiceID": "web"}


async def test_an_instance_comes_with_its_nodes_checks(api: Api) -> None:
    await api.register("n1", "web", Checks=[SERF, probe("passing")])
    await api.register("n1", "other", Check={"Name": "x", "ServiceID": "other"})
    (entry,) = (await api.get("/v1/health/service/web")).json
    assert set(entry) == {"Node", "Service", "Checks"}
    assert [check["CheckID"] for check in entry["Checks"]] == ["serfHealth", "service:web"]
    assert entry["Checks"][1] == {
        "Node": "n1",
        "CheckID": "service:web",
        "Name": "probe",
        "Status": "passing",
        "Notes": "",
        "Output": "",
        "ServiceID": "web",
        "ServiceName": "web",
        "ServiceTags": [],
        "Type": "",
        "Interval": "",
        "Timeout": "",
        "ExposedPort": 0,
        "Definition": {},
        "CreateIndex": 1,
        "ModifyIndex": 1,
    }


async def test_a_critical_node_fails_its_instances(api: Api) -> None:
    await api.register("n1", "web", Checks=[SERF, probe("passing")])
    assert len((await api.get("/v1/health/service/web?passing")).json) == 1
    await api.register("n1", Check=SERF | {"Status": "critical"})
    assert (await api.get("/v1/health/service/web?passing")).json == []
    assert len((await api.get("/v1/health/service/web")).json) == 1


@pytest.mark.parametrize(
    ("value", "count"),
    [("passing", 1), ("passing=1", 1), ("passing=true", 1), ("passing=0", 2), ("passing=f", 2)],
)
async def test_passing(api: Api, value: str, count: int) -> None:
    await api.register("n1", "web", Check=probe("passing"))
    await api.register("n2", "web", Check=probe("warning"))
    assert len((await api.get(f"/v1/health/service/web?{value}")).json) == count


async def test_passing_with_junk_is_400(api: Api) -> None:
    got = await api.get("/v1/health/service/web?passing=junk")
    assert got.status == 400
    assert got.text.startswith("Invalid value for ?passing")


async def test_checks_of_a_service_leave_the_nodes_out(api: Api) -> None:
    await api.register("n1", "web", Checks=[SERF, probe("passing")], NodeMeta={"a": "1"})
    await api.register("n2", "web", Checks=[SERF, probe("critical")])
    got = await api.get("/v1/health/checks/web")
    assert [(check["Node"], check["CheckID"]) for check in got.json] == [
        ("n1", "service:web"),
        ("n2", "service:web"),
    ]
    await api.get("/v1/health/checks/web?cached&node-meta=a:1")
    assert [options.cached for _, options in api.registry.reads[-2:]] == [True, True]
    got = await api.get("/v1/health/checks/web?node-meta=a:1")
    assert [check["Node"] for check in got.json] == ["n1"]


async def test_checks_of_a_node(api: Api) -> None:
    await api.register("n1", "web", Checks=[SERF, probe("passing")])
    await api.register("n2", Check=SERF)
    got = await api.get("/v1/health/node/N1")
    assert [check["CheckID"] for check in got.json] == ["serfHealth", "service:web"]


async def test_checks_in_a_state(api: Api) -> None:
    await api.register("n1", "web", Checks=[SERF, probe("warning")], NodeMeta={"a": "1"})
    await api.register("n2", Check=SERF)
    for path, count in (
        ("any", 3),
        ("passing", 2),
        ("warning", 1),
        ("critical", 0),
        ("passing?node-meta=a:1", 1),
        ("any?node-meta=a:2", 0),
    ):
        assert len((await api.get(f"/v1/health/state/{path}")).json) == count, path
    got = await api.get("/v1/health/state/odd")
    assert got.status == 400
