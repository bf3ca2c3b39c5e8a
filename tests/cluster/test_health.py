"""The check a server keeps on its own node, with real servers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.processes import Cluster, Meshd, cluster, eventually

pytestmark = pytest.mark.xdist_group("cluster")


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path, servers=3, agents=0) as made:
        yield made


def status(node: Meshd) -> tuple[str, str]:
    check = node.get("/v1/agent/checks")["mesh-raft"]
    assert check["Name"] == "Raft"
    return check["Status"], check["Output"]


def seen(node: Meshd, of: Meshd) -> str:
    """The status of a server in the catalog, as another one sees it."""
    checks = node.get(f"/v1/health/node/{of.name}?stale")
    return next(str(check["Status"]) for check in checks if check["CheckID"] == "mesh-raft")


def test_a_survivor_of_a_lost_quorum_says_so_and_comes_back(three: Cluster) -> None:
    for node in three.servers:
        eventually(lambda node=node: status(node)[1] in {"leads", "follows"})  # type: ignore[misc]
        eventually(lambda node=node: seen(three.servers[0], node) == "passing")  # type: ignore[misc]
    survivor, *stopped = three.servers
    for node in stopped:
        node.signal(signal.SIGSTOP)
    try:
        eventually(lambda: status(survivor)[0] == "critical")
        reason = status(survivor)[1]
        assert "no leader was heard for more than 5 s" in reason or "majority" in reason
        # Its own word is still to be had.
        assert survivor.get("/v1/catalog/nodes?stale")
    finally:
        for node in stopped:
            node.signal(signal.SIGCONT)
    for node in three.servers:
        eventually(lambda node=node: status(node)[0] == "passing")  # type: ignore[misc]
    eventually(lambda: seen(three.servers[1], survivor) == "passing")
    turns = [
        line.partition("check mesh-raft is now ")[2].partition(":")[0]
        for line in survivor.log().splitlines()
        if "check mesh-raft is now" in line
    ]
    # Up the ranks, then down; never to and fro.
    ranks = [("passing", "warning", "critical").index(turn) for turn in turns]
    top = ranks.index(2)
    assert ranks[: top + 1] == sorted(ranks[: top + 1])
    assert ranks[top:] == sorted(ranks[top:], reverse=True)


def test_the_id_of_the_check_is_the_servers(three: Cluster) -> None:
    with pytest.raises(OSError, match="mesh-raft belongs to the servers"):
        three.servers[0].put("/v1/agent/check/register", {"Name": "mesh-raft", "TTL": "10s"})
