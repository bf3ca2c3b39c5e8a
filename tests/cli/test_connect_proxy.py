"""meshctl connect proxy as a process, beside a real agent."""

from __future__ import annotations

import hashlib
import http.client
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from mesh.client import tls
from tests.cli.sidecars import (
    BULK,
    Pair,
    application,
    instances,
    paired,
    proxied,
    reached,
    run,
)
from tests.cluster.processes import eventually, free_ports
from tests.connect.websites import (
    ADDRESS,
    asked,
    connection,
    openssl,
    secure,
    serial,
)
from tests.connect.workloads import Workloads, workloads

pytestmark = pytest.mark.together


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workloads]:
    with workloads(tmp_path_factory.mktemp("proxies")) as made:
        yield made


@pytest.fixture(scope="module")
def pair(mesh: Workloads) -> Iterator[Pair]:
    with paired(mesh) as made:
        yield made


def test_services_call_each_other_through_their_proxies(pair: Pair) -> None:
    held = connection(pair.door)
    assert asked(held) == "payments"
    held.request("POST", "/", body=BULK)
    body = held.getresponse().read()
    assert body == hashlib.sha256(BULK).digest() + BULK
    figures = pair.counted()
    assert figures["received_bytes"] > len(BULK)
    assert figures["sent_bytes"] > len(BULK)
    assert figures["active"] == figures["opened"] - figures["closed"] >= 1
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
    assert pair.counted()["refused denied"] >= 6
    report = "/v1/connect/intentions/report?denied&service=payments"
    (found,) = eventually(lambda: pair.mesh.ask("GET", report))
    assert (found["Source"], found["Destination"]) == ("web", "payments")
    assert found["Rule"] == 'the intention from "web" to "payments" says deny'
    denied = pair.counted()["refused denied"]
    eventually(lambda: pair.mesh.ask("GET", report)[0]["Count"] == denied)
    pair.mesh.say("delete", "web", "payments")
    eventually(lambda: reached(pair.door))


def test_what_dry_runs_would_do_is_reported(pair: Pair) -> None:
    def report(flag: str = "") -> list[Any]:
        path = f"/v1/connect/intentions/report?service=payments{flag}"
        return [(one["Kind"], one["Rule"]) for one in pair.mesh.ask("GET", path)]

    held = connection(pair.door)
    assert asked(held) == "payments"
    rule = 'the intention from "web" to "payments" says'
    # The connection that is open is told of, though nobody opens another.
    pair.mesh.say("deny", "web", "payments", dry_run=True)
    eventually(lambda: report() == [("would-deny", f"{rule} deny")])
    assert asked(held) == "payments"
    assert reached(pair.door)
    pair.mesh.say("delete", "web", "payments", dry_run=True)
    eventually(lambda: report() == [])
    pair.mesh.say("deny", "web", "payments")
    pair.mesh.say("allow", "web", "payments", dry_run=True)
    eventually(lambda: not reached(pair.door) and report() == [("would-allow", f"{rule} allow")])
    for dry_run in (False, True):
        pair.mesh.say("delete", "web", "payments", dry_run=dry_run)
    eventually(lambda: reached(pair.door))
    held.close()


def test_leaves_are_renewed_under_open_connections(pair: Pair) -> None:
    ours = pair.mesh.authority
    context = ours.calling(ours.leaf("web"))

    held, before = connection(pair.door), serial(pair.public, context)
    assert asked(held) == "payments"
    pair.mesh.reissue("payments")
    pair.mesh.reissue("web")
    eventually(lambda: serial(pair.public, context) != before)
    assert asked(held) == "payments"
    held.close()


def test_programs_of_the_mesh_without_a_proxy_are_let_in(pair: Pair) -> None:
    with tls("batch", pair.mesh.settings) as batch:
        context: ssl.SSLContext = batch.to("payments")
        held = secure(pair.public, context)
        assert asked(held) == "payments"
        held.close()


def test_openssl_with_the_leaf_of_the_agent_is_let_in(pair: Pair) -> None:
    done = openssl(pair.mesh, pair.public, "web")
    assert done.stdout.endswith("payments"), done.stderr


def test_strangers_are_refused_and_the_log_says_why(pair: Pair) -> None:
    ours = pair.mesh.authority
    ended = ours.calling(ours.leaf("web", ended=True))
    with (
        socket.create_connection((ADDRESS, pair.public), timeout=60) as plain,
        ended.wrap_socket(plain) as secure,
        pytest.raises(ssl.SSLError, match="EXPIRED"),
    ):
        secure.recv(1)
    other = ours.calling(ours.leaf("web", domain="elsewhere.consul"))
    with (
        socket.create_connection((ADDRESS, pair.public), timeout=60) as plain,
        other.wrap_socket(plain) as secure,
        suppress(OSError),
    ):
        assert secure.recv(1) == b""
    eventually(lambda: "certificate has expired" in pair.payments.log)
    eventually(lambda: "it is of another trust domain" in pair.payments.log)
    with socket.create_connection((ADDRESS, pair.public), timeout=60) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with plain.makefile("rb") as said:
            assert b"HTTP/1.1" not in said.read()
    with (
        socket.create_connection((ADDRESS, pair.public), timeout=60) as plain,
        ours.calling(None).wrap_socket(plain) as secure,
        pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"),
    ):
        secure.recv(1)
    reasons = ("expired", "foreign", "plain", "no-certificate")
    eventually(lambda: {f"refused {one}" for one in reasons} <= pair.counted().keys())


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
        held = secure(port, context)
        assert eventually(lambda: asked(held)) == "payments"
        running.process.send_signal(signal.SIGTERM)
        eventually(lambda: not instances(mesh, "ending"))
        assert asked(held) == "payments"
        held.close()
        assert running.process.wait(60) == 0


def test_it_can_be_a_sidecar_that_is_registered(mesh: Workloads) -> None:
    public, door = free_ports(ADDRESS, 2)
    with application() as behind:
        upstream = {"DestinationName": "orders", "LocalBindPort": door}
        here = {"Config": {"bind_address": ADDRESS}}
        for name, sidecar in (
            ("orders", {"Port": public, "Proxy": here}),
            ("shop", {"Proxy": here | {"Upstreams": [upstream]}}),
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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--service", "web"], "there is nothing to do"),
        (["--service", "web", "--listen", ":1"], "--listen needs --service-addr"),
        (["--service", "web", "--upstream", "payments"], "expected name:port"),
        (["--service", "web", "--upstream", "db:x"], 'expected name:port, got "db:x"'),
        (["--service", "web", "--upstream", "db:::x"], 'expected name:address:port, got "db:::x"'),
        (["--service", "web", "--proxy-id", "x", "--upstream", "a:1"], "say --sidecar-for"),
        (["--sidecar-for", "web", "--proxy-id", "x"], "give one of them"),
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
