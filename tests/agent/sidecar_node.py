"""A node with proxies, over servers in memory that sign; Envoys are real where one runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mesh.agent.following import Following
from mesh.agent.local import Agent
from mesh.agent.proxies import Proxies
from mesh.clock import SeededDice, SystemClock
from mesh.connect.acks import Acks
from mesh.connect.composing import Place
from mesh.connect.launcher import Launcher, Sidecar, short_folder
from mesh.connect.leaves import Leaves
from mesh.connect.xds.blueprint import Blueprint
from mesh.connect.xds.control import Control
from mesh.errors import Unreachable
from mesh.registry import config
from tests.agent.conftest import World, options, until
from tests.cluster.dev import row_of_ports
from tests.connect.servers import Servers

ADDRESS = "127.0.0.1"
PROXY, OTHER = "web-sidecar-proxy", "db-sidecar-proxy"
SOCKET = "xds.sock"


class Teller:
    """Has the discovery service start with the first proxy, as a node does."""

    def __init__(self, control: Control, folder: Path) -> None:
        self._control, self._folder = control, folder
        self.drop = control.drop
        self.made: list[Blueprint] = []
        """What proxies were told, one after the other."""
        self.failures = 0
        """So many times it cannot start."""
        self.fails_for = ""
        """The proxy of which it can be told nothing."""
        self.open: set[int] = set()
        """Ports that are open without an Envoy."""

    def put(self, blueprint: Blueprint) -> None:
        if blueprint.proxy == self.fails_for:
            raise RuntimeError("nobody foresaw this")
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
