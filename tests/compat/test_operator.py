"""/v1/operator as Consul's clients see it."""

from __future__ import annotations

import asyncio
from typing import Any

import consul
import pytest

from mesh.errors import Conflict, NotFound
from mesh.registry import orders
from mesh.registry.port import HERE
from tests.compat.conftest import Api

SERVERS = orders.RaftServers(
    [
        orders.RaftServer("id1", "s1", "10.0.0.1:8300", voter=True, leader=True, last_index=90),
        orders.RaftServer("id2", "s2", "10.0.0.2:8300", voter=False, last_index=88, barred=True),
    ],
    epoch=4,
    commit_index=90,
)
HEALTH = orders.Health(
    healthy=True,
    failure_tolerance=1,
    servers=[
        orders.ServerHealth(
            id="id1",
            name="s1",
            address="10.0.0.1:8300",
            status="alive",
            version="0.1.0",
            leader=True,
            voter=True,
            healthy=True,
            last_term=7,
            last_index=90,
            stable_since=1468360874.5,
        ),
        orders.ServerHealth(
            id="id2",
            name="s2",
            address="10.0.0.2:8300",
            status="failed",
            version="0.1.0",
            leader=False,
            voter=False,
            healthy=False,
            read_replica=True,
            last_contact=None,
            reason="gossip: failed",
        ),
    ],
    leader="id1",
    doing="s3 left",
)


def order(api: Api) -> object:
    return api.registry.orders[-1][0]


async def test_raft_configuration(api: Api) -> None:
    api.registry.outcomes[orders.RaftConfiguration] = SERVERS
    got = await api.get("/v1/operator/raft/configuration")
    assert got.json["Index"] == 4
    assert got.json["Servers"][0] == {
        "ID": "id1",
        "Node": "s1",
        "Address": "10.0.0.1:8300",
        "Leader": True,
        "ProtocolVersion": "3",
        "Voter": True,
        "LastIndex": 90,
        "Barred": False,
    }
    assert api.registry.orders[-1][1].where == "leader"
    await api.get("/v1/operator/raft/configuration?stale")
    assert api.registry.orders[-1][1].where == HERE.where


async def test_peers_are_added_and_removed(api: Api) -> None:
    api.registry.outcomes |= {orders.AddPeer: 5, orders.RemovePeer: 6}
    assert (await api.put("/v1/operator/raft/peer?id=id2")).json == {"Index": 5}
    assert order(api) == orders.AddPeer(id="id2")
    assert (await api.delete("/v1/operator/raft/peer?address=10.0.0.2:8300")).status == 200
    assert order(api) == orders.RemovePeer(address="10.0.0.2:8300")
    for query, words in (("", "Must specify either ?id"), ("?id=a&address=b:1", "only one of")):
        got = await api.delete(f"/v1/operator/raft/peer{query}")
        assert got.status == 400
        assert words in got.text
    api.registry.outcomes[orders.RemovePeer] = NotFound('id "x" was not found')
    assert (await api.delete("/v1/operator/raft/peer?id=x")).status == 500
    api.registry.outcomes[orders.RemovePeer] = Conflict("s1 is the only voter")
    assert (await api.delete("/v1/operator/raft/peer?id=id1")).text == "s1 is the only voter"


async def test_leadership_is_transferred(api: Api) -> None:
    api.registry.outcomes[orders.TransferLeader] = orders.Server("id2", "s2", "10.0.0.2:8300")
    got = await api.ask("POST", "/v1/operator/raft/transfer-leader?id=id2")
    assert got.json["Success"] is True
    assert order(api) == orders.TransferLeader("id2")
    assert (await api.get("/v1/operator/raft/transfer-leader")).status == 405


async def test_figures_have_names_like_all_others(api: Api) -> None:
    figures = {"commit_index": 90, "last_contact": float("inf"), "voters": ["s1"]}
    api.registry.outcomes[orders.RaftStatus] = [
        orders.Figures(orders.Server("id1", "s1", "10.0.0.1:8300"), figures),
        orders.Figures(orders.Server("id2", "s2", "10.0.0.2:8300"), error="no answer"),
    ]
    first, second = (await api.get("/v1/operator/raft/status?server=s1")).json["Servers"]
    assert first["Figures"] == {"CommitIndex": 90, "LastContact": None, "Voters": ["s1"]}
    assert (second["Node"], second["Error"], second["Figures"]) == ("s2", "no answer", {})
    assert order(api) == orders.RaftStatus("s1")


async def test_settings_have_defaults_and_are_written_with_cas(api: Api) -> None:
    path = "/v1/operator/autopilot/configuration"
    assert (await api.get(path)).json == {
        "CleanupDeadServers": True,
        "LastContactThreshold": "200ms",
        "MaxTrailingLogs": 250,
        "MinQuorum": 0,
        "ServerStabilizationTime": "10s",
        "RedundancyZoneTag": "",
        "DisableUpgradeMigration": False,
        "UpgradeVersionTag": "",
        "CreateIndex": 0,
        "ModifyIndex": 0,
    }
    body = {"cleanupdeadservers": False, "ServerStabilizationTime": "1m", "MinQuorum": 3}
    assert (await api.put(f"{path}?cas=0", body)).json is True
    assert (await api.put(f"{path}?cas=0", body)).json is False
    found = await api.get(path)
    assert found.json["CleanupDeadServers"] is False
    assert found.json["ServerStabilizationTime"] == "1m0s"
    assert (found.json["LastContactThreshold"], found.json["MinQuorum"]) == ("200ms", 3)
    assert (await api.put(path, {"LastContactThreshold": 500_000_000})).json is True
    assert (await api.get(path)).json["LastContactThreshold"] == "500ms"


@pytest.mark.parametrize(
    ("query", "body", "words"),
    [
        ("", '{"LastContactThreshold": "soon"}', "LastContactThreshold: expected a duration"),
        ("", '{"ServerStabilizationTime": "-1s"}', "ServerStabilizationTime"),
        ("", '{"MinQuorum": 1000}', "MinQuorum"),
        ("", '{"MaxTrailingLogs": -1}', "MaxTrailingLogs"),
        ("", '{"Nonsense": 1}', "Nonsense"),
        ("", "[]", "Request decode failed"),
        ("?cas=x", "{}", "cas"),
    ],
)
async def test_settings_that_make_no_sense(api: Api, query: str, body: str, words: str) -> None:
    got = await api.put(f"/v1/operator/autopilot/configuration{query}", body)
    assert got.status == 400
    assert words in got.text
    assert not api.registry.database.index


async def test_health_is_429_when_a_server_is_not_well(api: Api) -> None:
    api.registry.outcomes[orders.AutopilotHealth] = HEALTH
    got = await api.get("/v1/operator/autopilot/health")
    assert (got.status, got.json["Healthy"], got.json["FailureTolerance"]) == (200, True, 1)
    assert got.json["Servers"][0] == {
        "ID": "id1",
        "Name": "s1",
        "Address": "10.0.0.1:8300",
        "SerfStatus": "alive",
        "Version": "0.1.0",
        "Leader": True,
        "LastContact": "0s",
        "LastTerm": 7,
        "LastIndex": 90,
        "Healthy": True,
        "Voter": True,
        "StableSince": "2016-07-12T22:01:14Z",
        "Reason": "",
    }
    assert got.json["Servers"][1]["LastContact"] == "-1ns"
    api.registry.outcomes[orders.AutopilotHealth] = orders.Health(False, 0, HEALTH.servers)
    got = await api.get("/v1/operator/autopilot/health")
    assert (got.status, got.json["Healthy"]) == (429, False)


async def test_state_names_voters_and_replicas(api: Api) -> None:
    api.registry.outcomes[orders.AutopilotHealth] = HEALTH
    state = (await api.get("/v1/operator/autopilot/state")).json
    assert (state["Leader"], state["Voters"], state["ReadReplicas"]) == ("id1", ["id1"], ["id2"])
    assert state["OptimisticFailureTolerance"] == 1
    second = state["Servers"]["id2"]
    assert (second["NodeStatus"], second["Status"], second["NodeType"]) == (
        "failed",
        "non-voter",
        "read-replica",
    )


async def test_py_consul(api: Api) -> None:
    api.registry.outcomes |= {
        orders.RaftConfiguration: SERVERS,
        orders.RemovePeer: 5,
        orders.TransferLeader: orders.Server("id2", "s2", "10.0.0.2:8300"),
        orders.AutopilotHealth: orders.Health(False, 0, HEALTH.servers),
    }

    def work() -> None:
        host, port = api.address
        client: Any = consul.Consul(host=host, port=port)
        operator = client.operator
        assert operator.raft_config()["Servers"][0]["Leader"] is True
        assert operator.raft_remove_peer(peer_id="id2") is True
        assert operator.raft_transfer_leader() is True
        assert operator.autopilot_health()["Healthy"] is False
        assert operator.update_autopilot_configuration(min_quorum=3, cas=0) is True
        assert operator.update_autopilot_configuration(min_quorum=5, cas=0) is False
        assert operator.autopilot_configuration()["MinQuorum"] == 3

    await asyncio.to_thread(work)


async def test_usage(api: Api) -> None:
    await api.register("n1", "web")
    await api.register("n2", "WEB", Instance={"Connect": {"Native": True}})
    proxy = {"Kind": "connect-proxy", "Port": 1, "Proxy": {"DestinationServiceName": "web"}}
    await api.register("n2", "web-sidecar-proxy", Instance=proxy)
    await api.register("n3", "consul")
    amounts = {
        "Services": 3,
        "ServiceInstances": 4,
        "ConnectServiceInstances": {
            "api-gateway": 0,
            "connect-native": 1,
            "connect-proxy": 1,
            "ingress-gateway": 0,
            "mesh-gateway": 0,
            "terminating-gateway": 0,
        },
        "BillableServiceInstances": 2,
        "Nodes": 3,
    }
    assert (await api.get("/v1/operator/usage")).json == {"Usage": {"dc1": amounts}}
    api.registry.outcomes[orders.Datacenters] = ["dc1", "dc2"]
    found = (await api.get("/v1/operator/usage", **{"global": "true"})).json["Usage"]
    assert sorted(found) == ["dc1", "dc2"]
    assert [options.datacenter for _, options in api.registry.reads] == ["dc1", "dc1", "dc2"]
