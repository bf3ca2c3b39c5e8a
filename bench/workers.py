"""`./dev bench workers`: what processes that answer beside the main one add.

The clients run on the same machine. On two cores they take what a second process would: then the
ratio says little, and the CPU for each answer, of all processes of the server together, says more.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from bench import node
from bench.discovery import asking
from bench.node import Node

LOADS: dict[str, Callable[[Node, float], float]] = {
    "DNS A, 20 instances": lambda one, seconds: asking.dns(one, [WEB], "A", seconds).rate,
    "DNS SRV, 20 instances": lambda one, seconds: asking.dns(one, [WEB], "SRV", seconds).rate,
    "health, 20 instances, default": lambda one, seconds: (
        asking.http(one, "/v1/health/service/web", 64, seconds).rate
    ),
    "KV, default": lambda one, seconds: asking.http(one, "/v1/kv/bench/key", 64, seconds).rate,
}
WEB = "web.service.mesh"


def main(arguments: list[str]) -> None:
    """Measure the same loads with each number of workers, in turn."""
    parser = argparse.ArgumentParser(prog="./dev bench workers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each load")
    default = [0, 1, 3] if (os.cpu_count() or 1) > 3 else [0, 1]
    parser.add_argument("--workers", type=int, nargs="+", default=default, help="how many")
    options = parser.parse_args(arguments)
    asking.need_programs()
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    found = {count: _measure(count, options.seconds) for count in options.workers}
    first = found[options.workers[0]]
    print(f"{'load':<32} {'workers':>7} {'answers/s':>10} {'ratio':>6} {'us of CPU':>10} {'MB':>5}")
    for load in LOADS:
        for count, (rates, megabytes) in found.items():
            rate, cpu = rates[load]
            ratio = rate / first[0][load][0]
            print(
                f"{load:<32} {count:>7} {rate:>10,.0f} {ratio:>6.2f} {cpu:>10.1f} {megabytes:>5.0f}"
            )


def _measure(count: int, seconds: float) -> tuple[dict[str, tuple[float, float]], float]:
    """Answers a second and microseconds of CPU for each; megabytes of all processes, idle."""
    with node.servers("mesh", 1, workers=count) as (server,):
        server.fill()
        pids = [server.pid, *_workers(server, count)]
        megabytes = sum(map(_megabytes, pids))
        found = {}
        for title, load in LOADS.items():
            load(server, 1.0)
            before, began = sum(map(_cpu, pids)), time.monotonic()
            rate = load(server, seconds)
            answers = rate * (time.monotonic() - began)
            found[title] = rate, (sum(map(_cpu, pids)) - before) / answers * 1e6
        return found, megabytes


def _workers(server: Node, count: int) -> list[int]:
    until = time.monotonic() + 30
    while count:
        shown = json.loads(server.get("/v1/agent/self"))["Stats"]["workers"]["pids"]
        pids = [int(one) for one in shown.split(",") if one]
        if len(pids) == count:
            return pids
        if time.monotonic() > until:
            raise SystemExit(f"{count} workers were not up after 30 s")
        time.sleep(0.05)
    return []


def _cpu(pid: int) -> float:
    return time.clock_gettime((~pid << 3) | 2)


def _megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
