"""Services with sidecars on real agents, and who calls them."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mesh.connect.process import kill_left
from tests.cluster.processes import Cluster, Meshd, cluster

ECHO = """
import http.server, json, sys
name = sys.argv[2]
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = json.dumps({"name": name, "path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_PUT = do_DELETE = do_GET
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer((sys.argv[1], 0), Echo)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
"""


class Reply(NamedTuple):
    """What came back: a status and what the called application saw of the request."""

    status: int
    seen: dict[str, Any]
    text: str


class Door:
    """Where an application finds an upstream, with one kept-alive connection."""

    def __init__(self, address: str, port: int) -> None:
        self.address, self.port = address, port
        self._connection: http.client.HTTPConnection | None = None

    def get(
        self, path: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """A request on the connection that is open, or on a new one after a failure."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self.address, self.port, timeout=60)
        try:
            self._connection.request(method, path, headers=dict(headers or {}))
            response = self._connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        try:
            seen = json.loads(text)
        except ValueError:
            seen = {}
        return Reply(response.status, seen if isinstance(seen, dict) else {}, text)

    def close(self) -> None:
        """The next request opens another connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def status(self, path: str = "/", **more: Any) -> int:
        """The status of a reply; 0 when the connection was refused or closed."""
        try:
            return self.get(path, **more).status
        except (OSError, http.client.HTTPException):
            return 0


def application(made: Cluster, node: Meshd, name: str) -> int:
    """An application that says what it was asked; its port on the node's address."""
    command = [sys.executable, "-c", ECHO, node.address, name]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    made.services.append(process)
    assert process.stdout is not None
    return int(process.stdout.readline())


def register(
    node: Meshd,
    name: str,
    port: int,
    *,
    upstreams: Mapping[str, int] | None = None,
    instance: str = "",
    **proxy: Any,
) -> None:
    """A service with a sidecar; upstreams by name, with the port where it finds each."""
    found = [
        {
            "destination_name": one,
            "local_bind_address": node.address,
            "local_bind_port": bound,
        }
        for one, bound in (upstreams or {}).items()
    ]
    sidecar = {"proxy": {"local_service_address": node.address, "upstreams": found, **proxy}}
    body = {"name": name, "id": instance or name, "port": port, "connect": {}}
    body["connect"] = {"sidecar_service": sidecar}
    node.put("/v1/agent/service/register", body)


def protocol(node: Meshd, name: str, kind: str) -> None:
    """Have a service speak this."""
    node.put("/v1/config", {"Kind": "service-defaults", "Name": name, "Protocol": kind})


@contextmanager
def meshed(folder: Path, servers: int = 1, agents: int = 2, **options: Any) -> Iterator[Cluster]:
    """A cluster whose agents run Envoys, which end with it."""
    # Less than a busy machine may stand still would cut off who is being answered.
    connect = {"envoy_drain_time": "4s"} | options.pop("connect", {})
    try:
        with cluster(folder, servers, agents, connect=connect, **options) as made:
            yield made
    finally:
        kill_left(folder)


def current(node: Meshd, proxy: str) -> bool:
    """Whether a proxy has all that it is to have."""
    found = node.get(f"/v1/agent/proxy/{proxy}")
    return bool(found["Streams"]) and all(one["Current"] for one in found["Streams"])


def refused(address: tuple[str, int], wrap: Callable[[socket.socket], socket.socket]) -> bool:
    """Whether a request on such a connection comes to nothing."""
    with socket.create_connection(address, timeout=60) as plain:
        try:
            with wrap(plain) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                return not connection.recv(100)
        except TimeoutError:
            raise
        except OSError:
            return True
