"""Many members in one process on real sockets: what they cost idle, and how fast news travels."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import time
from collections.abc import Callable

from mesh.clock import SeededDice, SystemClock
from mesh.gossip.driver import Gossip, Options
from mesh.gossip.events import UserEvent
from mesh.gossip.members import Status

MEMBERS = 300
IDLE_SECONDS = 20.0
EVENTS = 5
JOIN_AT_ONCE, JOIN_PAUSE_SECONDS = 5, 0.5
PATIENCE_SECONDS = 120.0


IDLE_GOAL, EVENT_GOAL_SECONDS = 0.20, 1.5


def run() -> bool:
    """Print the figures; whether idle members and events cost no more than they should."""
    logging.getLogger("mesh").setLevel(logging.ERROR)
    return asyncio.run(_measure())


async def _measure() -> bool:
    nodes = await _pool()
    # What a long-lived process does as well, or the collector takes a tenth of the time.
    gc.freeze()
    cpu, wall, sent = _cpu(), time.monotonic(), _sent(nodes)
    await asyncio.sleep(IDLE_SECONDS)
    wall = time.monotonic() - wall
    idle = (_cpu() - cpu) / wall
    print(
        f"{MEMBERS} idle members: {idle:.1%} of a core (goal {IDLE_GOAL:.0%}), "
        f"{(_sent(nodes) - sent) / wall:,.0f} packets/s"
    )
    times = sorted([await _event(nodes, number) for number in range(EVENTS)])
    print(
        f"an event reaches all: median {times[EVENTS // 2]:.2f} s, at worst {times[-1]:.2f} s "
        f"(goal {EVENT_GOAL_SECONDS} s)"
    )
    print(f"a death is known to all after {await _death(nodes):.1f} s")
    for node in nodes:
        await node.stop()
    return idle <= IDLE_GOAL and times[-1] <= EVENT_GOAL_SECONDS


async def _pool() -> list[Gossip]:
    clock = SystemClock()
    started = time.monotonic()
    nodes = []
    for number in range(MEMBERS):
        options = Options(bind_address=f"127.1.{number // 250}.{number % 250 + 1}")
        node = Gossip(f"n{number:03}", options, clock, SeededDice(number))
        await node.start()
        nodes.append(node)
        if number:
            await node.join([f"{nodes[0].address[0]}:{nodes[0].address[1]}"])
        if number % JOIN_AT_ONCE == 0:
            # All share one core: more at once, and they suspect each other for being busy.
            await asyncio.sleep(JOIN_PAUSE_SECONDS)
    await _until(lambda: all(_alive(node) == MEMBERS for node in nodes))
    print(f"{MEMBERS} members joined and know each other after {time.monotonic() - started:.1f} s")
    return nodes


def _alive(node: Gossip) -> int:
    return sum(member.status == Status.ALIVE for member in node.members())


async def _event(nodes: list[Gossip], number: int) -> float:
    reached: set[str] = set()
    ends = [node.on_event(_reaching(reached, node.name)) for node in nodes]
    started = time.monotonic()
    nodes[number].fire("deploy", b"v%d" % number)
    await _until(lambda: len(reached) == MEMBERS, 0.005)
    for end in ends:
        end()
    return time.monotonic() - started


def _reaching(reached: set[str], name: str) -> Callable[[UserEvent], None]:
    return lambda _event: reached.add(name)


async def _death(nodes: list[Gossip]) -> float:
    victim = nodes.pop()
    started = time.monotonic()
    await victim.stop()
    await _until(lambda: all(_alive(node) == MEMBERS - 1 for node in nodes), 0.1)
    return time.monotonic() - started


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _sent(nodes: list[Gossip]) -> int:
    return sum(node.counters["packets_sent"] for node in nodes)


async def _until(true: Callable[[], bool], pause: float = 0.05) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():
            await asyncio.sleep(pause)
