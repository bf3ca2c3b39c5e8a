"""The proxies of a node, over servers in memory that sign; Envoys are real where one runs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mesh.agent.proxies import AGAIN_SECONDS
from mesh.agent.reading import service_definition
from mesh.clock import SeededDice, SystemClock
from mesh.connect.launcher import Launcher, Options
from mesh.connect.process import kill_left
from mesh.errors import NotFound, Unreachable
from mesh.registry.intention_writes import Put
from mesh.registry.intentions import Providers
from tests.agent.conftest import until
from tests.agent.sidecar_node import ADDRESS, OTHER, PROXY, SOCKET, Node
from tests.connect.hand import HandClock
from tests.connect.servers import Servers

pytestmark = pytest.mark.together
KEYS = "eyJrZXlzIjpbeyJrdHkiOiJvY3QifV19"


@pytest.fixture
async def servers() -> Servers:
    return Servers(HandClock(time.time()))


@pytest.fixture
async def node(tmp_path: Path, servers: Servers) -> AsyncIterator[Node]:
    made = Node(tmp_path, servers)
    async with made.run():
        yield made


@pytest.fixture
async def running(tmp_path: Path, servers: Servers) -> AsyncIterator[Node]:
    """One that runs Envoys."""
    launched = Launcher(tmp_path, Options(drain_seconds=0.1), (SystemClock(), SeededDice()))
    made = Node(tmp_path, servers, launched)
    async with made.run():
        yield made


def accepts(port: int) -> bool:
    try:
        socket.create_connection((ADDRESS, port), timeout=60).close()
    except OSError:
        return False
    return True


async def test_a_proxy_is_told_of_as_long_as_it_is_registered(node: Node) -> None:
    node.web()
    node.behind("db")
    made, other = await node.first_told(), await node.first_told(OTHER)
    assert made.inbound is not None
    assert other.inbound is not None
    assert [made.inbound.port, other.inbound.port] == [node.first, node.first + 1]
    assert (made.service, made.inbound.local_port) == ("web", 80)
    assert made.leaf is not None
    assert made.leaf.uri.endswith("/svc/web")
    node.agent.deregister_service("web")
    await until(lambda: node.told() is None)
    assert set(node.leaves.held()) == {"db"}
    node.web()  # With the port that was given back.
    again = await node.first_told()
    assert again.inbound is not None
    assert again.inbound.port == node.first


async def test_it_waits_for_all_that_it_needs_and_then_tells_only_what_is_new(node: Node) -> None:
    upstream = {"DestinationName": "db", "LocalBindPort": 5000}
    node.web({"Upstreams": [upstream]})
    made = await node.first_told()
    assert [one.service for one in made.upstreams] == ["db"]
    node.servers.apply(Put("other", {"Name": "web", "Action": "deny"}))
    node.web({"Upstreams": [upstream]}, Tags=["new"])  # A blueprint does not show tags.
    node.servers.apply(Put("web", {"Name": "db", "Action": "deny"}))
    await until(lambda: node.told() is not made)
    found = await node.first_told()
    assert [one.source for one in found.policy.intentions] == ["db"]
    assert node.teller.puts == [PROXY, PROXY]
    node.web({"Upstreams": [upstream | {"LocalBindPort": 5001}]})
    await until(lambda: node.told() is not found)
    found = await node.first_told()
    assert [one.port for one in found.upstreams] == [5001]


async def test_a_leaf_that_is_renewed_is_told_and_goes_with_the_last_proxy(node: Node) -> None:
    node.web()
    first = await node.first_told()
    second: dict[str, Any] = {"DestinationServiceName": "web", "LocalServicePort": 80}
    node.service(Name="second", Kind="connect-proxy", Port=7000, Proxy=second)
    assert (await node.first_told("second")).leaf == first.leaf
    node.leaves.reissue("web")
    await until(lambda: node.told() != first and node.told("second") is not None)
    await until(lambda: (node.told("second") or first).leaf != first.leaf)
    node.agent.deregister_service("web")
    await until(lambda: node.told() is None)
    assert set(node.leaves.held()) == {"web"}
    node.agent.deregister_service("second")
    await until(lambda: not node.leaves.held())


async def test_what_is_wrong_with_one_is_said_and_does_not_stop_another(node: Node) -> None:
    elsewhere = {"DestinationName": "db", "LocalBindPort": 5000, "Datacenter": "dc2"}
    node.web({"Upstreams": [elsewhere]})
    node.behind("db")
    await node.first_told()
    await node.first_told(OTHER)
    assert list(node.proxies.problems()) == [PROXY]
    assert "services in datacenter dc2 cannot be reached yet" in node.proxies.problems()[PROXY]
    node.web()
    await until(lambda: not node.proxies.problems())


async def test_providers_of_tokens_are_followed_while_rules_name_them(node: Node) -> None:
    node.web()
    before = await node.first_told()
    assert before.jwt_providers == []
    node.write("service-defaults", "web", {"Protocol": "http"})
    node.write("jwt-provider", "okta", {"JSONWebKeySet": {"Local": {"JWKS": KEYS}}})
    jwt = {"JWT": {"Providers": [{"Name": "okta"}]}}
    rules = {"Name": "db", "Action": "allow"}
    node.write("service-intentions", "web", {"Sources": [rules]} | jwt)
    await until(lambda: node.providers() == ["okta"])
    node.write("service-intentions", "web", {"Sources": [rules]})
    await until(lambda: not node.providers())


async def test_checks_go_through_a_proxy_once_it_has_opened_their_ports(node: Node) -> None:
    check = {"CheckID": "c", "HTTP": f"http://{ADDRESS}:80/health", "Interval": "10s"}
    node.web({"Expose": {"Checks": True}}, Check=check)
    made = await node.first_told()
    assert made.inbound is not None
    assert [one.listener_port for one in made.inbound.exposed] == [node.first + 2]
    local = node.agent.checks()["c"]
    assert local.through == ""
    node.teller.open = {node.first + 2}
    node.proxies.opened(PROXY)
    through = f"{ADDRESS}:{node.first + 2}"
    assert node.agent.checks()["c"].through == through
    node.check(service_id="web", **check | {"Timeout": "3s"})  # Anew, and so it leads nowhere.
    await until(lambda: node.agent.checks()["c"].through == through)
    node.web({}, Check=check)
    await until(lambda: node.agent.checks()["c"].through == "")
    node.web({"Expose": {"Checks": True}}, Check=check)
    await until(lambda: (made := node.told()) and made.inbound and made.inbound.exposed)
    node.proxies.opened(PROXY)
    assert node.agent.checks()["c"].through == through
    node.agent.deregister_service(PROXY)
    await until(lambda: node.agent.checks()["c"].through == "")


def exposing(*upstreams: int, **options: Any) -> dict[str, Any]:
    """A proxy through which checks go, with upstreams at these ports."""
    found = [{"DestinationName": "db", "LocalBindPort": port} for port in upstreams]
    return {"Expose": {"Checks": True}, "Upstreams": found, "Config": options}


async def test_a_listener_that_is_refused_keeps_no_check_from_going_through(running: Node) -> None:
    check = {"CheckID": "c", "HTTP": f"http://{ADDRESS}:80/health", "Interval": "10s"}
    through = f"{ADDRESS}:{running.first + 2}"
    with socket.socket() as taken:
        taken.bind((ADDRESS, 0))
        taken.listen()
        running.web(exposing(taken.getsockname()[1]), Check=check)
        await until(lambda: refused(running), 60)
        await until(lambda: running.agent.checks()["c"].through == through, 60)
        # Another blueprint of which the proxy learns nothing, and the check anew.
        running.web(exposing(taken.getsockname()[1], unknown_option=1), Check=check)
        running.check(service_id="web", **check | {"Timeout": "3s"})
        await until(lambda: running.agent.checks()["c"].through == through, 60)


def refused(node: Node) -> bool:
    found = node.control.heard(PROXY)
    return found is not None and bool(found.refused)


async def test_bootstraps_are_for_proxies_that_are_there(node: Node) -> None:
    with pytest.raises(NotFound, match='Unknown proxy ID "web-sidecar-proxy"'):
        node.proxies.bootstrap(PROXY, {})
    with pytest.raises(NotFound):
        node.proxies.manage(PROXY, enable=True)
    node.web()
    await node.first_told()
    made = node.proxies.bootstrap(PROXY, {})
    assert made["node"]["id"] == PROXY
    assert SOCKET in str(made)
    assert not node.proxies.manages(PROXY), "without a launcher it runs none"


async def test_proxies_wait_for_a_discovery_service_that_cannot_start_yet(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.teller.failures = 2
    node.web()
    await until(lambda: node.teller.failures == 1)
    assert node.told() is None
    assert "proxies cannot be told anything yet: the address is taken" in caplog.text
    await node.servers.hand.advance(AGAIN_SECONDS)
    assert node.told() is None
    await node.servers.hand.advance(AGAIN_SECONDS)
    await node.first_told()


async def test_an_envoy_that_crashes_is_started_again_with_all_it_had(running: Node) -> None:
    running.web()
    first = await running.envoy()
    assert running.proxies.manages(PROXY)
    await until(lambda: accepts(running.first), 30)
    os.kill(first.pid, signal.SIGKILL)
    second = await running.envoy(but=first.pid)
    assert second.restarts == 1
    await until(lambda: accepts(running.first), 30)
    running.agent.deregister_service("web")
    await until(lambda: not accepts(running.first), 30)


async def test_only_envoys_of_sidecars_are_run_unless_somebody_else_does(running: Node) -> None:
    second: dict[str, Any] = {"DestinationServiceName": "web", "LocalServicePort": 80}
    running.service(Name="second", Kind="connect-proxy", Port=7000, Proxy=second)
    running.behind("db", {"Config": {"envoy_managed": False}})
    running.web()
    first = await running.envoy()
    for name in ("second", OTHER):
        await running.first_told(name)
        assert not running.proxies.manages(name)
    assert running.launcher is not None
    assert [one.proxy for one in running.launcher.sidecars()] == [PROXY]
    running.proxies.manage(PROXY, enable=False)
    assert not running.proxies.manages(PROXY)
    async with asyncio.timeout(30):
        await running.launcher.gone(PROXY)
    running.web(Tags=["new"])  # Who runs it is remembered.
    await until(lambda: not running.proxies.manages(PROXY))
    running.proxies.manage(PROXY, enable=True)
    assert (await running.envoy()).pid != first.pid
    running.behind("db")
    await running.envoy(OTHER)
    assert running.proxies.manages(OTHER)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where no Envoy is left running, also when the test fails."""
    yield tmp_path
    kill_left(tmp_path)


async def test_envoys_of_a_former_life_go_on_or_end_as_is_registered_now(
    folder: Path, servers: Servers
) -> None:
    def launcher() -> Launcher:
        return Launcher(folder, Options(drain_seconds=0.1), (SystemClock(), SeededDice()))

    before = Node(folder, servers, launcher())
    async with before.run(keep=True):
        before.web()
        before.behind("db")
        web, db = await before.envoy(), await before.envoy(OTHER)
        await until(lambda: accepts(before.first + 1), 30)
    after = Node(folder, servers, launcher())
    after.web()
    async with after.run():
        assert (await after.envoy()).pid == web.pid
        await until(lambda: not Path(f"/proc/{db.pid}").exists(), 30)


def behind(node: Node, destination: str) -> None:
    proxy = {"destination_service_name": destination, "local_service_port": 8080}
    node.service(id="p", name="p", kind="connect-proxy", port=21000, proxy=proxy)


async def test_a_proxy_of_another_service_never_shows_the_certificate_of_the_one_before(
    node: Node,
) -> None:
    behind(node, "web")
    await until(lambda: node.teller.serials("web"))
    behind(node, "api")
    await until(lambda: node.teller.serials("api"))
    shown = {(one.service, one.leaf.service) for one in node.teller.made if one.leaf}
    assert shown == {("web", "web"), ("api", "api")}


async def test_a_proxy_has_a_certificate_again_after_somebody_else_gave_it_up(node: Node) -> None:
    behind(node, "web")
    await until(lambda: node.teller.serials("web"))
    node.leaves.drop("web")  # As when gRPC programs of the service go.
    await until(lambda: len({*node.teller.serials("web")}) == 2)


async def test_a_proxy_without_a_certificate_says_so_and_asks_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.connect.leaves.HELD_MAX", 0)
    behind(node, "web")
    await until(lambda: "certificates of 0 services" in node.proxies.problems().get("p", ""))
    monkeypatch.undo()
    await node.servers.hand.advance(AGAIN_SECONDS)
    await until(lambda: node.teller.serials("web"))
    assert node.proxies.problems() == {}


async def test_it_may_be_stopped_twice(node: Node) -> None:
    """As by a node that leaves: it drains its Envoys first, and then stops altogether."""
    node.web()
    await node.first_told()
    await node.proxies.stop()
    await node.proxies.stop()
    node.behind("db")
    assert node.told(OTHER) is None


async def test_what_cannot_be_read_is_said_and_the_proxy_goes_on_as_it_was(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """As what another version of mesh left on disk; the API lets none of it in."""

    def odd() -> None:
        fields = {"Name": "p", "Kind": "connect-proxy", "Port": 21000}
        proxy = {"destination_service_name": "web", "local_service_port": "many"}
        definition = service_definition(fields | {"Proxy": {"DestinationServiceName": "web"}})
        kept = replace(definition, proxy=proxy)
        node.agent.register_service(kept, source="api")

    behind(node, "web")
    made = await node.first_told("p")
    odd()
    await until(lambda: "LocalServicePort" in node.proxies.problems().get("p", ""))
    node.behind("db")
    await node.first_told(OTHER)
    assert node.told("p") is made
    said = [one for one in caplog.records if "LocalServicePort" in one.getMessage()]
    assert len(said) == 1
    node.agent.deregister_service("p")
    await until(lambda: node.told("p") is None)
    assert node.proxies.problems() == {}
    # One that nobody could read from the beginning goes like any other.
    odd()
    await until(lambda: "p" in node.proxies.problems())
    assert node.told("p") is None
    node.agent.deregister_service("p")
    await until(lambda: not node.proxies.problems())


async def test_a_fault_of_ours_with_one_proxy_stops_no_other(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.teller.fails_for = PROXY
    node.web()
    node.behind("db")
    await node.first_told(OTHER)
    await until(lambda: PROXY in node.proxies.problems())
    assert "mesh failed: RuntimeError('nobody foresaw this')" in node.proxies.problems()[PROXY]
    assert f"proxy {PROXY} cannot be put together" in caplog.text
    node.teller.fails_for = ""
    node.web(Tags=["anew"])
    await node.first_told()
    assert node.proxies.problems() == {}


async def test_an_option_that_no_envoy_can_start_with_is_said(running: Node) -> None:
    running.web({"Config": {"envoy_stats_config_json": "[]"}})
    wrong = "Proxy.Config.envoy_stats_config_json: expected a JSON object"
    await until(lambda: running.proxies.problems() == {PROXY: wrong})
    assert running.launcher is not None
    assert not running.launcher.sidecars()
    running.web()
    await running.envoy()
    assert running.proxies.problems() == {}


async def test_a_proxy_waits_for_servers_and_is_told_when_they_are_there(
    node: Node, servers: Servers
) -> None:
    upstream = {"DestinationName": "db", "LocalBindPort": 5000}
    node.web()
    made = await node.first_told()
    servers.lost = Unreachable("no server answers")
    node.web({"Upstreams": [upstream]})
    node.behind("db")
    await until(lambda: OTHER in node.agent.services())
    assert node.told(OTHER) is None
    assert node.told() is made, "it goes on as it was while nothing is known of its upstream"
    servers.lost = None
    await until(lambda: (node.told() or made).upstreams)
    await node.first_told(OTHER)


async def test_providers_are_followed_only_as_long_as_a_rule_names_them(node: Node) -> None:
    def rules(provider: str) -> None:
        jwt = {"JWT": {"Providers": [{"Name": provider}]}}
        sources = [{"Name": "db", "Action": "allow"}]
        node.write("service-intentions", "web", {"Sources": sources} | jwt)

    def followed(provider: str) -> bool:
        return node.following.last(Providers((provider,))) is not None

    node.web()
    await node.first_told()
    node.write("service-defaults", "web", {"Protocol": "http"})
    for name in ("okta", "other"):
        node.write("jwt-provider", name, {"JSONWebKeySet": {"Local": {"JWKS": KEYS}}})
    rules("okta")
    await until(lambda: node.providers() == ["okta"])
    rules("other")
    await until(lambda: node.providers() == ["other"])
    assert (followed("okta"), followed("other")) == (False, True)
    node.agent.deregister_service("web")
    await until(lambda: node.told() is None)
    assert not followed("other")
