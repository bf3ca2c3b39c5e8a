"""gRPC programs call each other: through two Envoys, through one, and without any."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import rpc_programs
from tests.cluster.meshed import current, meshed, protocol, refused, register
from tests.cluster.processes import TOP, Cluster, Meshd, eventually, free_ports

pytestmark = pytest.mark.together
Running = subprocess.Popen[bytes]


def program(made: Cluster, *words: str, bootstrap: Path | None = None) -> Running:
    """A gRPC program in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    if bootstrap is not None:
        environment["GRPC_XDS_BOOTSTRAP"] = str(bootstrap)
    process = subprocess.Popen(
        [sys.executable, rpc_programs.__file__, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    made.services.append(process)
    return process


class Client:
    """A program that calls."""

    def __init__(self, process: Running) -> None:
        self._process = process
        self.found: Counter[str] = Counter()
        """All that ever came of its calls."""

    def ask(self, line: str = "unary") -> dict[str, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        found: dict[str, int] = json.loads(self._process.stdout.readline())
        self.found.update(found)
        return found

    def says(self, *answers: str, line: str = "unary") -> None:
        """Wait until calls come to this and nothing else."""
        eventually(lambda: set(self.ask(line)) == set(answers), 60)

    def refused(self) -> bool:
        return all(said.startswith("PERMISSION_DENIED") for said in self.ask())


class Load:
    """Calls without pause, from when it is entered."""

    def __init__(self, client: Client) -> None:
        self._client = client
        client.found.clear()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._client.ask("unary 20")

    def more(self, name: str, count: int = 100) -> None:
        """Wait until so many more were answered by this one."""
        before = self._client.found[name]
        try:
            eventually(lambda: self._client.found[name] >= before + count, 60)
        except AssertionError:
            raise AssertionError(f"of {count} after {before}: {self._client.found}") from None

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Shop:
    """payments behind an Envoy, till without one; web calls both, in both ways."""

    def __init__(self, made: Cluster, folder: Path) -> None:
        self.made, self._folder, (self.here, self.there) = made, folder, made.agents
        for name in ("payments", "till"):
            protocol(self.here, name, "grpc")
        self.bound = dict(zip(("payments", "till"), free_ports(self.here.address, 2), strict=True))
        self.port = self.plain(self.there, "first")
        register(self.there, "payments", self.port)
        register(self.here, "web", 1, upstreams=self.bound)
        port = free_ports(self.there.address, 1)[0]
        body = {"name": "till", "port": port, "connect": {"native": True}}
        self.there.put("/v1/agent/service/register", body)
        place = f"{self.there.address}:{port}"
        files = self.bootstrap(self.there, "till")
        till = program(made, "server", place, "till", "xds", bootstrap=files)
        assert till.stdout is not None
        till.stdout.readline()
        self.files = self.bootstrap(self.here, "web")

    def plain(self, node: Meshd, name: str) -> int:
        """A server that knows of no mesh; its port."""
        process = program(self.made, "server", f"{node.address}:0", name)
        assert process.stdout is not None
        return int(process.stdout.readline())

    def bootstrap(self, node: Meshd, service: str) -> Path:
        """The file with what its programs are started with."""
        file = self._folder / f"{service}.json"
        printed = node.meshctl("connect", "grpc-bootstrap", "--service", service)
        assert printed.returncode == 0, printed.stderr
        file.write_text(printed.stdout)
        return file

    def client(self, target: str) -> Client:
        """A program of web that is in the mesh itself."""
        return Client(program(self.made, "client", target, "xds", bootstrap=self.files))

    def beside(self, service: str) -> Client:
        """A program of web that calls through its sidecar."""
        place = f"{self.here.address}:{self.bound[service]}"
        return Client(program(self.made, "client", place))

    def rotate(self, step: str) -> bool:
        return self.here.meshctl("connect", "ca", "rotate", step).returncode == 0

    def say(self, *words: str) -> None:
        done = self.here.meshctl("intention", *words)
        assert done.returncode == 0, done.stderr


def provider(bootstrap: Path) -> dict[str, str]:
    """Where a bootstrap has the certificates."""
    made = json.loads(bootstrap.read_text())
    found: dict[str, str] = made["certificate_providers"]["mesh"]["config"]
    return found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("grpc")
    with meshed(folder, connect={"test_ca_leaf_root_change_spread": "1s"}) as made:
        yield Shop(made, folder)


@pytest.fixture(scope="module")
def alone(shop: Shop) -> Client:
    return shop.client("xds:///payments")


def test_calls_and_streams_pass_two_envoys(shop: Shop) -> None:
    client = shop.beside("payments")
    client.says("first")
    client.says("first 1 first 2 first 3", line="stream 5")


def test_a_program_without_sidecar_calls_a_service_that_has_one(alone: Client) -> None:
    alone.says("first")
    alone.says("first 1 first 2 first 3", line="stream 5")


def test_no_call_fails_while_instances_come_and_go(shop: Shop, alone: Client) -> None:
    alone.says("first")
    port = shop.plain(shop.here, "second")
    with Load(alone) as load:
        for _ in range(3):
            register(shop.here, "payments", port, instance="second")
            load.more("second")
            shop.here.put("/v1/agent/service/deregister/second")
            eventually(lambda: len(shop.here.get("/v1/agent/services")) == 2, 60)
            load.more("first")
    assert set(alone.found) == {"first", "second"}


def test_calls_are_spread_over_healthy_instances(shop: Shop, alone: Client) -> None:
    register(shop.here, "payments", shop.plain(shop.here, "second"), instance="second")
    alone.says("first", "second", line="unary 20")

    def even() -> bool:
        found = alone.ask("unary 100")
        return set(found) == {"first", "second"} and abs(found["first"] - found["second"]) <= 8

    try:
        eventually(even)
        shop.here.put("/v1/agent/service/maintenance/second?enable=true")
        alone.says("first", line="unary 20")
    finally:  # Tests after this one count on the first alone.
        shop.here.put("/v1/agent/service/deregister/second")


def test_a_program_may_serve_without_sidecar(shop: Shop) -> None:
    for client in (shop.client("xds:///till"), shop.beside("till")):
        client.says("till")
        client.says("till 1 till 2 till 3", line="stream 5")


@pytest.mark.parametrize("service", ["payments", "till"])
def test_a_deny_holds_on_connections_that_are_open(shop: Shop, service: str) -> None:
    clients = [shop.client(f"xds:///{service}"), shop.beside(service)]
    answer = {"payments": "first", "till": "till"}[service]
    for client in clients:
        client.says(answer)
    shop.say("deny", "web", service)
    for client in clients:
        eventually(client.refused)
        assert all(said.startswith("PERMISSION_DENIED") for said in client.ask("unary 20"))
    shop.say("delete", "web", service)
    for client in clients:
        client.says(answer)


def test_rules_about_methods_hold_without_a_sidecar(shop: Shop) -> None:
    client = shop.client("xds:///till")
    client.says("till")
    shop.say("deny", "web", "till", "--path", rpc_programs.STREAM)
    eventually(lambda: all(one.startswith("PERMISSION") for one in client.ask("stream")))
    assert client.ask("unary 5") == {"till": 5}
    shop.say("delete", "web", "till")


def test_health_is_asked_through_the_sidecar(shop: Shop) -> None:
    address, port = shop.here.address, shop.plain(shop.here, "watched")
    register(shop.here, "watched", port, expose={"checks": True})
    check = {"name": "health", "service_id": "watched", "interval": "1s"}
    shop.here.put("/v1/agent/check/register", check | {"grpc": f"{address}:{port}/till"})

    def found() -> dict[str, Any]:
        shown: dict[str, Any] = shop.here.get("/v1/agent/checks")["health"]
        return shown

    eventually(lambda: f"{address}:{found()['ExposedPort']}/till: success" in found()["Output"], 60)
    assert (found()["Status"], found()["ExposedPort"] in range(21500, 21756)) == ("passing", True)
    shop.here.put("/v1/agent/service/deregister/watched")


def test_who_is_not_listed_is_refused(shop: Shop) -> None:
    shop.here.put("/v1/agent/service/register", {"name": "stranger"})
    files = shop.bootstrap(shop.here, "stranger")
    stranger = Client(program(shop.made, "client", "xds:///till", "xds", bootstrap=files))
    web = shop.client("xds:///till")
    stranger.says("till")
    shop.say("deny", "*", "till")
    shop.say("allow", "web", "till")
    eventually(stranger.refused)
    web.says("till")
    for source in ("*", "web"):
        shop.say("delete", source, "till")
    stranger.says("till")


def test_a_server_without_sidecar_wants_certificates_of_the_mesh(shop: Shop) -> None:
    (till,) = shop.there.get("/v1/catalog/service/till")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    address = (shop.there.address, till["ServicePort"])
    for wrap in (lambda plain: plain, context.wrap_socket):
        assert refused(address, wrap)


def test_programs_get_certificates_that_are_renewed(shop: Shop) -> None:
    folder = Path(provider(shop.files)["certificate_file"]).parent
    before = folder.resolve()
    shop.here.ask("POST", "/v1/agent/connect/ca/leaf/web/reissue")
    eventually(lambda: folder.resolve() != before)
    shop.client("xds:///till").says("till")


def test_a_sidecar_that_goes_takes_no_certificate_from_programs(shop: Shop) -> None:
    register(shop.here, "both", free_ports(shop.here.address, 1)[0])
    folder = Path(provider(shop.bootstrap(shop.here, "both"))["certificate_file"]).parent
    before = folder.resolve()
    shop.here.put("/v1/agent/service/deregister/both-sidecar-proxy")
    eventually(lambda: folder.resolve() != before)
    shop.here.put("/v1/agent/service/deregister/both")
    eventually(lambda: not folder.parent.exists())


def test_people_see_what_programs_were_told(shop: Shop) -> None:
    shop.client("xds:///payments").says("first")
    listed = {row["ID"]: row for row in shop.here.get("/v1/agent/proxies")}
    assert current(shop.here, "grpc:web")
    assert listed["grpc:web"]["Envoy"] is None
    assert "grpc:web" in shop.here.meshctl("proxy", "list").stdout


def test_files_of_certificates_are_for_their_owner_and_go_with_the_service(shop: Shop) -> None:
    shop.here.put("/v1/agent/service/register", {"name": "brief"})
    config = provider(shop.bootstrap(shop.here, "brief"))
    files = [Path(config[name]) for name in ("certificate_file", "private_key_file")]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    shop.here.put("/v1/agent/service/deregister/brief")
    eventually(lambda: not files[0].parent.parent.exists())
    refused = shop.here.meshctl("connect", "grpc-bootstrap", "--service", "brief")
    assert "register it" in refused.stderr


def test_no_call_fails_while_the_agent_is_killed_and_comes_back(shop: Shop) -> None:
    clients = [shop.client("xds:///payments"), shop.client("xds:///till")]
    for client, name in zip(clients, ("first", "till"), strict=True):
        client.says(name)
        with Load(client) as load:
            for node in (shop.here, shop.there):
                node.kill()
                load.more(name)
                node.start()
                eventually(lambda: current(shop.there, "payments-sidecar-proxy"), 60)
                load.more(name)
        assert set(client.found) == {name}
    shop.say("deny", "web", "till")
    eventually(clients[1].refused, 60)
    shop.say("delete", "web", "till")


@pytest.mark.slow
def test_no_call_fails_while_roots_are_rotated(shop: Shop) -> None:
    clients = [shop.client("xds:///payments"), shop.client("xds:///till")]
    for client, name in zip(clients, ("first", "till"), strict=True):
        client.says(name)
    with Load(clients[0]) as one, Load(clients[1]) as other:
        for step in ("prepare", "activate", "retire"):
            eventually(lambda step=step: shop.rotate(step), 90)  # type: ignore[misc]
            one.more("first")
            other.more("till")
            fresh = shop.client("xds:///till")
            assert fresh.ask() == {"till": 1}
    assert [set(client.found) for client in clients] == [{"first"}, {"till"}]
