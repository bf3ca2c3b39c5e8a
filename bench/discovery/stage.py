"""The stage: who is asked, and what changes meanwhile."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http import HTTPStatus

from bench import ceilings, node
from bench.ceilings import SIZES
from bench.discovery import registering
from bench.node import Node

WRITES_PER_SECOND = 200
WRITERS = 8
"""So many that a slow answer does not make the writes fewer."""
KEY = "/v1/kv/bench/key"
KEPT_BYTES = 64


class Stage:
    """Everybody that is asked, by name: `server`, `agent`, `consul`, `knot`, ..."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self.nodes = nodes
        self.server = nodes["server"]

    def known(self, *names: str) -> dict[str, Node]:
        """Those of these that run here."""
        return {name: self.nodes[name] for name in names if name in self.nodes}

    def writable(self, name: str) -> Node:
        """Where to write what this one is to answer."""
        return self.nodes["consul"] if name == "consul" else self.server


@contextmanager
def set_up() -> Iterator[Stage]:
    """A server, an agent, Consul if it is there, and DNS servers from Debian if they are."""
    with ExitStack() as stack:
        (server,) = stack.enter_context(node.servers("mesh", 1))
        nodes = {"server": server, "agent": stack.enter_context(node.agent(server))}
        for other in (ceilings.knot, ceilings.unbound, ceilings.dnsmasq, node.consul):
            if (running := stack.enter_context(other())) is not None:
                nodes[running.name] = running
        for one in (server, nodes.get("consul")):
            if one is not None:
                registering.put_all(one, (registration(*on) for on in _missing()))
        registering.settle(server)
        yield Stage(nodes)


def _missing() -> Iterator[tuple[str, int]]:
    for service, count in SIZES.items():
        for number in range(count if service != "web" else 0):  # `Node.fill` has that.
            yield service, number


def registration(service: str, number: int, output: str = "") -> tuple[str, bytes]:
    """Path and body of a request that registers the instance on the node of this number."""
    identity = "up" if service == "web" else f"up-{service}"
    check = {"CheckID": identity, "Name": "up", "Status": "passing", "ServiceID": service}
    body = {
        "Node": f"node-{number}",
        "Address": ceilings.address(number),
        "Service": {"ID": service, "Service": service, "Port": 8000, "Tags": ["v1"]},
        "Check": check | {"Output": output},
    }
    return "/v1/catalog/register", json.dumps(body).encode()


def change_service(service: str) -> Callable[[int], tuple[str, bytes]]:
    """Requests that give the check of one instance another output."""
    return lambda number: registration(service, number % SIZES[service], str(number))


def change_key(number: int) -> tuple[str, bytes]:
    """A request that gives the key another value, of the same size."""
    return KEY, f"{number:0{KEPT_BYTES}}".encode()


@contextmanager
def changes(server: Node, request: Callable[[int], tuple[str, bytes]] | None) -> Iterator[None]:
    """Write so many times a second what is being read; nothing for None."""
    if request is None:
        yield
        return
    over, numbers, began = threading.Event(), itertools.count(), time.monotonic()
    with ThreadPoolExecutor(WRITERS) as pool:
        writers = [pool.submit(_write, server, request, over, numbers) for _ in range(WRITERS)]
        try:
            yield
        finally:
            over.set()
        done = sum(writer.result() for writer in writers)
    rate = done / (time.monotonic() - began)
    if rate < 0.95 * WRITES_PER_SECOND:
        print(f"  only {rate:.0f} writes a second were done meanwhile")


def _write(
    server: Node,
    request: Callable[[int], tuple[str, bytes]],
    over: threading.Event,
    numbers: Iterator[int],
) -> int:
    """Do this writer's share of the writes until it is over; how many that were."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http)
    due, done = time.monotonic(), 0
    while not over.is_set():
        connection.request("PUT", *request(next(numbers)))
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != HTTPStatus.OK:
            raise SystemExit(f"a write was refused: {said!r}")
        done += 1
        due += WRITERS / WRITES_PER_SECOND
        over.wait(max(0.0, due - time.monotonic()))
    connection.close()
    return done
