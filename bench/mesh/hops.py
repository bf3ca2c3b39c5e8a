"""What hops cost: no Envoy between, one with plain HTTP, and two sidecars with mutual TLS."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from typing import NamedTuple

from bench.mesh import stage
from bench.mesh.stage import Asked
from tests.cluster.processes import free_ports

CONNECTIONS = 32


class Way(NamedTuple):
    """How requests come to the application."""

    title: str
    port: int
    envoys: Sequence[int]
    """Processes on the way, without the one that answers."""


class Measured(NamedTuple):
    """Of one round."""

    many: Asked
    one: Asked
    cpu: float
    """Seconds of all Envoys on the way, for each request, with many connections."""


def measure(rounds: int, seconds: float) -> None:
    """Print throughput and latency of each way, and what share of the direct one that is."""
    with ExitStack() as stack:
        made = stack.enter_context(stage.cluster())
        here, there = made.agents
        app, web, plain, http, tcp = free_ports(stage.HERE, 5)
        stack.enter_context(stage.backend(app))
        forwarder = stack.enter_context(stage.forwarder(plain, app))
        stage.protocol(here, "payments", "http")
        stage.register(there, "payments", app)
        stage.register(there, "ledger", app)
        stage.register(here, "web", web, {"payments": http, "ledger": tcp})
        for port in (http, tcp):
            stage.wait_for(port, 200)
        caller = stage.envoy_of(here, "web")
        ways = [
            Way("direct", app, []),
            Way("one hop, plain HTTP", plain, [forwarder]),
            Way("two hops, mTLS, HTTP service", http, [caller, stage.envoy_of(there, "payments")]),
            Way("two hops, mTLS, TCP service", tcp, [caller, stage.envoy_of(there, "ledger")]),
        ]
        found: dict[str, list[Measured]] = {way.title: [] for way in ways}
        for _ in range(rounds):
            for way in ways:
                found[way.title].append(_measured(way, seconds))
    _tell(found)


def _measured(way: Way, seconds: float) -> Measured:
    stage.ask(way.port, CONNECTIONS, 1)
    before = stage.cpu_seconds(*way.envoys)
    many = stage.ask(way.port, CONNECTIONS, seconds)
    cpu = (stage.cpu_seconds(*way.envoys) - before) / many.requests
    return Measured(many, stage.ask(way.port, 1, seconds), cpu)


def _tell(found: dict[str, list[Measured]]) -> None:
    print(
        f"{'':<30}{CONNECTIONS:>3} connections: answers/s share    p50    p99"
        "   1: answers/s    p50    p99   CPU us of Envoys"
    )
    first = next(iter(found.values()))
    best = max(one.many.rate for one in first)
    for title, measured in found.items():
        many = max((one.many for one in measured), key=lambda one: one.rate)
        one = max((each.one for each in measured), key=lambda each: each.rate)
        cpu = median(each.cpu for each in measured)
        print(
            f"{title:<30}{many.rate:>26,.0f}{many.rate / best:>6.2f}"
            f"{many.p50:>7.2f}{many.p99:>7.2f}{one.rate:>15,.0f}{one.p50:>7.2f}{one.p99:>7.2f}"
            f"{cpu * 1e6:>19.1f}",
            flush=True,
        )
