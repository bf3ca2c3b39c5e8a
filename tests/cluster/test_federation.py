"""Datacenters that know each other, on real processes over TLS: requests, DNS, and what fails."""

from __future__ import annotations

import base64
import json
import re
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.federation import ALIVE, FAILED, LEFT, Site, federation, wait_for_pool, wan
from tests.cluster.processes import Meshd, eventually
from tests.cluster.test_health import OPERATIONS, scrape

pytestmark = pytest.mark.together


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Site]]:
    """dc1 with one server and an agent, dc2 with two servers and an agent; nobody is killed."""
    with federation(tmp_path_factory.mktemp("pair"), [(1, 1), (2, 1)]) as sites:
        yield sites


def value(node: Meshd, path: str) -> bytes:
    return base64.b64decode(node.get(path)[0]["Value"])


def test_keys_of_another_datacenter_are_read_and_written(pair: list[Site]) -> None:
    one, two = pair
    agent = one.agents[0]
    for node in (agent, one.servers[0]):
        assert node.put("/v1/kv/a?dc=dc2", node.name.encode()) is True
        assert value(node, "/v1/kv/a?dc=dc2") == node.name.encode()
        assert value(two.agents[0], "/v1/kv/a?consistent") == node.name.encode()
        with pytest.raises(OSError, match="404"):
            node.get("/v1/kv/a")
        assert node.ask("DELETE", "/v1/kv/a?dc=dc2") is True
    for asked in ("meshctl", "the API"):
        if asked == "meshctl":
            put = agent.meshctl("kv", "put", "--datacenter", "dc2", "cli", "said")
            assert put.returncode == 0, put.stderr
        got = agent.meshctl("kv", "get", "-datacenter", "dc2", "cli")
        assert got.stdout.strip() == "said"
    assert value(two.agents[0], "/v1/kv/cli") == b"said"


def test_a_blocking_query_waits_in_the_other_datacenter(pair: list[Site]) -> None:
    one, two = pair
    agent = one.agents[0]
    agent.put("/v1/kv/block?dc=dc2", b"1")
    index = agent.get("/v1/kv/block?dc=dc2")[0]["ModifyIndex"]
    found: list[Any] = []
    path = f"/v1/kv/block?dc=dc2&index={index}&wait=15s"
    waiting = threading.Thread(target=lambda: found.append(agent.get(path)))
    waiting.start()
    two.servers[1].put("/v1/kv/other", b"does not wake it")
    eventually(lambda: two.agents[0].get("/v1/kv/other"))
    assert not found
    two.agents[0].put("/v1/kv/block", b"2")
    waiting.join(10)
    assert base64.b64decode(found[0][0]["Value"]) == b"2"


def test_the_catalog_health_and_operator_of_another_datacenter(pair: list[Site]) -> None:
    one, two = pair
    agent = one.agents[0]
    assert agent.get("/v1/catalog/datacenters") == ["dc1", "dc2"]
    assert two.agents[0].get("/v1/catalog/datacenters") == ["dc2", "dc1"]
    listed = agent.meshctl("catalog", "datacenters")
    assert listed.stdout.split() == ["dc1", "dc2"]
    nodes = {entry["Node"]: entry["Datacenter"] for entry in agent.get("/v1/catalog/nodes?dc=dc2")}
    assert nodes == {"s1": "dc2", "s2": "dc2", "a1": "dc2"}
    body = {"Datacenter": "dc2", "Node": "ext", "Address": "10.1.1.1"}
    assert agent.put("/v1/catalog/register", body) is True
    assert agent.get("/v1/catalog/node/ext?dc=dc2")["Node"]["Datacenter"] == "dc2"
    assert agent.get("/v1/catalog/node/ext") is None
    assert agent.put("/v1/catalog/deregister?dc=dc2", {"Node": "ext"}) is True
    leader = agent.get("/v1/status/leader?dc=dc2")
    assert leader == two.agents[0].get("/v1/status/leader")
    peers = agent.get("/v1/status/peers?dc=dc2")
    assert sorted(peers) == sorted(f"{one.address}:{one.server}" for one in two.servers)
    shown = agent.get("/v1/operator/raft/configuration?dc=dc2")["Servers"]
    assert {server["Node"] for server in shown} == {"s1", "s2"}
    stale = agent.get("/v1/health/service/mesh?dc=dc2&stale")
    assert {entry["Node"]["Node"] for entry in stale} == {"s1", "s2"}
    where = {
        one["Datacenter"]: one["Coordinates"] for one in agent.get("/v1/coordinate/datacenters")
    }
    assert set(where) == {"dc1", "dc2"}
    assert "s1.dc1" in {one["Node"] for one in where["dc1"]}


def short(node: Meshd, name: str, kind: str) -> list[str]:
    return node.dig(name, kind, "+short").split()


def test_dns_answers_for_another_datacenter(pair: list[Site]) -> None:
    one, two = pair
    agent, server = one.agents[0], one.servers[0]
    there = two.agents[0]
    service = {"Name": "web", "ID": "web-1", "Port": 8080, "Tags": ["v1"]}
    there.put("/v1/agent/service/register", service)
    there.put(
        "/v1/agent/service/register",
        {"Name": "web", "ID": "web-2", "Port": 8081, "Address": "10.9.9.9"},
    )
    both = {there.address, "10.9.9.9"}
    for node in (agent, server):
        ask = partial(short, node)
        eventually(lambda ask=ask: set(ask("web.service.dc2.mesh", "A")) == both)  # type: ignore[misc]
        assert ask("v1.web.service.dc2.mesh", "A") == [there.address]
        assert ask("a1.node.dc2.mesh", "A") == [there.address]
        rfc2782 = node.dig("_web._v1.service.dc2.mesh", "SRV")
        assert "1 1 8080 a1.node.dc2.mesh." in rfc2782
        targets = node.dig("_web._tcp.service.dc2.mesh", "SRV", "+short")
        assert "0a090909.addr.dc2.mesh." in targets
        assert ask("0a090909.addr.dc2.mesh", "A") == ["10.9.9.9"]
        assert ask("web.service.mesh", "A") == []
        for name in ("web.service.dc9.mesh", "none.service.dc2.mesh", "none.node.dc2.mesh"):
            assert "NXDOMAIN" in node.dig(name, "A"), name


def test_what_is_no_datacenter_is_said(pair: list[Site]) -> None:
    for node in (pair[0].agents[0], pair[0].servers[0]):
        for odd in ("dc9", "DC2", "dc2.", "%22%0d%0aX:%20y", "..%2Fdc2", "%C3%A9", "x" * 5000):
            for path in (f"/v1/kv/a?dc={odd}", f"/v1/status/leader?dc={odd}"):
                with pytest.raises(OSError, match='500 No path to datacenter "'):
                    node.get(path)
            with pytest.raises(OSError, match='500 No path to datacenter "'):
                node.put(f"/v1/kv/a?dc={odd}")
        with pytest.raises(OSError, match="400"):
            node.get("/v1/kv/a?dc=%ff")


def test_the_pool_of_all_servers_is_shown_and_joined_by_servers_only(pair: list[Site]) -> None:
    one, two = pair
    listed = one.servers[0].meshctl("members", "-wan", "--format", "json")
    assert {entry["Name"] for entry in json.loads(listed.stdout)} == {"s1.dc1", "s1.dc2", "s2.dc2"}
    assert one.agents[0].get("/v1/agent/members?wan=1") == []
    refused = one.agents[0].meshctl("join", "-wan", two.joinable())
    assert refused.returncode == 1
    assert "Must be a server to join WAN cluster" in refused.stderr
    # The pools stay apart, whatever address people give.
    for address, flags in ((two.servers[0].joinable, ["-wan"]), (two.joinable(), [])):
        mixed = one.servers[0].meshctl("join", *flags, address)
        assert mixed.returncode == 1, address
    assert {one["Name"] for one in one.servers[0].get("/v1/agent/members")} == {"s1", "a1"}
    assert "s1" not in wan(one.servers[0])


def test_the_metrics_of_the_pool_of_all_servers(pair: list[Site]) -> None:
    found = scrape(pair[0].servers[0])
    listed = re.findall(r"^\| `(mesh\.wan\.[A-Za-z_.]+)`", OPERATIONS, re.MULTILINE)
    assert len(listed) >= 3
    names = {name.partition("{")[0] for name in found}
    assert {name.replace(".", "_") for name in listed} <= names
    assert found["mesh_wan_datacenters"] == 2


def test_servers_that_fail_are_shown_and_the_others_answer(tmp_path: Path) -> None:
    """One server of dc2 is joined by hand; the others are brought in by it."""
    with federation(tmp_path, [(1, 1), (3, 0)], join=False) as (one, two):
        agent, home = one.agents[0], one.servers[0]
        with pytest.raises(OSError, match='500 No path to datacenter "dc2"'):
            agent.get("/v1/kv/a?dc=dc2")
        assert home.meshctl("join", "-wan", two.joinable()).returncode == 0
        wait_for_pool([one, two])
        eventually(lambda: agent.put("/v1/kv/a?dc=dc2", b"1"))

        def asked() -> dict[str, int]:
            """Reads that each server of dc2 has answered."""
            found = {}
            for server in two.servers:
                if server.process and server.process.poll() is None:
                    found[server.name] = int(
                        server.get("/v1/agent/self")["Stats"]["rpc"].get("read", 0)
                    )
            return found

        before = asked()
        agent.get("/v1/kv/a?dc=dc2&stale")
        now = asked()
        contacted = next(one for one in two.servers if now[one.name] > before[one.name])
        contacted.kill()
        # Gossip does not know it yet.
        assert value(agent, "/v1/kv/a?dc=dc2&stale") == b"1"
        eventually(lambda: agent.put("/v1/kv/a?dc=dc2", b"2"))
        eventually(lambda: wan(home)[f"{contacted.name}.dc2"] == FAILED)
        assert value(agent, "/v1/kv/a?dc=dc2") == b"2"
        _leave_and_forget(home, two, contacted)


def _leave_and_forget(home: Meshd, two: Site, failed: Meshd) -> None:
    """A server that leaves is left in both pools; one that failed can be forgotten in one."""
    name = f"{failed.name}.dc2"
    assert home.meshctl("force-leave", "-wan", name).returncode == 0
    eventually(lambda: wan(home)[name] == LEFT)
    assert home.meshctl("force-leave", "-wan", "-prune", name).returncode == 0
    eventually(lambda: name not in wan(home))
    assert home.meshctl("force-leave", "-wan", "nobody.dc2").returncode == 1
    leaving = next(one for one in two.servers if one is not failed)
    leaving.put("/v1/agent/leave")
    eventually(lambda: wan(home)[f"{leaving.name}.dc2"] == LEFT)
    # Known again by itself after a restart, through the members it wrote down.
    failed.start()
    eventually(lambda: wan(home).get(name) == ALIVE)


def test_a_datacenter_that_is_gone_is_said_in_time(tmp_path: Path) -> None:
    with federation(tmp_path, [(1, 1), (1, 0)]) as (one, two):
        agent, home, far = one.agents[0], one.servers[0], two.servers[0]
        agent.put("/v1/kv/a?dc=dc2", b"1")
        answered = agent.dig("mesh.service.dc2.mesh", "A", "+short").split()
        assert answered == [far.address]
        far.signal(signal.SIGSTOP)
        # It hangs, and nobody knows it yet; no resolver waits longer than this.
        assert "SERVFAIL" in agent.dig("mesh.service.dc2.mesh", "A", "+time=5")
        eventually(lambda: wan(home)["s1.dc2"] == FAILED)
        began = time.monotonic()
        with pytest.raises(OSError, match="500 Remote DC has no server currently reachable"):
            agent.get("/v1/kv/a?dc=dc2")
        assert time.monotonic() - began < 30
        assert "SERVFAIL" in agent.dig("mesh.service.dc2.mesh", "A")
        assert agent.get("/v1/catalog/datacenters") == ["dc1", "dc2"]
        far.signal(signal.SIGCONT)
        eventually(lambda: value(agent, "/v1/kv/a?dc=dc2") == b"1")
        eventually(lambda: agent.dig("mesh.service.dc2.mesh", "A", "+short").split() == answered)


def test_encrypted_pools_share_a_key_and_change_it_together(tmp_path: Path) -> None:
    first, second = (base64.b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))
    with federation(tmp_path, [(1, 0), (1, 0)], encrypt=first) as (one, two):
        home, far = one.servers[0], two.servers[0]
        assert home.get("/v1/agent/self")["Stats"]["serf_wan"]["encrypted"] == "true"
        assert home.put("/v1/kv/a?dc=dc2", b"1") is True
        for flag in ("--install", "--use"):
            changed = home.meshctl("keyring", flag, second)
            assert changed.returncode == 0, changed.stderr
        rings = {(ring["WAN"], ring["NumNodes"]): ring for ring in home.get("/v1/operator/keyring")}
        assert rings[True, 2]["PrimaryKeys"] == {second: 2}
        assert rings[False, 1]["PrimaryKeys"] == {second: 1}
        kept = Path(far.config["data_dir"], "serf", "remote.keyring")
        assert json.loads(kept.read_text())[0] == second
        # The pool within dc2 is its own: nobody changed its key.
        assert {ring["WAN"]: set(ring["Keys"]) for ring in far.get("/v1/operator/keyring")} == {
            False: {first},
            True: {first, second},
        }
