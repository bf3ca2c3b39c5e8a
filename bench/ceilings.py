"""Ceilings: what a server can answer that knows one answer and nothing else, on this machine."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.node import INSTANCES, Node, free_ports

START_SECONDS = 20.0
SIZES = {"few": 3, "web": INSTANCES, "many": 200}
"""Services, and how many instances each has, on nodes of their own."""
EDNS_BYTES = 4096
"""How large a datagram may be; the clients take as much."""
_KNOT = """server:
    listen: 127.0.0.1@{port}
    rundir: "{folder}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    udp-max-payload: {most}
database:
    storage: "{folder}"
zone:
  - domain: mesh
    file: "{folder}/zone"
    zonefile-sync: -1
    journal-content: none
"""
_UNBOUND = """server:
    interface: 127.0.0.1@{port}
    num-threads: 1
    do-daemonize: no
    use-syslog: no
    chroot: ""
    username: ""
    directory: "{folder}"
    pidfile: ""
    edns-buffer-size: {most}
    max-udp-size: {most}
    minimal-responses: no
remote-control:
    control-enable: no
auth-zone:
    name: "mesh"
    zonefile: "{folder}/zone"
    for-downstream: yes
    for-upstream: no
    fallback-enabled: no
"""
_DNSMASQ = """port={port}
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
no-ping
pid-file=
user=
group=
cache-size=10000
edns-packet-max={most}
addn-hosts={folder}/hosts
"""
_CONSTANT = """
import asyncio, sys
BODY = b"x" * int(sys.argv[2])
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(BODY) + BODY
class Constant(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): self.transport.write(ANSWER)
async def main():
    server = await asyncio.get_running_loop().create_server(Constant, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
if len(sys.argv) > 3:
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


def knows_uvloop() -> bool:
    """Whether the constant answer comes from uvloop, as the goals have it."""
    return importlib.util.find_spec("uvloop") is not None


@contextmanager
def constant(size: int) -> Iterator[Node]:
    """An HTTP server that answers whatever comes with so many bytes."""
    (port,) = free_ports(1)
    fast = ["uvloop"] if knows_uvloop() else []
    command = [sys.executable, "-c", _CONSTANT, str(port), str(size), *fast]
    with _running(command, Node("constant", port, 0, ""), port) as running:
        yield running


@contextmanager
def knot() -> Iterator[Node | None]:
    """Knot DNS with the names that are registered, in a static zone; None without knotd."""
    with _dns_server("knotd", _KNOT, "-c") as running:
        yield running


@contextmanager
def unbound() -> Iterator[Node | None]:
    """Unbound with the same zone; None when it is not on PATH."""
    with _dns_server("unbound", _UNBOUND, "-d", "-c") as running:
        yield running


@contextmanager
def dnsmasq() -> Iterator[Node | None]:
    """dnsmasq with the same names from a file of hosts; None when it is not on PATH."""
    with _dns_server("dnsmasq", _DNSMASQ, "--keep-in-foreground", "-C") as running:
        yield running


@contextmanager
def _dns_server(program: str, configuration: str, *flags: str) -> Iterator[Node | None]:
    if shutil.which(program) is None:
        yield None
        return
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "zone").write_text(_zone())
        Path(folder, "hosts").write_text(_hosts())
        file = Path(folder, "configuration")
        text = configuration.format(port=port, folder=folder, most=EDNS_BYTES)
        file.write_text(text + (_services() if program == "dnsmasq" else ""))
        called = Node("knot" if program == "knotd" else program, 0, port, "")
        with _running([program, *flags, str(file)], called, port) as running:
            yield running


def _zone() -> str:
    lines = ["$ORIGIN mesh.", "@ 0 SOA ns hostmaster 1 3600 600 86400 0", "@ 0 NS ns"]
    lines.append("ns 0 A 127.0.0.1")
    for number in range(max(SIZES.values())):
        node = f"node-{number}.node.dc1"
        lines.append(f"{node} 0 A {address(number)}")
        for service in _on(number):
            lines.append(f"{service}.service 0 A {address(number)}")
            lines.append(f"{service}.service 0 SRV 1 1 8000 {node}")
    return "\n".join(lines) + "\n"


def _hosts() -> str:
    lines = []
    for number in range(max(SIZES.values())):
        names = [f"node-{number}.node.dc1.mesh", *(f"{name}.service.mesh" for name in _on(number))]
        lines.append(f"{address(number)} {' '.join(names)}\n")
    return "".join(lines)


def _services() -> str:
    return "".join(
        f"srv-host={service}.service.mesh,node-{number}.node.dc1.mesh,8000,1,1\n"
        for number in range(max(SIZES.values()))
        for service in _on(number)
    )


def _on(node: int) -> list[str]:
    return [service for service, count in SIZES.items() if node < count]


def address(node: int) -> str:
    """Of the node with this number."""
    number = node + 1
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


@contextmanager
def _running(command: list[str], node: Node, port: int) -> Iterator[Node]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    node.pid = process.pid
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                    probe.connect(("127.0.0.1", port))
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise SystemExit(f"{command[0]} does not start") from None
                time.sleep(0.02)
        yield node
    finally:
        process.terminate()
        process.wait()
