"""`./dev bench discovery`: reads of DNS and HTTP as a share of what the machine can do at all.

Each row is measured in one run with its ceiling: Knot DNS with one UDP worker and the same names in
a static zone, and a protocol on the event loop that sends one constant answer of the same size (on
uvloop where that is installed). `--changing` has 200 writes a second change what is being read.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bench import ceilings, loads, node
from bench.node import Node

WRITES_PER_SECOND = 200
HEALTH = "/v1/health/service/web"
KEY = "/v1/kv/bench/key"


class Row(NamedTuple):
    """Something asked of a node, and the share of the ceiling that is wanted."""

    title: str
    where: str
    wanted: float
    load: Callable[[Node, float], float]
    ceiling: str


def _dns(kind: str, where: str, wanted: float) -> Row:
    return Row(f"DNS {kind}, 20 instances", where, wanted, loads.dns(kind), kind)


def _http(title: str, path: str, where: str, wanted: float) -> Row:
    return Row(title, where, wanted, loads.http_get(path), path.partition("?")[0])


ROWS = (
    _dns("A", "server", 0.75),
    _dns("SRV", "server", 0.6),
    _http("health, 20 instances, default", HEALTH, "server", 0.6),
    _http("KV, default", KEY, "server", 0.75),
    _dns("A", "agent", 0.75),
    _dns("SRV", "agent", 0.6),
    _http("health, 20 instances, ?stale", f"{HEALTH}?stale", "agent", 0.6),
    _http("health, 20 instances, ?cached", f"{HEALTH}?cached", "agent", 0.6),
)


def main(arguments: list[str]) -> None:
    """Print a line for each row."""
    parser = argparse.ArgumentParser(prog="./dev bench discovery", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each load")
    parser.add_argument("--changing", action="store_true", help="change what is read meanwhile")
    options = parser.parse_args(arguments)
    loop = "uvloop" if ceilings.knows_uvloop() else "asyncio, since uvloop is not installed"
    print(f"HTTP ceilings: a constant answer on {loop}")
    columns = ("ceiling/s", "mesh/s", "share", "wanted", "CPU us")
    print(f"{'work':<34} {'of':<7}" + "".join(f"{name:>11}" for name in columns))
    with node.servers("mesh", 1) as (server,), node.agent(server) as agent:
        known = _ceilings(server, options.seconds)
        nodes = {"server": server, "agent": agent}
        for row in ROWS:
            with _changes(server, options.changing):
                _measure(row, nodes[row.where], known.get(row.ceiling), options)
        if shutil.which("wrk") is not None:
            with _changes(server, options.changing):
                _latencies(server, options.seconds)


def _latencies(server: Node, seconds: float) -> None:
    """Print how long reads take that share the server with few and with many."""
    print(f"{'reads of the server':<28}{'connections':>12}{'mesh/s':>11}{'p50 ms':>9}{'p99 ms':>9}")
    for path in (HEALTH, KEY):
        for connections in (1, 32, 256):
            rate, middle, late = loads.http_latency(server, path, connections, seconds)
            print(
                f"{path:<28}{connections:>12}{rate:>11,.0f}{middle:>9.2f}{late:>9.2f}", flush=True
            )


def _ceilings(server: Node, seconds: float) -> dict[str, float]:
    """Answers a second of the ceilings, by kind of record or by path."""
    found = {}
    with ceilings.knot() as knot:
        if knot is not None:
            found = {kind: loads.dns(kind)(knot, seconds) for kind in ("A", "SRV")}
    for path in (HEALTH, KEY):
        with ceilings.constant(len(server.get(path))) as constant:
            found[path] = loads.http_get(path)(constant, seconds)
    return found


def _measure(row: Row, asked: Node, ceiling: float | None, options: argparse.Namespace) -> None:
    row.load(asked, 1.0)
    before = asked.cpu_seconds()
    rate = row.load(asked, options.seconds)
    cost = (asked.cpu_seconds() - before) / (rate * options.seconds) * 1e6
    wanted = row.wanted / 2 if options.changing else row.wanted
    share = f"{rate / ceiling:>11.2f}" if ceiling else f"{'-':>11}"
    most = f"{ceiling:>11,.0f}" if ceiling else f"{'-':>11}"
    line = f"{row.title:<34} {row.where:<7}{most}{rate:>11,.0f}{share}{wanted:>11.2f}{cost:>11.1f}"
    print(line, flush=True)


@contextmanager
def _changes(server: Node, wanted: bool) -> Iterator[None]:
    """Write so many times a second what the rows read."""
    over = threading.Event()
    writer = threading.Thread(target=_write, args=(server, over))
    if wanted:
        writer.start()
    try:
        yield
    finally:
        over.set()
        if wanted:
            writer.join()


def _write(server: Node, over: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.http)
    number, due = 0, time.monotonic()
    while not over.is_set():
        if number % 2:
            connection.request("PUT", KEY, f"{number:064}")
        else:
            check = {"CheckID": "up", "Name": "up", "ServiceID": "web", "Status": "passing"}
            body = {"Node": "node-0", "Address": "10.0.0.1", "SkipNodeUpdate": True}
            body["Check"] = check | {"Output": str(number)}
            connection.request("PUT", "/v1/catalog/register", json.dumps(body))
        connection.getresponse().read()
        number, due = number + 1, due + 1 / WRITES_PER_SECOND
        over.wait(max(0.0, due - time.monotonic()))
    connection.close()
