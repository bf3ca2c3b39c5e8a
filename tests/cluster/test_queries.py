"""Transactions and prepared queries on real processes, across servers, agents and datacenters."""

from __future__ import annotations

import json
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.cluster.federation import Site, federation
from tests.cluster.processes import Meshd, eventually

pytestmark = pytest.mark.together


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Site]]:
    """dc1 with two servers and an agent, dc2 with a server and an agent."""
    with federation(tmp_path_factory.mktemp("pair"), [(2, 1), (1, 1)]) as sites:
        yield sites


def kv(verb: str, key: str, value: bytes | None = None, **more: Any) -> dict[str, Any]:
    encoded = {} if value is None else {"Value": b64encode(value).decode()}
    return {"KV": {"Verb": verb, "Key": key, **encoded, **more}}


def refused(node: Meshd, ops: list[dict[str, Any]]) -> list[int]:
    """The ops that failed."""
    with pytest.raises(OSError, match="PUT /v1/txn: 409 ") as caught:
        node.put("/v1/txn", ops)
    told = json.loads(str(caught.value).partition(" 409 ")[2])
    assert told["Results"] is None
    return [error["OpIndex"] for error in told["Errors"]]


def test_transactions_through_every_kind_of_node(sites: list[Site]) -> None:
    for number, node in enumerate(sites[0].nodes):
        key = f"txn/{number}"
        done = node.put("/v1/txn", [kv("cas", key, b"1", Index=0), kv("get", key)])
        assert [one["KV"]["Value"] for one in done["Results"]] == [None, "MQ=="]
        index = done["Results"][0]["KV"]["ModifyIndex"]
        never = kv("set", f"{key}/never", b"x")
        stale = kv("cas", key, b"2", Index=index + 1)
        assert refused(node, [never, stale, kv("get", "none")]) == [1, 2]
        read = node.put("/v1/txn?stale", [kv("get-tree", key)])
        assert [one["KV"]["Key"] for one in read["Results"]] in ([key], [])
        read = node.put("/v1/txn?consistent", [kv("get-tree", key)])
        assert [one["KV"]["Key"] for one in read["Results"]] == [key]


def test_what_became_of_a_transaction_can_be_asked(sites: list[Site]) -> None:
    agent = sites[0].agents[0]
    ops = json.dumps([kv("cas", "once", b"1", Index=0), kv("get", "once")]).encode()
    url = f"http://{agent.client_address}:{agent.http}/v1/txn"

    def send() -> Any:
        headers = {"Idempotency-Key": "once"}
        request = urllib.request.Request(url, ops, headers, method="PUT")
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)

    first = send()
    assert first["Results"][1]["KV"]["Value"] == "MQ=="
    assert send() == first
    told = agent.get("/v1/operator/request/once")
    assert (told["Status"], told["Value"]["results"][1]["kv"]["value"]) == ("applied", "MQ==")


def test_a_transaction_in_another_datacenter(sites: list[Site]) -> None:
    agent = sites[0].agents[0]
    done = agent.put("/v1/txn?dc=dc2", [kv("set", "far", b"1"), kv("get", "far")])
    assert len(done["Results"]) == 2
    assert sites[1].servers[0].get("/v1/kv/far?keys") == ["far"]
    assert agent.put("/v1/txn?dc=dc2", [kv("get", "far")])["Results"][0]["KV"]["Value"] == "MQ=="


def run(site: Site, service: str, port: int, **more: Any) -> None:
    agent = site.agents[0]
    agent.put("/v1/agent/service/register", {"Name": service, "Port": port, **more})
    for server in site.servers:
        eventually(partial(server.get, f"/v1/health/service/{service}?passing"))


def finds(node: Meshd, port: int, datacenter: str, failovers: int) -> bool:
    """Whether the query finds just this, and DNS says the same."""
    got = node.get("/v1/query/shop/execute")
    ports = [one["Service"]["Port"] for one in got["Nodes"]]
    if (ports, got["Datacenter"], got["Failovers"]) != ([port], datacenter, failovers):
        return False
    answer = node.dig("+noall", "+answer", "shop.query.mesh", "SRV").split()
    return answer[1:] == f"7 IN SRV 1 1 {port} a1.node.{datacenter}.mesh.".split()


def test_a_query_fails_over_and_comes_back(sites: list[Site]) -> None:
    here, there = sites
    run(there, "shop", 9002)
    definition = {
        "Name": "shop",
        "Service": {"Service": "shop", "Failover": {"NearestN": 1, "Datacenters": ["dc9"]}},
        "DNS": {"TTL": "7s"},
    }
    agent = here.agents[0]
    made = agent.ask("POST", "/v1/query", definition)["ID"]
    for node in here.nodes:
        eventually(partial(finds, node, 9002, "dc2", 1))
    # Of the other datacenter's own queries none has this name.
    with pytest.raises(OSError, match="404 Query not found"):
        agent.get("/v1/query/shop/execute?dc=dc2")
    run(here, "shop", 9001)
    for node in here.nodes:
        eventually(partial(finds, node, 9001, "dc1", 0))
    agent.put("/v1/agent/service/maintenance/shop?enable=true")
    for node in here.nodes:
        eventually(partial(finds, node, 9002, "dc2", 1))
    agent.ask("DELETE", f"/v1/query/{made}")
    for node in here.nodes:
        eventually(partial(answers, node, "shop.query.mesh", "NXDOMAIN"))


def answers(node: Meshd, name: str, text: str) -> bool:
    return text in node.dig(name, "SRV")


def test_a_template_through_meshctl_and_dns(sites: list[Site]) -> None:
    here, _ = sites
    run(here, "cache", 6379, Tags=["eu"])
    agent = here.agents[0]
    flags = ["--template", "--regexp", "^find-(.*)-(.*)$", "--tag", "${match(2)}"]
    made = agent.meshctl("query", "create", "--name", "find-", "--service", "${match(1)}", *flags)
    assert made.returncode == 0, made.stderr
    for node in here.nodes:
        eventually(partial(answers, node, "find-cache-eu.query.mesh", " 6379 "))
        assert "NXDOMAIN" in node.dig("find-cache-us.query.mesh", "SRV")
    # The only server over there has no such query, and is asked from here.
    assert "NXDOMAIN" in agent.dig("find-cache-eu.query.dc2.mesh", "SRV")


def test_an_agent_goes_on_answering_without_servers(sites: list[Site]) -> None:
    here, _ = sites
    run(here, "lone", 7000)
    run(here, "other", 6380)
    agent = here.agents[0]
    agent.ask("POST", "/v1/query", {"Name": "lone", "Service": {"Service": "lone"}})
    template = {"Type": "name_prefix_match"}
    any_service = {"Name": "any-", "Template": template, "Service": {"Service": "${name.suffix}"}}
    agent.ask("POST", "/v1/query", any_service)
    eventually(partial(answers, agent, "lone.query.mesh", " 7000 "))
    eventually(partial(answers, agent, "any-other.query.mesh", " 6380 "))
    for server in here.servers:
        server.kill()
    for _ in range(3):
        assert " 7000 " in agent.dig("lone.query.mesh", "SRV")
    # It knows the template and the service, though it was never asked for them together.
    for name in ("lone", "any-lone"):
        got = agent.get(f"/v1/query/{name}/execute?cached")
        assert [one["Service"]["Port"] for one in got["Nodes"]] == [7000]
