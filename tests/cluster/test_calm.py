"""The mass-failure guard and flap damping, with real nodes."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.processes import PATIENT, Cluster, Meshd, cluster, eventually

pytestmark = pytest.mark.together

MANY = 3


OPTIONS: dict[str, Any] = {
    "gossip_lan": PATIENT,
    "mass_failure": {"hold_max": "10m"},
    "flap_damping": {"suppress": 1.5, "half_life": "1h", "hold_max": "3h"},
}


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path, servers=1, agents=5, **OPTIONS) as running:
        yield running


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path, servers=1, agents=3, **OPTIONS) as running:
        yield running


def register(nodes: list[Meshd], name: str) -> set[int]:
    """An instance of the service on each of the nodes; their ports."""
    ports = set()
    for number, node in enumerate(nodes):
        node.put("/v1/agent/service/register", {"Name": name, "Port": 7000 + number})
        ports.add(7000 + number)
    return ports


def statuses(of: Meshd) -> dict[str, int]:
    return {member["Name"]: member["Status"] for member in of.get("/v1/agent/members")}


def check_ids(checks: list[dict[str, Any]]) -> set[str]:
    return {check["CheckID"] for check in checks}


def serf_health(of: Meshd, name: str) -> tuple[str, str]:
    checks = of.get(f"/v1/health/node/{name}")
    return next((one["Status"], one["Output"]) for one in checks if one["CheckID"] == "serfHealth")


def test_half_of_the_agents_vanish_and_discovery_stays_calm(pool: Cluster) -> None:
    server, (witness, *rest) = pool.servers[0], pool.agents
    lost, kept = rest[:MANY], rest[MANY:]
    ports = register([*lost, *kept], "web")
    for node in (server, witness):
        eventually(lambda node=node: node.srv_ports("web") == ports)  # type: ignore[misc]

    for node in lost:
        node.signal(signal.SIGSTOP)
    names = sorted(node.name for node in lost)
    for node in (server, witness):
        eventually(lambda node=node: node.get("/v1/agent/guard")["Members"] == names)  # type: ignore[misc]
        eventually(lambda node=node: node.srv_ports("web") == ports)  # type: ignore[misc]
    assert server.get("/v1/agent/guard")["Pool"] == len(pool.nodes), "this node counts too"
    # Loud: log, metric, members, health.
    assert "removals from discovery are frozen" in server.log()
    gauges = {one["Name"]: one["Value"] for one in server.get("/v1/agent/metrics")["Gauges"]}
    assert gauges["mesh.members.frozen"] == MANY
    shown = witness.meshctl("members")
    assert "FROZEN since" in shown.stderr
    assert shown.stdout.count("failed") == MANY
    assert server.get("/v1/agent/checks")["mesh-gossip"]["Status"] == "warning"
    eventually(lambda: "mesh-gossip" in check_ids(server.get("/v1/health/state/warning")))
    # The warning takes no instance out, not even for who wants only passing ones.
    for path in ("/v1/health/service/mesh", "/v1/health/service/mesh?stale"):
        (instance,) = server.get(path)
        assert {"serfHealth"} <= check_ids(instance["Checks"]) <= {"serfHealth", "mesh-raft"}
    for name in names:
        eventually(lambda name=name: serf_health(server, name)[0] == "passing")  # type: ignore[misc]

    for node in lost:
        node.signal(signal.SIGCONT)
    for node in (server, witness):
        eventually(lambda node=node: not node.get("/v1/agent/guard")["Frozen"])  # type: ignore[misc]
        assert set(statuses(node).values()) == {1}
        eventually(lambda node=node: node.srv_ports("web") == ports)  # type: ignore[misc]
    assert "no longer frozen" in server.log()
    assert server.get("/v1/agent/checks")["mesh-gossip"]["Status"] == "passing"

    # They die for good, and an operator who knows says so.
    for node in lost:
        node.kill()
    eventually(lambda: server.get("/v1/agent/guard")["Members"] == names)
    # The first to fail was out for a moment, until it was clear that it was one of many.
    eventually(lambda: server.srv_ports("web") == ports)
    assert server.meshctl("guard", "release").stdout == "Removals are no longer frozen.\n"
    left = {port for port in ports if port >= 7000 + MANY}
    eventually(lambda: server.srv_ports("web") == left)
    assert not server.get("/v1/agent/guard")["Frozen"]


def test_who_fails_again_and_again_is_left_out_unless_it_is_needed(small: Cluster) -> None:
    server, (flapping, steady, _) = small.servers[0], small.agents
    ports = register([flapping, steady], "web")
    eventually(lambda: server.srv_ports("web") == ports)

    def fall() -> None:
        flapping.signal(signal.SIGSTOP)
        eventually(lambda: statuses(server)[flapping.name] == 4)
        flapping.signal(signal.SIGCONT)
        eventually(lambda: statuses(server)[flapping.name] == 1)

    fall()
    eventually(lambda: server.srv_ports("web") == ports)
    fall()
    eventually(lambda: "left out until" in serf_health(server, flapping.name)[1])
    assert serf_health(server, flapping.name)[0] == "critical"
    assert server.srv_ports("web") == {7001}
    assert f"member {flapping.name} fell again" in server.log()
    assert not server.get("/v1/agent/guard")["Frozen"], "one of four is no mass"
    (damped,) = server.get("/v1/agent/guard")["Damped"]
    assert damped["Name"] == flapping.name
    lines = server.meshctl("members", "-detailed").stdout.splitlines()
    assert any(line.startswith(flapping.name) and "damped (2.0)" in line for line in lines)

    steady.kill()
    eventually(lambda: server.srv_ports("web") == {7000}, 60.0)


def test_the_network_doctor(tmp_path: Path) -> None:
    with cluster(tmp_path, servers=1, agents=2) as made:
        (server,), (first, second) = made.servers, made.agents
        report = json.loads(first.meshctl("doctor", "network", "--json").stdout)
        assert [member["Name"] for member in report["Members"]] == ["a1", "a2", "s1"]
        assert len(report["Paths"]) == 6
        for path in report["Paths"]:
            assert path["Heard"] == path["Sent"] > 0, path
            assert path["LargeHeard"] == path["LargeSent"] > 0
            assert path["UDPMs"] is not None
            assert path["TCPMs"] is not None
        # A busy machine may make members slow; anything else would be wrong.
        assert {one["Kind"] for one in report["Findings"]} <= {"slow"}
        second.signal(signal.SIGSTOP)
        done = server.meshctl("doctor", "network")
        assert done.returncode == 1, done
        assert (
            f"a2 ({second.joinable}) answers nobody, neither over UDP nor over TCP" in done.stdout
        )
        assert done.stdout.startswith("From \\ to  a1")
        assert server.meshctl("doctor", "network", "--nodes").returncode == 2
