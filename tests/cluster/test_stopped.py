"""Servers that hang rather than die: stopped with SIGSTOP, their sockets stay open and silent."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.processes import Cluster, Meshd, cluster, eventually

pytestmark = pytest.mark.together
RECOVERY_SECONDS = 30.0
"""Well below the minute after which a call to a server that hangs is given up."""


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    # On a busy machine gossip may need long to find who hangs: until then a write goes on trying.
    patient = {"raft_multiplier": 1, "rpc_hold_timeout": "20s"}
    with cluster(tmp_path, servers=3, agents=1, performance=patient) as made:
        yield made


def serves(running: Cluster, agent: Meshd) -> Meshd:
    """The server that the agent asks: the one whose count of its reads grows with the agent's."""

    def count(server: Meshd) -> int:
        return int(server.get("/v1/agent/self")["Stats"]["rpc"].get("read", 0))

    def grown() -> Meshd | None:
        before = [count(server) for server in running.servers]
        for _ in range(40):
            agent.get("/v1/kv/?keys&stale")
        after = [count(server) for server in running.servers]
        return next(
            (
                server
                for server, old, new in zip(running.servers, before, after, strict=True)
                if new - old >= 40
            ),
            None,
        )

    found = eventually(grown)
    assert found is not None
    return found


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.monotonic()
    result = work()
    return time.monotonic() - began, result


def test_requests_recover_when_the_server_asked_hangs(three: Cluster) -> None:
    agent = three.agents[0]
    agent.put("/v1/kv/a", b"1")
    index = agent.get("/v1/kv/a")[0]["ModifyIndex"]
    hung = serves(three, agent)
    with ThreadPoolExecutor(3) as threads:
        blocked = threads.submit(agent.get, f"/v1/kv/a?index={index}&wait=60s")
        hung.signal(signal.SIGSTOP)
        read = threads.submit(timed, lambda: agent.get("/v1/kv/a"))
        write = threads.submit(timed, lambda: agent.put("/v1/kv/b?cas=0", b"once"))
        assert read.result(30)[0] < RECOVERY_SECONDS
        seconds, written = write.result(30)
        assert seconds < RECOVERY_SECONDS
        assert written is True
        # The blocked read went to another server meanwhile and hears of the change there.
        agent.put("/v1/kv/a", b"2")
        (pair,) = blocked.result(20)
        assert pair["ModifyIndex"] > index
    hung.signal(signal.SIGCONT)
    eventually(lambda: hung.get("/v1/kv/b?stale"))
    eventually(lambda: sum(server.leads() for server in three.servers) == 1)


def test_requests_recover_when_the_leader_hangs(three: Cluster) -> None:
    agent, leader = three.agents[0], three.leader()
    agent.put("/v1/kv/a", b"1")
    index = agent.get("/v1/kv/a")[0]["ModifyIndex"]
    followers = [server for server in three.servers if server is not leader]
    with ThreadPoolExecutor(4) as threads:
        path = f"/v1/kv/a?index={index}&wait=60s"
        blocked = [threads.submit(server.get, path) for server in followers]
        leader.signal(signal.SIGSTOP)
        writes = [
            threads.submit(timed, lambda server=server: server.put(f"/v1/kv/{server.name}", b"x"))  # type: ignore[misc]
            for server in followers
        ]
        for write in writes:
            seconds, written = write.result(30)
            assert seconds < RECOVERY_SECONDS
            assert written is True
        agent.put("/v1/kv/a", b"2")
        for one in blocked:
            (pair,) = one.result(20)
            assert pair["ModifyIndex"] > index
    # Awake again, it must not answer from the past, not even at once.
    with ThreadPoolExecutor(1) as threads:
        early = threads.submit(leader.get, "/v1/kv/a")
        leader.signal(signal.SIGCONT)
        (pair,) = early.result(20)
        assert pair["Value"] == "Mg=="
