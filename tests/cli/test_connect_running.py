"""The built-in proxy follows its registration, beside a real agent."""

from __future__ import annotations

import http.client
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.sidecars import Pair, counted, paired, proxied, reached, run
from tests.cluster.processes import eventually, free_ports
from tests.connect.websites import ADDRESS, asked, connection
from tests.connect.workloads import Workloads, workloads

pytestmark = pytest.mark.together


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workloads]:
    with workloads(tmp_path_factory.mktemp("running")) as made:
        yield made


@pytest.fixture(scope="module")
def pair(mesh: Workloads) -> Iterator[Pair]:
    with paired(mesh) as made:
        yield made


def registered(mesh: Workloads, name: str, proxy: dict[str, Any]) -> None:
    """Register a service with a sidecar for which the agent runs no Envoy."""
    config = {"envoy_managed": False} | proxy.get("Config", {})
    sidecar = {"Proxy": proxy | {"Config": config}}
    body = {"Name": name, "Port": 1, "Connect": {"SidecarService": sidecar}}
    mesh.ask("PUT", "/v1/agent/service/register", body)


def upstream(port: int, **more: Any) -> dict[str, Any]:
    return {"DestinationName": "payments", "LocalBindPort": port} | more


def test_it_follows_its_registration_and_what_is_unchanged_goes_on(pair: Pair) -> None:
    mesh, socket_file = pair.mesh, pair.mesh.node.folder / "payments.sock"
    first, second, third, page = free_ports(ADDRESS, 4)
    options = {"envoy_prometheus_bind_addr": f"{ADDRESS}:{page}"}
    try:
        registered(mesh, "desk", {"Upstreams": [upstream(first), upstream(second)]})
        with proxied(mesh, "--sidecar-for", "desk", "--drain-time", "1") as desk:
            eventually(lambda: reached(first) and reached(second))
            kept, dropped = connection(first), connection(second)
            assert asked(kept) == asked(dropped) == "payments"
            by_path = {"DestinationName": "payments", "LocalBindSocketPath": str(socket_file)}
            by_path["LocalBindSocketMode"] = "0660"
            proxy = {"Upstreams": [upstream(first), upstream(third), by_path], "Config": options}
            registered(mesh, "desk", proxy)
            eventually(lambda: reached(third) and counted(page)["opened"] >= 3)
            eventually(lambda: asked_by_path(socket_file) == "payments")
            assert socket_file.stat().st_mode & 0o777 == 0o660
            done = run(mesh, "wait", "desk", "--timeout", "0")
            assert done.returncode == 0, done.stderr
            assert not reached(second)
            assert dropped.sock.recv(1) == b"", "it was cut off once the time to drain was over"
            assert asked(kept) == "payments"
            with socket.create_server((ADDRESS, 0)) as taken:
                port = taken.getsockname()[1]
                registered(mesh, "desk", {"Upstreams": [upstream(first), upstream(port)]})
                eventually(lambda: f"cannot listen at {ADDRESS}:{port}" in desk.log)
                assert not socket_file.exists()
            eventually(lambda: reached(port))
            assert asked(kept) == "payments"
            kept.close()
            dropped.close()
            assert desk.stop() == 0
    finally:
        mesh.ask("PUT", "/v1/agent/service/deregister/desk")


def test_a_port_that_is_none_is_said_and_the_next_registration_is_followed(pair: Pair) -> None:
    mesh, (first, second) = pair.mesh, free_ports(ADDRESS, 2)
    try:
        registered(mesh, "till", {"Upstreams": [upstream(first)]})
        with proxied(mesh, "--sidecar-for", "till") as till:
            eventually(lambda: reached(first))
            registered(mesh, "till", {"Upstreams": [], "Config": {"bind_port": 70000}})
            eventually(lambda: "bind_port: expected 0 to 65535, got 70000" in till.log)
            assert reached(first), "it goes on as it was"
            registered(mesh, "till", {"Upstreams": [upstream(second)]})
            eventually(lambda: reached(second))
    finally:
        mesh.ask("PUT", "/v1/agent/service/deregister/till")


def asked_by_path(path: Path) -> str:
    held = http.client.HTTPConnection(ADDRESS)
    held.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    held.sock.settimeout(20)
    try:
        held.sock.connect(str(path))
        return asked(held)
    finally:
        held.close()


class AtPath(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class Greets(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"welcome\n")
        self.wfile.write(b"hello " + self.rfile.readline())


def test_an_application_at_a_path_with_a_limit_that_changes(
    mesh: Workloads, tmp_path: Path
) -> None:
    (door,) = free_ports(ADDRESS, 1)
    path = str(tmp_path / "app")
    proxy: dict[str, Any] = {
        "LocalServiceSocketPath": path,
        "Config": {"max_inbound_connections": 1},
    }
    server = AtPath(path, Greets)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    page = free_ports(ADDRESS, 1)[0]
    try:
        registered(mesh, "greeter", proxy)
        with (
            proxied(mesh, "--sidecar-for", "greeter", "--metrics-bind", f":{page}"),
            proxied(mesh, "--service", "guest", "--upstream", f"greeter:{door}"),
        ):
            first = eventually(lambda: greeted(door))
            assert turned_away(door)
            assert counted(page)["refused full"] >= 1
            registered(mesh, "greeter", {"LocalServiceSocketPath": path})
            second = eventually(lambda: greeted(door))
            limit = {"Kind": "service-defaults", "Name": "greeter", "MaxInboundConnections": 2}
            mesh.ask("PUT", "/v1/config", limit)
            eventually(lambda: turned_away(door))
            for one in (first, second):
                one.sendall(b"you\n")
                assert one.recv(64) == b"hello you\n", "what is open goes on"
                one.close()
            eventually(lambda: greeted(door)).close()
    finally:
        mesh.ask("DELETE", "/v1/config/service-defaults/greeter")
        mesh.ask("PUT", "/v1/agent/service/deregister/greeter")
        server.shutdown()
        thread.join()
        server.server_close()


def greeted(port: int) -> socket.socket:
    """A connection that the application has. Raises OSError when it does not get there."""
    held = socket.create_connection((ADDRESS, port), timeout=20)
    try:
        if held.recv(8) != b"welcome\n":
            raise ConnectionError("turned away")
    except OSError:
        held.close()
        raise
    return held


def turned_away(port: int) -> bool:
    try:
        greeted(port).close()
    except OSError:
        return True
    return False
