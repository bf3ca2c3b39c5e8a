"""Two services talk through real Envoys because they were registered, and stop when told to."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from mesh.connect.identity import parse
from tests.cluster.dev import DevNode
from tests.cluster.meshed import Door, application, current, meshed, protocol, refused, register
from tests.cluster.processes import Cluster, Meshd, eventually, free_ports

pytestmark = pytest.mark.together
PROXY = "payments-sidecar-proxy"


class Pair:
    """web on one agent, payments on the other, and where web finds payments."""

    def __init__(self, made: Cluster) -> None:
        self.made, (self.here, self.there) = made, made.agents
        self.bound = free_ports(self.here.address, 1)[0]
        protocol(self.here, "payments", "http")
        register(self.there, "payments", application(made, self.there, "payments"))
        web = application(made, self.here, "web")
        register(self.here, "web", web, upstreams={"payments": self.bound})
        self.door = self.another()
        eventually(lambda: self.door.status() == 200, 60)

    def another(self) -> Door:
        return Door(self.here.address, self.bound)

    def say(self, *words: str) -> None:
        done = self.here.meshctl("intention", *words)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with meshed(tmp_path_factory.mktemp("mesh")) as made:
        found = Pair(made)
        yield found
        found.door.close()


class Load:
    """Requests without pause on kept-alive connections, from when it is entered."""

    def __init__(self, pair: Pair, doors: int = 3) -> None:
        self._doors = [pair.another() for _ in range(doors)]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(one,)) for one in self._doors]
        self.asked = 0
        self.failed: list[str] = []
        self.names: set[str] = set()

    def _ask(self, door: Door) -> None:
        with door:
            while not self._stop.is_set():
                try:
                    reply = door.get()
                except OSError as error:
                    self.failed.append(repr(error))
                    continue
                self.asked += 1
                if reply.status != 200:
                    self.failed.append(f"{reply.status} {reply.text[:200]}")
                self.names.add(str(reply.seen.get("name")))

    def more(self, count: int = 60) -> None:
        """Wait until so many more were answered."""
        before = self.asked
        eventually(lambda: self.asked >= before + count)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def envoy(node: Meshd, proxy: str = PROXY) -> int:
    return int(node.get(f"/v1/agent/proxy/{proxy}")["Envoy"]["Pid"])


def test_services_talk_by_mutual_tls_because_they_were_registered(pair: Pair) -> None:
    seen = pair.door.get("/hello?x=1").seen
    assert (seen["name"], seen["path"]) == ("payments", "/hello?x=1")
    caller = next(
        part.removeprefix("URI=")
        for part in seen["headers"]["x-forwarded-client-cert"].split(";")
        if part.startswith("URI=")
    )
    assert parse(caller).name == "web"


def test_a_deny_holds_at_once_on_connections_that_are_open(pair: Pair) -> None:
    doors = [pair.another() for _ in range(5)]
    assert [door.status() for door in doors] == [200] * 5
    pair.say("deny", "web", "payments")
    for door in doors:
        eventually(lambda door=door: door.status() == 403)  # type: ignore[misc]
    assert [door.status() for door in doors] == [403] * 5
    pair.say("allow", "web", "payments")
    for door in doors:
        eventually(lambda door=door: door.status() == 200)  # type: ignore[misc]
        door.close()


def test_connections_that_nobody_looks_into_end_with_a_denial_and_nothing_else(pair: Pair) -> None:
    bound = free_ports(pair.here.address, 1)[0]
    pair.say("deny", "web", "ledger")
    register(pair.there, "ledger", application(pair.made, pair.there, "ledger"))
    register(pair.here, "clerk", bound, upstreams={"ledger": bound})
    with Door(pair.here.address, bound) as door:
        eventually(lambda: door.status() == 200, 60)
        pair.say("allow", "web", "ledger")
        assert door.get().status == 200
        pair.there.kill()
        pair.there.start()
        eventually(lambda: current(pair.there, "ledger-sidecar-proxy"), 60)
        assert door.get().status == 200, "it is the same connection"
        pair.say("deny", "clerk", "ledger")
        eventually(lambda: door.status() == 0)
    for node, name in ((pair.there, "ledger"), (pair.here, "clerk")):
        node.put(f"/v1/agent/service/deregister/{name}")
        eventually(lambda: len(node.get("/v1/agent/proxies")) == 1, 60)  # noqa: B023


def test_permissions_judge_requests(pair: Pair) -> None:
    pair.say("deny", "web", "payments", "--path", "/admin")
    eventually(lambda: pair.door.status("/admin/x") == 403)
    assert pair.door.status("/") == 200
    assert pair.door.status("/x/../admin/x") == 403
    pair.say("delete", "web", "payments")
    eventually(lambda: pair.door.status("/admin/x") == 200)


def test_without_a_certificate_of_the_mesh_nobody_gets_in(pair: Pair) -> None:
    port = pair.there.get(f"/v1/agent/service/{PROXY}")["Port"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = (pair.there.address, port)
    for wrap in (lambda plain: plain, context.wrap_socket):
        assert refused(address, wrap)


def exposed(pair: Pair) -> int:
    port = pair.there.get("/v1/agent/checks")["alive"]["ExposedPort"]
    assert isinstance(port, int)
    return port


def test_paths_and_checks_pass_the_sidecar_without_a_certificate(pair: Pair) -> None:
    node, opened = pair.there, free_ports(pair.there.address, 1)[0]
    port = application(pair.made, node, "watched")
    path = {"path": "/metrics", "local_path_port": port, "listener_port": opened}
    register(node, "watched", port, expose={"checks": True, "paths": [path]})
    url = f"http://{node.address}:{port}/alive?x=1"
    check = {"name": "alive", "service_id": "watched", "interval": "1s", "http": url}
    node.put("/v1/agent/check/register", check)
    eventually(lambda: exposed(pair) in range(21500, 21756), 60)
    outside = Door(node.address, opened)
    eventually(lambda: outside.get("/metrics").seen["name"] == "watched")
    assert outside.status("/alive") == 404

    def shown() -> bool:
        row = node.get("/v1/agent/checks")["alive"]
        via = f"http://{node.address}:{row['ExposedPort']}/alive?x=1: 200"
        return row["Status"] == "passing" and via in row["Output"]

    eventually(shown)
    eventually(lambda: pair.here.get("/v1/health/checks/watched")[0]["ExposedPort"])
    node.put("/v1/agent/check/register", check | {"notes": "registered anew"})
    eventually(lambda: exposed(pair) != 0)
    register(node, "watched", port, expose={"paths": [path]})
    eventually(lambda: exposed(pair) == 0)
    eventually(lambda: f"{url}: 200" in node.get("/v1/agent/checks")["alive"]["Output"])
    defaults = {"Kind": "service-defaults", "Name": "watched", "Expose": {"Checks": True}}
    node.put("/v1/config", defaults)
    eventually(lambda: exposed(pair) != 0, 60)
    outside.close()
    node.put("/v1/agent/service/deregister/watched")


def test_an_envoy_that_is_killed_is_started_again(pair: Pair) -> None:
    before = envoy(pair.there)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: envoy(pair.there) not in {0, before}, 60)
    eventually(lambda: pair.door.status() == 200, 60)


def test_no_request_is_lost_while_an_agent_is_killed_and_comes_back(pair: Pair) -> None:
    before = envoy(pair.there)
    with Load(pair) as load:
        for node in (pair.there, pair.here):
            node.kill()
            load.more()
            node.start()
            proxy = PROXY if node is pair.there else "web-sidecar-proxy"
            eventually(lambda: current(node, proxy), 60)  # noqa: B023 - called at once.
            load.more()
    assert envoy(pair.there) == before
    assert load.failed == []


def test_no_request_is_lost_while_instances_come_and_go(pair: Pair) -> None:
    port = application(pair.made, pair.here, "second")
    with Load(pair) as load:
        for _ in range(3):
            load.names.clear()
            register(pair.here, "payments", port, instance="second")
            eventually(lambda: "second" in load.names, 60)
            pair.here.put("/v1/agent/service/deregister/second")
            eventually(lambda: len(pair.here.get("/v1/agent/proxies")) == 1, 60)
            load.more()
    assert load.failed == []


def test_a_service_that_is_deregistered_takes_its_envoy_along(pair: Pair) -> None:
    port = free_ports(pair.there.address, 1)[0]
    register(pair.there, "brief", port)
    eventually(lambda: current(pair.there, "brief-sidecar-proxy"), 60)
    process = envoy(pair.there, "brief-sidecar-proxy")
    pair.there.put("/v1/agent/service/deregister/brief")
    eventually(lambda: not Path(f"/proc/{process}").exists() or is_zombie(process), 60)
    assert [one["ID"] for one in pair.there.get("/v1/agent/proxies")] == [PROXY]


def test_people_see_how_proxies_fare(pair: Pair) -> None:
    listed = pair.there.meshctl("proxy", "list")
    assert PROXY in listed.stdout
    assert "current" in listed.stdout
    shown = pair.there.meshctl("proxy", "status", PROXY)
    assert (shown.returncode, "listeners" in shown.stdout) == (0, True)
    printed = pair.there.meshctl("connect", "envoy", "-sidecar-for", "payments", "-bootstrap")
    assert f'"id": "{PROXY}"' in printed.stdout


def test_an_envoy_that_somebody_runs_himself_takes_the_place_of_the_agents(pair: Pair) -> None:
    before = envoy(pair.there)
    more = ["-sidecar-for", "payments", "-admin-bind", f"{pair.there.address}:0"]
    own = subprocess.Popen(
        [sys.executable, "-m", "mesh.cli.main", "connect", "envoy", *more],
        env=os.environ | {"MESH_HTTP_ADDR": f"{pair.there.address}:{pair.there.http}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: not pair.there.get(f"/v1/agent/proxy/{PROXY}")["Managed"])
        eventually(lambda: not Path(f"/proc/{before}").exists() or is_zombie(before), 60)
        eventually(lambda: pair.door.status() == 200, 60)
        assert pair.there.get(f"/v1/agent/proxy/{PROXY}")["Envoy"] is None
    finally:
        own.terminate()
        own.wait(30)
    eventually(lambda: current(pair.there, PROXY), 60)
    eventually(lambda: pair.door.status() == 200, 60)


def test_calls_go_on_without_servers_and_rules_follow_when_they_are_back(pair: Pair) -> None:
    (server,) = pair.made.servers
    with Load(pair) as load:
        server.kill()
        load.more()
        pair.there.kill()
        pair.there.start()
        load.more(200)
        server.start()
        eventually(lambda: bool(pair.here.get("/v1/status/leader")), 60)
        eventually(lambda: current(pair.there, PROXY), 60)
        load.more()
    assert load.failed == []
    pair.say("deny", "web", "payments")
    eventually(lambda: pair.door.status() == 403)
    pair.say("delete", "web", "payments")
    eventually(lambda: pair.door.status() == 200)


def is_zombie(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"


def first_answer(node: DevNode) -> tuple[int, str]:
    """Of its HTTP API about its proxies, as soon as that answers anything."""
    while True:
        try:
            return 200, node.read("/v1/agent/proxies").decode().strip()
        except HTTPError as refused:
            return refused.code, refused.read().decode()
        except OSError:
            assert node.process.poll() is None, node.log()


def test_the_first_question_waits_until_the_mesh_is_up(tmp_path: Path) -> None:
    started = DevNode(tmp_path)
    try:
        assert first_answer(started) == (200, "[]")
    finally:
        started.stop()


def test_where_the_mesh_is_off_the_answer_says_so(tmp_path: Path) -> None:
    started = DevNode(tmp_path, more="connect { enabled = false }")
    try:
        status, text = first_answer(started)
        assert status == 400
        assert "connect.enabled" in text
    finally:
        started.stop()
