"""Real servers and agents whose network splits three to two and heals: Raft and gossip recover."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.processes import Meshd, eventually
from tests.gossip.netns.network import Network, network, why_not

pytestmark = pytest.mark.netns

SERVERS, AGENTS = 3, 2
ALIVE, FAILED = 1, 4


class Housed(Meshd):
    """A node in a namespace; questions go to it there."""

    def __init__(self, net: Network, number: int, folder: Path, config: dict[str, Any]) -> None:
        server = number <= SERVERS
        name = f"s{number}" if server else f"a{number - SERVERS}"
        # Ports are found free on loopback; they are as free in a namespace of one's own.
        super().__init__(name, "127.0.0.1", folder / name, {"server": server} | config)
        self.number, self._net = number, net
        self.address = net.address(number)
        self.config |= {"bind_addr": self.address, "client_addr": self.address}
        self.prefix = net.prefix(number)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """As `Meshd.ask`, from within its namespace."""
        with self._net.inside(self.number):
            return super().ask(method, path, body)

    def statuses(self) -> dict[str, int]:
        """Serf's status of each member, by name, as this node sees it."""
        return {one["Name"]: one["Status"] for one in self.get("/v1/agent/members")}

    def value(self, key: str) -> bytes:
        """What it reads at this key."""
        return base64.b64decode(self.get(f"/v1/kv/{key}")[0]["Value"])

    def writes(self, key: str) -> bool:
        """Whether a write through this node succeeds."""
        return bool(self.put(f"/v1/kv/{key}", self.name.encode()) is True)


@contextmanager
def housed(folder: Path) -> Iterator[tuple[Network, list[Housed]]]:
    """Three servers and two agents that know each other; logs are shown when the test fails."""
    with network(SERVERS + AGENTS) as net:
        nodes = [Housed(net, number, folder, {}) for number in net.numbers]
        join = [node.joinable for node in nodes[:SERVERS]]
        config = {"retry_join": join, "retry_interval": "1s"}
        for node in nodes:
            node.config |= config
            if node.config["server"]:
                node.config["bootstrap_expect"] = SERVERS
        try:
            for node in nodes:
                node.start()
            for node in nodes:
                eventually(lambda node=node: all_well(node, nodes), 60)  # type: ignore[misc]
            yield net, nodes
        except BaseException:
            for node in nodes:
                print(f"---- {node.name} ----\n{node.log()[-4000:]}")
            raise
        finally:
            for node in nodes:
                node.kill()


def all_well(node: Housed, nodes: Sequence[Housed]) -> bool:
    """Whether this node knows a leader, sees everybody alive, and finds everybody's health good."""
    names = {one.name for one in nodes}
    health = {one["Node"]: one["Status"] for one in node.get("/v1/health/state/any")}
    return bool(
        node.get("/v1/status/leader")
        and node.statuses() == dict.fromkeys(names, ALIVE)
        and health == dict.fromkeys(names, "passing")
    )


@pytest.mark.parametrize(
    "seconds", [15, pytest.param(60, marks=pytest.mark.slow)], ids=["short", "minute"]
)
def test_raft_and_gossip_recover_from_a_split(tmp_path: Path, seconds: int) -> None:
    if reason := why_not():
        pytest.skip(reason)
    with housed(tmp_path) as (net, nodes):
        leader = eventually(lambda: next(one for one in nodes[:SERVERS] if one.leads()))
        followers = [one for one in nodes[:SERVERS] if one is not leader]
        minority, majority = [leader, nodes[3]], [*followers, nodes[4]]
        assert nodes[3].writes("before")
        end = time.monotonic() + seconds
        net.split([one.number for one in minority], [one.number for one in majority])
        _fail(majority, minority)
        _fail(minority, majority)
        # The two servers elect one of themselves; the old leader and its agent can write nothing.
        eventually(lambda: any(one.leads() for one in followers))
        for node in majority:
            eventually(lambda node=node: node.writes(f"meanwhile/{node.name}"))  # type: ignore[misc]
        eventually(lambda: _unhealthy(majority[-1]) == {one.name for one in minority})
        eventually(lambda: not leader.leads())
        for node in minority:
            with pytest.raises(OSError, match=r"No cluster leader|50[03]"):
                node.writes("lost")
        time.sleep(max(0.0, end - time.monotonic()))
        net.heal()
        for node in nodes:
            eventually(lambda node=node: all_well(node, nodes), 60)  # type: ignore[misc]
            eventually(lambda node=node: node.writes(f"after/{node.name}"))  # type: ignore[misc]
        for node in nodes:
            assert node.value("before") == b"a1"
            for other in nodes:
                assert node.value(f"after/{other.name}") == other.name.encode()
            for other in majority:
                assert node.value(f"meanwhile/{other.name}") == other.name.encode()
        assert all(node.process is not None and node.process.poll() is None for node in nodes)


def _fail(seers: Sequence[Housed], seen: Sequence[Housed]) -> None:
    wanted = dict.fromkeys((one.name for one in seers), ALIVE)
    wanted |= dict.fromkeys((one.name for one in seen), FAILED)
    for node in seers:
        eventually(lambda node=node: node.statuses() == wanted)  # type: ignore[misc]


def _unhealthy(node: Housed) -> set[str]:
    return {one["Node"] for one in node.get("/v1/health/state/critical")}
