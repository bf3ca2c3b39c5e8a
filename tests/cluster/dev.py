"""`meshd agent -dev` as a process of its own on loopback, with ports that the system gave."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mesh.connect.process import kill_left
from tests.cluster.forked import Forked
from tests.cluster.processes import eventually, free_ports

ADDRESS = "127.0.0.1"
PORTS = {
    "http": 8500,
    "grpc": 8502,
    "dns": 8600,
    "server": 8300,
    "serf_lan": 8301,
    "serf_wan": 8302,
}
SIDECARS = 8


def row_of_ports(count: int) -> int:
    """The first of so many ports in a row that were free a moment ago."""
    while True:
        (first,) = free_ports(ADDRESS, 1)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind((ADDRESS, port))
        except (OSError, OverflowError):
            continue
        return first


class DevNode:
    """A node called `dev`. `real` gives its ports by the usual ones."""

    def __init__(self, folder: Path, *, more: str = "") -> None:
        self.folder = folder
        given = free_ports(ADDRESS, len(PORTS))
        self.real = dict(zip(PORTS.values(), given, strict=True))
        self.http, self.dns = self.real[8500], self.real[8600]
        ports = " ".join(f"{name} = {self.real[usual]}" for name, usual in PORTS.items())
        first = row_of_ports(SIDECARS)
        self.real |= {21000 + number: first + number for number in range(SIDECARS)}
        ports += f" sidecar_min_port = {first} sidecar_max_port = {first + SIDECARS - 1}"
        flags = ["-node", "dev", "-bind", ADDRESS, "-data-dir", str(folder / "data")]
        flags += ["-hcl", f"ports {{ {ports} }}\n{more}"]
        self.process = Forked(["agent", "-dev", *flags], folder / "log")

    @property
    def address(self) -> str:
        """Where its HTTP API is."""
        return f"{ADDRESS}:{self.http}"

    def settled(self) -> bool:
        """Whether it leads and is in the catalog."""
        return b"serfHealth" in self.read("/v1/health/node/dev?passing")

    def read(self, path: str) -> bytes:
        """What its HTTP API answers there. Raises OSError."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=60) as response:
            found: bytes = response.read()
        return found

    def log(self) -> str:
        """The end of what it logged."""
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def stop(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        kill_left(self.folder)


@contextmanager
def dev_node(folder: Path, *, more: str = "") -> Iterator[DevNode]:
    """A running one; `more` is added to its configuration. Its log is shown when a test fails."""
    started = DevNode(folder, more=more)
    try:
        eventually(started.settled)
        yield started
    except BaseException:
        print(started.log())
        raise
    finally:
        started.stop()
