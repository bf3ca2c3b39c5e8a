"""Processes that answer beside the main one: as right as that, and none of them is missed."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dnslib
import pytest

from tests.cluster.processes import Cluster, Meshd, cluster, eventually

pytestmark = pytest.mark.together

WORKERS = 2


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    timing = {"raft_multiplier": 1, "workers": WORKERS}
    folder = tmp_path_factory.mktemp("workers")
    with cluster(folder, servers=1, agents=1, performance=timing) as running:
        for node in (*running.servers, *running.agents):
            eventually(lambda node=node: len(pids(node)) == WORKERS)  # type: ignore[misc]
        yield running


def pids(node: Meshd) -> list[int]:
    shown = node.get("/v1/agent/self")["Stats"]["workers"]["pids"]
    return [int(one) for one in shown.split(",") if one]


def workers(node: Meshd, figure: str) -> int:
    return int(node.get("/v1/agent/self")["Stats"]["workers"][figure])


class Reader:
    """Asks over many connections, so that every process has some of them."""

    def __init__(self, node: Meshd, count: int = 12) -> None:
        self._node = node
        self._connections = [self._new() for _ in range(count)]
        self.broken = 0

    def _new(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._node.client_address, self._node.http, timeout=20)

    def close(self) -> None:
        for one in self._connections:
            one.close()

    def each(self, path: str) -> list[bytes]:
        """What is answered on each connection; one that broke is replaced."""
        return [self._ask(place, path) for place in range(len(self._connections))]

    def _ask(self, place: int, path: str) -> bytes:
        while True:
            connection = self._connections[place]
            try:
                connection.request("GET", path)
                return connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                self.broken += 1
                connection.close()
                self._connections[place] = self._new()


def put(node: Meshd, key: str, value: str) -> None:
    connection = http.client.HTTPConnection(node.client_address, node.http, timeout=20)
    connection.request("PUT", f"/v1/kv/{key}", value)
    assert connection.getresponse().read() == b"true"
    connection.close()


def http_hits(node: Meshd) -> int:
    return int(node.get("/v1/agent/self")["Stats"]["http"]["hits"])


def test_reads_follow_every_write_at_once_on_every_process(made: Cluster) -> None:
    (server,) = made.servers
    reader = Reader(server)
    before = http_hits(server)
    for number in range(60):
        put(server, "a", str(number))
        for _ in range(3):
            assert set(reader.each("/v1/kv/a?raw")) == {str(number).encode()}
    # 36 reads a write, of which each process has to ask, or make, its first one anew.
    eventually(lambda: http_hits(server) - before > 60 * 24)
    assert reader.broken == 0
    reader.close()


def test_dns_and_health_follow_a_change_at_once_on_every_process(made: Cluster) -> None:
    for node in (*made.servers, *made.agents):
        follows(node, made.servers[0])


def follows(node: Meshd, server: Meshd) -> None:
    reader = Reader(node)
    asked = Asker(node)
    body = {"Node": "n1", "Address": "10.9.9.9", "Service": {"Service": "db"}}
    for port in range(7000, 7010):
        body["Service"] = {"Service": "db", "Port": port}
        server.put("/v1/catalog/register", body)
        # An agent hears of it a moment later; then no process may lag behind another.
        eventually(lambda port=port: asked.ports("db") == {port})  # type: ignore[misc]
        for _ in range(3):
            assert asked.all_ports("db") == {port}
            shown = b"".join(reader.each("/v1/health/service/db?stale"))
            assert shown.count(b'"Port":%d' % port) == 12
    asked.close()
    reader.close()


class Asker:
    """Asks DNS from many ports, so that every process gets some of the questions."""

    def __init__(self, node: Meshd, count: int = 12) -> None:
        self._sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(count)]
        for one in self._sockets:
            one.connect((node.address, node.dns))
            one.settimeout(2)

    def close(self) -> None:
        for one in self._sockets:
            one.close()

    def _ask(self, one: socket.socket, service: str) -> set[int]:
        question = dnslib.DNSRecord.question(f"{service}.service.mesh", "SRV")
        while True:
            one.send(question.pack())
            try:
                answer = dnslib.DNSRecord.parse(one.recv(4096))
            except TimeoutError:
                continue
            if answer.header.id == question.header.id:
                return {record.rdata.port for record in answer.rr}

    def ports(self, service: str) -> set[int]:
        return self._ask(self._sockets[0], service)

    def all_ports(self, service: str) -> set[int]:
        return set[int]().union(*(self._ask(one, service) for one in self._sockets))


def test_workers_that_are_killed_are_replaced_and_nothing_is_lost(made: Cluster) -> None:
    (server,) = made.servers
    reader, stop, written = Reader(server), threading.Event(), [0]

    def write() -> None:
        connection = http.client.HTTPConnection(server.client_address, server.http, timeout=20)
        while not stop.is_set():
            try:
                connection.request("PUT", "/v1/kv/a", str(written[0] + 1))
                assert connection.getresponse().read() == b"true"
            except (OSError, http.client.HTTPException):
                connection.close()
                continue
            written[0] += 1
        connection.close()

    put(server, "a", "0")
    died = workers(server, "died")
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            killed = pids(server)
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            until = time.monotonic() + 30
            while len(set(pids(server)) - set(killed)) < WORKERS:
                before = written[0]
                assert all(before <= int(got) for got in reader.each("/v1/kv/a?raw"))
                assert time.monotonic() < until
    finally:
        stop.set()
        writer.join()
    assert {int(got) for got in reader.each("/v1/kv/a?raw")} == {written[0]}
    assert workers(server, "died") == died + 3 * WORKERS
    reader.close()


def test_questions_that_wait_for_a_worker_are_answered_by_the_next(made: Cluster) -> None:
    (server,) = made.servers
    server.put("/v1/catalog/register", {"Node": "n1", "Address": "10.9.9.9"})
    sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(24)]
    eventually(lambda: len(pids(server)) == WORKERS)
    stopped = pids(server)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    for one in sockets:
        one.connect((server.address, server.dns))
        one.settimeout(20)
        one.send(dnslib.DNSRecord.question("n1.node.mesh", "A").pack())
    for pid in stopped:
        os.kill(pid, signal.SIGKILL)
    for one in sockets:
        assert str(dnslib.DNSRecord.parse(one.recv(4096)).rr[0].rdata) == "10.9.9.9"
        one.close()


def test_a_worker_that_hangs_is_replaced(made: Cluster) -> None:
    (server,) = made.servers
    eventually(lambda: len(pids(server)) == WORKERS)
    hangs, before = pids(server)[0], workers(server, "hung")
    os.kill(hangs, signal.SIGSTOP)
    eventually(lambda: workers(server, "hung") == before + 1)
    eventually(lambda: len(pids(server)) == WORKERS and hangs not in pids(server))


def test_nobody_else_may_listen_where_workers_do(made: Cluster) -> None:
    (server,) = made.servers
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        port = server.http if kind == socket.SOCK_STREAM else server.dns
        with socket.socket(type=kind) as other, pytest.raises(OSError, match="in use"):
            other.bind((server.address, port))


def test_workers_end_with_the_main_process(made: Cluster) -> None:
    """The last of these tests: nothing runs after it."""
    server, agent = made.servers[0], made.agents[0]
    of_server, of_agent = pids(server), pids(agent)
    server.kill()
    assert agent.stop() == 0
    for pid in (*of_server, *of_agent):
        eventually(lambda pid=pid: not Path(f"/proc/{pid}/cmdline").exists())  # type: ignore[misc]
