"""Cluster-wide maintenance over real processes: DNS and health follow, the node up or down."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.processes import Meshd, cluster, eventually

WEB = {"Name": "web", "Port": 8001, "Check": {"TTL": "1h", "Status": "passing"}}


def addresses(node: Meshd) -> set[str]:
    return set(node.dig("web.service.mesh", "A", "+short").split())


def statuses(node: Meshd, name: str) -> dict[str, str]:
    return {check["CheckID"]: check["Status"] for check in node.get(f"/v1/health/node/{name}")}


def test_it_works_while_the_node_is_down_and_survives_its_return(tmp_path: Path) -> None:
    with cluster(tmp_path, servers=1, agents=2) as made:
        server, (one, two) = made.servers[0], made.agents
        for agent in (one, two):
            agent.put("/v1/agent/service/register", WEB)
        both = {one.address, two.address}
        for node in made.nodes:
            eventually(lambda node=node: addresses(node) == both)  # type: ignore[misc]
        one.kill()
        done = two.meshctl("maint", "-enable", "-node", one.name, "-reason", "new disk")
        assert done.returncode == 0, done.stderr
        eventually(lambda: addresses(server) == {two.address})
        eventually(lambda: statuses(server, one.name)["serfHealth"] == "critical")
        one.start()
        eventually(lambda: statuses(server, one.name)["serfHealth"] == "passing")
        # It has synced what runs there, and is still out: also where one asks itself.
        one.put("/v1/agent/service/register", WEB | {"Tags": ["back"]})
        eventually(
            lambda: (
                ["back"]
                in [found["ServiceTags"] for found in server.get("/v1/catalog/service/web")]
            )
        )
        assert statuses(server, one.name)["_cluster_maintenance"] == "critical"
        assert addresses(server) == {two.address}
        eventually(lambda: addresses(one) == {two.address})
        listed = one.meshctl("maint").stdout
        assert f"node {one.name}" in listed
        assert "new disk" in listed
        done = two.meshctl("maint", "-enable", "-node", one.name, "-for", "1s")
        assert done.returncode == 0, done.stderr
        eventually(lambda: addresses(server) == both)
        assert two.get("/v1/maintenance") == []


def test_a_service_as_a_whole(tmp_path: Path) -> None:
    with cluster(tmp_path, servers=1, agents=1) as made:
        server, agent = made.servers[0], made.agents[0]
        done = server.meshctl("maint", "-enable", "-cluster", "-service", "web", "-owner", "ann")
        assert "0 instances" in done.stdout, done
        agent.put("/v1/agent/service/register", WEB)
        eventually(lambda: server.get("/v1/catalog/service/web"))
        assert server.get("/v1/health/service/web?passing") == []
        assert addresses(server) == set()
        assert server.meshctl("maint", "-disable", "-cluster", "-service", "web").returncode == 0
        eventually(lambda: addresses(server) == {agent.address})
