"""Firsts: what an answer costs that nobody asked for before.

DNS is asked 16 questions at a time, as a busy server is, HTTP one after the other; what the system
takes to wake a process up is most of the cost of a lone question.
"""

from __future__ import annotations

import http.client
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.ceilings import EDNS_BYTES
from bench.discovery.figures import middle
from bench.node import Node

TOGETHER = 16
TYPES = {"A": 1, "SRV": 33}
_EDNS = b"\x00" + struct.pack(">HHIH", 41, EDNS_BYTES, 0, 0)


class First(NamedTuple):
    """Of many questions that each were asked once."""

    cpu: float
    """Microseconds of the processor for an answer, mean."""
    p50: float
    """Milliseconds until all were answered that were asked together, median."""
    p99: float


def first_dns(node: Node, names: Sequence[str], kind: str, also: Node | None = None) -> First:
    """Ask for each name once, over UDP; the time of `also` is counted as well."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(5)
        asker.connect(("127.0.0.1", node.dns))
        asker.send(question("no-such-service.service.mesh", kind))  # Whatever the first one loads.
        asker.recv(65535)

        def ask(some: Sequence[str]) -> None:
            for name in some:
                asker.send(question(name, kind))
            for _ in some:
                if int.from_bytes(asker.recv(65535)[6:8], "big") == 0:
                    raise SystemExit(f"{node.name} has no answer for one of {some} {kind}")

        return _each(node, also, names, ask, TOGETHER)


def first_http(node: Node, paths: Sequence[str], also: Node | None = None) -> First:
    """Read each path once, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", node.http)

    def ask(some: Sequence[str]) -> None:
        for path in some:
            connection.request("GET", path)
            if connection.getresponse().read() == b"[]":
                raise SystemExit(f"{node.name} has no answer for {path}")

    ask(["/v1/status/leader"])
    try:
        return _each(node, also, paths, ask, 1)
    finally:
        connection.close()


def _each(
    node: Node,
    also: Node | None,
    asked: Sequence[str],
    ask: Callable[[Sequence[str]], None],
    together: int,
) -> First:
    nodes = [node] if also is None else [node, also]
    before, taken = sum(one.cpu_seconds() for one in nodes), []
    for start in range(0, len(asked), together):
        began = time.monotonic()
        ask(asked[start : start + together])
        taken.append(time.monotonic() - began)
    cpu = (sum(one.cpu_seconds() for one in nodes) - before) / len(asked)
    taken.sort()
    return First(cpu * 1e6, middle(taken) * 1e3, taken[int(0.99 * len(taken))] * 1e3)


def question(name: str, kind: str) -> bytes:
    """A question with EDNS for this name."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    head = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 1)
    return head + labels + b"\x00" + struct.pack(">HH", TYPES[kind], 1) + _EDNS
