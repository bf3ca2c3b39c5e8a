"""The check a server keeps on its own node, with real servers."""

from __future__ import annotations

import re
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.processes import TOP, Cluster, Meshd, cluster, eventually

OPERATIONS = (TOP / "docs" / "operations.md").read_text()
pytestmark = pytest.mark.together


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path, servers=3, agents=0) as made:
        yield made


def status(node: Meshd) -> tuple[str, str]:
    check = node.get("/v1/agent/checks")["mesh-raft"]
    assert check["Name"] == "Raft"
    return check["Status"], check["Output"]


def sound(node: Meshd) -> bool:
    """Whether nothing is wrong but the disk, which is slow for a minute where others use it."""
    told, reason = status(node)
    return told == "passing" or "disk sync" in reason


def seen(node: Meshd, of: Meshd) -> str:
    """The status of a server in the catalog, as another one sees it."""
    checks = node.get(f"/v1/health/node/{of.name}?stale")
    return next(str(check["Status"]) for check in checks if check["CheckID"] == "mesh-raft")


def test_a_survivor_of_a_lost_quorum_says_so_and_comes_back(three: Cluster) -> None:
    for node in three.servers:
        eventually(lambda node=node: sound(node))  # type: ignore[misc]
        eventually(lambda node=node: seen(three.servers[0], node) == status(node)[0])  # type: ignore[misc]
    survivor, *stopped = three.servers
    before = len(survivor.log())
    for node in stopped:
        node.signal(signal.SIGSTOP)
    try:
        eventually(lambda: status(survivor)[0] == "critical")
        ranks = turns(survivor.log()[before:])
        reason = status(survivor)[1]
        assert "no leader was heard for more than 5 s" in reason or "majority" in reason
        # Its own word is still to be had.
        assert survivor.get("/v1/catalog/nodes?stale")
    finally:
        for node in stopped:
            node.signal(signal.SIGCONT)
    for node in three.servers:
        eventually(lambda node=node: sound(node))  # type: ignore[misc]
    eventually(lambda: seen(three.servers[1], survivor) == status(survivor)[0])
    # Up the ranks; on the way down a busy machine may go to and fro (tests/raft/test_health.py).
    assert ranks == sorted(ranks)
    assert ranks[-1] == 2


def turns(log: str) -> list[int]:
    """What the check became, one after the other: 0 passing, 1 warning, 2 critical."""
    lines = [line.partition("check mesh-raft is now ")[2] for line in log.splitlines()]
    found = [line.partition(":")[0] for line in lines if line]
    return [("passing", "warning", "critical").index(turn) for turn in found]


def scrape(node: Meshd) -> dict[str, float]:
    """The metrics of a node, by name with labels."""
    url = f"http://{node.address}:{node.http}/v1/agent/metrics?format=prometheus"
    with urllib.request.urlopen(url, timeout=60) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = response.read().decode().splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert len(found) == len([line for line in lines if not line.startswith("#")])
    return {name: float(value) for name, value in found.items()}


def test_metrics_of_real_servers(three: Cluster) -> None:
    leader = three.leader()
    for number in range(20):
        assert leader.put(f"/v1/kv/{number}", b"x") is True
    found = scrape(leader)
    assert found["mesh_server_isLeader"] == 1
    assert found["mesh_raft_apply"] >= 20
    assert found["mesh_raft_commitTime_count"] == found["mesh_raft_apply"]
    assert 0 < found['mesh_raft_commitTime{quantile="0.5"}'] < 10_000
    assert found['mesh_raft_storeLogs{quantile="0.99"}'] > 0
    assert found["mesh_members_servers"] == 3
    assert found["mesh_http_requests"] >= 20
    followers = [node for node in three.servers if node is not leader]
    for node in followers:
        assert f'mesh_raft_follower_lag{{peer="{node.name}"}}' in found
        assert scrape(node)["mesh_server_isLeader"] == 0
    last = found["mesh_raft_last_index"]
    eventually(lambda: all(scrape(node)["mesh_raft_applied_index"] >= last for node in followers))
    plain = leader.get("/v1/agent/metrics")
    gauges = {one["Name"]: one["Value"] for one in plain["Gauges"]}
    assert gauges["mesh.server.isLeader"] == 1
    assert gauges["mesh.raft.disk_free"] > gauges["mesh.raft.disk_floor"]
    # What is documented is there.
    listed = re.findall(r"^\| `(mesh\.[A-Za-z_.]+)`", OPERATIONS, re.MULTILINE)
    names = {name.partition("{")[0] for name in found}
    assert len(listed) > 20
    # The pool between datacenters has its own: tests/cluster/test_federation.py.
    for name in (one for one in listed if not one.startswith("mesh.wan.")):
        assert name.replace(".", "_") in names, name


def test_the_id_of_the_check_is_the_servers(three: Cluster) -> None:
    with pytest.raises(OSError, match="mesh-raft belongs to the servers"):
        three.servers[0].put("/v1/agent/check/register", {"Name": "mesh-raft", "TTL": "10s"})
