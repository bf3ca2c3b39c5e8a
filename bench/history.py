"""`./dev bench history`: what keeping history costs a write, and what a snapshot with it takes.

CPU times, since they tell more than rates do while others work on the machine. Rounds with and
without history take turns.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from statistics import median

from bench import loads
from bench.node import Node, mesh
from mesh.registry import history, kv
from mesh.registry.envelope import Envelope, seal
from mesh.registry.levels import HISTORY, Found
from mesh.server.machine import Machine

ENTRIES = 200_000
KEYS = 1000
RATE = 13_000.0


def _entries() -> list[bytes]:
    found = Envelope(HISTORY, "founding", 1.0, "", "leader", Found(HISTORY), since=0)
    made = [seal(found)]
    for index in range(2, ENTRIES + 2):
        command = kv.Set(f"bench/{index % KEYS}", b"value %d" % index)
        request, when = f"key:{index:036d}", 1.0 + index / RATE
        origin = "web-1/http/10.0.0.7"
        made.append(seal(Envelope(HISTORY, request, when, "", origin, command, since=index - 1)))
    return made


def _applied(entries: list[bytes], *, recorded: bool) -> tuple[float, Machine]:
    """Microseconds of CPU for each entry."""
    machine = Machine()
    if not recorded:
        machine._record = lambda *_: None  # type: ignore[method-assign]
    began = time.process_time()
    for index, entry in enumerate(entries, 1):
        machine.apply(index, entry)
    return (time.process_time() - began) / len(entries) * 1e6, machine


def _stepped(machine: Machine) -> None:
    """How a full chronicle is packed and read: the longest step holds a thread up."""
    known = machine.database.chronicle
    began = time.perf_counter()
    pieces = machine.snapshot()
    copied = time.perf_counter() - began
    packed = [piece for piece in pieces if piece]
    size = sum(map(len, packed))
    began = time.perf_counter()
    Machine().prepare(1, iter(packed))
    print(
        f"snapshot: {len(known.changes):,} changes, {known.size / 2**20:.0f} MiB as counted, "
        f"{size / 2**20:.0f} MiB packed with {KEYS} keys; copied in {copied * 1000:.1f} ms, read "
        f"in {time.perf_counter() - began:.2f} s"
    )
    began = time.perf_counter()
    machine.answers.read(history.Of("kv", "bench/nothing-there", prefix=True))
    print(f"a page that looks at the most changes: {(time.perf_counter() - began) * 1e3:.1f} ms")


def _cpu_seconds(node: Node) -> float:
    fields = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _served(node: Node, seconds: float) -> tuple[float, float]:
    """PUTs a second, and microseconds of the server's CPU for each."""
    before = _cpu_seconds(node)
    rate = loads.http_put(node, seconds)
    return rate, (_cpu_seconds(node) - before) / (rate * seconds) * 1e6


def main(arguments: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="./dev bench history", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each kind")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each HTTP load")
    options = parser.parse_args(arguments)
    entries = _entries()
    costs: dict[bool, list[float]] = {False: [], True: []}
    machine = Machine()
    for _ in range(options.rounds):
        for recorded in (False, True):
            cost, machine = _applied(entries, recorded=recorded)
            costs[recorded].append(cost)
    without, with_it = (median(costs[recorded]) for recorded in (False, True))
    print(
        f"applying a log entry: {without:.1f} us without, {with_it:.1f} us with history: "
        f"{with_it - without:.1f} us more",
        flush=True,
    )
    _stepped(machine)
    served: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    with mesh("bench.unrecorded") as plain, mesh() as recording:
        for _ in range(options.rounds):
            for recorded, node in ((False, plain), (True, recording)):
                served[recorded].append(_served(node, options.seconds))
    for recorded in (False, True):
        rates, cpus = zip(*served[recorded], strict=True)
        name = "with history" if recorded else "without"
        print(f"PUT over HTTP {name}: {median(rates):,.0f}/s, {median(cpus):.1f} us CPU each")
