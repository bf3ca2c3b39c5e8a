"""The network of a simulated world: who reaches whom, how late, and connections that break."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Collection
from typing import Protocol

from mesh.clock import SeededDice
from tests.sim.clock import Timeline

Pair = tuple[str, str]


class Network:
    """Faults between hosts, by name. A blocked pair is one direction."""

    def __init__(self, dice: SeededDice, loss: float = 0.0) -> None:
        self._dice = dice
        self.loss = loss  # Part of the datagrams that get lost anyway.
        self.delays: dict[str, float] = {}  # More delay, in seconds, to and from a host.
        self.fault = 0  # Counts what was blocked.
        self._blocked: Callable[[str, str], bool] = _nobody
        self._datagrams_blocked: Callable[[str, str], bool] = _nobody

    def block(self, blocked: Callable[[str, str], bool], *, only_datagrams: bool = False) -> None:
        """From now on nothing gets from one host to another where this says so."""
        self.fault += 1
        self._datagrams_blocked = blocked
        self._blocked = _nobody if only_datagrams else blocked

    def isolate(self, name: str) -> None:
        """Nobody hears this host and it hears nobody."""
        self.block(lambda source, target: name in {source, target})

    def part(self, side: Collection[str]) -> None:
        """These hosts and all others do not hear each other."""
        left = set(side)
        self.block(lambda source, target: (source in left) != (target in left))

    def heal(self) -> None:
        """All reach all again."""
        self.block(_nobody)

    def reaches(self, source: str, target: str) -> bool:
        """Whether a stream gets through in this direction."""
        return not self._blocked(source, target)

    def loses(self, source: str, target: str) -> bool:
        """Whether this one datagram does not arrive."""
        blocked = self._blocked(source, target) or self._datagrams_blocked(source, target)
        return blocked or self._dice.uniform(0, 1) < self.loss

    def delay(self, source: str, target: str) -> float:
        """Seconds on top of the usual."""
        return self.delays.get(source, 0.0) + self.delays.get(target, 0.0)


def _nobody(_source: str, _target: str) -> bool:
    return False


class End(Protocol):
    """Who stands at the ends of links."""

    alive: bool
    wakes: float  # What arrives while it is paused waits until then.

    def connected(self, peer: str) -> None: ...

    def disconnected(self, peer: str) -> None: ...


class Links:
    """Connections, one for each direction: in order, delayed, and lost with all in flight.

    Each has dice of its own, so that the order in which a host sends to several does not matter.
    """

    def __init__(self, timeline: Timeline, network: Network, seed: int, mean: float) -> None:
        self._timeline, self._network, self._mean = timeline, network, mean
        self._seed = seed
        self.ends: dict[str, End] = {}
        self._dice: dict[Pair, SeededDice] = {}
        self._up: dict[Pair, int] = {}
        self._number = 0
        self._last: dict[Pair, float] = {}
        self._stalled: dict[Pair, float] = {}

    def pairs(self) -> list[Pair]:
        return [(a, b) for a in self.ends for b in self.ends if a != b]

    def add(self, name: str, end: End) -> None:
        self.ends[name] = end
        for pair in self.pairs():
            if pair not in self._dice:
                self._dice[pair] = SeededDice(zlib.crc32(f"{self._seed} {pair}".encode()))

    def is_up(self, pair: Pair) -> bool:
        return pair in self._up

    def connect_all(self) -> None:
        """Whoever can be reached is, from now on."""
        for pair in self.pairs():
            self._connect(pair)

    def reconnect(self, name: str) -> None:
        """A host came up: after a moment there are connections to and from it."""
        for pair in self.pairs():
            if name in pair:
                self._retry(pair)

    def cut(self, pair: Pair) -> None:
        """Lose what is in flight; a new connection is tried after a moment."""
        self._stalled.pop(pair, None)
        if self._up.pop(pair, None) is not None and self.ends[pair[0]].alive:
            self.ends[pair[0]].disconnected(pair[1])
        self._retry(pair)

    def cut_blocked(self) -> None:
        """Cut what the network does not let through any more."""
        for pair in self.pairs():
            if self.is_up(pair) and not self._network.reaches(*pair):
                self.cut(pair)

    def cut_all(self, name: str) -> None:
        for pair in self.pairs():
            if name in pair:
                self.cut(pair)

    def stall(self, pair: Pair, seconds: float) -> None:
        """Hold what goes this way for a while; nothing is lost."""
        self._stalled[pair] = self._timeline.now + seconds

    def carry(self, pair: Pair, label: str, arrive: Callable[[], None]) -> None:
        """Bring it there unless the connection breaks before."""
        number = self._up.get(pair)
        if number is None:
            return
        delay = -self._mean * math.log(1.0 - self._dice[pair].uniform(0.0, 0.999))
        delay = min(delay, 5 * self._mean) + 0.0001 + self._network.delay(*pair)
        now = self._timeline.now
        arrival = max(now + delay, self._last.get(pair, 0.0), self._stalled.get(pair, 0.0))
        self._last[pair] = arrival

        def act() -> None:
            end, now = self.ends[pair[1]], self._timeline.now
            if self._up.get(pair) == number and end.alive:
                if now < end.wakes:
                    self._timeline.after(end.wakes - now, act, label)
                else:
                    arrive()

        self._timeline.after(arrival - now, act, label)

    def _connect(self, pair: Pair) -> None:
        caller, called = self.ends[pair[0]], self.ends[pair[1]]
        reached = self._network.reaches(*pair)
        if pair not in self._up and caller.alive and called.alive and reached:
            self._number += 1
            self._up[pair] = self._number
            self._last[pair] = self._timeline.now
            caller.connected(pair[1])

    def _retry(self, pair: Pair) -> None:
        seconds = self._dice[pair].uniform(0.02, 0.2)

        def act() -> None:
            if self.is_up(pair):
                return
            if self._network.reaches(*pair):
                self._connect(pair)
            elif self.ends[pair[0]].alive and self.ends[pair[1]].alive:
                self._retry(pair)

        self._timeline.after(seconds, act, "connect")
