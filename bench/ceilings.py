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
_KNOT = """server:
    listen: 127.0.0.1@{port}
    rundir: "{folder}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{folder}"
zone:
  - domain: mesh
    file: "{folder}/zone"
    zonefile-sync: -1
    journal-content: none
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
    with _running(command, port, socket.SOCK_STREAM):
        yield Node("constant", port, 0, "")


@contextmanager
def knot() -> Iterator[Node | None]:
    """Knot DNS with the names that `Node.fill` registers in a static zone; None without knotd."""
    if shutil.which("knotd") is None:
        yield None
        return
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "zone").write_text(_zone())
        configuration = Path(folder, "knot.conf")
        configuration.write_text(_KNOT.format(port=port, folder=folder))
        with _running(["knotd", "-c", str(configuration)], port, socket.SOCK_STREAM):
            yield Node("knot", 0, port, "")


def _zone() -> str:
    lines = ["$ORIGIN mesh.", "@ 0 SOA ns hostmaster 1 3600 600 86400 0", "@ 0 NS ns"]
    lines.append("ns 0 A 127.0.0.1")
    for number in range(INSTANCES):
        node = f"node-{number}.node.dc1"
        lines += [
            f"{node} 0 A 10.0.0.{number + 1}",
            f"web.service 0 A 10.0.0.{number + 1}",
            f"web.service 0 SRV 1 1 8000 {node}",
        ]
    return "\n".join(lines) + "\n"


@contextmanager
def _running(command: list[str], port: int, kind: socket.SocketKind) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.connect(("127.0.0.1", port))
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise SystemExit(f"{command[0]} does not start") from None
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait()
