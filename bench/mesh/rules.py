"""What many sources in a destination's intentions cost its Envoy, the caller the last of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from typing import Any

from bench.mesh import stage
from tests.cluster.processes import Meshd, free_ports

COUNTS = (1, 100, 1000)
CONNECTIONS = 16
WANTED = 0.05
CALLER = "zz-web"
"""Sorts last."""


def _allowed(name: str) -> dict[str, Any]:
    return {"Name": name, "Action": "allow"}


def _permitted(name: str, prefix: str = "/") -> dict[str, Any]:
    http = {"PathPrefix": prefix, "Methods": ["GET"]}
    return {"Name": name, "Permissions": [{"Action": "allow", "HTTP": http}]}


def _differing(name: str) -> dict[str, Any]:
    return _permitted(name, "/" if name == CALLER else f"/{name}")


KINDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "allowed": _allowed,
    "same permissions": _permitted,
    "other permissions": _differing,
}


def measure(rounds: int, seconds: float) -> None:
    """Print the CPU of the destination's Envoy for each request, by number of sources."""
    with ExitStack() as stack:
        made = stack.enter_context(stage.cluster(default_intention_policy="deny"))
        here, there = made.agents
        app, web, http = free_ports(stage.HERE, 3)
        stack.enter_context(stage.backend(app))
        stage.protocol(here, "payments", "http")
        stage.register(there, "payments", app)
        stage.register(here, CALLER, web, {"payments": http})
        found: dict[tuple[str, int], list[float]] = {}
        for kind, source in KINDS.items():
            for number in range(rounds):
                # Forth and back, so that what grows or fades meanwhile is nobody's advantage.
                for count in COUNTS if number % 2 else COUNTS[::-1]:
                    _have(here, http, [source(name) for name in _names(count)])
                    pid = stage.envoy_of(there, "payments")
                    found.setdefault((kind, count), []).append(_cost(pid, http, seconds))
    _tell(found)


def _names(count: int) -> list[str]:
    return [*(f"service-{number:04d}" for number in range(count - 1)), CALLER]


def _have(node: Meshd, port: int, sources: list[dict[str, Any]]) -> None:
    """Give the destination these sources, and wait until its Envoy goes by them."""
    entry = {"Kind": "service-intentions", "Name": "payments"}
    node.put("/v1/config", entry | {"Sources": [{"Name": CALLER, "Action": "deny"}]})
    stage.wait_for(port, 403)
    node.put("/v1/config", entry | {"Sources": sources})
    stage.wait_for(port, 200)


def _cost(pid: int, port: int, seconds: float) -> float:
    stage.ask(port, CONNECTIONS, 1)
    before = stage.cpu_seconds(pid)
    asked = stage.ask(port, CONNECTIONS, seconds)
    return (stage.cpu_seconds(pid) - before) / asked.requests


def _tell(found: dict[tuple[str, int], list[float]]) -> None:
    print(
        f"{'sources, each':<20}{'count':>6}{'CPU us a request':>18}{'from':>8}{'to':>8}{'more':>8}"
    )
    for (kind, count), costs in sorted(found.items()):
        # Rounds are compared with themselves: what disturbs one disturbs all of it.
        more = median(
            cost / least for cost, least in zip(costs, found[kind, COUNTS[0]], strict=True)
        )
        print(
            f"{kind:<20}{count:>6}{median(costs) * 1e6:>18.1f}{min(costs) * 1e6:>8.1f}"
            f"{max(costs) * 1e6:>8.1f}{more - 1:>+8.1%}",
            flush=True,
        )
    print(f"wanted: {COUNTS[-1]:,} sources, each allowed, cost less than {WANTED:.0%} more")
