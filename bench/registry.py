"""`./dev bench registry [write|watch|read|restore]`: KV writes, blocking queries, stalls.

A server of its own process, watched over HTTP by clients of this one, all on this machine.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import resource
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import node, restore, writes
from bench.node import Node

CLIENTS_PER_ADDRESS = 100
PATIENCE_SECONDS = 60.0
KEYS = 100_000
BATCH = 50


class Watchers:
    """Blocking queries, each on a connection of its own from one of many loopback addresses."""

    def __init__(self, port: int, path: str, count: int) -> None:
        self._port, self._path = port, path
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._got: dict[int, bytearray] = {}
        for number in range(count):
            one = socket.socket()
            # Linux has all of 127/8: no address is over the limit of connections per client.
            one.bind((f"127.7.{number // CLIENTS_PER_ADDRESS}.1", 0))
            one.connect(("127.0.0.1", port))
            self._sockets[one.fileno()] = one
            self._epoll.register(one.fileno(), select.EPOLLIN)

    def __len__(self) -> int:
        return len(self._sockets)

    def ask(self, index: int) -> None:
        """Have every one wait for something newer."""
        request = f"GET {self._path}?index={index}&wait=10m HTTP/1.1\r\nHost: bench\r\n\r\n"
        for descriptor, one in self._sockets.items():
            self._got[descriptor] = bytearray()
            one.sendall(request.encode())

    def answered(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Read until all have a whole answer, or time is out; how many have one."""
        waiting, until = set(self._got), time.monotonic() + seconds
        while waiting and (left := until - time.monotonic()) > 0:
            for descriptor, _ in self._epoll.poll(left):
                got = self._got[descriptor]
                got += self._sockets[descriptor].recv(262_144)
                if whole(got):
                    waiting.discard(descriptor)
        return len(self._got) - len(waiting)

    def close(self) -> None:
        """Hang up."""
        for one in self._sockets.values():
            one.close()
        self._epoll.close()


def whole(got: bytearray) -> bool:
    """Whether all of a response is there."""
    end = got.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", got[:end])
    assert length is not None, bytes(got[:end])
    return len(got) >= end + 4 + int(length[1])


def _index(running: Node, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", running.http)
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    connection.close()
    return int(response.headers["X-Consul-Index"])


def _resident_bytes(process: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def _settled(running: Node) -> None:
    """Return when what was sent before has been read: a later request is answered."""
    for _ in range(3):
        running.get("/v1/status/leader")
        time.sleep(0.3)


def _change(running: Node, number: int) -> None:
    check = {"CheckID": "up", "Name": "up", "Status": "passing", "ServiceID": "web"}
    body = {"Node": "node-3", "Address": "10.0.0.4", "Check": check | {"Output": f"{number}"}}
    running.put("/v1/catalog/register", json.dumps(body).encode())


def fan_out(running: Node, count: int, rounds: int) -> None:
    """One change of a service with so many blocking queries on it: when the last has its answer."""
    path = "/v1/health/service/web"
    before = _resident_bytes(running.pid)
    watchers = Watchers(running.http, path, count)
    try:
        _settled(running)
        connected = _resident_bytes(running.pid)
        times, idle = [], 0.0
        for number in range(rounds):
            watchers.ask(_index(running, path))
            _settled(running)
            idle = idle or (_resident_bytes(running.pid) - before) / count / 1024
            for other in range(20):
                running.put(f"/v1/kv/bench/other-{other}", f"{number}".encode())
            woken = watchers.answered(0.5)
            began = time.monotonic()
            _change(running, number)
            answered = watchers.answered()
            times.append(time.monotonic() - began)
            print(
                f"{running.name}: {count} blocking queries: 20 unrelated writes woke {woken}; one "
                f"change answered {answered}, the last after {times[-1]:.3f} s",
                flush=True,
            )
        each = (connected - before) / count / 1024
        print(
            f"{running.name}: memory of each: {each:.1f} KiB connected, {idle:.1f} KiB waiting; "
            f"median to the last answer {sorted(times)[len(times) // 2]:.3f} s",
            flush=True,
        )
    finally:
        watchers.close()


def fill_keys(running: Node, count: int) -> None:
    """Write so many small keys, over connections that send some requests at once."""

    def write(first: int) -> None:
        with socket.create_connection(("127.0.0.1", running.http)) as one:
            for start in range(first, count, 32 * BATCH):
                batch = range(start, min(start + BATCH, count))
                one.sendall(b"".join(map(_put, batch)))
                got = b""
                while got.count(b"HTTP/1.1 200 OK") < len(batch) or not got.endswith(b"true"):
                    got += one.recv(65536)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(write, range(0, 32 * BATCH, BATCH)))


def _put(number: int) -> bytes:
    # Not in order, as keys come in life.
    key = f"many/{number * 7919 % KEYS:06}"
    head = f"PUT /v1/kv/{key} HTTP/1.1\r\nHost: b\r\nContent-Length: 64\r\n\r\n"
    return head.encode() + b"v" * 64


class Stalls(threading.Thread):
    """Asks for something small all the time; the longest time that took."""

    def __init__(self, running: Node) -> None:
        super().__init__(daemon=True)
        self._running, self.longest, self.on = running, 0.0, True

    def run(self) -> None:
        """Ask until `on` is no longer set."""
        connection = http.client.HTTPConnection("127.0.0.1", self._running.http)
        while self.on:
            began = time.monotonic()
            connection.request("GET", "/v1/agent/version")
            connection.getresponse().read()
            self.longest = max(self.longest, time.monotonic() - began)
            time.sleep(0.001)


def _read_elsewhere(running: Node, path: str) -> int:
    """Read in a process of its own: this one has to measure."""
    script = "import sys, urllib.request as u; print(len(u.urlopen(sys.argv[1]).read()))"
    command = [sys.executable, "-c", script, running.url(path)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


def large_read(running: Node, rounds: int) -> None:
    """A recursive read of very many keys, and for how long it keeps others from their answers."""
    fill_keys(running, KEYS)
    paths = ("/v1/kv/many/?recurse", "/v1/kv/many/0?recurse", "/v1/kv/many/?keys", "")
    for path in paths:
        for number in range(rounds):
            running.put("/v1/kv/many/000000", f"{number}".encode())
            stalls = Stalls(running)
            stalls.start()
            time.sleep(0.5)
            began = time.monotonic()
            length = _read_elsewhere(running, path) if path else 0
            took = time.monotonic() - began
            stalls.on = False
            stalls.join()
            what = f"GET {path}: {length / 1e6:.1f} MB in {took:.2f} s" if path else "nothing"
            print(
                f"{running.name}: {KEYS} keys: {what}; "
                f"another request took {stalls.longest * 1000:.0f} ms at most",
                flush=True,
            )


def main(arguments: Sequence[str]) -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="./dev bench registry", description=__doc__)
    loads = ["write", "watch", "read", "restore"]
    parser.add_argument("load", nargs="?", choices=loads, help="all if left out")
    parser.add_argument("--watchers", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each load of writes")
    options = parser.parse_args(arguments)
    wanted = {options.load} if options.load else set(loads)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if "write" in wanted:
        writes.measure(options.seconds)
    if wanted & {"watch", "read"}:
        _measure_reads(wanted, options.watchers, options.rounds)
    if "restore" in wanted:
        for line in restore.rows():
            print(line, flush=True)


def _measure_reads(wanted: set[str], watchers: int, rounds: int) -> None:
    for start in (node.mesh, node.consul):
        with start() as running:
            if running is None:
                continue
            if "watch" in wanted:
                fan_out(running, watchers, rounds)
            if "read" in wanted:
                large_read(running, rounds)
