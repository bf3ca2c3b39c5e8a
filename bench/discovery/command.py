"""`./dev bench discovery [PART ...]`: discovery beside what the machine can do at all.

Parts: `goals` (what has a goal, in two minutes), `dns`, `http`, `costs` (memory, first answers),
`growth` (100 to 100,000 instances), `spread` (failed check to last agent), `charts` (measures
nothing: draws what `--plot` kept), `all`. Each row is measured right after its ceiling: Knot DNS
with one UDP worker and the same names in a static zone, and a protocol on the event loop that sends
one constant answer of the same size (on uvloop where that is installed). Unbound, dnsmasq and
Consul are asked too where they are on PATH. *Changing* is the same load while 200 writes a second
change what it reads.
"""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path

from bench.discovery import (
    asking,
    charts,
    costs,
    figures,
    goals,
    growth,
    questions,
    reads,
    spread,
    stage,
)  # fmt: skip
from bench.discovery.figures import Figures
from bench.discovery.rounds import Rounds

PARTS = ("goals", "dns", "http", "costs", "growth", "spread")


def main(arguments: list[str]) -> None:
    """Measure the parts named and print a table for each."""
    parser = argparse.ArgumentParser(
        prog="./dev bench discovery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "part", nargs="*", choices=[*PARTS, "charts", "all"], default=["goals"],
        help="what to measure; goals if left out",
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each load")
    parser.add_argument("--rounds", type=int, default=1, help="loads of each row; the median tells")
    parser.add_argument("--largest", type=int, default=100_000, help="where growth ends, instances")
    parser.add_argument("--agents", type=int, nargs="+", default=[5, 20], help="of spread")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="keep figures, draw charts there")
    options = parser.parse_args(arguments)
    found = Figures()
    if options.part != ["charts"]:
        asking.need_programs()
        print(_machine())
        _measure(options, found)
    if options.plot is not None:
        found.keep(options.plot)
        charts.draw(figures.read(options.plot), options.plot)


def _measure(options: argparse.Namespace, found: Figures) -> None:
    wanted = set(PARTS[1:] if "all" in options.part else options.part)
    rounds = Rounds(options.seconds, options.rounds)
    if wanted & {"goals", "costs"}:
        costs.measure(found)
    if wanted & {"goals", "dns", "http"}:
        few = "goals" in wanted
        with stage.set_up() as running:
            if few or "dns" in wanted:
                questions.measure(running, rounds, found, goals=few and "dns" not in wanted)
            if few or "http" in wanted:
                reads.measure(running, rounds, found, goals=few and "http" not in wanted)
            costs.memory_after(running.nodes, found)
    if "growth" in wanted:
        sizes = tuple(size for size in growth.SIZES if size <= options.largest)
        growth.measure(rounds, found, sizes)
    if "spread" in wanted:
        spread.measure(found, options.agents)
    goals.tell(found)


def _machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{os.cpu_count()} cores ({model}), {python}, Linux {platform.release()}"
