"""Costs: memory of nodes that nobody asks, and the processor time of first answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from bench import ceilings, node
from bench.discovery import registering
from bench.discovery.figures import Figure, Figures, heading, line
from bench.discovery.firsts import First, first_dns, first_http
from bench.node import Node

SETTLED_SECONDS = 5.0
MEASURES, EACH, WARMING = 6, 80, 16
INSTANCES = 20
FIRST_CPU_MICROSECONDS = 150.0
MEMORY = (("idle", -22), ("RSS MB", 8), ("CPU %", 8))
FIRST = (
    ("first answer", -28), ("of", -18), ("CPU us", 8), ("wanted", 8), ("p50 ms", 8), ("p99", 8),
)  # fmt: skip


def measure(found: Figures) -> None:
    """Start a server and an agent, look at them, and ask each what nobody asked before."""
    with node.servers("mesh", 1) as (server,), node.agent(server) as agent, node.consul() as consul:
        heading(f"Nodes that nobody asks, after {SETTLED_SECONDS:.0f} s", MEMORY)
        nodes = {"server": server, "agent": agent} | ({"consul": consul} if consul else {})
        before = {name: one.cpu_seconds() for name, one in nodes.items()}
        time.sleep(SETTLED_SECONDS)
        for name, one in nodes.items():
            busy = (one.cpu_seconds() - before[name]) / SETTLED_SECONDS * 100
            about = {"RSS MB": one.megabytes(), "CPU %": busy}
            found.add(Figure("costs", "idle", name, extra=about))
            line(MEMORY, [name, f"{about['RSS MB']:.0f}", f"{busy:.1f}"])
        registering.put_all(server, _registrations())
        registering.settle(server)
        measured = f"{INSTANCES} instances, {EACH - WARMING} of each kind"
        heading(f"Answers that nobody asked for before: {measured}", FIRST)
        _firsts(found, server, agent)


def memory_after(nodes: dict[str, Node], found: Figures) -> None:
    """What everybody holds after all that was asked."""
    heading("Memory after all of it", (("of", -22), ("RSS MB", 8)))
    for name, one in nodes.items():
        found.add(Figure("memory", "asked", name, extra={"RSS MB": one.megabytes()}))
        line((("", -22), ("", 8)), [name, f"{one.megabytes():.0f}"])


def _registrations() -> Iterator[tuple[str, bytes]]:
    for service in range(MEASURES * EACH):
        for number in range(INSTANCES):
            name = f"first-{service}"
            body = {
                "Node": f"node-{number}",
                "Address": ceilings.address(number),
                "Service": {"ID": name, "Service": name, "Port": 8000, "Tags": ["v1"]},
                "Check": {"CheckID": name, "Name": "up", "Status": "passing", "ServiceID": name},
            }
            yield "/v1/catalog/register", json.dumps(body).encode()


def _firsts(found: Figures, server: Node, agent: Node) -> None:
    """Each asks for services of its own: what one has read, the tables know better after."""
    asked = iter(range(MEASURES))
    for asking, who, more, also in (
        (server, "server", "", None),
        (agent, "agent and server", "?cached", server),
    ):
        for kind in ("A", "SRV"):
            some = next(asked)
            first_dns(asking, _hosts(some)[:WARMING], kind, also)
            first = first_dns(asking, _hosts(some)[WARMING:], kind, also)
            goal = FIRST_CPU_MICROSECONDS if (who, kind) == ("server", "A") else 0.0
            _tell(found, f"DNS {kind}", who, first, goal)
            again = first_dns(asking, _hosts(some)[WARMING:], kind, also)
            _tell(found, f"DNS {kind}, the second time", who, again)
        paths = [f"/v1/health/service/{name}{more}" for name in _names(next(asked))]
        first_http(asking, paths[:WARMING], also)
        _tell(found, f"health {more}".strip(), who, first_http(asking, paths[WARMING:], also))


def _names(measure: int) -> list[str]:
    return [f"first-{number}" for number in range(measure * EACH, (measure + 1) * EACH)]


def _hosts(measure: int) -> list[str]:
    return [f"{name}.service.mesh" for name in _names(measure)]


def _tell(found: Figures, what: str, who: str, first: First, wanted: float = 0.0) -> None:
    about = Figure("firsts", what, who, INSTANCES, cpu=first.cpu, p50=first.p50, p99=first.p99)
    found.add(about)
    goal = f"{wanted:.0f}" if wanted else "-"
    times = [f"{first.p50:.2f}", f"{first.p99:.2f}"]
    line(FIRST, [what, who, f"{first.cpu:.0f}", goal, *times])
