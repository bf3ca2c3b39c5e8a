"""`./dev bench flood`: known names while somebody asks for random ones, and what memory that takes.

Each node is asked for a known name alone, then beside a flood of so many random names a second:
services, tags, nodes, prepared queries and reverse names that nobody has, none of them twice. At
last the flood comes alone, as fast as it is answered. Memory is resident memory (RSS).
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import node
from bench.node import Node

KNOWN = "web.service.mesh A"
ROUNDS = 3
FORMS = (
    "{}.service.mesh A",
    "{}.service.mesh SRV",
    "{}.web.service.mesh A",
    "_web._{}.service.mesh SRV",
    "{}.node.mesh A",
    "{}.query.mesh A",
    "{}.mesh A",
)


class Heard(NamedTuple):
    """What dnsperf printed: answers a second, and milliseconds each took on average."""

    rate: float
    milliseconds: float


def main(arguments: list[str]) -> None:
    """Print a line for each node."""
    parser = argparse.ArgumentParser(prog="./dev bench flood", description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="length of each load")
    parser.add_argument("--rate", type=int, default=2000, help="random names a second")
    options = parser.parse_args(arguments)
    if shutil.which("dnsperf") is None:
        raise SystemExit("dnsperf is not on PATH (Debian: dnsperf)")
    print(f"{KNOWN} beside {options.rate:,} random names a second")
    columns = ("alone/s", "beside/s", "ratio", "alone ms", "beside ms")
    print(f"{'of':<8}" + "".join(f"{name:>11}" for name in columns))
    with node.servers("mesh", 1) as (server,), node.agent(server) as agent:
        nodes = (("server", server), ("agent", agent))
        for name, asked in nodes:
            _beside(name, asked, options.seconds, options.rate)
        rounds = "".join(f"{f'{number}.':>7}" for number in range(1, ROUNDS + 1))
        print(f"{'of':<8}{'random/s':>11}{'CPU us':>11}   RSS MB before, after each round")
        print(f"{'':<30}{'':>7}{rounds}")
        for name, asked in nodes:
            _alone(name, asked, options.seconds)


def _beside(name: str, asked: Node, seconds: int, rate: int) -> None:
    """A known name alone, and beside the flood, which shares the processors with all others."""
    with _questions([KNOWN]) as known:
        _perf(asked, known, 1)
        alone = _perf(asked, known, seconds)
        with _questions(flood(rate * (seconds + 2))) as random_names:
            command = _command(asked, random_names, seconds + 2)
            flooding = subprocess.Popen([*command, "-Q", str(rate)], stdout=subprocess.DEVNULL)
            beside = _perf(asked, known, seconds)
            flooding.wait()
    line = f"{name:<8}{alone.rate:>11,.0f}{beside.rate:>11,.0f}{beside.rate / alone.rate:>11.2f}"
    print(f"{line}{alone.milliseconds:>11.2f}{beside.milliseconds:>11.2f}", flush=True)


def _alone(name: str, asked: Node, seconds: int) -> None:
    """Nothing but random names, as fast as they are answered: what each costs, and memory."""
    taken, answered, before = [memory(asked)], 0.0, asked.cpu_seconds()
    for number in range(ROUNDS):
        with _questions(flood(40_000 * seconds, number + 2)) as random_names:
            answered += _perf(asked, random_names, seconds).rate * seconds
        taken.append(memory(asked))
    cost = (asked.cpu_seconds() - before) / answered * 1e6
    rounds = "".join(f"{one:>7.1f}" for one in taken)
    print(f"{name:<8}{answered / seconds / ROUNDS:>11,.0f}{cost:>11.1f}{rounds}", flush=True)


def memory(asked: Node) -> float:
    """Resident megabytes of a node."""
    text = Path(f"/proc/{asked.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None, "the process is there"
    return int(found[1]) / 1024


def flood(count: int, seed: int = 1) -> Iterator[str]:
    """Random names with a type each, none of them twice."""
    dice = random.Random(seed)
    for number in range(count):
        form = FORMS[number % len(FORMS)]
        yield form.format(f"{dice.getrandbits(64):016x}{number}")


@contextmanager
def _questions(lines: Iterator[str] | list[str]) -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        yield file.name


def _command(asked: Node, file: str, seconds: int) -> list[str]:
    where = ["dnsperf", "-s", "127.0.0.1", "-p", str(asked.dns), "-d", file]
    return [*where, "-l", str(seconds), "-c", "4", "-q", "64"]


def _perf(asked: Node, file: str, seconds: int) -> Heard:
    done = subprocess.run(
        _command(asked, file, seconds), capture_output=True, text=True, check=True
    )
    rate = re.search(r"Queries per second:\s+([\d.]+)", done.stdout)
    took = re.search(r"Average Latency \(s\):\s+([\d.]+)", done.stdout)
    if rate is None or took is None:
        raise SystemExit(f"cannot read the rate in:\n{done.stdout}")
    return Heard(float(rate[1]), float(took[1]) * 1000)
