"""A world of many nodes in one thread: virtual time, a seeded network, the production cores."""

from __future__ import annotations

from collections.abc import Callable

from mesh.clock import SeededDice
from mesh.gossip.conflict import NameLost
from mesh.gossip.events import UserEvent
from mesh.gossip.intents import Intents
from mesh.gossip.members import MemberEvent
from mesh.gossip.messages import encode_tags
from mesh.gossip.options import Options
from mesh.gossip.packets import encoded, join, split
from mesh.gossip.pool import Pool, Tell
from mesh.gossip.queries import Answer, Answered, Asked, Ended
from mesh.gossip.streams import PushPull
from mesh.gossip.swim import Exchange, Remark, Send, Swim, TcpPing
from tests.sim.clock import Timeline
from tests.sim.network import Network


class Node:
    """One node: a pool, driven as `driver.py` drives it."""

    def __init__(self, world: World, name: str, address: str) -> None:
        self.world, self.name, self.address = world, name, address
        self.down = False
        self.events: list[str] = []
        self.remarks: list[str] = []
        self.answers: list[Answer] = []
        self.boot()

    def boot(self) -> None:
        self.pool = Pool(self.name, self.world.options, self.world.dice, self.world.now)
        self.pool.enter(self.world.now, self.address, 7946, encode_tags({}))
        self.down = False
        self.perform()

    @property
    def swim(self) -> Swim:
        return self.pool.swim

    @property
    def intents(self) -> Intents:
        return self.pool.intents

    def statuses(self) -> dict[str, str]:
        return {member.name: member.status.name for member in self.intents.members()}

    def tick(self) -> None:
        self.pool.tick(self.world.now)
        self.perform()

    def perform(self) -> None:
        while outcomes := self.pool.take(self.world.now):
            for outcome in outcomes:
                match outcome:
                    case Send():
                        parts = [encoded(message) for message in outcome.messages]
                        packet = join(parts, crc=outcome.crc)
                        self.world.send(self, outcome.address, packet)
                    case Remark():
                        self.remarks.append(outcome.text)
                    case TcpPing():
                        self.world.tcp_ping(self, outcome)
                    case Exchange():
                        self.world.exchange(self, outcome.address)
                    case Tell():
                        self.world.tell(self, outcome)
                    case _:
                        self.learn(outcome)
        self.world.plan(self)

    def learn(self, news: MemberEvent | UserEvent | Asked | Answered | Ended | NameLost) -> None:
        match news:
            case MemberEvent():
                self.note(f"{news.kind} {news.member.name}")
            case UserEvent():
                self.note(f"event {news.name}")
            case Answered():
                self.answers.append(news.answer)
            case NameLost():
                self.note("name lost")
            case _:
                pass

    def note(self, event: str) -> None:
        self.events.append(event)
        self.world.trace.append((round(self.world.now, 6), self.name, self.events[-1]))

    def receive(self, packet: bytes, source: str) -> None:
        messages, problems = split(packet)
        assert problems == [], "our own bytes are well formed"
        for message in messages:
            assert self.pool.receive(self.world.now, message, (source, 7946))
        self.perform()

    def state(self) -> PushPull:
        return self.pool.state(join=False)

    def merge(self, said: PushPull, heard: PushPull) -> None:
        assert self.pool.merge(self.world.now, heard) == 0
        self.swim.retell(said.nodes, heard.nodes)
        self.perform()

    def join(self, other: Node) -> None:
        self.world.exchange(self, other.address)
        self.intents.announce_join()
        self.perform()

    def fire(self, name: str, payload: bytes = b"") -> None:
        self.pool.events.fire(name, payload)
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
        when = node.pool.deadline()
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
            self.timeline.after(0.002 + slow, lambda: source.pool.probing.tcp_answered(effect.seq))

    def exchange(self, source: Node, address: str) -> None:
        target = self.by_address.get(address)
        if target is None:
            return
        # Written down before the other side takes the stream up, which may be long after.
        request, pool = source.state(), source.pool

        def way() -> float:
            return 0.0015 + self.network.delay(source.name, target.name)

        def arrive() -> None:
            if self._connected(source, target):
                reply = target.state()
                target.merge(reply, request)
                self.timeline.after(way(), lambda: answer(reply))

        def answer(reply: PushPull) -> None:
            if self._connected(source, target) and source.pool is pool:
                source.merge(request, reply)

        self.timeline.after(way(), arrive)

    def tell(self, source: Node, effect: Tell) -> None:
        target = self.by_address.get(effect.address)

        def arrive() -> None:
            if target is not None and self._connected(source, target):
                target.pool.receive_user(self.now, effect.message)
                target.perform()

        self.timeline.after(0.003, arrive)

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
