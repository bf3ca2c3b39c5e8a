"""Growth: what an answer costs as the catalog grows a thousandfold, and what the catalog costs."""

from __future__ import annotations

import time

from bench import ceilings, node
from bench.discovery import asking, registering
from bench.discovery.figures import Figure, Figures, heading, line, middle
from bench.discovery.firsts import first_dns, first_http
from bench.discovery.rounds import Rounds
from bench.node import Node

SIZES = (100, 1_000, 10_000, 100_000)
IN_SERVICE = 10
"""Instances of each service; each node has as many."""
FIRSTS = 1_000
COLUMNS = (
    ("instances", 9), ("services", 9), ("registered in", 15), ("RSS MB", 8), ("A/s", 10),
    ("CPU ms/10k", 12), ("all names/s", 13), ("health/s", 10), ("CPU ms/10k", 12),
    ("first A us", 12), ("first health us", 17), ("write ms", 10),
)  # fmt: skip


def measure(rounds: Rounds, found: Figures, sizes: tuple[int, ...] = SIZES) -> None:
    """Register more and more with one server, and ask it the same each time."""
    heading("Growth: services of 10 instances each, asked of one server", COLUMNS)
    with node.mesh() as server:
        registered = 0
        for size in sizes:
            began = time.monotonic()
            requests = (_registration(number) for number in range(registered, size))
            registering.put_all(server, requests)
            seconds, added = time.monotonic() - began, size - registered
            registered = size
            registering.settle(server)
            _measure(server, rounds, found, (size, seconds, added))


def _registration(number: int) -> tuple[str, bytes]:
    service, place = f"s{number // IN_SERVICE}", number % IN_SERVICE
    # The instances of a service are on nodes of their own, a tenth of them on each.
    row = number // (IN_SERVICE * IN_SERVICE) * IN_SERVICE + place
    body = (
        f'{{"Node":"grown-{row}","Address":"{ceilings.address(row)}","Service":{{"ID":"{service}",'
        f'"Service":"{service}","Port":8000,"Tags":["v1"]}},"Check":{{"CheckID":"up-{service}",'
        f'"Name":"up","Status":"passing","ServiceID":"{service}"}}}}'
    )
    return "/v1/catalog/register", body.encode()


def _measure(
    server: Node, rounds: Rounds, found: Figures, registered: tuple[int, float, int]
) -> None:
    size, seconds, added = registered
    services = size // IN_SERVICE
    # Services that were not asked for at the sizes before.
    fresh = [f"s{number}" for number in range(services - 1, max(-1, services - 1 - FIRSTS), -1)]
    first_a = first_dns(server, [f"{name}.service.mesh" for name in fresh[::2]], "A")
    first_read = first_http(server, [f"/v1/health/service/{name}" for name in fresh[1::2]])
    about = Figure("growth", "A", "server", size)
    one = rounds.measure(
        about, server, lambda asked, time: asking.dns(asked, ["s0.service.mesh"], "A", time)
    )
    names = [f"s{number * 7919 % services}.service.mesh" for number in range(services)]
    every = rounds.measure(
        Figure("growth", "A of all", "server", size),
        server,
        lambda asked, time: asking.dns(asked, names, "A", time),
    )
    read = rounds.measure(
        Figure("growth", "health", "server", size),
        server,
        lambda asked, time: asking.http(asked, "/v1/health/service/s0", 32, time),
    )
    write = _write_milliseconds(server)
    catalog = {
        "services": services, "registered in s": seconds, "registered": added,
        "RSS MB": server.megabytes(), "first A us": first_a.cpu, "first health us": first_read.cpu,
        "write ms": write,
    }  # fmt: skip
    found.add(Figure("growth", "catalog", "server", size, extra=catalog))
    for figure in (one, every, read):
        found.add(figure)
    line(COLUMNS, [
        f"{size:,}", f"{services:,}", f"{added / seconds:,.0f}/s {seconds:,.1f} s",
        f"{server.megabytes():.0f}", f"{one.rate:,.0f}", f"{one.cpu * 10:.0f}",
        f"{every.rate:,.0f}", f"{read.rate:,.0f}", f"{read.cpu * 10:.0f}",
        f"{first_a.cpu:.0f}", f"{first_read.cpu:.0f}", f"{write:.1f}",
    ])  # fmt: skip


def _write_milliseconds(server: Node) -> float:
    """The median time of a write by one who waits."""
    taken = []
    for number in range(50):
        began = time.monotonic()
        server.put("/v1/kv/bench/growth", str(number).encode())
        taken.append(time.monotonic() - began)
    return middle(taken) * 1e3
