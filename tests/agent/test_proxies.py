"""The proxies of a node, over servers in memory that sign; Envoys are real where one runs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mesh.agent.following import Following
from mesh.agent.local import Agent
from mesh.agent.proxies import AGAIN_SECONDS, Proxies
from mesh.clock import SeededDice, SystemClock
from mesh.connect.acks import Acks
from mesh.connect.composing import Place
from mesh.connect.launcher import Launcher, Options, Sidecar, short_folder
from mesh.connect.leaves import Leaves
from mesh.connect.process import kill_left
from mesh.connect.xds.blueprint import Blueprint
from mesh.connect.xds.control import Control
from mesh.errors import NotFound, Unreachable
from mesh.registry import config
from mesh.registry.intention_writes import Put
from tests.agent.conftest import World, options, until
from tests.cluster.dev import row_of_ports
from tests.connect.hand import HandClock
from tests.connect.servers import Servers

pytestmark = pytest.mark.together
ADDRESS = "127.0.0.1"
PROXY, OTHER = "web-sidecar-proxy", "db-sidecar-proxy"
SOCKET = "xds.sock"
KEYS = "eyJrZXlzIjpbeyJrdHkiOiJvY3QifV19"


class Teller:
    """Has the discovery service start with the first proxy, as a node does."""

    def __init__(self, control: Control, folder: Path) -> None:
        self._control, self._folder = control, folder
        self.drop = control.drop
        self.made: list[Blueprint] = []
        """What proxies were told, one after the other."""
        self.failures = 0
        """So many times it cannot start."""
        self.open: set[int] = set()
        """Ports that are open without an Envoy."""

    def put(self, blueprint: Blueprint) -> None:
        self.made.append(blueprint)
        self._control.put(blueprint)

    def open_ports(self, proxy: str) -> set[int]:
        return self._control.open_ports(proxy) | self.open

    @property
    def puts(self) -> list[str]:
        """The proxy, each time it was told something."""
        return [one.proxy for one in self.made]

    def serials(self, service: str) -> list[str]:
        """Those of the certificates of this service, as its proxies were told of them."""
        found = [one.leaf for one in self.made if one.service == service]
        return [leaf.serial for leaf in found if leaf is not None and leaf.service == service]

    async def start(self) -> str:
        if self.failures:
            self.failures -= 1
            raise Unreachable("the address is taken")
        address = f"unix:{short_folder(self._folder, len(SOCKET)) / SOCKET}"
        await self._control.start([address])
        return address


class Node(World):
    """An agent and its proxies. Nothing runs before `run`."""

    def __init__(self, folder: Path, servers: Servers, launcher: Launcher | None = None) -> None:
        world = (servers.hand, SeededDice(1))
        first = row_of_ports(4)
        given = options(sidecar_ports=(first, first + 1), expose_ports=(first + 2, first + 3))
        agent = Agent(servers, given, SystemClock(), SeededDice(7), lambda: 1)
        super().__init__(agent, servers)
        self.servers, self.launcher, self.first = servers, launcher, first
        self.leaves = Leaves(servers, "dc1", Acks(servers, "n1", world), world, None)
        self.following = Following(servers, SystemClock())
        self.control = Control(SystemClock(), self._heard, lambda _held, _seen: None)
        self.teller = Teller(self.control, folder)
        parts = (self.teller, launcher)
        self.proxies = Proxies(agent, self.following, self.leaves, parts, self._place, servers.hand)

    def _place(self) -> Place:
        return Place(node="n1", datacenter="dc1", bind=ADDRESS)

    def _heard(self, proxy: str) -> None:
        self.proxies.opened(proxy)

    @asynccontextmanager
    async def run(self, *, keep: bool = False) -> AsyncIterator[None]:
        await self.leaves.start()
        self.proxies.start()
        try:
            yield
        finally:
            await self.proxies.stop()
            if self.launcher is not None:
                await self.launcher.stop(keep=keep)
            await self.following.stop()
            await self.control.stop()
            await self.leaves.stop()
            await self.agent.stop()

    def web(self, proxy: dict[str, Any] | None = None, **more: Any) -> None:
        self.behind("web", proxy, **more)

    def behind(self, service: str, proxy: dict[str, Any] | None = None, **more: Any) -> None:
        """Register a service with a sidecar."""
        sidecar = {"Proxy": proxy or {}, "Checks": []}
        self.service(Name=service, Port=80, Connect={"SidecarService": sidecar}, **more)

    def write(self, kind: str, name: str, body: dict[str, Any]) -> None:
        self.servers.apply(config.Write.of(kind, name, body))

    def told(self, proxy: str = PROXY) -> Blueprint | None:
        return self.proxies.blueprints().get(proxy)

    def providers(self) -> list[str]:
        """Of tokens, as its proxy was told."""
        made = self.told()
        return [one.name for one in made.jwt_providers] if made is not None else []

    async def first_told(self, proxy: str = PROXY) -> Blueprint:
        await until(lambda: self.told(proxy))
        found = self.told(proxy)
        assert found is not None
        return found

    async def envoy(self, proxy: str = PROXY, but: int = 0) -> Sidecar:
        """The Envoy that runs for it, and is not the one with this pid."""
        assert self.launcher is not None

        def running() -> list[Sidecar]:
            assert self.launcher is not None
            found = self.launcher.sidecars()
            return [one for one in found if one.proxy == proxy and one.state == "running"]

        await until(lambda: any(one.pid not in {0, but} for one in running()), 60)
        return running()[0]


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
        socket.create_connection((ADDRESS, port), timeout=5).close()
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
