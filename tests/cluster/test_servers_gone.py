"""With every server gone agents go on answering, and their DNS follows health over gossip."""

from __future__ import annotations

import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.processes import Cluster, Meshd, cluster, eventually

pytestmark = pytest.mark.together


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Cluster]:
    # So many die here that the guard would keep them all, as tests/cluster/test_calm.py shows.
    frank = {"enabled": False}
    with cluster(tmp_path, servers=3, agents=3, mass_failure=frank) as running:
        yield running


def register(agent: Meshd, port: int, name: str = "web") -> None:
    check = {"CheckID": f"{name}-ttl", "TTL": "1h", "Status": "passing"}
    agent.put("/v1/agent/service/register", {"Name": name, "Port": port, "Check": check})


def everywhere(nodes: list[Meshd], ports: set[int]) -> float:
    """Wait until DNS on every node gives these ports; seconds that took."""
    began = time.monotonic()
    for node in nodes:
        given: set[int] = set()

        def same(node: Meshd = node, given: set[int] = given) -> bool:
            given.clear()
            given.update(node.srv_ports("web"))
            return given == ports

        try:
            eventually(same)
        except AssertionError:
            members = {one["Name"]: one["Status"] for one in node.get("/v1/agent/members")}
            told = f"{node.name} gives {given}, wanted {ports}; members {members}; {stats(node)}"
            raise AssertionError(f"{told}\n{node.log()[-4000:]}") from None
    return time.monotonic() - began


def headers(node: Meshd, path: str) -> dict[str, str]:
    url = f"http://{node.client_address}:{node.http}{path}"
    with urllib.request.urlopen(url, timeout=20) as response:
        return dict(response.headers)


def stats(node: Meshd) -> dict[str, str]:
    found: dict[str, str] = node.get("/v1/agent/self")["Stats"]["discovery"]
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_dns_follows_health_without_servers(made: Cluster, number: int) -> None:
    first, second, third = made.agents
    register(first, 8001)
    register(second, 8002)
    everywhere(made.nodes, {8001, 8002})
    for server in made.servers:
        server.signal(number)
    took = {"down": 0.0, "up": 0.0, "maintenance": 0.0, "gone": 0.0, "dead": 0.0}
    first.put("/v1/agent/check/fail/web-ttl")
    took["down"] = everywhere(made.agents, {8002})
    first.put("/v1/agent/check/pass/web-ttl")
    took["up"] = everywhere(made.agents, {8001, 8002})
    second.put("/v1/agent/maintenance?enable=true")
    took["maintenance"] = everywhere(made.agents, {8001})
    second.put("/v1/agent/maintenance?enable=false")
    everywhere(made.agents, {8001, 8002})
    first.put("/v1/agent/service/deregister/web")
    took["gone"] = everywhere(made.agents, {8002})
    register(third, 8003, "other")
    eventually(lambda: third.srv_ports("other") == {8003})
    answers_say_how_old_they_are(made, third)
    second.kill()
    took["dead"] = everywhere([first, third], set())
    print({what: round(seconds, 3) for what, seconds in took.items()})
    second.start()
    everywhere([first, second, third], {8002})
    back_to_normal(made, number)


@pytest.mark.parametrize("kind", ["follower", "leader"])
def test_dns_follows_health_without_a_leader(made: Cluster, kind: str) -> None:
    """One server is left: it cannot write, and its DNS and that of agents follow all the same."""
    first, second, _ = made.agents
    register(first, 8001)
    register(second, 8002)
    everywhere(made.nodes, {8001, 8002})
    left = next(one for one in made.servers if one.leads() == (kind == "leader"))
    for server in made.servers:
        if server is not left:
            server.signal(signal.SIGKILL)
    running = [left, *made.agents]
    eventually(lambda: not left.get("/v1/status/leader"))
    everywhere(running, {8001, 8002})
    first.put("/v1/agent/check/fail/web-ttl")
    everywhere(running, {8002})
    second.kill()
    everywhere([left, first], set())
    first.put("/v1/agent/check/pass/web-ttl")
    everywhere([left, first], {8001})
    eventually(lambda: headers(first, "/v1/health/service/web?stale")["X-Cache"] == "HIT")
    path = "/v1/health/service/web?stale"
    eventually(lambda: int(headers(first, path)["X-Consul-LastContact"]) > 1000)
    eventually(lambda: int(headers(left, path)["X-Consul-LastContact"]) > 1000)


def answers_say_how_old_they_are(made: Cluster, agent: Meshd) -> None:
    names = {server.name for server in made.servers}

    def failed() -> bool:
        members = agent.get("/v1/agent/members")
        return {one["Name"] for one in members if one["Status"] == 4} >= names

    eventually(failed)
    path = "/v1/health/service/web?stale"
    eventually(lambda: int(headers(agent, path)["Age"]) > 0)
    shown = headers(agent, path)
    assert shown["X-Cache"] == "HIT"
    assert shown["X-Consul-KnownLeader"] == "false"
    assert int(shown["X-Consul-LastContact"]) >= 1000 * int(shown["Age"])
    later = eventually(lambda: int(headers(agent, path)["Age"]) > int(shown["Age"]))
    assert later
    assert int(stats(agent)["held_stale"]) > 0
    # Whoever wants no stale answer is told that there is none.
    with pytest.raises(OSError, match="500"):
        agent.get("/v1/health/service/web")


def ports(found: list[dict[str, Any]]) -> list[int]:
    return [one["Service"]["Port"] for one in found]


def back_to_normal(made: Cluster, number: int) -> None:
    """The catalog learns what happened meanwhile, and agents follow it again."""
    for server in made.servers:
        if number == signal.SIGSTOP:
            server.signal(signal.SIGCONT)
        else:
            server.kill()
            server.start()
    everywhere(made.nodes, {8002})
    path = "/v1/health/service/web"
    for node in made.nodes:
        eventually(lambda node=node: ports(node.get(path)) == [8002])  # type: ignore[misc]
    first, _, third = made.agents
    register(first, 8001)
    everywhere(made.nodes, {8001, 8002})
    eventually(lambda: headers(third, f"{path}?cached")["Age"] == "0")
    eventually(lambda: int(stats(first)["news_open"]) == 0)
