"""meshctl connect proxy as a process, beside a real agent."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mesh.client import tls
from tests.cluster.processes import TOP, eventually, free_ports
from tests.connect.workloads import Workloads, workloads

pytestmark = pytest.mark.together
ADDRESS = "127.0.0.1"
BULK = bytes(range(256)) * 4096 * 4


class Digest(BaseHTTPRequestHandler):
    """Answers a GET with who it is, a POST with the digest of the body and the body."""

    protocol_version = "HTTP/1.1"
    name = "payments"

    def do_GET(self) -> None:
        self._say(self.name.encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._say(hashlib.sha256(body).digest() + body)

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def application() -> Iterator[int]:
    server = Quiet((ADDRESS, 0), Digest)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Proxy:
    """`meshctl connect proxy` with these words."""

    def __init__(self, mesh: Workloads, *words: str) -> None:
        self.log_file = mesh.node.folder / f"proxy-{hashlib.md5(repr(words).encode()).hexdigest()}"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mesh.cli.main", "connect", "proxy", *words],
                cwd=TOP,
                stdout=log,
                stderr=log,
                env=os.environ | {"MESH_HTTP_ADDR": mesh.node.address},
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def proxied(mesh: Workloads, *words: str) -> Iterator[Proxy]:
    running = Proxy(mesh, *words)
    try:
        yield running
    except BaseException:
        print(running.log)
        raise
    finally:
        with suppress(ProcessLookupError):
            running.process.kill()
        running.process.wait()


class Pair:
    """web and payments, each behind a proxy of its own."""

    def __init__(self, mesh: Workloads, ports: list[int], payments: Proxy, web: Proxy) -> None:
        self.mesh, (self.public, self.door) = mesh, ports
        self.payments, self.web = payments, web


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workloads]:
    with workloads(tmp_path_factory.mktemp("proxies")) as made:
        yield made


@pytest.fixture(scope="module")
def pair(mesh: Workloads) -> Iterator[Pair]:
    ports = free_ports(ADDRESS, 2)
    with application() as port:
        listen = ["--listen", f"{ADDRESS}:{ports[0]}", "--service-addr", f"{ADDRESS}:{port}"]
        upstream = f"payments:{ports[1]}"
        with (
            proxied(mesh, "--service", "payments", *listen, "--register") as payments,
            proxied(mesh, "--service", "web", "--upstream", upstream) as web,
        ):
            eventually(lambda: reached(ports[1]))
            yield Pair(mesh, ports, payments, web)


def connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(ADDRESS, port, timeout=20)


def asked(held: http.client.HTTPConnection) -> str:
    """What a request on it gets; nothing when it is closed."""
    try:
        held.request("GET", "/")
        return held.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        held.close()
        return ""


def reached(port: int) -> bool:
    held = connection(port)
    try:
        return bool(asked(held))
    finally:
        held.close()


def instances(mesh: Workloads, service: str) -> list[Any]:
    found: list[Any] = mesh.ask("GET", f"/v1/health/connect/{service}")
    return found


def test_services_call_each_other_through_their_proxies(pair: Pair) -> None:
    held = connection(pair.door)
    assert asked(held) == "payments"
    held.request("POST", "/", body=BULK)
    body = held.getresponse().read()
    assert body == hashlib.sha256(BULK).digest() + BULK
    held.close()
    (found,) = instances(pair.mesh, "payments")
    assert found["Service"]["Kind"] == "connect-proxy"
    assert found["Service"]["Port"] == pair.public


def test_a_deny_ends_open_connections_at_once_though_nobody_speaks(pair: Pair) -> None:
    held = [connection(pair.door) for _ in range(5)]
    assert [asked(one) for one in held] == ["payments"] * 5
    pair.mesh.say("deny", "web", "payments")
    for one in held:
        assert one.sock.recv(1) == b""  # It waits for the end, and says nothing itself.
        one.close()
    assert not reached(pair.door)
    assert 'the intention from "web" to "payments" says deny' in pair.payments.log
    pair.mesh.say("delete", "web", "payments")
    eventually(lambda: reached(pair.door))


def test_leaves_are_renewed_under_open_connections(pair: Pair) -> None:
    ours = pair.mesh.authority
    context = ours.calling(ours.leaf("web"))

    def serial() -> str:
        with (
            socket.create_connection((ADDRESS, pair.public), timeout=10) as plain,
            context.wrap_socket(plain) as secure,
        ):
            return str((secure.getpeercert() or {})["serialNumber"])

    held, before = connection(pair.door), serial()
    assert asked(held) == "payments"
    pair.mesh.reissue("payments")
    pair.mesh.reissue("web")
    eventually(lambda: serial() != before)
    assert asked(held) == "payments"
    held.close()


def test_programs_of_the_mesh_without_a_proxy_are_let_in(pair: Pair) -> None:
    with tls("batch", pair.mesh.settings) as batch:
        context: ssl.SSLContext = batch.to("payments")
        held = http.client.HTTPSConnection(ADDRESS, pair.public, context=context, timeout=20)
        assert asked(held) == "payments"
        held.close()


def test_openssl_with_the_leaf_of_the_agent_is_let_in(pair: Pair) -> None:
    leaf = pair.mesh.leaf_file("web")
    command = f"openssl s_client -connect {ADDRESS}:{pair.public} -quiet -verify_return_error"
    command += f" -cert {leaf} -cert_chain {leaf} -CAfile {pair.mesh.authority.root_file}"
    done = subprocess.run(
        command.split(),
        input="GET / HTTP/1.0\r\n\r\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.endswith("payments"), done.stderr


def test_strangers_are_refused_and_the_log_says_why(pair: Pair) -> None:
    ours = pair.mesh.authority
    ended = ours.calling(ours.leaf("web", ended=True))
    with (
        socket.create_connection((ADDRESS, pair.public), timeout=10) as plain,
        ended.wrap_socket(plain) as secure,
        pytest.raises(ssl.SSLError, match="EXPIRED"),
    ):
        secure.recv(1)
    other = ours.calling(ours.leaf("web", domain="elsewhere.consul"))
    with (
        socket.create_connection((ADDRESS, pair.public), timeout=10) as plain,
        other.wrap_socket(plain) as secure,
        suppress(OSError),
    ):
        assert secure.recv(1) == b""
    eventually(lambda: "certificate has expired" in pair.payments.log)
    eventually(lambda: "it is of another trust domain" in pair.payments.log)


def test_instances_that_are_dead_are_passed_over(pair: Pair) -> None:
    port = free_ports(ADDRESS, 1)[0]
    proxy = {"DestinationServiceName": "payments"}
    body = {"Name": "payments-proxy", "ID": "dead", "Kind": "connect-proxy", "Proxy": proxy}
    pair.mesh.ask("PUT", "/v1/agent/service/register", body | {"Address": ADDRESS, "Port": port})
    eventually(lambda: len(instances(pair.mesh, "payments")) == 2)
    eventually(lambda: reached(pair.door) and f"{ADDRESS}:{port}: " in pair.web.log)
    assert all(reached(pair.door) for _ in range(4))
    pair.mesh.ask("PUT", "/v1/agent/service/deregister/dead")


def test_it_ends_politely_and_is_no_longer_found(mesh: Workloads) -> None:
    (port,) = free_ports(ADDRESS, 1)
    with (
        application() as behind,
        proxied(
            mesh,
            *("--service", "ending", "--listen", f"{ADDRESS}:{port}", "--register"),
            *("--service-addr", f"{ADDRESS}:{behind}", "--register-id", "x"),
        ) as running,
        tls("batch", mesh.settings) as batch,
    ):
        eventually(lambda: instances(mesh, "ending"))
        context = batch.to("ending")
        held = http.client.HTTPSConnection(ADDRESS, port, context=context, timeout=20)
        assert eventually(lambda: asked(held)) == "payments"
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: not instances(mesh, "ending"))
        assert asked(held) == "payments"
        held.close()
        assert running.process.wait(20) == 0


def test_it_can_be_a_sidecar_that_is_registered(mesh: Workloads) -> None:
    public, door = free_ports(ADDRESS, 2)
    with application() as behind:
        upstream = {"DestinationName": "orders", "LocalBindPort": door}
        for name, sidecar in (
            ("orders", {"Port": public, "Proxy": {}}),
            ("shop", {"Proxy": {"Upstreams": [upstream]}}),
        ):
            body = {"Name": name, "Port": behind, "Connect": {"SidecarService": sidecar}}
            mesh.ask("PUT", "/v1/agent/service/register", body)
        with (
            proxied(mesh, "--sidecar-for", "orders") as orders,
            proxied(mesh, "--proxy-id", "shop-sidecar-proxy") as shop,
        ):
            # Until then the agent's own Envoys may be there, which end first.
            eventually(lambda: "public listener of orders: listening at" in orders.log)
            eventually(lambda: "upstream orders: listening at" in shop.log)
            for service in ("orders", "shop"):
                done = run(mesh, "wait", service)
                assert done.returncode == 0, done.stderr
            eventually(lambda: reached(door))
        done = run(mesh, "wait", "orders", "--timeout", "0")
        assert f"nobody listens at 127.0.0.1:{public}" in done.stderr.replace("0.0.0.0", ADDRESS)
        for name in ("orders", "shop"):
            mesh.ask("PUT", f"/v1/agent/service/deregister/{name}")


def test_envoy_and_it_understand_each_other(pair: Pair) -> None:
    mesh = pair.mesh
    door, from_envoy = free_ports(ADDRESS, 2)
    upstream = {"DestinationName": "payments", "LocalBindPort": from_envoy}
    with application() as behind:
        for name, sidecar in (
            ("stock", {"Proxy": {}}),
            ("till", {"Proxy": {"Upstreams": [upstream]}}),
        ):
            body = {"Name": name, "Port": behind, "Connect": {"SidecarService": sidecar}}
            mesh.ask("PUT", "/v1/agent/service/register", body)
        with proxied(mesh, "--service", "web", "--upstream", f"stock:{door}"):
            eventually(lambda: reached(door), 60)
            eventually(lambda: reached(from_envoy), 60)
            mesh.say("deny", "web", "stock")
            eventually(lambda: not reached(door))
            mesh.say("deny", "till", "payments")
            eventually(lambda: not reached(from_envoy))
            assert '"till" to "payments" says deny' in pair.payments.log
            mesh.say("delete", "till", "payments")
            speaks = {"Kind": "service-defaults", "Name": "payments", "Protocol": "http"}
            mesh.ask("PUT", "/v1/config", speaks)
            eventually(lambda: envoy_speaks_http(from_envoy))
        mesh.ask("DELETE", "/v1/config/service-defaults/payments")
        mesh.say("delete", "web", "stock")
        for name in ("stock", "till"):
            mesh.ask("PUT", f"/v1/agent/service/deregister/{name}")


def envoy_speaks_http(port: int) -> bool:
    """Whether a reply on a new connection has passed it as a reply, not as bytes."""
    held = connection(port)
    try:
        held.request("GET", "/")
        reply = held.getresponse()
        body = reply.read()
        return body == b"payments" and reply.headers["server"] == "envoy"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        held.close()


def run(mesh: Workloads, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mesh.cli.main", "connect", *words],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=os.environ | {"MESH_HTTP_ADDR": mesh.node.address},
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--service", "web"], "there is nothing to do"),
        (["--service", "web", "--listen", ":1"], "--listen needs --service-addr"),
        (["--service", "web", "--upstream", "payments"], "expected name:port"),
        (["--service", "web", "--proxy-id", "x", "--upstream", "a:1"], "say --sidecar-for"),
        (["--sidecar-for", "nobody"], 'service "nobody" has 0 sidecars here'),
        (["--proxy-id", "nobody"], 'no proxy "nobody" is registered'),
    ],
)
def test_what_makes_no_sense_is_said(mesh: Workloads, words: list[str], said: str) -> None:
    done = run(mesh, "proxy", *words)
    assert done.returncode in {1, 2}
    assert said in done.stderr


def test_a_port_that_is_taken_is_named(mesh: Workloads) -> None:
    with socket.create_server((ADDRESS, 0)) as taken:
        port = taken.getsockname()[1]
        done = run(mesh, "proxy", "--service", "web", "--upstream", f"payments:{port}")
    assert done.returncode == 1
    assert f"cannot listen at {ADDRESS}:{port}: Address already in use" in done.stderr
