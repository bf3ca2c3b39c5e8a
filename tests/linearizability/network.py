"""Servers in network namespaces of their own, and partitions between them. Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.processes import Cluster, Meshd
from tests.linearizability.trial import WITNESS, witness

GROUPS = 2
"""Bridges, so parts into which the servers can be divided."""


def why_not() -> str:
    """Why this machine cannot do it; empty when it can."""
    if os.geteuid() != 0:
        return "needs root"
    if shutil.which("ip") is None:
        return "needs the program ip"
    name = f"meshtry{os.getpid()}"
    if _ip("netns", "add", name, check=False).returncode:
        return "cannot make network namespaces here"
    made = _ip("link", "add", f"mt{os.getpid()}", "type", "bridge", check=False).returncode == 0
    _ip("link", "del", f"mt{os.getpid()}", check=False)
    _ip("netns", "del", name, check=False)
    return "" if made else "cannot make a bridge here"


class Network:
    """Every server in a namespace with two links: to the other servers, and to the clients.

    The servers talk over bridges; a partition moves some of them to the other bridge. The clients
    of the test reach all of them all the time.
    """

    def __init__(self, servers: int) -> None:
        number = os.getpid()
        self._tag = f"m{number % 100000}"
        # Of the range for benchmarks (RFC 2544), so that no real network is hidden.
        self._inner = f"198.18.{number % 250}"
        self._outer = f"198.19.{number % 250}"
        self._numbers = range(1, servers + 1)

    def namespace(self, number: int) -> str:
        """The namespace of a server."""
        return f"{self._tag}n{number}"

    def inner(self, number: int) -> str:
        """The address at which a server is for the others."""
        return f"{self._inner}.{number}"

    def outer(self, number: int) -> str:
        """The address at which a server is for clients."""
        return f"{self._outer}.{4 * number + 2}"

    def build(self) -> None:
        """Make all of it."""
        for group in range(GROUPS):
            _ip("link", "add", self._bridge(group), "type", "bridge")
            _ip("link", "set", self._bridge(group), "up")
        for number in self._numbers:
            space = self.namespace(number)
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
            self._link(number, "i", f"{self.inner(number)}/24")
            self._link(number, "o", f"{self.outer(number)}/30")
            _ip("link", "set", f"{self._tag}i{number}", "master", self._bridge(0))
            here = f"{self._outer}.{4 * number + 1}/30"
            _ip("address", "add", here, "dev", f"{self._tag}o{number}")

    def _link(self, number: int, kind: str, address: str) -> None:
        here, there, space = f"{self._tag}{kind}{number}", f"{kind}0", self.namespace(number)
        _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", space)
        _ip("link", "set", here, "up")
        _ip("-n", space, "link", "set", there, "up")
        _ip("-n", space, "address", "add", address, "dev", there)

    def divide(self, apart: Iterable[int]) -> None:
        """Put these servers on the other side of a partition; none heals it."""
        for number in self._numbers:
            group = 1 if number in apart else 0
            _ip("link", "set", f"{self._tag}i{number}", "master", self._bridge(group))

    def deafen(self, number: int, *, deaf: bool) -> bool:
        """Whatever the others send to this server is lost; they hear it. False without tc."""
        verb = ["add", "dev", f"{self._tag}i{number}", "root", "netem", "loss", "100%"]
        if not deaf:
            verb = ["del", "dev", f"{self._tag}i{number}", "root"]
        if shutil.which("tc") is None:
            return False
        done = subprocess.run(["tc", "qdisc", *verb], check=False, capture_output=True)
        return done.returncode == 0

    def remove(self) -> None:
        """Take all of it away."""
        for number in self._numbers:
            for kind in "io":
                _ip("link", "del", f"{self._tag}{kind}{number}", check=False)
            _ip("netns", "del", self.namespace(number), check=False)
        for group in range(GROUPS):
            _ip("link", "del", self._bridge(group), check=False)

    def _bridge(self, group: int) -> str:
        return f"{self._tag}b{group}"


@contextmanager
def network(servers: int) -> Iterator[Network]:
    """A network that is taken away afterwards."""
    made = Network(servers)
    try:
        made.build()
        yield made
    finally:
        made.remove()


def spread(
    net: Network, servers: int, *, without_lease: bool = False, **config: Any
) -> Callable[[Path], Cluster]:
    """A cluster with each server in its namespace."""

    def make(folder: Path) -> Cluster:
        cluster = Cluster(folder, 0, 0)
        for number in range(1, servers + 1):
            about = {"server": True, "bootstrap_expect": servers, **config}
            # Ports are found free on loopback; they are as free in a namespace of one's own.
            server = Meshd(f"s{number}", "127.0.0.1", folder / f"s{number}", about)
            server.address = net.inner(number)
            server.config |= {"bind_addr": server.address, "client_addr": net.outer(number)}
            server.prefix = ["ip", "netns", "exec", net.namespace(number)]
            server.module = WITNESS
            server.environment["MESH_WITNESS"] = str(witness(server))
            if without_lease:
                server.environment["MESH_NO_LEASE"] = "yes"
            cluster.servers.append(server)
        for server in cluster.servers:
            server.config["retry_join"] = [one.joinable for one in cluster.servers]
        return cluster

    return make


def _ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)
