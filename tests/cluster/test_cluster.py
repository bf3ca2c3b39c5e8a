"""The main job, end to end, on real processes: catalog, health, DNS, HTTP, and what kills do."""

from __future__ import annotations

import base64
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import consul
import pytest

from tests.cluster.processes import Cluster, Meshd, cluster, eventually

pytestmark = pytest.mark.together


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose nodes no test kills."""
    with cluster(tmp_path_factory.mktemp("calm"), servers=3, agents=2) as running:
        yield running


@pytest.fixture
def harmed(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of its own for a test that kills."""
    with cluster(tmp_path, servers=3, agents=2) as running:
        yield running


def client(node: Meshd) -> Any:
    return consul.Consul(host=node.address, port=node.http)


def payments(running: Cluster, node: Meshd, number: int) -> tuple[Any, int]:
    process, port = running.run_service(node.address)
    service = {
        "ID": f"payments-{number}",
        "Name": "payments",
        "Port": port,
        "Check": {"HTTP": f"http://{node.address}:{port}/health", "Interval": "1s"},
    }
    node.put("/v1/agent/service/register", service)
    return process, port


def test_py_consul_works_unmodified_through_agent_and_follower(calm: Cluster) -> None:
    leader = calm.leader()
    follower = next(server for server in calm.servers if server is not leader)
    _, port = calm.run_service(calm.agents[0].address)
    agent = client(calm.agents[0])
    url = f"http://{calm.agents[0].address}:{port}/"
    agent.agent.service.register(
        "orders", port=port, tags=["v1"], check=consul.Check.http(url, "1s")
    )
    index = None

    def passing(node: Meshd) -> bool:
        nonlocal index
        index, found = client(node).health.service("orders", passing=True, index=index, wait="2s")
        return [one["Service"]["Port"] for one in found] == [port]

    for node in (calm.agents[0], calm.agents[1], follower):
        index = None
        eventually(lambda node=node: passing(node))  # type: ignore[misc]

    for node in (calm.agents[0], follower):
        pairs, key = client(node).kv, f"py/{node.name}"
        assert pairs.put(key, "one", cas=0)
        assert not pairs.put(key, "two", cas=0)
        index, pair = pairs.get(key)
        assert pair["Value"] == b"one"
        assert pairs.put(key, "two", cas=pair["ModifyIndex"])
        assert pairs.get(key)[1]["Value"] == b"two"
        assert pairs.delete(key)


def test_dns_answers_on_every_node_and_follows_a_killed_process(calm: Cluster) -> None:
    started = [payments(calm, calm.agents[number % 2], number) for number in range(3)]
    ports = {port for _, port in started}
    for node in calm.nodes:
        eventually(lambda node=node: node.srv_ports("payments") == ports)  # type: ignore[misc]
    answer = calm.agents[0].dig("payments.service.mesh", "SRV")
    assert "ANSWER: 3" in answer
    assert ";; ADDITIONAL SECTION" in answer
    process, port = started[0]
    process.kill()
    process.wait()
    for node in calm.nodes:
        eventually(lambda node=node: node.srv_ports("payments") == ports - {port})  # type: ignore[misc]
    missing = calm.servers[0].dig("nobody.service.mesh", "A")
    assert "NXDOMAIN" in missing
    assert "SOA" in missing


def test_meshctl_works_against_any_node(calm: Cluster) -> None:
    for node in (calm.servers[0], calm.agents[1]):
        members = node.meshctl("members", "--format", "json")
        assert members.returncode == 0, members.stderr
        assert {one["Name"] for one in json.loads(members.stdout)} >= {"s1", "s2", "s3", "a1", "a2"}
        assert node.meshctl("kv", "put", f"cli/{node.name}", "b").returncode == 0
        assert node.meshctl("kv", "get", f"cli/{node.name}").stdout.strip() == "b"
        assert "mesh" in node.meshctl("catalog", "services").stdout
    gone = Meshd("gone", calm.servers[0].address, calm.folder / "gone", {})
    failed = gone.meshctl("members")
    assert failed.returncode == 1
    assert gone.address in failed.stderr


def test_bad_bytes_on_every_port_harm_nobody(calm: Cluster) -> None:
    node = calm.servers[0]
    for port in (node.server, node.lan, node.http, node.dns):
        for first in (b"\x01", b"\x10", b"\x00", b"GET "):
            with socket.create_connection((node.address, port), timeout=60) as stream:
                stream.sendall(first + b"\xff\x00garbage" * 50)
        with socket.socket(type=socket.SOCK_DGRAM) as datagram:
            for data in (b"", b"\xff", b"\x05\x81", b"\x00" * 600):
                datagram.sendto(data, (node.address, port))
    assert node.put("/v1/kv/after/garbage", b"fine") is True
    assert node.srv_ports("mesh") == {server.server for server in calm.servers}


def test_a_killed_agent_takes_its_services_out_everywhere(harmed: Cluster) -> None:
    first, second = harmed.agents
    _, kept = payments(harmed, first, 1)
    _, lost = payments(harmed, second, 2)
    eventually(lambda: first.srv_ports("payments") == {kept, lost})
    second.kill()
    for node in [*harmed.servers, first]:
        eventually(lambda node=node: node.srv_ports("payments") == {kept})  # type: ignore[misc]


def test_a_killed_leader_loses_no_acknowledged_write_and_rejoins(harmed: Cluster) -> None:
    agent, leader = harmed.agents[0], harmed.leader()
    acknowledged = []
    for number in range(60):
        if number == 30:
            leader.kill()
        key = f"loss/{number:03}"
        eventually(lambda key=key: agent.put(f"/v1/kv/{key}", key.encode()))  # type: ignore[misc]
        acknowledged.append(key)
    survivors = [server for server in harmed.servers if server is not leader]
    leader.start()
    for node in (*survivors, agent):
        assert node.get("/v1/kv/loss/?keys") == acknowledged
    eventually(lambda: leader.get("/v1/kv/loss/?keys&stale") == acknowledged)


def test_all_servers_killed_and_restarted_keep_everything(harmed: Cluster) -> None:
    agent = harmed.agents[0]
    _, port = payments(harmed, agent, 1)
    agent.put("/v1/kv/kept", b"yes")
    eventually(lambda: agent.srv_ports("payments") == {port})
    for server in harmed.servers:
        server.kill()
    for server in harmed.servers:
        server.start()
    for node in harmed.nodes:
        eventually(lambda node=node: node.srv_ports("payments") == {port})  # type: ignore[misc]
        (pair,) = eventually(lambda node=node: node.get("/v1/kv/kept"))  # type: ignore[misc]
        assert base64.b64decode(pair["Value"]) == b"yes"


def test_leaving_takes_a_node_out_of_the_catalog(harmed: Cluster) -> None:
    agent = harmed.agents[1]
    assert agent.stop() == 0
    server = harmed.servers[0]
    eventually(lambda: "a2" not in {one["Node"] for one in server.get("/v1/catalog/nodes")})
    assert harmed.agents[0].process is not None
    harmed.agents[0].signal(signal.SIGHUP)
    eventually(lambda: "reload" in harmed.agents[0].log())
    assert harmed.agents[0].process.poll() is None
