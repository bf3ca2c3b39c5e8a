"""/v1/query as clients see it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mesh.errors import Cutoff, NoLeader
from mesh.gossip.vivaldi import DIMENSIONS
from mesh.registry import coordinates, orders, prepared
from tests.compat.conftest import Api

UNKNOWN = "5f0f1f5a-4c39-4b1f-9d26-5f0f1f5a4c39"


async def create(api: Api, name: str, service: str = "web", **more: Any) -> str:
    inner = {"Service": service} | more.pop("Service", {})
    body = {"Name": name, "Service": inner} | more
    got = await api.ask("POST", "/v1/query", json_bytes(body))
    assert got.status == 200, got.text
    made: str = got.json["ID"]
    return made


def json_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


async def nodes(api: Api, path: str) -> list[str]:
    got = await api.get(f"/v1/query/{path}")
    assert got.status == 200, got.text
    return [one["Node"]["Node"] for one in got.json["Nodes"]]


async def place(api: Api, *names: str) -> None:
    """Nodes at 0 ms, 1 ms, 2 ms ... from the first."""
    for at, name in enumerate(names):
        vec = (at / 1000, *(0.0,) * (DIMENSIONS - 1))
        placed = coordinates.Placed(name, coordinates.Coordinate(vec, 0.1, 0.0, 1e-5))
        api.registry.apply(coordinates.Update((placed,)))


async def test_a_query_is_made_read_changed_and_deleted(api: Api) -> None:
    made = await create(api, "q", Token="secret", DNS={"TTL": "10s"})
    (shown,) = (await api.get(f"/v1/query/{made}")).json
    assert shown == {
        "ID": made,
        "Name": "q",
        "Session": "",
        "Token": "<hidden>",
        "Template": {"Type": "", "Regexp": "", "RemoveEmptyTags": False},
        "Service": {
            "Service": "web",
            "Failover": {"NearestN": 0, "Datacenters": [], "Targets": []},
            "OnlyPassing": False,
            "IgnoreCheckIDs": [],
            "Near": "",
            "Tags": [],
            "NodeMeta": {},
            "ServiceMeta": {},
            "Connect": False,
        },
        "DNS": {"TTL": "10s"},
        "CreateIndex": 1,
        "ModifyIndex": 1,
    }
    listed = await api.get("/v1/query")
    assert (listed.json, listed.index) == ([shown], 1)
    got = await api.put(f"/v1/query/{made.upper()}", shown | {"Name": "r", "ID": UNKNOWN})
    assert (got.status, got.body) == (200, b"")
    (changed,) = (await api.get(f"/v1/query/{made}")).json
    assert (changed["Name"], changed["Token"], changed["ModifyIndex"]) == ("r", "<hidden>", 2)
    got = await api.delete(f"/v1/query/{made}")
    assert (got.status, got.body) == (200, b"")
    assert (await api.get("/v1/query")).json == []


async def test_what_is_not_there(api: Api) -> None:
    assert (await api.get(f"/v1/query/{UNKNOWN}")).status == 404
    for path in ("none/execute", "none/explain", f"{UNKNOWN}/execute"):
        got = await api.get(f"/v1/query/{path}")
        assert (got.status, got.text) == (404, "Query not found")
    body = {"Name": "q", "Service": {"Service": "s"}}
    assert (await api.put(f"/v1/query/{UNKNOWN}", body)).status == 500
    assert (await api.delete(f"/v1/query/{UNKNOWN}")).status == 500
    for method in ("GET", "PUT", "DELETE"):
        got = await api.ask(method, "/v1/query/some", json_bytes(body))
        assert (got.status, got.text) == (400, 'query ID: expected a UUID, got "some"')


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"ID": UNKNOWN, "Name": "q"}, "ID: must be empty"),
        ({"Name": "q"}, "Service.Service: must not be empty"),
        ({"Service": {"Service": "s"}}, "Name: must not be empty"),
        ({"Name": "q", "Odd": 1}, 'Request decode failed: json: unknown field "Odd"'),
        ({"Name": "q", "Service": {"Service": "s", "Peer": "p"}}, "Service.Peer: not available"),
        ({"Name": "q", "Service": {"Service": "s", "Namespace": "x"}}, "Service: mesh has no"),
        ({"Name": "q", "Template": {"Regexp": "x"}, "Service": {"Service": "s"}}, "Template.Type"),
        (
            {
                "Name": "q",
                "Template": {"Type": "name_prefix_match"},
                "Service": {"Service": "${x}"},
            },
            'Service.Service: unknown variable "x"',
        ),
    ],
)
async def test_what_makes_no_sense_is_400(api: Api, body: dict[str, Any], message: str) -> None:
    got = await api.ask("POST", "/v1/query", json_bytes(body))
    assert (got.status, got.text[: len(message)]) == (400, message)


async def test_a_taken_name_is_refused(api: Api) -> None:
    await create(api, "q")
    got = await api.ask("POST", "/v1/query", json_bytes({"Name": "Q", "Service": {"Service": "s"}}))
    assert got.status == 500
    assert got.text.startswith('Name: the name "Q" is taken by the prepared query ')


async def test_healthy_instances_are_found_by_id_and_by_name_in_any_case(api: Api) -> None:
    for node, status in (("n1", "passing"), ("n2", "critical"), ("n3", "warning")):
        check = {"Node": node, "CheckID": "c", "Status": status}
        await api.register(node, "web", Check=check, Instance={"Tags": ["v1"]})
    made = await create(api, "q", DNS={"TTL": "5s"}, Service={"Tags": ["V1"]})
    got = await api.get("/v1/query/Q/execute")
    assert got.status == 200
    shown = got.json
    assert sorted(one["Node"]["Node"] for one in shown.pop("Nodes")) == ["n1", "n3"]
    assert shown == {"Service": "web", "DNS": {"TTL": "5s"}, "Datacenter": "dc1", "Failovers": 0}
    assert "x-consul-index" not in got.headers
    assert got.headers["x-consul-effective-consistency"] == "leader"
    assert sorted(await nodes(api, f"{made}/execute")) == ["n1", "n3"]
    assert len(await nodes(api, "q/execute?limit=1")) == 1
    assert (await api.get("/v1/query/q/execute?limit=x")).status == 400
    assert (await api.get("/v1/query/q/execute?stale&consistent")).status == 400
    await create(api, "strict", Service={"OnlyPassing": True})
    assert await nodes(api, "strict/execute") == ["n1"]


async def test_the_order_is_another_each_time(api: Api) -> None:
    for number in range(6):
        await api.register(f"n{number}", "web")
    await create(api, "q")
    orders_seen = {tuple(await nodes(api, "q/execute")) for _ in range(8)}
    assert len(orders_seen) > 1


async def test_the_nearest_go_first_and_ones_own_node_before_all(api: Api) -> None:
    names = [f"n{number}" for number in range(5)]
    for at, name in enumerate(names):
        await api.register(name, "web", Address=f"10.0.0.{at}")
    await place(api, *names)
    await create(api, "q", Service={"Near": "n4"})
    assert await nodes(api, "q/execute") == names[::-1]
    assert (await nodes(api, "q/execute?near=n1"))[0] == "n1"
    # The agent is n0 here, and the address is what a proxy in front tells.
    assert await nodes(api, "q/execute?near=_agent") == names
    got = await api.ask(
        "GET",
        "/v1/query/q/execute?near=_ip",
        headers={"X-Forwarded-For": "10.0.0.4, 10.9.9.9"},
    )
    assert [one["Node"]["Node"] for one in got.json["Nodes"]] == names[::-1]
    assert len(await nodes(api, "q/execute?near=_ip")) == 5
    assert len(await nodes(api, "q/execute?near=nobody")) == 5


async def test_templates_are_rendered(api: Api) -> None:
    await api.register("n1", "geo", Instance={"Tags": ["eu"]})
    made = await create(
        api,
        "find-",
        service="${match(1)}",
        Template={"Type": "name_prefix_match", "Regexp": "^find-(.*)-(.*)$"},
        Service={"Tags": ["${match(2)}"]},
    )
    assert await nodes(api, "find-geo-eu/execute") == ["n1"]
    assert await nodes(api, "find-geo-us/execute") == []
    got = (await api.get("/v1/query/find-geo-us/explain")).json["Query"]
    assert (got["Service"]["Service"], got["Service"]["Tags"]) == ("geo", ["us"])
    assert got["Name"] == "find-"
    got = await api.get(f"/v1/query/{made}/execute")
    assert got.status == 400
    assert "is a template" in got.text


async def test_other_datacenters_are_not_asked_unless_the_query_says_so(api: Api) -> None:
    api.registry.outcomes[orders.Datacenters] = ["dc1", "dc2"]
    await create(api, "q")
    got = (await api.get("/v1/query/q/execute")).json
    assert (got["Nodes"], got["Datacenter"], got["Failovers"]) == ([], "dc1", 0)
    assert api.registry.orders == []


async def test_no_server_to_tell_the_datacenters_is_no_failure(api: Api) -> None:
    await create(api, "q", Service={"Failover": {"NearestN": 2}})
    for error in (NoLeader("none"), Cutoff("gone")):
        api.registry.outcomes[orders.Datacenters] = error
        assert (await api.get("/v1/query/q/execute")).json["Failovers"] == 0


async def test_a_query_ends_with_its_session(api: Api) -> None:
    await api.register("n0", Check={"Node": "n0", "CheckID": "serfHealth", "Status": "passing"})
    session = (await api.put("/v1/session/create")).json["ID"]
    await create(api, "", Session=session.upper())
    await create(api, "stays")
    assert [one["Session"] for one in (await api.get("/v1/query")).json].count(session) == 1
    assert (await api.put(f"/v1/session/destroy/{session}")).body == b"true"
    assert [one["Name"] for one in (await api.get("/v1/query")).json] == ["stays"]
    body = {"Session": session, "Service": {"Service": "s"}}
    got = await api.ask("POST", "/v1/query", json_bytes(body))
    assert (got.status, got.text) == (
        500,
        f'Session: invalid session "{session}": there is none, or no more',
    )


async def test_a_repeated_creation_is_the_same_command(api: Api) -> None:
    body = json_bytes({"Name": "q", "Service": {"Service": "s"}})
    await api.ask("POST", "/v1/query", body, headers={"Idempotency-Key": "mine"})
    api.registry.apply(prepared.Delete(api.registry.writes[0][0].query.id))  # type: ignore[attr-defined]
    await api.ask("POST", "/v1/query", body, headers={"Idempotency-Key": "mine"})
    (first, _), (second, _) = api.registry.writes
    assert first == second


async def test_sidecars_are_found_by_the_service_they_are_of(api: Api) -> None:
    await api.register("n1", "web")
    proxy = {"Kind": "connect-proxy", "Proxy": {"DestinationServiceName": "web"}}
    await api.register("n2", "web-proxy", Instance=proxy)
    await create(api, "plain")
    await create(api, "mesh", Service={"Connect": True})
    assert await nodes(api, "plain/execute") == ["n1"]
    assert await nodes(api, "plain/execute?connect") == await nodes(api, "mesh/execute") == ["n2"]
    assert (await api.get("/v1/query/mesh/explain")).json["Query"]["Service"]["Connect"] is True
