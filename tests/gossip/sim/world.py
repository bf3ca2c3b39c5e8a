"""A pool in virtual time: hosts with production cores, timers, and a network between them.

Messages travel as objects: nothing is encoded but to know its size.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from mesh.clock import SeededDice
from mesh.gossip.conflict import NameLost
from mesh.gossip.events import UserEvent
from mesh.gossip.members import MemberEvent
from mesh.gossip.messages import Message
from mesh.gossip.options import Options
from mesh.gossip.packets import COMPOUND_HEAD_BYTES, PART_HEAD_BYTES, size
from mesh.gossip.pool import Pool, Tables, Tell
from mesh.gossip.queries import Answered, Asked, Ended
from mesh.gossip.swim import Exchange, Remark, Send, TcpPing
from tests.sim.network import Network

PORT = 7946
LEAST_SECONDS, MORE_SECONDS = 0.0005, 0.0015  # A packet's way, and how much longer at most.
STREAM_SECONDS = 0.003
TIMER = -1  # As the number of a packet's source.


class QuickDice(SeededDice):
    """Without the care for limits beyond 2**53."""

    def below(self, limit: int) -> int:
        return int(self._random.random() * limit)


class Held(msgspec.Struct):
    """A host whose packets, in and out, wait in blocks of time, while its timers run."""

    every: float
    seconds: float
    first: float

    def until(self, now: float) -> float:
        """When something that comes now passes."""
        into = (now - self.first) % self.every
        return now + self.seconds - into if 0 <= into < self.seconds else now


class Host:
    """A machine with one member on it; `down` once that is killed."""

    __slots__ = ("address", "down", "due", "held", "life", "name", "number", "pool", "wakes")

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        self.down = True
        self.life = 0  # How often it was started.
        self.due = math.inf
        self.wakes = 0.0  # A process that is stopped sees and does nothing until then.
        self.held: Held | None = None
        self.pool: Pool

    @property
    def incarnation(self) -> int:
        return self.pool.swim.me.incarnation

    def statuses(self) -> dict[str, str]:
        return {member.name: member.status.name for member in self.pool.intents.members()}


class World:
    """Hosts, what lies between them, and time.

    `told` gets what a pool tells those above it, `before` is asked for each input.
    """

    def __init__(self, seed: int, options: Options, loss: float = 0.0) -> None:
        self.now = 0.0
        self.options = options
        self.dice = QuickDice(seed)  # That of the cores.
        self.random = Random(seed + 1)  # That of the network.
        self.network = Network(SeededDice(seed + 2), loss)
        self.hosts: list[Host] = []
        self.by_address: dict[str, Host] = {}
        self.events = self.digest = self.packets = self.bytes = 0
        self.told: Callable[[Host, Any], None] = lambda _host, _news: None
        self._number = 0
        self._queue: list[tuple[float, int, int, Host, Any]] = []

    # Hosts

    def add(self, name: str, tables: Tables | None = None) -> Host:
        """A new host, whose member is alone as yet, or knows what the tables say."""
        host = Host(name, len(self.hosts))
        self.hosts.append(host)
        self.by_address[host.address] = host
        self.boot(host, tables)
        return host

    def boot(self, host: Host, tables: Tables | None = None) -> None:
        """Start the member anew; it has forgotten all."""
        host.down = False
        host.life += 1
        host.due = math.inf
        host.pool = Pool(host.name, self.options, self.dice, self.now, tables)
        host.pool.enter(self.now, host.address, PORT, b"")
        self._perform(host)

    def kill(self, host: Host) -> None:
        host.down = True

    def join(self, host: Host, other: Host) -> None:
        """Exchange state and say so, as `Gossip.join` does."""
        self._exchange(host, other.address)
        host.pool.intents.announce_join()
        self._perform(host)

    def leave(self, host: Host) -> None:
        """Say goodbye; it goes on answering."""
        pool = host.pool
        pool.swim.leaving = True

        def goodbye() -> None:
            pool.swim.leave(lambda: None)

        pool.intents.announce_leave(self.now, host.name, prune=False, done=goodbye)
        self._perform(host)

    def fire(self, host: Host, name: str) -> None:
        host.pool.events.fire(name, b"")
        self._perform(host)

    # Time

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Let it happen later."""
        self._push(self.now + seconds, TIMER - 1, self.hosts[0], action)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end, queue = self.now + seconds, self._queue
        while queue and queue[0][0] <= end:
            self.now, _, source, host, what = heapq.heappop(queue)
            self.events += 1
            self.digest = hash((self.digest, self.now, source, host.number))
            if source == TIMER:
                self._timer(host)
            elif source < TIMER:
                what()
            elif not host.down:
                self._arrive(host, source, what)
        self.now = end

    def run_until(self, true: Callable[[], bool], seconds: float, step: float = 0.1) -> bool:
        """Let time pass until it is true, or for so long; whether it is."""
        end = self.now + seconds
        while not (found := true()) and self.now < end:
            self.run(min(step, end - self.now))
        return found

    def _push(self, when: float, source: int, host: Host, what: Any) -> None:
        self._number += 1
        heapq.heappush(self._queue, (when, self._number, source, host, what))

    def _timer(self, host: Host) -> None:
        if host.down or host.due != self.now:
            return
        host.due = math.inf
        if host.wakes > self.now:
            self._plan(host, host.wakes)
            return
        due = host.pool.deadline()
        if due > self.now:
            self._plan(host, due)
            return
        host.pool.tick(self.now)
        self._perform(host)

    def look(self, host: Host) -> None:
        """It looks at the clock and does what is due."""
        if not host.down:
            host.pool.tick(self.now)
            self._perform(host)

    def _plan(self, host: Host, when: float) -> None:
        # A wake-up that is not needed any more only looks again.
        if when < host.due:
            host.due = when = max(when, self.now)
            self._push(when, TIMER, host, None)

    # Packets

    def _arrive(self, host: Host, source: int, messages: list[Message]) -> None:
        if host.wakes > self.now:
            self._push(host.wakes, source, host, messages)
            return
        receive, now, sender = host.pool.receive, self.now, (self.hosts[source].address, PORT)
        for message in messages:
            receive(now, message, sender)
        self._perform(host)

    def _perform(self, host: Host) -> None:
        for outcome in host.pool.take(self.now):
            if type(outcome) is Send:
                self._send(host, outcome)
            else:
                self._other(host, outcome)
        self._plan(host, host.pool.deadline())

    def _other(
        self,
        host: Host,
        outcome: Send
        | Tell
        | Exchange
        | TcpPing
        | Remark
        | MemberEvent
        | UserEvent
        | Asked
        | Answered
        | Ended
        | NameLost,
    ) -> None:
        match outcome:
            case Exchange():
                self._exchange(host, outcome.address)
            case TcpPing():
                self._tcp_ping(host, outcome)
            case Tell():
                self._tell(host, outcome)
            case _:
                self.told(host, outcome)

    def _send(self, host: Host, effect: Send) -> None:
        self.packets += 1
        messages = effect.messages
        length = size(messages[0])
        if len(messages) > 1:
            length += COMPOUND_HEAD_BYTES + PART_HEAD_BYTES * len(messages)
            length += sum(map(size, messages[1:]))
        self.bytes += length
        target = self.by_address.get(effect.address)
        if target is None:
            return
        network, when = self.network, self.now + LEAST_SECONDS + MORE_SECONDS * self.random.random()
        if network.loss or network.fault or network.delays:
            if network.loses(host.name, target.name):
                return
            when += network.delay(host.name, target.name)
        if host.held is not None or target.held is not None:
            when = self._passes(target, when - self.now + self._passes(host, self.now))
        self._push(when, host.number, target, messages)

    def _passes(self, host: Host, when: float) -> float:
        return when if host.held is None else host.held.until(when)

    # Streams

    def _connected(self, source: Host, target: Host | None) -> bool:
        if target is None or target.down or source.down:
            return False
        reaches = self.network.reaches
        awake = max(source.wakes, target.wakes) <= self.now
        return awake and reaches(source.name, target.name) and reaches(target.name, source.name)

    def _tcp_ping(self, source: Host, effect: TcpPing) -> None:
        target = self.by_address.get(effect.address)
        pool = source.pool

        def answer() -> None:
            if self._connected(source, target) and source.pool is pool:
                pool.probing.tcp_answered(effect.seq)

        if target is not None:
            when = self._passes(target, self._passes(source, self.now))
            slow = self.network.delay(source.name, target.name)
            self.after(when - self.now + STREAM_SECONDS + slow, answer)

    def _tell(self, source: Host, effect: Tell) -> None:
        target = self.by_address.get(effect.address)

        def arrive() -> None:
            if target is not None and self._connected(source, target):
                target.pool.receive_user(self.now, effect.message)
                self._perform(target)

        self.after(STREAM_SECONDS, arrive)

    def _exchange(self, source: Host, address: str) -> None:
        target = self.by_address.get(address)
        pool = source.pool

        def happen() -> None:
            if target is None or not self._connected(source, target) or source.pool is not pool:
                return
            reply, request = target.pool.state(join=False), source.pool.state(join=False)
            target.pool.merge(self.now, request)
            source.pool.merge(self.now, reply)
            self._perform(target)
            self._perform(source)

        self.after(STREAM_SECONDS, happen)
