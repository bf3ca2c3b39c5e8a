"""KV writes through HTTP: one server, three servers, one client and many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from bench import loads, node
from bench.node import Node


class Load(NamedTuple):
    """So many servers, so many clients that each wait for their answer, and what is wanted."""

    servers: int
    clients: int
    wanted: str


LOADS = (
    Load(1, 32, "12,900"),
    Load(3, 1, "660"),
    Load(3, 32, "4,000-5,700"),
    Load(3, 256, "7,300"),
)


def measure(seconds: float) -> None:
    """Print a line for each load: answered writes a second, and how they compare."""
    title = "KV PUT through HTTP"
    print(f"{title:<32} {'wanted/s':>12} {'mesh/s':>8} {'CPU':>6} {'consul/s':>9} ratio")
    for servers in (1, 3):
        with _leader("mesh", servers) as ours, _leader("consul", servers) as theirs:
            for load in LOADS:
                if load.servers == servers:
                    _compare(load, ours, theirs, seconds)


@contextmanager
def _leader(name: str, count: int) -> Iterator[Node | None]:
    with ExitStack() as stack:
        servers = stack.enter_context(node.servers(name, count))
        yield next((one for one in servers if one.leads()), None)


def _compare(load: Load, ours: Node | None, theirs: Node | None, seconds: float) -> None:
    assert ours is not None, "mesh was started"
    put = loads.puts(load.clients)
    title = f"{load.servers} server{'s'[: load.servers - 1]}, {load.clients} clients"
    put(ours, 1.0)
    before = ours.cpu_seconds()
    rate = put(ours, seconds)
    busy = (ours.cpu_seconds() - before) / seconds
    line = f"{title:<32} {load.wanted:>12} {rate:>8,.0f} {busy:>6.0%}"
    if theirs is None:
        print(f"{line} {'-':>9}     -", flush=True)
        return
    put(theirs, 1.0)
    other = put(theirs, seconds)
    print(f"{line} {other:>9,.0f} {rate / other:>5.2f}", flush=True)
