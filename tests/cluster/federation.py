"""Two datacenters of real nodes under one authority."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mesh.connect.certs import Role
from tests.cluster.processes import Meshd, certificates, eventually, free_ports

ALIVE, LEAVING, LEFT, FAILED = 1, 2, 3, 4
QUICK = {
    "probe_interval": "300ms",
    "probe_timeout": "150ms",
    "gossip_interval": "50ms",
    "suspicion_mult": 2,
}


class Site:
    """The nodes of one datacenter."""

    def __init__(
        self, name: str, network: str, folder: Path, servers: int, agents: int, **config: Any
    ) -> None:
        self.name = name
        self.servers = [
            self._node(f"s{n}", f"{network}.{n}", folder, {"server": True} | config)
            for n in range(1, servers + 1)
        ]
        self.agents = [
            self._node(f"a{n}", f"{network}.{100 + n}", folder, config)
            for n in range(1, agents + 1)
        ]
        join = [server.joinable for server in self.servers]
        for node in self.nodes:
            node.config["retry_join"] = join
        for server in self.servers:
            server.config["bootstrap_expect"] = servers
            server.config["gossip_wan"] = QUICK
            (server.config["ports"]["serf_wan"],) = free_ports(server.address, 1)

    def _node(self, node: str, address: str, folder: Path, config: dict[str, Any]) -> Meshd:
        inside = folder / f"{node}-{self.name}"
        role: Role = "server" if config.get("server") else "client"
        tls = (
            {"tls": self._tls(folder / f"{inside.name}-tls", role, node)}
            if "tls" not in config
            else {}
        )
        return Meshd(node, address, inside, {"datacenter": self.name} | tls | config)

    def _tls(self, folder: Path, role: Role, node: str) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        made = certificates().beside(folder)
        return made.config(role, node, dc=self.name)

    @property
    def nodes(self) -> list[Meshd]:
        """Servers, then agents."""
        return [*self.servers, *self.agents]

    def joinable(self, number: int = 0) -> str:
        """Where other datacenters join one of its servers."""
        server = self.servers[number]
        return f"{server.address}:{server.config['ports']['serf_wan']}"

    def wait(self) -> None:
        """Wait until every node knows a leader and is in the catalog."""
        names = {node.name for node in self.nodes}
        for node in self.nodes:
            eventually(lambda node=node: node.get("/v1/status/leader"))  # type: ignore[misc]
            eventually(
                lambda node=node: (
                    names  # type: ignore[misc]
                    <= {one["Node"] for one in node.get("/v1/catalog/nodes")}
                )
            )


def wan(node: Meshd) -> dict[str, int]:
    """The members of the WAN pool with their statuses, as this server sees them."""
    return {one["Name"]: one["Status"] for one in node.get("/v1/agent/members?wan=1")}


def _sites(
    folder: Path,
    sizes: Sequence[tuple[int, int]],
    own: Mapping[str, dict[str, Any]],
    config: dict[str, Any],
) -> list[Site]:
    number = os.getpid()
    first, second = 64 + number % 128, number // 128
    made = []
    for at, size in enumerate(sizes, 1):
        name, network = f"dc{at}", f"127.{first}.{(second + 80 * at) % 250}"
        made.append(Site(name, network, folder, *size, **config | own.get(name, {})))
    return made


def wait_for_pool(sites: Sequence[Site]) -> None:
    """Wait until every server sees those of all these datacenters."""
    everybody = {f"{one.name}.{site.name}" for site in sites for one in site.servers}

    def complete(server: Meshd) -> bool:
        return wan(server) == dict.fromkeys(everybody, ALIVE)

    for site in sites:
        for server in site.servers:
            eventually(lambda server=server: complete(server))  # type: ignore[misc]


@contextmanager
def federation(
    folder: Path,
    sizes: Sequence[tuple[int, int]],
    *,
    join: bool = True,
    agents: dict[str, Any] | None = None,
    own: dict[str, dict[str, Any]] | None = None,
    **config: Any,
) -> Iterator[list[Site]]:
    """Datacenters dc1, dc2 ... with so many servers and agents each.

    `agents` are options of agents alone, `own` those of a datacenter by its name. With `join` the
    first server of each joins the first of dc1. Prints the end of every log when the test fails.
    """
    sites = _sites(folder, sizes, own or {}, config)
    for site in sites[1:] if join else ():
        site.servers[0].config["retry_join_wan"] = [sites[0].joinable()]
    for site in sites:
        for agent in site.agents:
            agent.config |= agents or {}
    nodes = [node for site in sites for node in site.nodes]
    try:
        for node in nodes:
            node.start()
        for site in sites:
            site.wait()
        if join:
            wait_for_pool(sites)
        yield sites
    except BaseException:
        for node in nodes:
            print(f"---- {node.folder.name} ----\n{node.log()[-4000:]}")
        raise
    finally:
        for node in nodes:
            node.kill()
