"""py-consul from PyPI, unmodified, against a real node: every part of the registry it covers."""

from __future__ import annotations

import asyncio
import base64
import io
import tarfile
from collections.abc import Iterator
from typing import Any

import consul
import consul.aio
import pytest

from tests.cluster.dev import DevNode, dev_node
from tests.cluster.processes import eventually

pytestmark = pytest.mark.together


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevNode]:
    with dev_node(tmp_path_factory.mktemp("py-consul"), more="enable_script_checks = true") as one:
        yield one


@pytest.fixture
def client(node: DevNode) -> Any:
    return consul.Consul(host="127.0.0.1", port=node.http)


def test_the_agent(client: Any) -> None:
    assert client.agent.self()["Config"]["NodeName"] == "dev"
    assert [member["Name"] for member in client.agent.members()] == ["dev"]
    assert [member["Name"] for member in client.agent.members(wan=True)] == ["dev.dc1"]
    assert client.agent.maintenance(True, "rest") is True
    assert "_node_maintenance" in client.agent.checks()
    assert client.agent.maintenance(False) is True
    assert client.agent.reload() is True
    assert "Gauges" in client.agent.metrics()
    with pytest.raises(consul.ConsulException, match="500"):
        client.agent.join("127.0.0.1:1")
    with pytest.raises(consul.ConsulException, match="none"):
        client.agent.force_leave("none")


def test_services_of_the_agent(client: Any) -> None:
    checks = [
        consul.Check.http("http://127.0.0.1:1/", "10s", "1s", "10m", {"X": ["y"]}),
        consul.Check.tcp("127.0.0.1", 1, "10s", "1s"),
        consul.Check.script(["/bin/true"], "10s"),
        consul.Check.ttl("60s"),
    ]
    service = client.agent.service
    assert service.register(
        "py-web",
        "py-web-1",
        address="10.0.0.1",
        port=80,
        tags=["v1"],
        check=checks[0],
        extra_checks=checks[1:],
        meta={"owner": "us"},
        weights={"Passing": 5, "Warning": 2},
        tagged_addresses={"lan": {"address": "10.0.0.1", "port": 80}},
    )
    found = client.agent.services()["py-web-1"]
    assert (found["Service"], found["Weights"]) == ("py-web", {"Passing": 5, "Warning": 2})
    assert client.agent.service_definition("py-web-1")["Port"] == 80
    ids = [one for one in client.agent.checks() if one.startswith("service:py-web-1")]
    assert len(ids) == 4
    assert client.agent.services(filter_expr='Service == "none"') == {}
    check = client.agent.check
    assert check.ttl_pass("service:py-web-1:4", notes="well") is True
    assert client.agent.checks()["service:py-web-1:4"]["Status"] == "passing"
    assert check.ttl_warn("service:py-web-1:4") is True
    assert check.ttl_fail("service:py-web-1:4") is True
    assert client.agent.checks()["service:py-web-1:4"]["Status"] == "critical"
    assert check.register("py-own", consul.Check.ttl("60s"), service_id="py-web-1") is True
    assert check.deregister("py-own") is True
    assert service.maintenance("py-web-1", True, "rest") is True
    assert service.maintenance("py-web-1", False) is True
    assert service.deregister("py-web-1") is True
    assert "py-web-1" not in client.agent.services()


def test_grpc_checks_are_taken_and_the_script_of_old_is_not(client: Any) -> None:
    grpc = consul.Check.grpc("127.0.0.1:1", "10s")
    assert client.agent.service.register("py-grpc", check=grpc) is True
    assert client.agent.service.deregister("py-grpc") is True
    # Consul 1.0 dropped the field `script`, which this helper still sends.
    docker = consul.Check.docker("web", "/bin/sh", "true", "10s")
    with pytest.raises(consul.exceptions.BadRequest, match="unknown field script"):
        client.agent.check.register("py-docker", docker)


def test_catalog_and_health(client: Any) -> None:
    service = {"Service": "py-cat", "ID": "py-cat-1", "Tags": ["v1"], "Port": 80}
    check = {"Name": "probe", "Status": "warning", "ServiceID": "py-cat-1"}
    assert client.catalog.register("py-node", "10.0.0.9", service=service, check=check) is True
    assert client.catalog.datacenters() == ["dc1"]
    assert "py-node" in [one["Node"] for one in client.catalog.nodes(consistency="consistent")[1]]
    assert client.catalog.services()[1]["py-cat"] == ["v1"]
    assert client.catalog.service("py-cat", tag="v1")[1][0]["ServiceID"] == "py-cat-1"
    assert client.catalog.node("py-node")[1]["Node"]["Address"] == "10.0.0.9"
    assert client.health.service("py-cat", passing=True)[1] == []
    assert client.health.service("py-cat")[1][0]["Checks"][0]["Status"] == "warning"
    assert client.health.checks("py-cat")[1][0]["Name"] == "probe"
    assert client.health.node("py-node")[1][0]["ServiceID"] == "py-cat-1"
    assert [one["Name"] for one in client.health.state("warning")[1]] == ["probe"]
    assert client.catalog.deregister("py-node") is True


def test_keys_and_a_watch(client: Any, node: DevNode) -> None:
    assert client.kv.put("py/a", "one") is True
    index, pair = client.kv.get("py/a")
    assert pair["Value"] == b"one"
    assert client.kv.put("py/a", "two", cas=pair["ModifyIndex"]) is True
    newer, pair = client.kv.get("py/a", index=index, wait="30s")
    assert (int(newer) > int(index), pair["Value"]) == (True, b"two")
    assert client.kv.get("py/", keys=True)[1] == ["py/a"]
    assert client.kv.delete("py/", recurse=True) is True


@pytest.mark.filterwarnings("ignore:ssl_context is deprecated")  # Its own use of aiohttp.
async def test_the_client_that_awaits(node: DevNode) -> None:
    client = consul.aio.Consul(host="127.0.0.1", port=node.http)
    try:
        assert await client.kv.put("py-aio", "1") is True
        index, pair = await client.kv.get("py-aio")
        waiting = asyncio.ensure_future(client.kv.get("py-aio", index=index, wait="30s"))
        assert await client.kv.put("py-aio", "2") is True
        _, pair = await waiting
        assert pair["Value"] == b"2"
    finally:
        await client.close()


def test_sessions_and_locks(client: Any) -> None:
    session = client.session.create("py", lock_delay=0, behavior="delete", ttl=30)
    assert client.session.info(session)[1]["Name"] == "py"
    assert session in [one["ID"] for one in client.session.list()[1]]
    assert session in [one["ID"] for one in client.session.node("dev")[1]]
    assert client.session.renew(session)["ID"] == session
    assert client.kv.put("py-lock", "me", acquire=session) is True
    other = client.session.create("other")
    assert client.kv.put("py-lock", "no", acquire=other) is False
    assert client.kv.get("py-lock")[1]["Session"] == session
    assert client.kv.put("py-lock", "me", release=session) is True
    assert client.kv.put("py-lock", "me", acquire=session) is True
    assert client.session.destroy(session) is True
    assert client.kv.get("py-lock")[1] is None
    assert client.session.destroy(other) is True
    with pytest.raises(consul.NotFound):
        client.session.renew(session)
    with pytest.raises(consul.ConsulException, match="invalid session"):
        client.kv.put("py-lock", "no", acquire=session)


def test_transactions(client: Any) -> None:
    value = base64.b64encode(b"one").decode()
    done = client.txn.put(
        [
            {"KV": {"Verb": "set", "Key": "py-txn/a", "Value": value}},
            {"KV": {"Verb": "get", "Key": "py-txn/a"}},
        ]
    )
    assert done["Results"][1]["KV"]["Value"] == value
    with pytest.raises(consul.ConsulException, match="409"):
        client.txn.put([{"KV": {"Verb": "check-not-exists", "Key": "py-txn/a"}}])


def test_prepared_queries(client: Any) -> None:
    client.catalog.register("py-query", "10.0.0.8", service={"Service": "py-query", "Port": 80})
    made = client.query.create("py-query", "py-query", onlypassing=True, ttl="10s")["ID"]
    assert client.query.get(made)[0]["DNS"]["TTL"] == "10s"
    assert made in [one["ID"] for one in client.query.list()]
    assert client.query.update(made, name="py-query", service="py-query") is True
    assert client.query.execute("py-query")["Nodes"][0]["Node"]["Node"] == "py-query"
    assert client.query.explain("py-query")["Query"]["ID"] == made
    assert client.query.delete(made) is True
    client.catalog.deregister("py-query")


def test_events(client: Any) -> None:
    fired = client.event.fire("py-deploy", "53", node="dev")
    _, heard = eventually(lambda: (found := client.event.list("py-deploy"))[1] and found)
    assert heard[0]["ID"] == fired["ID"]
    assert heard[0]["Payload"] == b"53"


def test_coordinates(client: Any) -> None:
    _, found = eventually(lambda: (found := client.coordinate.nodes())[1] and found)
    assert client.coordinate.node("dev")[1][0]["Node"] == "dev"
    assert client.coordinate.datacenters()[0]["Datacenter"] == "dc1"
    assert client.coordinate.update("dev", found[0]["Coord"]) is True


def test_the_operator(client: Any) -> None:
    operator = client.operator
    (server,) = operator.raft_config()["Servers"]
    assert (server["Node"], server["Leader"]) == ("dev", True)
    settings = operator.autopilot_configuration()
    assert operator.update_autopilot_configuration(max_trailing_logs=251, cas=1) is False
    changed = operator.update_autopilot_configuration(
        max_trailing_logs=251, cas=settings["ModifyIndex"]
    )
    assert changed is True
    assert operator.autopilot_configuration()["MaxTrailingLogs"] == 251
    assert "Healthy" in operator.autopilot_health()
    with pytest.raises(consul.ConsulException):
        operator.raft_remove_peer(peer_id="none")
    with pytest.raises(consul.ConsulException):
        operator.raft_transfer_leader()


def test_usage(client: Any) -> None:
    assert client.operator.usage()["Usage"]["dc1"]["Nodes"] >= 1


def test_config_entries(client: Any) -> None:
    assert client.config.set("service-defaults", "py-config", {"Protocol": "http"}) is True
    assert client.config.get("service-defaults", "py-config")["Protocol"] == "http"
    assert [one["Name"] for one in client.config.list("service-defaults")] == ["py-config"]
    index = client.config.get("service-defaults", "py-config")["ModifyIndex"]
    grpc = {"Protocol": "grpc"}
    assert client.config.set("service-defaults", "py-config", grpc, cas=index + 1) is False
    assert client.config.delete("service-defaults", "py-config") is True


def test_intentions(client: Any) -> None:
    intentions = client.connect.intentions
    assert intentions.upsert("py-a", "py-b", action="allow", description="why") is True
    found = intentions.read("py-a", "py-b")
    assert (found["Action"], found["Precedence"], found["Description"]) == ("allow", 9, "why")
    assert intentions.check("py-a", "py-b") is True
    assert intentions.upsert("*", "py-b", action="deny") is True
    assert intentions.check("py-c", "py-b") is False
    assert [one["SourceName"] for one in intentions.list()] == ["py-a", "*"]
    matching = intentions.match("destination", "py-b")
    assert [one["SourceName"] for one in matching["py-b"]] == ["py-a", "*"]
    assert intentions.delete("py-a", "py-b") is True
    assert intentions.delete("*", "py-b") is True


def test_status(client: Any) -> None:
    assert client.status.peers() == [client.status.leader()]


def test_snapshots(client: Any) -> None:
    client.kv.put("py-snapshot", "before")
    saved = client.snapshot.save()
    with tarfile.open(fileobj=io.BytesIO(saved), mode="r:gz") as archive:
        assert "SHA256SUMS" in archive.getnames()
    client.kv.put("py-snapshot", "after")
    assert client.snapshot.restore(saved) is True
    assert client.kv.get("py-snapshot")[1]["Value"] == b"before"
