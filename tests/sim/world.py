"""A simulated world of servers: one seed decides all that happens in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from mesh.clock import SeededDice
from mesh.raft.epochs import Peer, Place, founded
from mesh.raft.messages import Message
from tests.sim.checks import Checks
from tests.sim.clock import HostClock, Timeline
from tests.sim.disk import Disk, mount
from tests.sim.members import Member
from tests.sim.network import Links, Network, Pair
from tests.sim.server import FLOOR, PLENTY, Server

NEVER = 1 << 60


class Setting(msgspec.Struct, frozen=True):
    """What a world is made of. Times are in seconds, the threshold in log entries."""

    voters: int = 3
    threshold: int = NEVER
    mean_delay: float = 0.002
    rate_error: float = 0.05  # Clocks run up to so much faster or slower than true time.
    segment_bytes: int = 3000
    rates: tuple[float, ...] = ()  # Of the first servers, instead of by chance.
    learners: int = 0  # Servers without a vote at first; with any, the voters may change.


class World:
    """Servers, and all there is around them. Make it with `world`."""

    def __init__(self, seed: int, setting: Setting) -> None:
        self.seed, self.setting = seed, setting
        self.dice = SeededDice(seed)
        self.timeline = Timeline(100.0)
        self.network = Network(self.dice)
        self.links = Links(self.timeline, self.network, seed, setting.mean_delay)
        self.checks = Checks()
        self.threshold = setting.threshold
        self.names = [f"n{number}" for number in range(setting.voters + setting.learners)]
        self.disks = {name: Disk(SeededDice(self.dice.below(1 << 30))) for name in self.names}
        first = self.names[: setting.voters]
        self.epoch = founded([Peer(name, name, name) for name in first])
        self.servers: dict[str, Server] = {}

    def start(self) -> None:
        """Every server starts for the first time."""
        for place, name in enumerate(self.names):
            error = self.setting.rate_error
            rate = 1.0 + self.dice.uniform(-error, error)
            if place < len(self.setting.rates):
                rate = self.setting.rates[place]
            clock = HostClock(self.timeline, self.dice.uniform(0.0, 1e5), rate)
            self.servers[name] = self._server(name, clock)
            self.links.add(name, self.servers[name])
        for server in self.servers.values():
            server.start()

    def _server(self, name: str, clock: HostClock) -> Server:
        if self.setting.learners:
            return Member(self, name, clock, Place(self.epoch))
        return Server(self, name, clock)

    @property
    def leader(self) -> Server | None:
        """Who leads the highest term that has been led, if it still does."""
        leaders = self.checks.leaders
        server = self.servers[leaders[max(leaders)]] if leaders else None
        return server if server and server.alive and server.replica.engine.leads else None

    def somebody(self) -> Server:
        """Half the time who leads, as far as known, else anyone."""
        if self.checks.leaders and self.dice.below(2):
            return self.servers[self.checks.leaders[max(self.checks.leaders)]]
        return self.servers[self.dice.choice(self.names)]

    def run(self, seconds: float) -> None:
        self.timeline.run(seconds)

    def carry(self, pair: Pair, message: Message) -> None:
        """A server sends a message."""
        called, label = self.servers[pair[1]], f"{pair[0]} {pair[1]} {type(message).__name__}"
        self.links.carry(pair, label, lambda: called.receive(pair[0], message))

    def part(self, *side: str) -> None:
        """Cut these hosts from all others."""
        self.network.part(side)
        self.links.cut_blocked()

    def block(self, blocked: Callable[[str, str], bool]) -> None:
        """Cut what is blocked, and let it come back no more."""
        self.network.block(blocked)
        self.links.cut_blocked()

    def heal(self) -> None:
        """No fault is left: everybody is up, awake, quick and connected, with room."""
        self.network.heal()
        for server in self.servers.values():
            server.slow_until = 0.0
            server.wakes = min(server.wakes, self.timeline.now)
            server.damages = 0
            server.disk.fails = None
            server.room.observe(PLENTY, FLOOR)
            if not server.alive:
                server.start()
        self.links.connect_all()


@contextmanager
def world(
    seed: int, setting: Setting | None = None, prepare: Callable[[World], None] | None = None
) -> Iterator[World]:
    """A world whose disks lie under the code of production until the end of the block.

    `prepare` may write on them before any server starts.
    """
    made = World(seed, setting or Setting())
    with mount(made.disks):
        if prepare:
            prepare(made)
        made.start()
        yield made
