"""Operating real servers through any node: who votes, who leads, how they fare, and leaving."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.processes import Cluster, Meshd, cluster, eventually

pytestmark = pytest.mark.together


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("calm"), servers=3, agents=1) as running:
        yield running


@pytest.fixture
def harmed(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path, servers=3, agents=0) as running:
        yield running


def output(node: Meshd, *words: str) -> Any:
    done = node.meshctl("operator", *words, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def voters(node: Meshd) -> set[str]:
    peers = output(node, "raft", "list-peers")
    return {peer["Node"] for peer in peers if peer.get("Voter")}


def quick(node: Meshd, time: str = "500ms") -> None:
    """Have servers get their vote after this time instead of ten seconds."""
    done = node.meshctl("operator", "autopilot", "set-config", f"-server-stabilization-time={time}")
    assert done.returncode == 0, done.stderr


def test_every_node_shows_the_servers(calm: Cluster) -> None:
    leader = calm.leader()
    for node in (calm.agents[0], leader, next(one for one in calm.servers if one is not leader)):
        peers = output(node, "raft", "list-peers")
        assert {peer["Node"] for peer in peers} == {"s1", "s2", "s3"}
        assert [peer["Node"] for peer in peers if peer.get("Leader")] == [leader.name]
        status = output(node, "raft", "status")
        assert {one["Figures"]["Leader"] for one in status} == {leader.name}
        assert not [one for one in status if one.get("Error")]


def test_the_servers_are_healthy_and_settings_are_replicated(calm: Cluster) -> None:
    agent = calm.agents[0]
    health = eventually(
        lambda: next(
            found for found in [agent.get("/v1/operator/autopilot/health")] if found["Healthy"]
        )
    )
    assert health["FailureTolerance"] == 1
    assert all(one["Version"] and one["Voter"] for one in health["Servers"])
    done = agent.meshctl("operator", "autopilot", "set-config", "-max-trailing-logs", "300")
    assert done.returncode == 0, done.stderr
    path = "/v1/operator/autopilot/configuration?stale"
    for server in calm.servers:
        eventually(lambda server=server: server.get(path)["MaxTrailingLogs"] == 300)  # type: ignore[misc]


def test_acts_are_refused_in_words_and_leave_an_audit_line(calm: Cluster) -> None:
    done = calm.agents[0].meshctl("operator", "raft", "remove-peer", "-id", "nobody")
    assert done.returncode == 1
    assert 'id "nobody" was not found' in done.stderr
    line = "RemovePeer(id='nobody', address='', leaving=False) ordered by anonymous"
    assert f"{line} through a1/http/127.0.0.1" in calm.leader().log()


def test_leadership_is_handed_over(harmed: Cluster) -> None:
    leader = harmed.leader()
    other = next(one for one in harmed.servers if one is not leader)
    found = output(leader, "raft", "transfer-leader", "-id", other.name)
    assert found["Node"] == other.name
    eventually(other.leads)
    # Through who takes over itself, and through one that follows first the one, then the other.
    found = output(leader, "raft", "transfer-leader", "-id", leader.name)
    assert found["Node"] == leader.name
    eventually(leader.leads)
    third = next(one for one in harmed.servers if one not in (leader, other))
    found = output(third, "raft", "transfer-leader", "-id", other.name)
    assert found["Node"] == other.name
    eventually(other.leads)
    assert other.put("/v1/kv/after", b"1") is True


def test_a_removed_server_votes_again_only_when_it_is_added(harmed: Cluster) -> None:
    leader = harmed.leader()
    quick(leader)
    # The leader itself: it hands over first.
    output(leader, "raft", "remove-peer", "-id", leader.name)
    rest = {one.name for one in harmed.servers} - {leader.name}
    eventually(lambda: voters(leader) == rest)
    state = next(
        one
        for one in leader.get("/v1/operator/autopilot/state")["Servers"].values()
        if one["Name"] == leader.name
    )
    assert "operator removed it" in state["Reason"]
    # As soon as it follows the log without a vote.
    eventually(lambda: output(leader, "raft", "add", "-id", leader.name))
    eventually(lambda: voters(leader) == {*rest, leader.name})
    assert leader.put("/v1/kv/after", b"1") is True


def test_who_leaves_loses_its_vote_and_gets_it_again_when_it_returns(harmed: Cluster) -> None:
    leader = harmed.leader()
    quick(leader)
    leader.put("/v1/agent/leave")
    assert leader.process is not None
    assert leader.process.wait(60) == 0
    rest = [one for one in harmed.servers if one is not leader]
    assert voters(rest[0]) == {one.name for one in rest}
    assert rest[0].put("/v1/kv/after", b"1") is True
    leader.start()
    eventually(lambda: voters(rest[0]) == {"s1", "s2", "s3"})


def newcomer(running: Cluster, number: int, name: str, **config: Any) -> Meshd:
    """Start a server that founds no cluster."""
    first = running.servers[0]
    network = first.address.rpartition(".")[0]
    config |= {"server": True, "retry_join": [first.joinable]}
    node = Meshd(name, f"{network}.{number}", running.folder / name, config)
    running.servers.append(node)
    node.start()
    return node


def test_one_server_grows_to_three_in_one_change(tmp_path: Path) -> None:
    with cluster(tmp_path, servers=1, agents=0) as running:
        (first,) = running.servers
        # Longer than one may take to start after the other.
        quick(first, "5s")
        for number in (2, 3):
            newcomer(running, number, f"s{number}")
        eventually(lambda: voters(first) == {"s1", "s2", "s3"})
        changes = [line for line in first.log().splitlines() if "the voters changed" in line]
        assert len(changes) == 1, changes


def test_a_server_that_lost_its_disk_takes_its_own_place(harmed: Cluster) -> None:
    leader = harmed.leader()
    quick(leader)
    before = {peer["ID"] for peer in output(leader, "raft", "list-peers")}
    lost = next(one for one in harmed.servers if one is not leader)
    lost.kill()
    shutil.rmtree(lost.config["data_dir"])
    lost.start()

    def replaced() -> bool:
        peers = output(leader, "raft", "list-peers")
        names = sorted(peer["Node"] for peer in peers if peer.get("Voter"))
        return names == ["s1", "s2", "s3"] and len(before - {peer["ID"] for peer in peers}) == 1

    eventually(replaced)
    eventually(lambda: lost.get("/v1/operator/autopilot/health"))


def test_new_servers_vote_once_they_are_stable_read_replicas_never(harmed: Cluster) -> None:
    leader = harmed.leader()
    quick(leader)
    added = [newcomer(harmed, 4, "s4"), newcomer(harmed, 5, "replica", read_replica=True)]
    eventually(lambda: voters(leader) == {"s1", "s2", "s3", "s4"})
    leader.put("/v1/kv/late", b"1")
    for node in added:
        eventually(lambda node=node: node.get("/v1/kv/late?stale"))  # type: ignore[misc]
    assert voters(leader) == {"s1", "s2", "s3", "s4"}
