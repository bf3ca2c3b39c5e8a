"""A world of many nodes in one thread: virtual time, a seeded network, the production cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mesh.clock import SeededDice
from mesh.gossip.intents import Intents, Options
from mesh.gossip.members import MemberEvent
from mesh.gossip.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Message,
    Nack,
    Ping,
    Suspect,
    User,
    encode_tags,
)
from mesh.gossip.packets import join, split
from mesh.gossip.probe import Probing
from mesh.gossip.streams import PushPull
from mesh.gossip.swim import Exchange, Notice, Remark, Send, Swim, TcpPing
from tests.sim.clock import Timeline
from tests.sim.network import Network


class Node:
    """One node: the three cores, driven as `driver.py` drives them."""

    def __init__(self, world: World, name: str, address: str) -> None:
        self.world, self.name, self.address = world, name, address
        self.down = False
        self.events: list[str] = []
        self.remarks: list[str] = []
        self.boot()

    def boot(self) -> None:
        now, dice = self.world.now, self.world.dice
        options = self.world.options
        self.swim = Swim(self.name, options, dice, now)
        self.probing = Probing(self.swim, now)
        self.intents = Intents(self.swim, options, now)
        self.swim.go_live(now, self.address, 7946, encode_tags({}))
        self.intents.enter()
        self.down = False
        self.perform()

    def statuses(self) -> dict[str, str]:
        return {member.name: member.status.name for member in self.intents.members()}

    def tick(self) -> None:
        now = self.world.now
        self.swim.tick(now)
        self.probing.tick(now)
        self.intents.tick(now)
        self.perform()

    def deadline(self) -> float:
        return min(self.swim.deadline(), self.probing.deadline(), self.intents.deadline())

    def perform(self) -> None:
        while effects := self.swim.take():
            for effect in effects:
                if isinstance(effect, Send):
                    packet = join(effect.parts, crc=effect.crc)
                    self.world.send(self, effect.address, packet)
                elif isinstance(effect, Notice):
                    self.intents.notice(self.world.now, effect)
                elif isinstance(effect, Remark):
                    self.remarks.append(effect.text)
                elif isinstance(effect, TcpPing):
                    self.world.tcp_ping(self, effect)
                elif isinstance(effect, Exchange):
                    self.world.exchange(self, effect.address)
        for event in self.intents.take():
            self.note(event)
        self.world.plan(self)

    def note(self, event: MemberEvent) -> None:
        self.events.append(f"{event.kind} {event.member.name}")
        self.world.trace.append((round(self.world.now, 6), self.name, self.events[-1]))

    def receive(self, packet: bytes, source: str) -> None:
        messages, problems = split(packet)
        assert problems == [], "our own bytes are well formed"
        for message in messages:
            self.hear(message, source)
        self.perform()

    def hear(self, message: Message, address: str) -> None:
        now, source = self.world.now, (address, 7946)
        if isinstance(message, User):
            self.perform()
            self.intents.receive(now, message.payload)
            return
        act: dict[type, Callable[[Any], None]] = {
            Ping: lambda ping: self.probing.ping(ping, source),
            IndirectPing: lambda ping: self.probing.indirect_ping(now, ping, source),
            Ack: self.probing.ack,
            Nack: self.probing.nack,
            Alive: lambda news: self.swim.alive(now, news),
            Suspect: lambda news: self.swim.suspect(now, news),
            Dead: lambda news: self.swim.dead(now, news),
        }
        act[type(message)](message)

    def state(self) -> PushPull:
        return PushPull(self.swim.states(), self.intents.state())

    def merge(self, state: PushPull) -> None:
        assert self.swim.merge(self.world.now, state.nodes) == 0
        self.perform()
        self.intents.merge(self.world.now, state.user_state)
        self.perform()

    def join(self, other: Node) -> None:
        self.world.exchange(self, other.address)
        self.intents.announce_join()
        self.perform()

    def leave(self) -> None:
        self.swim.leaving = True
        self.intents.announce_leave(self.world.now, self.name, prune=False, done=self._goodbye)
        self.perform()

    def _goodbye(self) -> None:
        self.swim.leave(lambda: None)


class World:
    """Delivers packets after a while, loses some, and lets time pass."""

    def __init__(self, seed: int, count: int, options: Options, loss: float = 0.0) -> None:
        self.dice = SeededDice(seed)
        self.options = options
        self.timeline = Timeline()
        self.network = Network(self.dice, loss)
        self.trace: list[tuple[float, str, str]] = []
        self._planned: dict[str, float] = {}
        self.by_address: dict[str, Node] = {}
        self.nodes = [self.add(f"n{number:03}", number) for number in range(count)]

    @property
    def now(self) -> float:
        return self.timeline.now

    def add(self, name: str, number: int) -> Node:
        node = Node(self, name, f"10.0.{number // 250}.{number % 250 + 1}")
        self.by_address[node.address] = node
        return node

    def settle(self) -> None:
        """Everybody joins the first node, and time passes until all know all."""
        for node in self.nodes[1:]:
            node.join(self.nodes[0])
        everybody = {node.name: "ALIVE" for node in self.nodes}
        self.run_until(lambda: all(node.statuses() == everybody for node in self.nodes), 120.0)

    def plan(self, node: Node) -> None:
        when = node.deadline()
        if (
            self._planned.get(node.name, float("inf")) > when
            or self._planned[node.name] <= self.now
        ):
            self._planned[node.name] = when
            self.timeline.after(max(0.0, when - self.now), lambda: self._due(node, when))

    def _due(self, node: Node, when: float) -> None:
        if node.down or self._planned.get(node.name) != when:
            return
        node.tick()

    def send(self, source: Node, address: str, packet: bytes) -> None:
        target = self.by_address.get(address)
        if target is None or self.network.loses(source.name, target.name):
            return

        def arrive() -> None:
            if not target.down:
                target.receive(packet, source.address)

        slow = self.network.delay(source.name, target.name)
        self.timeline.after(self.dice.uniform(0.0005, 0.002) + slow, arrive)

    def _connected(self, source: Node, target: Node) -> bool:
        network, names = self.network, (source.name, target.name)
        both = network.reaches(*names) and network.reaches(*reversed(names))
        return both and not (target.down or source.down)

    def tcp_ping(self, source: Node, effect: TcpPing) -> None:
        target = self.by_address.get(effect.address)
        if target is not None and self._connected(source, target):
            slow = self.network.delay(source.name, target.name)
            self.timeline.after(0.002 + slow, lambda: source.probing.tcp_answered(effect.seq))

    def exchange(self, source: Node, address: str) -> None:
        target = self.by_address.get(address)

        def happen() -> None:
            if target is not None and self._connected(source, target):
                reply, request = target.state(), source.state()
                target.merge(request)
                source.merge(reply)

        self.timeline.after(0.003, happen)

    def kill(self, node: Node) -> None:
        node.down = True

    def run(self, seconds: float) -> None:
        self.run_until(lambda: False, seconds, must=False)

    def run_until(self, true: Callable[[], bool], seconds: float, *, must: bool = True) -> None:
        end = self.now + seconds
        check = self.now
        while self.timeline.next_within(end):
            if self.now >= check:
                check = self.now + 0.1
                if true():
                    return
        self.timeline.now = end
        assert true() or not must, f"not within {seconds} virtual seconds"
