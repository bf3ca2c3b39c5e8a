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
from contextlib import contextmanager
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

    def __init__(self, name: str, http: int, dns: int) -> None:
        self.name, self.http, self.dns = name, http, dns
        self.led_after = 0.0
        self.process = 0
        """The process id."""

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


@contextmanager
def mesh(module: str = "mesh.daemon") -> Iterator[Node]:
    """A single mesh server with its data on disk; the module is what runs it."""
    server, lan, http, dns = free_ports(4)
    ports = _ports(server=server, serf_lan=lan, serf_wan=-1, http=http, dns=dns)
    command = [
        sys.executable,
        "-m",
        module,
        "server",
        "-node",
        "bench",
        "-bind",
        "127.0.0.1",
        "-plaintext-rpc",
    ]
    with _running("mesh", [*command, "-bootstrap-expect", "1", "-hcl", ports], http, dns) as node:
        yield node


@contextmanager
def consul() -> Iterator[Node | None]:
    """A single Consul server, or None when no consul binary is on PATH."""
    if shutil.which("consul") is None:
        yield None
        return
    server, lan, http, dns = free_ports(4)
    ports = _ports(server=server, serf_lan=lan, serf_wan=-1, http=http, dns=dns, grpc_tls=-1)
    command = ["consul", "agent", "-server", "-node", "bench", "-bind", "127.0.0.1"]
    with _running("consul", [*command, "-bootstrap-expect", "1", "-hcl", ports], http, dns) as node:
        yield node


@contextmanager
def _running(name: str, command: list[str], http: int, dns: int) -> Iterator[Node]:
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
        try:
            node = Node(name, http, dns)
            node.process = process.pid
            node.wait_until_led()
            node.fill()
            yield node
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
