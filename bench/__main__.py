"""`./dev bench [NAME] [--seconds N]`: rates in one run, with ratios where consul is on PATH.

`./dev bench raft` measures the log alone, `./dev bench gossip` membership, `./dev bench registry`
the registry through HTTP, `./dev bench discovery` reads of DNS and HTTP beside what the machine can
do at all, `./dev bench flood` known names beside random ones, `./dev bench history` what history
costs, `./dev bench mesh` calls through sidecars, `./dev bench ui` the pages in a browser; each has
options of its own:
see the modules of these names.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable

from bench import flood, history, loads, node, raft, registry, restore, workers
from bench.discovery import command as discovery
from bench.gossip import __main__ as gossip
from bench.mesh import command as mesh
from bench.ui import command as ui

LOADS: dict[str, tuple[str, Callable[[node.Node, float], float]]] = {
    "dns-a": ("DNS A, 20 instances", loads.dns("A")),
    "dns-srv": ("DNS SRV, 20 instances", loads.dns("SRV")),
    "health": ("GET /v1/health/service, 20 instances", loads.http_get("/v1/health/service/web")),
    "kv-read": ("GET /v1/kv, default", loads.http_get("/v1/kv/bench/key")),
    "kv-stale": ("GET /v1/kv?stale", loads.http_get("/v1/kv/bench/key?stale")),
    "kv-write": ("PUT /v1/kv, one server, fdatasync", loads.http_put),
}


OWN: dict[str, Callable[[list[str]], None]] = {
    "raft": raft.main,
    "gossip": gossip.main,
    "registry": registry.main,
    "discovery": discovery.main,
    "flood": flood.main,
    "history": history.main,
    "mesh": mesh.main,
    "restore": restore.main,
    "ui": ui.main,
    "workers": workers.main,
}
"""Those that have options of their own."""

STARTS = 5


def start_seconds() -> list[float]:
    """How long a single server takes from its start until it leads and takes a write."""
    found = []
    for _ in range(STARTS):
        with node.mesh() as running:
            found.append(running.led_after)
    return sorted(found)


def main() -> None:
    """Measure the loads named, or all."""
    if (own := OWN.get(sys.argv[1] if sys.argv[1:] else "")) is not None:
        own(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument(
        "name",
        nargs="?",
        choices=sorted([*LOADS, *OWN, "start"]),
        help="one of these; the start and all loads without options of their own if left out",
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each load")
    options = parser.parse_args()
    for program in ("dnsperf", "wrk"):
        if shutil.which(program) is None:
            print(f"{program} is not on PATH; a slower Python load stands in", file=sys.stderr)
    if options.name in {None, "start"}:
        times = start_seconds()
        print(
            f"start of one server until it takes a write: median {times[STARTS // 2]:.2f} s, "
            f"from {times[0]:.2f} to {times[-1]:.2f} s",
            flush=True,
        )
        if options.name == "start":
            return
    names = [options.name] if options.name else list(LOADS)
    with node.mesh() as ours, node.consul() as theirs:
        print(f"{'load':<40} {'mesh/s':>10} {'consul/s':>10} {'ratio':>7}")
        for name in names:
            title, load = LOADS[name]
            rate = load(ours, options.seconds)
            if theirs is None:
                print(f"{title:<40} {rate:>10,.0f} {'-':>10} {'-':>7}", flush=True)
                continue
            other = load(theirs, options.seconds)
            print(f"{title:<40} {rate:>10,.0f} {other:>10,.0f} {rate / other:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
