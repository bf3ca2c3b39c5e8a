"""Random faults of a simulated world, of network, disk, clock and processes."""

from __future__ import annotations

import errno
from collections.abc import Callable

from mesh.errors import MeshError
from tests.sim.members import Member
from tests.sim.server import FLOOR, PLENTY
from tests.sim.world import World


def disturb(world: World) -> None:
    """One fault, chosen by chance, which ends by itself."""
    world.dice.choice(world.dice.choice(FAULTS))(world)


def drift(world: World) -> None:
    """From now on a clock runs at another rate, within the bounds of this world."""
    error = world.setting.rate_error
    world.somebody().clock.set_rate(1.0 + world.dice.uniform(-error, error))


def _kill(world: World) -> None:
    server = world.somebody()
    server.kill()
    _restart(world, server.name)


def _crash(world: World) -> None:
    server = world.somebody()
    server.crash()
    _restart(world, server.name)


def _crash_all(world: World) -> None:
    for server in world.servers.values():
        server.crash()
        _restart(world, server.name)


def _kill_then_crash(world: World) -> None:
    """What the process left to the kernel is lost after its next start."""
    server = world.somebody()
    server.kill()
    if not server.alive:
        server.start()
    world.timeline.after(world.dice.uniform(0.0, 0.4), server.crash, "power")
    world.timeline.after(1.0, lambda: _restart(world, server.name), "restart")


def _restart(world: World, name: str) -> None:
    def start() -> None:
        if not world.servers[name].alive:
            world.servers[name].start()

    world.timeline.after(world.dice.uniform(0.05, 2.0), start, f"{name} starts")


def _pause(world: World) -> None:
    world.somebody().pause(world.dice.uniform(0.1, 2.5))


def _slow_disk(world: World) -> None:
    server = world.somebody()
    server.slow_until = world.timeline.now + world.dice.uniform(0.2, 2.0)


def _failing_disk(world: World) -> None:
    server = world.somebody()
    if server.alive:
        code = world.dice.choice([errno.ENOSPC, errno.EIO])
        server.disk.fails = OSError(code, "the disk of this world")


def _fill_disk(world: World) -> None:
    """Somebody's disk is below its floor for a while; at times not even a snapshot fits."""
    server = world.somebody()
    server.room.observe(world.dice.choice([0, FLOOR // 4, FLOOR - 1]), FLOOR)

    def space() -> None:
        server.room.observe(PLENTY, FLOOR)

    world.timeline.after(world.dice.uniform(0.2, 4.0), space, f"{server.name} has room")


def _isolate(world: World) -> None:
    leader = world.leader
    world.part(leader.name if leader and world.dice.below(3) else world.somebody().name)
    _mend(world)


def _part(world: World) -> None:
    world.part(*world.dice.sample(world.names, len(world.names) // 2))
    _mend(world)


def _block_one_way(world: World) -> None:
    if len(world.names) > 1:
        pair = world.dice.choice(world.links.pairs())
        world.block(lambda a, b: (a, b) == pair)
        _mend(world)


def _block_both_ways(world: World) -> None:
    if len(world.names) > 1:
        pair = set(world.dice.choice(world.links.pairs()))
        world.block(lambda a, b: {a, b} == pair)
        _mend(world)


def _mend(world: World) -> None:
    fault = world.network.fault

    def mend() -> None:
        if world.network.fault == fault:  # Else another one came meanwhile.
            world.network.heal()
            world.links.connect_all()

    world.timeline.after(world.dice.uniform(0.5, 4.0), mend, "mend")


def _cut(world: World) -> None:
    pairs = world.links.pairs()
    if pairs:
        world.links.cut(world.dice.choice(pairs))


def _stall(world: World) -> None:
    pairs = world.links.pairs()
    if pairs:
        world.links.stall(world.dice.choice(pairs), world.dice.uniform(0.1, 1.5))


def _damage_chunk(world: World) -> None:
    world.somebody().damages = 1


def change_voters(world: World) -> None:
    """An operator, or autopilot, changes who votes or who leads; often in vain."""
    leader = world.leader
    if not isinstance(leader, Member) or not leader.taking_part:
        return
    if world.dice.below(4) == 0:
        leader.replica.transfer(world.dice.choice(world.names), _ignore)
    else:
        count = world.dice.choice([1, 2, 3, 3, 5])
        leader.change(sorted(world.dice.sample(world.names, count)))


def _ignore(_error: MeshError | None) -> None:
    """Nobody waits."""


_NETWORK: list[Callable[[World], None]] = [
    _isolate,
    _isolate,
    _isolate,
    _part,
    _block_one_way,
    _block_both_ways,
]
FAULTS: list[list[Callable[[World], None]]] = [
    [_kill, _crash, _crash, _crash_all, _kill_then_crash],
    [_pause],
    [_slow_disk, _failing_disk, _fill_disk],
    _NETWORK,
    _NETWORK,
    [_cut, _stall, _damage_chunk],
]
