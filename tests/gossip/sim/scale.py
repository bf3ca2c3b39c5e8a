"""Large pools: thousands of members, some of which die."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec

from mesh.gossip.intents import Options
from mesh.gossip.members import MemberEvent
from tests.gossip.sim.shared import Everybody
from tests.gossip.sim.world import Held, Host, World


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A pool that has settled, some seconds of its life and whom they cost it."""

    members: int
    kills: int = 0
    seconds: float = 60.0
    loss: float = 0.0
    held: int = 0  # So many hosts whose packets wait in blocks of time.
    held_seconds: float = 8.0
    held_every: float = 20.0
    options: Options = Options()
    kill_at: float = 5.0


class Figures(msgspec.Struct, kw_only=True):
    """What came of it. Times are virtual seconds after the kill, but for `cpu_seconds`."""

    cpu_seconds: float
    first_seconds: list[float]  # Until somebody knew, by victim.
    all_seconds: list[float]  # Until everybody did; infinite if not everybody does.
    false_verdicts: int  # About healthy members.
    false_verdicts_of_healthy: int  # Those of healthy members about others.
    verdicts_about_held: int
    events: int
    packets_per_member: float  # A second.
    bytes_per_member: float
    digest: int
    resident_mb: float

    def line(self) -> str:
        first = f"{median(self.first_seconds):.1f}/{max(self.first_seconds):.1f}"
        everyone = f"{median(self.all_seconds):.1f}/{max(self.all_seconds):.1f}"
        return (
            f"{self.cpu_seconds:6.1f} s CPU, found after {first} s, by all {everyone} s, "
            f"false {self.false_verdicts}, {self.packets_per_member:.1f} packets/s, "
            f"{self.bytes_per_member:,.0f} bytes/s, {self.resident_mb:.0f} MB"
        )


def settled(seed: int, plan: Plan) -> World:
    """A pool whose members all know each other already."""
    world = World(seed, plan.options, plan.loss)
    names = [f"n{number:05}" for number in range(plan.members)]
    addresses = [bytes((10, n >> 16, n >> 8 & 255, n & 255)) for n in range(plan.members)]
    everybody = Everybody(names, addresses, plan.options)
    for number, name in enumerate(names):
        host = world.add(name, everybody.tables(number))
        host.pool.swim.queue.clear()
        # Coordinates are a layer above, and arithmetic: half as much work again.
        host.pool.probing.ack_payload = bytes
        host.pool.probing.rtt = lambda _node, _seconds, _payload: None
    return world


def run(seed: int, plan: Plan) -> Figures:
    """One pool from start to end."""
    began = time.process_time()
    world = settled(seed, plan)
    held, victims = _choose(world, plan)
    verdicts: list[tuple[float, Host, str]] = []

    def told(host: Host, news: Any) -> None:
        if isinstance(news, MemberEvent) and news.kind == "failed":
            verdicts.append((world.now, host, news.member.name))

    world.told = told
    world.run(plan.kill_at)
    for victim in victims:
        world.kill(victim)
    killed = world.now
    world.run(plan.seconds - plan.kill_at)
    return _figures(world, plan, verdicts, (victims, held), (killed, began))


def _choose(world: World, plan: Plan) -> tuple[list[Host], list[Host]]:
    chosen = world.random.sample(world.hosts, plan.held + plan.kills)
    held, victims = chosen[: plan.held], chosen[plan.held :]
    for host in held:
        first = world.random.uniform(0.0, plan.held_every)
        host.held = Held(plan.held_every, plan.held_seconds, first)
    return held, victims


def _figures(
    world: World,
    plan: Plan,
    verdicts: Sequence[tuple[float, Host, str]],
    who: tuple[list[Host], list[Host]],
    when: tuple[float, float],
) -> Figures:
    victims, held = who
    killed, began = when
    sick = {host.name for host in held}
    dead = {host.name for host in victims}
    found: dict[str, list[float]] = {name: [] for name in sorted(dead)}
    for moment, _, name in verdicts:
        if name in found:
            found[name].append(moment - killed)
    others = plan.members - len(dead)
    false = [(host, name) for _, host, name in verdicts if name not in dead and name not in sick]
    return Figures(
        cpu_seconds=time.process_time() - began,
        first_seconds=[min(times, default=float("inf")) for times in found.values()] or [0.0],
        all_seconds=[
            max(times) if len(times) >= others else float("inf") for times in found.values()
        ]
        or [0.0],
        false_verdicts=len(false),
        false_verdicts_of_healthy=sum(host.name not in sick for host, _ in false),
        verdicts_about_held=sum(name in sick for _, _, name in verdicts),
        events=world.events,
        packets_per_member=world.packets / plan.members / plan.seconds,
        bytes_per_member=world.bytes / plan.members / plan.seconds,
        digest=world.digest,
        resident_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
