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
SERVICES = 200
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
        title = f"Answers that nobody asked for before, {INSTANCES} instances, {SERVICES // 4} each"
        heading(title, FIRST)
        _server(found, server)
        _agent(found, server, agent)


def memory_after(nodes: dict[str, Node], found: Figures) -> None:
    """What everybody holds after all that was asked."""
    heading("Memory after all of it", (("of", -22), ("RSS MB", 8)))
    for name, one in nodes.items():
        found.add(Figure("memory", "asked", name, extra={"RSS MB": one.megabytes()}))
        line((("", -22), ("", 8)), [name, f"{one.megabytes():.0f}"])


def _registrations() -> Iterator[tuple[str, bytes]]:
    for service in range(SERVICES):
        for number in range(INSTANCES):
            name = f"first-{service}"
            body = {
                "Node": f"node-{number}",
                "Address": ceilings.address(number),
                "Service": {"ID": name, "Service": name, "Port": 8000, "Tags": ["v1"]},
                "Check": {"CheckID": name, "Name": "up", "Status": "passing", "ServiceID": name},
            }
            yield "/v1/catalog/register", json.dumps(body).encode()


def _server(found: Figures, server: Node) -> None:
    names = [f"first-{number}" for number in range(SERVICES)]
    quarter = SERVICES // 4
    hosts = [f"{name}.service.mesh" for name in names]
    paths = [f"/v1/health/service/{name}" for name in names]
    _tell(found, "DNS A", "server", first_dns(server, hosts[:quarter], "A"), FIRST_CPU_MICROSECONDS)
    again = first_dns(server, hosts[:quarter], "A")
    _tell(found, "DNS A, the second time", "server", again)
    _tell(found, "DNS SRV", "server", first_dns(server, hosts[quarter : 2 * quarter], "SRV"))
    _tell(found, "health", "server", first_http(server, paths[2 * quarter : 3 * quarter]))


def _agent(found: Figures, server: Node, agent: Node) -> None:
    names = [f"first-{number}" for number in range(SERVICES)]
    quarter, who = SERVICES // 4, "agent and server"
    hosts = [f"{name}.service.mesh" for name in names]
    paths = [f"/v1/health/service/{name}?cached" for name in names]
    _tell(found, "DNS A", who, first_dns(agent, hosts[:quarter], "A", server))
    srv = first_dns(agent, hosts[quarter : 2 * quarter], "SRV", server)
    _tell(found, "DNS SRV", who, srv)
    read = first_http(agent, paths[2 * quarter : 3 * quarter], server)
    _tell(found, "health ?cached", who, read)


def _tell(found: Figures, what: str, who: str, first: First, wanted: float = 0.0) -> None:
    about = Figure("firsts", what, who, INSTANCES, cpu=first.cpu, p50=first.p50, p99=first.p99)
    found.add(about)
    goal = f"{wanted:.0f}" if wanted else "-"
    times = [f"{first.p50:.2f}", f"{first.p99:.2f}"]
    line(FIRST, [what, who, f"{first.cpu:.0f}", goal, *times])
