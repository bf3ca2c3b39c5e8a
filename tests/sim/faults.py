"""Random faults of a simulated world, of network, disk, clock and processes."""

from __future__ import annotations

import errno
from collections.abc import Callable

from tests.sim.world import World


def disturb(world: World) -> None:
    """One fault, chosen by chance, which ends by itself or by the next `mend`."""
    world.dice.choice(FAULTS)(world)


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


def _isolate(world: World) -> None:
    world.part(world.somebody().name)
    _mend(world)


def _part(world: World) -> None:
    world.part(*world.dice.sample(world.names, len(world.names) // 2))
    _mend(world)


def _block_one_way(world: World) -> None:
    source, target = world.somebody().name, world.somebody().name
    world.network.block(lambda a, b: (a, b) == (source, target))
    world.links.cut_blocked()
    _mend(world)


def _block_both_ways(world: World) -> None:
    both = {world.somebody().name, world.somebody().name}
    world.network.block(lambda a, b: {a, b} == both)
    world.links.cut_blocked()
    _mend(world)


def _mend(world: World) -> None:
    def mend() -> None:
        world.network.heal()
        world.links.connect_all()

    world.timeline.after(world.dice.uniform(0.1, 3.0), mend, "mend")


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


FAULTS: list[Callable[[World], None]] = [
    _kill,
    _crash,
    _crash,
    _crash_all,
    _kill_then_crash,
    _pause,
    _pause,
    _slow_disk,
    _failing_disk,
    _isolate,
    _part,
    _block_one_way,
    _block_both_ways,
    _cut,
    _cut,
    _stall,
    _stall,
    _damage_chunk,
]
