"""A registry to measure: a real process on loopback with its own ports and data."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

INSTANCES = 20
START_SECONDS = 60.0


def free_ports(count: int) -> list[int]:
    """Ports that the system gave and that were free a moment ago, for TCP and UDP."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Node:
    """Where a running registry answers."""

    def __init__(self, name: str, http: int, dns: int, server: str) -> None:
        self.name, self.http, self.dns, self.server = name, http, dns, server
        self.lan = ""
        self.led_after = 0.0
        self.pid = 0

    def leads(self) -> bool:
        """Whether it is the leader."""
        return bool(json.loads(self.get("/v1/status/leader")) == self.server)

    def cpu_seconds(self) -> float:
        """Processor time that it has used so far, to the nanosecond; see clock_getcpuclockid(3)."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def megabytes(self) -> float:
        """Memory that it holds at present."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def put(self, path: str, body: bytes) -> None:
        request = urllib.request.Request(self.url(path), data=body, method="PUT")
        with urllib.request.urlopen(request, timeout=10) as response:
            response.read()

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url(path), timeout=10) as response:
            data: bytes = response.read()
            return data

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http}{path}"

    def wait_until_led(self) -> None:
        began = time.monotonic()
        until = began + START_SECONDS
        while time.monotonic() < until:
            try:
                if json.loads(self.get("/v1/status/leader")):
                    self.put("/v1/kv/bench/ready", b"yes")
                    self.led_after = time.monotonic() - began
                    return
            except (OSError, urllib.error.URLError):
                pass
            time.sleep(0.01)
        raise SystemExit(f"{self.name} has no leader after {START_SECONDS:.0f} s")

    def fill(self) -> None:
        """Register a service with instances on nodes of their own, and a key."""
        for number in range(INSTANCES):
            node = {
                "Node": f"node-{number}",
                "Address": f"10.0.0.{number + 1}",
                "Service": {"ID": "web", "Service": "web", "Port": 8000, "Tags": ["v1"]},
                "Check": {"CheckID": "up", "Name": "up", "Status": "passing", "ServiceID": "web"},
            }
            self.put("/v1/catalog/register", json.dumps(node).encode())
        self.put("/v1/kv/bench/key", b"v" * 64)


def _ports(**ports: int) -> str:
    lines = "\n".join(f"  {name} = {port}" for name, port in ports.items())
    return f"ports {{\n{lines}\n}}"


COMMANDS = {
    "mesh": ["server", "-plaintext-rpc"],
    "consul": ["agent", "-server"],
}
MANY_CLIENTS = "limits { http_max_conns_per_client = 10000 }"


@contextmanager
def servers(name: str, count: int, module: str = "mesh.daemon") -> Iterator[list[Node]]:
    """So many servers of one cluster with their data on disk; none when there is no program."""
    if name == "consul" and shutil.which("consul") is None:
        yield []
        return
    program = [sys.executable, "-m", module] if name == "mesh" else [name]
    given = free_ports(4 * count)
    joins = [f"127.0.0.1:{given[4 * number + 1]}" for number in range(count)]
    with ExitStack() as stack:
        found = []
        for number in range(count):
            server, lan, http, dns = given[4 * number : 4 * number + 4]
            more = {"grpc_tls": -1} if name == "consul" else {}
            ports = _ports(server=server, serf_lan=lan, serf_wan=-1, http=http, dns=dns, **more)
            flags = ["-node", f"bench{number}", "-bind", "127.0.0.1", "-hcl", ports]
            flags += ["-bootstrap-expect", str(count), "-hcl", MANY_CLIENTS]
            flags += [word for join in joins for word in ("-retry-join", join)] * (count > 1)
            one = Node(name, http, dns, f"127.0.0.1:{server}")
            one.lan = f"127.0.0.1:{lan}"
            stack.enter_context(_running(one, [*program, *COMMANDS[name], *flags]))
            found.append(one)
        for one in found:
            one.wait_until_led()
        found[0].fill()
        yield found


@contextmanager
def agent(server: Node, name: str = "agent") -> Iterator[Node]:
    """An agent of mesh that joined this server under this name."""
    lan, http, dns = free_ports(3)
    ports = _ports(server=-1, serf_lan=lan, serf_wan=-1, http=http, dns=dns)
    flags = ["-node", name, "-bind", "127.0.0.1", "-hcl", ports, "-hcl", MANY_CLIENTS]
    command = [sys.executable, "-m", "mesh.daemon", "agent", "-plaintext-rpc", *flags]
    one = Node("mesh", http, dns, server.server)
    with _running(one, [*command, "-retry-join", server.lan]):
        one.wait_until_led()
        yield one


@contextmanager
def mesh(module: str = "mesh.daemon") -> Iterator[Node]:
    """A single mesh server with its data on disk; the module is what runs it."""
    with servers("mesh", 1, module) as found:
        yield found[0]


@contextmanager
def consul() -> Iterator[Node | None]:
    """A single Consul server, or None when no consul binary is on PATH."""
    with servers("consul", 1) as found:
        yield found[0] if found else None


@contextmanager
def _running(node: Node, command: list[str]) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as output:
            data = str(Path(folder, "data"))
            process = subprocess.Popen(
                [*command, "-data-dir", data, "-log-level", "warn"],
                stdout=output,
                stderr=output,
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
            )
        node.pid = process.pid
        try:
            yield
        except SystemExit:
            print(log.read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
