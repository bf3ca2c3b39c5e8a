"""`./dev bench mesh [PART ...]`: calls through real Envoys, and the control plane behind them.

Parts, all if none is named: `deny` (how soon a denial holds on connections that are open, beside
how soon it would with the rules in the listener), `hops` (throughput and latency without Envoys,
through one, and through two with mutual TLS), `rules` (what 1, 100 and 1,000 sources cost the
destination's Envoy), `streams` (a change of instances until the last of many streams accepted it,
and what streams cost), `start` (a registration until the first request by mutual TLS). Clients
share the machine with what they ask.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable

from bench.mesh import beside, denying, hops, rules, starting, streams


def _deny(given: argparse.Namespace) -> None:
    denying.measure(given.changes, given.rate)
    beside.measure(max(1, given.changes // 3), given.rate, given.drain)


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "deny": _deny,
    "hops": lambda given: hops.measure(given.rounds, given.seconds),
    "rules": lambda given: rules.measure(given.rounds, given.seconds),
    "streams": lambda given: streams.measure(given.streams, 2 * given.changes),
    "start": lambda given: starting.measure(given.changes),
}


def main(arguments: list[str]) -> None:
    """Measure the parts named, or all."""
    parser = argparse.ArgumentParser(prog="./dev bench mesh", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each load")
    parser.add_argument("--rounds", type=int, default=5, help="how often each load is measured")
    parser.add_argument(
        "--changes", type=int, default=10, help="how often a rule changes, and so on"
    )
    parser.add_argument(
        "--rate", type=float, default=denying.RATE, help="requests a second while rules change"
    )
    parser.add_argument(
        "--drain", type=int, default=5, help="seconds, where rules in listeners are measured"
    )
    parser.add_argument(
        "--streams", type=int, nargs="+", default=[200, 1000], help="how many on one process"
    )
    options = parser.parse_args(arguments)
    wanted = options.parts or [*PARTS]
    if unknown := set(wanted) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if {"hops", "rules"} & set(wanted) and shutil.which("wrk") is None:
        raise SystemExit("Needs wrk on PATH: apt-get install wrk")
    for part in wanted:
        print(f"{part}: {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}", flush=True)
        PARTS[part](options)
        print(f"load average {os.getloadavg()[0]:.1f} at the end\n", flush=True)
