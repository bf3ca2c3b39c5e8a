"""One member of a pool, whole and without I/O: SWIM, its failure detector and Serf's layer.

Messages, exchanged state and time go in; what is to be sent, asked and told comes out of `take`.
The driver runs it on real sockets, the simulator in virtual time.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from mesh.clock import Dice
from mesh.errors import Invalid
from mesh.gossip import bodies, relay
from mesh.gossip.broadcasts import Broadcasts
from mesh.gossip.conflict import Conflicts, NameLost
from mesh.gossip.contacts import Contacts
from mesh.gossip.events import Events, UserEvent
from mesh.gossip.intents import Intents, Known
from mesh.gossip.internal import Internal
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
)
from mesh.gossip.options import Options
from mesh.gossip.peers import Order, Peer, Table
from mesh.gossip.probe import Probing
from mesh.gossip.queries import PREFIX, Answered, Asked, Ended, Limits, Queries, Word
from mesh.gossip.snapshot import Times
from mesh.gossip.streams import ALIVE, PushPull
from mesh.gossip.swim import Claim, Exchange, Notice, Remark, Send, Swim, TcpPing
from mesh.gossip.vivaldi import Vivaldi


class Tell(msgspec.Struct, frozen=True):
    """Send a message that fits into no packet over a stream."""

    address: str
    port: int
    message: User


Outcome: TypeAlias = (
    Send
    | Tell
    | TcpPing
    | Exchange
    | Remark
    | MemberEvent
    | UserEvent
    | Asked
    | Answered
    | Ended
    | NameLost
)
"""What a pool wants done (send, ping over a stream, exchange state) or wants known."""
QUEUE_CHECK_SECONDS = 30.0
QUEUE_WARNING = 128
LARGE_EVENT_NODES = 6
"""To how many each member passes an event or query that fits into no packet, once: 997 of 1,000
hear it so, of events the others with the next push/pull."""


class Tables:
    """Where a pool keeps what it knows of the members, by name; empty at first.

    A simulation of thousands of nodes brings its own, which share what nobody has changed.
    """

    def __init__(self) -> None:
        self.peers: Table[Peer] = Table()
        self.order = Order([])
        self.known: Table[Known] = Table()


class Pool:
    """This node's part in one pool."""

    def __init__(
        self, name: str, options: Options, dice: Dice, now: float, tables: Tables | None = None
    ) -> None:
        """It knows nobody, but for `tables`."""
        self.name = name
        tables = tables or Tables()
        self.swim = Swim(name, options, dice, now, tables.peers, tables.order)
        self.probing = Probing(self.swim, now)
        self.intents = Intents(self.swim, options, now, tables.known)
        self.events = Events(Broadcasts(options.retransmit_mult, len), options.event_bytes_max)
        limits = Limits(options.query_bytes_max, options.answer_bytes_max)
        self.queries = Queries(
            self.swim, Broadcasts(options.retransmit_mult, len), limits, self.intents.members
        )
        self.internal = Internal(self.swim, self.queries, self.intents)
        self.conflicts = Conflicts(self.swim, self.queries, resolve=options.resolve_conflicts)
        self.vivaldi = Vivaldi(dice)
        if options.coordinates:
            self.probing.ack_payload = self.vivaldi.payload
            self.probing.rtt = self.vivaldi.heard
        self.contacts = Contacts()
        self.probing.answered = self.contacts.note
        self.counters = self.queries.counters
        # Serf's order: who is here matters most.
        self.queues = (self.intents.queue, self.queries.queue, self.events.queue)
        self._options = options
        self._next_check = now + QUEUE_CHECK_SECONDS
        self.swim.draw_above = self._draw
        self.swim.waits_above = self._waits

    def _waits(self) -> bool:
        return bool(self.intents.queue.items or self.queries.queue.items or self.events.queue.items)

    def _draw(self, budget: int, overhead: int) -> list[Message]:
        parts, members = list[bytes](), self.intents.count()
        for queue in self.queues:
            drawn = queue.draw(budget, overhead + 1, members)
            budget -= sum(len(body) + overhead + 1 for body in drawn)
            parts += drawn
        return [User(body) for body in parts]

    def enter(self, now: float, address: str, port: int, meta: bytes) -> None:
        """Enter the list with an address others can reach, and tell them."""
        self.swim.go_live(now, address, port, meta)
        self.intents.enter()

    def restore(self, times: Times) -> None:
        """Go on where an earlier life of this node ended; before `enter`."""
        self.intents.restore(times.member)
        self.events.restore(times.event)
        self.queries.restore(times.query)

    def times(self) -> Times:
        """What `restore` of a later life of this node needs."""
        return Times(self.intents.last, self.events.last, self.queries.last)

    def take(self, now: float) -> list[Outcome]:
        """What came of the inputs since the last call, in order."""
        outcomes: list[Outcome] = []
        queries = self.queries
        while (
            self.swim.effects
            or self.intents.events
            or self.events.heard
            or queries.words
            or queries.large
        ):
            self._collect(now, outcomes)
        self.swim.plan(now)
        return outcomes

    def _collect(self, now: float, outcomes: list[Outcome]) -> None:
        for effect in self.swim.take():
            if isinstance(effect, Notice):
                self.intents.notice(now, effect)
            elif isinstance(effect, Claim):
                self.conflicts.claimed(now)
            else:
                outcomes.append(effect)
        for event in self.intents.take():
            if event.kind == "reap":
                self.vivaldi.forget(event.member.name)
                self.contacts.forget(event.member.name)
            outcomes.append(event)
        outcomes += self.events.take()
        for body in (*self.events.take_large(), *self.queries.take_large()):
            carriers = self.swim.pick(LARGE_EVENT_NODES, lambda peer: peer.state == ALIVE)
            outcomes += [Tell(peer.host, peer.port, User(body)) for peer in carriers]
        for word in self.queries.take():
            outcomes += self._word(now, word)

    def _word(self, now: float, word: Word) -> list[Outcome]:
        if isinstance(word, Asked):
            if not word.name.startswith(PREFIX):
                return [word]
            self.internal.hear(now, word)
            return []
        if not self.conflicts.is_about(word.query):
            return [word]
        try:
            lost = self.conflicts.hear(now, word)
        except Invalid:
            self.counters["malformed_messages"] += 1
            return []
        return [lost] if lost else []

    # Time

    def deadline(self) -> float:
        """When `tick` has something to do, on the clock of `now`."""
        soonest = min(self.swim.deadline(), self.probing.deadline(), self.intents.due)
        return min(soonest, self.queries.deadline()) if self.queries.asking else soonest

    def tick(self, now: float) -> None:
        """Do what is due."""
        self.swim.tick(now)
        self.probing.tick(now)
        self.intents.tick(now)
        self.queries.tick(now)
        if self._next_check <= now:
            self._next_check = now + QUEUE_CHECK_SECONDS
            self._check_queues()

    def _check_queues(self) -> None:
        # Each member that fails or comes back is news; a large pool has more of it.
        limit = max(self._options.queue_depth_min, 2 * self.intents.count())
        for queue in self.queues:
            queue.limit = limit
        for name, depth in self.depths().items():
            if depth >= QUEUE_WARNING:
                text = f"{depth} {name} wait to be passed on: more come than gossip carries"
                self.swim.effects.append(Remark(text, warning=True))

    def depths(self) -> dict[str, int]:
        """How many messages of each kind wait to be passed on."""
        names = ("intents", "queries", "events")
        depths = dict(zip(names, map(len, self.queues), strict=True))
        return {"members": len(self.swim.queue), **depths}

    # What arrives

    def unsent(self, now: float, send: Send, *, remote: bool) -> None:
        """This could not be sent; with `remote` the fault is on the way or over there."""
        self.probing.unsent(now, send.messages[0], remote=remote)

    def receive(self, now: float, message: Message, source: tuple[str, int]) -> bool:
        """A message of a datagram; False when its kind does not belong there. Raises Invalid."""
        match message:  # The most frequent ones first.
            case Suspect():
                self.swim.suspect(now, message)
            case Dead():
                self.swim.dead(now, message)
            case Ping():
                self.probing.ping(message, source)
            case IndirectPing():
                self.probing.indirect_ping(now, message, source)
            case Ack():
                self.probing.ack(now, message)
            case Nack():
                self.probing.nack(message)
            case Alive():
                self.swim.alive(now, message)
            case User():
                self.receive_user(now, message)
            case _:
                return False
        return True

    def receive_user(self, now: float, message: User) -> None:
        """A message of Serf's layer, from a datagram or a stream. Raises Invalid."""
        self._settle(now)
        body = message.payload
        match body[0] if body else -1:
            case bodies.QUERY:
                self.queries.receive_query(now, body)
            case bodies.RESPONSE:
                self.queries.receive_response(body)
            case bodies.RELAY:
                if not relay.forward(self.swim, bodies.decode_relay(body)):
                    self.counters["relays_refused"] += 1
            case bodies.EVENT:
                self.events.receive(body)
            case bodies.LEAVE | bodies.JOIN:
                self.intents.receive(now, body)
            case _:
                self.counters["unknown_user_messages"] += 1

    def _settle(self, now: float) -> None:
        # Serf's part is about members: what SWIM noticed before comes first.
        effects = self.swim.take()
        for effect in effects:
            if isinstance(effect, Notice):
                self.intents.notice(now, effect)
            else:
                self.swim.effects.append(effect)

    # Push/pull

    def state(self, *, join: bool) -> PushPull:
        """All this node knows, for the other side of a push/pull."""
        fields = self.intents.fields() | self.events.fields() | self.queries.fields()
        return PushPull(self.swim.states(), bodies.encode_state(fields), join)

    def merge(self, now: float, state: PushPull, *, ignore_old: bool = False) -> int:
        """Take over what another node knows; how many entries made no sense. Raises Invalid.

        With ignore_old, no user event is heard that was fired before.
        """
        bad = self.swim.merge(now, state.nodes)
        self._settle(now)
        fields = bodies.decode_state(state.user_state)
        if fields:
            self.queries.merge(fields)
            self.intents.merge(now, fields)
            self.events.merge(fields, ignore_old=ignore_old)
        return bad
