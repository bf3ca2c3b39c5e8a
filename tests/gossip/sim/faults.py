"""Random faults of a simulated pool; all but crashes end by themselves."""

from __future__ import annotations

import math
from collections.abc import Callable

from tests.gossip.sim.checks import Checks
from tests.gossip.sim.world import Held, Host, World

LEAVE_SECONDS = 3.0
MEMBERS_MAX = 16
SEEDS = 3  # So many hosts are what the others are told to join; they never go for good.


class Trouble:
    """What happens to a world by chance."""

    def __init__(self, world: World, checks: Checks) -> None:
        self.world, self.checks = world, checks
        self.events = 0
        self._loss = world.network.loss

    def disturb(self, kinds: list[Callable[[Trouble], None]]) -> None:
        """One fault, chosen by chance."""
        self.checks.troubled_until = math.inf
        self.world.random.choice(kinds)(self)

    def heal(self) -> None:
        """No fault any more; who crashed for good stays so."""
        world = self.world
        world.network.heal()
        world.network.loss = self._loss
        world.network.delays.clear()
        for host in world.hosts:
            host.held, host.wakes = None, 0.0
            if host.down and host.name not in self.checks.crashed | self.checks.left:
                self._start(host)
            elif not host.down:
                # Whatever it was planned for, it looks at the clock now.
                host.due = math.inf
                world.after(0.0, lambda host=host: world.look(host))  # type: ignore[misc]
        self.checks.troubled_until = world.now

    def somebody(self, first: int = 0) -> Host | None:
        """Anybody who runs and does not leave, of the hosts from this number on."""
        running = [
            host
            for host in self.world.hosts[first:]
            if not host.down and host.name not in self.checks.left
        ]
        return self.world.random.choice(running) if running else None

    def _seconds(self, low: float, high: float) -> float:
        return self.world.random.uniform(low, high)

    def _start(self, host: Host) -> None:
        self.world.boot(host)
        self.rejoin(host)

    def rejoin(self, host: Host) -> None:
        """Join the seeds; again and again until one of them is known, as an agent does."""
        life = host.life

        def attempt() -> None:
            seeds = [seed for seed in self.world.hosts[:SEEDS] if seed is not host]
            known = host.pool.swim.peers
            if host.down or host.life != life or any(seed.name in known for seed in seeds):
                return
            for seed in seeds:
                self.world.join(host, seed)
            self.world.after(1.0, attempt)

        attempt()


def crash(trouble: Trouble) -> None:
    """For good."""
    host = trouble.somebody(SEEDS)
    if host is not None and len(trouble.checks.crashed) * 3 < len(trouble.world.hosts):
        trouble.world.kill(host)
        trouble.checks.crashed.add(host.name)


def restart(trouble: Trouble) -> None:
    """A crash and, a while later, a new start without any memory."""
    host = trouble.somebody()
    if host is None:
        return
    trouble.world.kill(host)

    def start() -> None:
        if host.down:
            trouble._start(host)

    trouble.world.after(trouble._seconds(0.1, 40.0), start)


def pause(trouble: Trouble) -> None:
    """The process is stopped and goes on later."""
    host = trouble.somebody()
    if host is not None:
        host.wakes = trouble.world.now + trouble._seconds(0.2, 20.0)


def slow(trouble: Trouble) -> None:
    """Its packets take longer from now on."""
    host = trouble.somebody()
    if host is not None:
        trouble.world.network.delays[host.name] = trouble._seconds(0.05, 1.0)


def hold(trouble: Trouble) -> None:
    """Its packets wait in blocks of time while its timers run."""
    host = trouble.somebody()
    if host is not None:
        host.held = Held(20.0, trouble._seconds(1.0, 10.0), trouble.world.now)


def lose(trouble: Trouble) -> None:
    """From now on the network loses more."""
    trouble.world.network.loss = trouble._seconds(0.05, 0.5)


def part(trouble: Trouble) -> None:
    """Two sides do not hear each other."""
    names = [host.name for host in trouble.world.hosts]
    count = trouble.world.random.randrange(1, len(names))
    trouble.world.network.part(trouble.world.random.sample(names, count))


def part_one_way(trouble: Trouble) -> None:
    """One side is not heard by the other; at times only its datagrams are not."""
    names = [host.name for host in trouble.world.hosts]
    mute = set(trouble.world.random.sample(names, trouble.world.random.randrange(1, len(names))))
    only = trouble.world.random.random() < 0.5
    trouble.world.network.block(
        lambda source, target: source in mute and target not in mute, only_datagrams=only
    )


def mend(trouble: Trouble) -> None:
    """The network is well again, for the time being."""
    trouble.world.network.heal()
    trouble.world.network.loss = 0.0


def join(trouble: Trouble) -> None:
    """Somebody new."""
    if len(trouble.world.hosts) < MEMBERS_MAX:
        trouble.rejoin(trouble.world.add(f"new{len(trouble.world.hosts)}"))


def leave(trouble: Trouble) -> None:
    """Somebody says goodbye and ends a while later."""
    host = trouble.somebody(SEEDS)
    if host is not None:
        trouble.checks.left.add(host.name)
        trouble.world.leave(host)
        trouble.world.after(LEAVE_SECONDS, lambda: trouble.world.kill(host))


def fire(trouble: Trouble) -> None:
    """Somebody has something to tell; no fault at all."""
    host = trouble.somebody()
    if host is not None:
        trouble.events += 1
        trouble.world.fire(host, f"event{trouble.events}")


FAULTS = [crash, restart, pause, slow, hold, lose, part, part_one_way, mend, join, leave, fire]
SPLITS = [part, part, part_one_way, mend, fire]
CHURN = [restart, restart, join, leave, crash, fire]
SLOW = [slow, hold, pause, lose, fire]
