"""Whole runs: a pool, faults for a while, then health, then the reckoning."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from mesh.gossip.options import Options
from tests.gossip.sim import faults
from tests.gossip.sim.checks import Checks, Violation
from tests.gossip.sim.faults import SEEDS, Trouble
from tests.gossip.sim.world import World

STEP_SECONDS = 0.5
SETTLE_SECONDS = 10.0  # Until the last news has been passed on.


class Configuration(msgspec.Struct, frozen=True):
    """How large a pool, and what happens to it."""

    members: tuple[int, int] = (4, 9)  # From, to.
    kinds: Sequence[Callable[[Trouble], None]] = ()
    fault_seconds: float = 40.0
    every_seconds: float = 4.0
    loss: tuple[float, ...] = (0.0,)  # One of them by chance, all the time.


CONFIGURATIONS = {
    "calm": Configuration(loss=(0.0, 0.01, 0.05)),
    "faults": Configuration(kinds=faults.FAULTS),
    "rough": Configuration((6, 12), faults.FAULTS, 60.0, 1.5),
    "splits": Configuration(kinds=faults.SPLITS, every_seconds=8.0),
    "churn": Configuration(kinds=faults.CHURN),
    "slow": Configuration((5, 10), faults.SLOW),
}


class Figures(msgspec.Struct):
    """What happened in one run."""

    seed: int
    members: int = 0
    seconds: float = 0.0
    events: int = 0
    digest: int = 0
    verdicts: int = 0
    refutations: int = 0
    delivered: int = 0
    healed_after: float = 0.0
    violation: str = ""
    detail: str = ""


def run(seed: int, configuration: Configuration) -> Figures:
    """One pool from start to end. A violation is in the figures."""
    figures = Figures(seed)
    world = World(seed, Options())
    checks = Checks(world)
    try:
        _live(world, checks, configuration, figures)
    except Violation as violation:
        figures.violation, figures.detail = violation.rule, str(violation)
    except Exception as error:  # noqa: BLE001  (whatever ends a node is a finding)
        figures.violation, figures.detail = type(error).__name__, str(error)
    figures.members, figures.seconds = len(world.hosts), world.now
    figures.events, figures.digest = world.events, world.digest
    figures.verdicts, figures.delivered = checks.verdicts, checks.delivered
    figures.refutations = checks.refutations
    return figures


def _live(world: World, checks: Checks, configuration: Configuration, figures: Figures) -> None:
    trouble = Trouble(world, checks)
    checks.troubled_until = world.now
    for number in range(world.random.randint(*configuration.members)):
        world.add(f"n{number}")
    for host in world.hosts[1:]:
        trouble.rejoin(host)
    if not _until(world, checks, checks.is_healed, 60.0):
        raise Violation("not settled", checks.differences())
    world.network.loss = world.random.choice(configuration.loss)
    end = world.now + configuration.fault_seconds
    while configuration.kinds and world.now < end:
        _until(world, checks, _never, world.random.uniform(0.0, 2 * configuration.every_seconds))
        trouble.disturb(list(configuration.kinds))
    trouble.heal()
    healed = world.now
    if not _until(world, checks, checks.is_healed, checks.healing):
        raise Violation("views differ", checks.differences())
    figures.healed_after = world.now - healed
    _calm(world, checks, trouble)


def _calm(world: World, checks: Checks, trouble: Trouble) -> None:
    """Health returns, somebody has news, somebody dies; nothing else happens."""
    _until(world, checks, _never, checks.recovery)
    teller = trouble.somebody()
    if teller is not None:
        checks.fired("news")
        world.fire(teller, "news")
    _until(world, checks, _never, checks.spread)
    checks.look_at_end()
    victim = trouble.somebody(SEEDS)
    if victim is not None:
        world.kill(victim)
        checks.crashed.add(victim.name)
        if not _until(world, checks, checks.is_healed, checks.detection):
            raise Violation("a death unnoticed", checks.differences())
    _until(world, checks, _never, SETTLE_SECONDS)
    checks.look_at_end()


def _until(world: World, checks: Checks, true: Callable[[], bool], seconds: float) -> bool:
    end = world.now + seconds
    while not (found := true()) and world.now < end:
        world.run(min(STEP_SECONDS, end - world.now))
        checks.look()
    return found


def _never() -> bool:
    return False
