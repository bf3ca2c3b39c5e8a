"""SWIM: who is alive, as a machine without I/O; time and messages go in, effects come out.

A node is alive, suspect, dead or left, each at an incarnation that only the node itself raises.
News with a lower incarnation is old. An accusation about this node is answered by raising its own
incarnation (refutation). Probing finds failures (`probe.py`); every change is passed on by gossip
and by piggyback on whatever is sent.

Sources: SWIM (Das, Gupta, Motivala 2002), Lifeguard (Dadgar, Phillips, Currey 2018).
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

import msgspec

from mesh.clock import Dice
from mesh.errors import Invalid
from mesh.gossip.broadcasts import Broadcasts
from mesh.gossip.messages import Alive, Dead, Message, Suspect, check, host
from mesh.gossip.missed import missed
from mesh.gossip.options import SwimOptions
from mesh.gossip.packets import COMPOUND_HEAD_BYTES, PACKET_BYTES, PART_HEAD_BYTES, size
from mesh.gossip.peers import Order, Peer, Table
from mesh.gossip.streams import ALIVE, DEAD, LEFT, SUSPECT, NodeState
from mesh.gossip.suspicion import Suspicion, Suspicions, shortest
from mesh.gossip.versions import misfit

INCARNATION_MAX = 2**32 - 1
AWARENESS_MAX = 8
PICK_TRIES = 10
MEMBERS_MAX = 2**17
"""Members known at once, beyond any pool that was ever seen."""


class Send(msgspec.Struct, frozen=True):
    """Send these messages in one datagram."""

    address: str
    port: int
    messages: Sequence[Message]
    crc: bool = False


class TcpPing(msgspec.Struct, frozen=True):
    """Ping over a stream; report the result with `Probing.tcp_answered`."""

    seq: int
    node: str
    address: str
    port: int
    deadline: float


class Exchange(msgspec.Struct, frozen=True):
    """Push/pull with this member; join when it may have to be won back."""

    node: str
    address: str
    port: int
    join: bool = False


class Notice(msgspec.Struct, frozen=True):
    """A member came (`join`), went (`leave`) or changed its metadata (`update`)."""

    kind: str
    node: str


class Claim(msgspec.Struct, frozen=True):
    """Another node says that it has this node's name."""

    address: str
    port: int


class Remark(msgspec.Struct, frozen=True):
    """Something an operator may want to read in the log."""

    text: str
    warning: bool = False


Effect: TypeAlias = Send | TcpPing | Exchange | Notice | Claim | Remark


class Swim:
    """The membership list of one node and the rules that change it.

    `draw_above` draws messages of the layer above into packets: (budget, overhead) to messages;
    `waits_above` says whether there are any.
    """

    def __init__(
        self,
        name: str,
        options: SwimOptions,
        dice: Dice,
        now: float,
        peers: Table[Peer] | None = None,
        order: Order | None = None,
    ) -> None:
        """Nobody is known, but for `peers`; `order` holds their names."""
        self.name = name
        self.options = options
        self.dice = dice
        self.me = Peer(name)
        self.peers: Table[Peer] = Table() if peers is None else peers
        self.order = Order([]) if order is None else order
        self.suspicions = Suspicions()
        self.queue: Broadcasts[Message] = Broadcasts(options.retransmit_mult, size)
        self.effects: list[Effect] = []
        self.leaving = False
        self.awareness = 0
        self.overhead = 0
        """Bytes that the transport adds to each datagram: label and encryption."""
        self.draw_above: Callable[[int, int], list[Message]] = lambda _budget, _overhead: []
        self.waits_above: Callable[[], bool] = lambda: False
        interval = options.push_pull_interval_seconds
        self._first_gossip = now + dice.uniform(0, options.gossip_interval_seconds)
        self._next_gossip = math.inf
        self._exchanging = False
        self._next_exchange = now + dice.uniform(0, interval) if interval else math.inf

    def take(self) -> list[Effect]:
        """The effects since the last call, in order."""
        effects, self.effects = self.effects, []
        return effects

    def go_live(self, now: float, address: str, port: int, meta: bytes) -> None:
        """Enter the list with an address others can reach, and tell them."""
        self.me.place(ipaddress.ip_address(address).packed, port)
        self.me.incarnation = 1
        self.me.meta = meta
        self.me.state = ALIVE
        self.me.changed = now
        self.peers[self.name] = self.me
        self._announce(self.me)

    def set_meta(self, meta: bytes) -> None:
        """Change this node's metadata and tell the others."""
        if meta != self.me.meta and not self.left:
            self.me.meta = meta
            self.me.incarnation = min(self.me.incarnation + 1, INCARNATION_MAX)
            self._announce(self.me)
            self.effects.append(Notice("update", self.name))

    @property
    def left(self) -> bool:
        """This node has said goodbye: whatever others say of it, it answers no more."""
        return self.me.state == LEFT

    def count(self) -> int:
        """Members known, dead ones that are not dropped yet included."""
        return len(self.peers)

    def others(self) -> list[Peer]:
        """Every member but this node."""
        return [peer for peer in self.peers.values() if peer is not self.me]

    def pick(self, count: int, fits: Callable[[Peer], bool]) -> list[Peer]:
        """Some other members at random, fewer when fewer fit."""
        picked = list[Peer]()
        # To look at every member several times a second costs a large pool most of its time.
        tries = PICK_TRIES * count
        for _ in range(tries if len(self.order) > tries else 0):
            peer = self.peers[self.order.any(self.dice)]
            if fits(peer) and peer not in picked and peer is not self.me:
                picked.append(peer)
                if len(picked) == count:
                    return picked
        return self.dice.sample([peer for peer in self.others() if fits(peer)], count)

    def next_to_probe(self, now: float) -> Peer | None:
        """The next member of the round that is not gone. Forgets who is gone for long between."""
        for _ in range(2):
            while (name := self.order.draw(self.dice)) is not None:
                peer = self.peers[name]
                if not peer.gone and peer is not self.me:
                    return peer
            self.drop_gone(now)
        return None

    def degrade(self, points: int) -> None:
        """Move the local health score: 0 is healthy, higher means slower verdicts."""
        self.awareness = min(max(self.awareness + points, 0), AWARENESS_MAX - 1)

    # Sending

    def send(self, address: str, port: int, message: Message) -> None:
        """Send a message with as much news as fits beside it."""
        messages = [message]
        if self._waits():
            messages += self._draw(self._budget() - PART_HEAD_BYTES - size(message))
        self.effects.append(Send(address, port, messages))

    def _budget(self) -> int:
        return PACKET_BYTES - COMPOUND_HEAD_BYTES - self.overhead

    def _waits(self) -> bool:
        return bool(self.queue.items) or self.waits_above()

    def _draw(self, budget: int) -> list[Message]:
        drawn = self.queue.draw(budget, PART_HEAD_BYTES, self.count())
        if not self.waits_above():
            return drawn
        budget -= sum(size(message) + PART_HEAD_BYTES for message in drawn)
        return drawn + self.draw_above(budget, PART_HEAD_BYTES)

    def _announce(self, peer: Peer, done: Callable[[], None] | None = None) -> None:
        self.queue.add(peer.name, peer.alive(), done)

    def _remark(self, text: str, *, warning: bool = False) -> None:
        self.effects.append(Remark(text, warning))

    # Time

    def deadline(self) -> float:
        """When `tick` has something to do, on the clock of `now`. After any input, ask `plan`."""
        return min(self._next_gossip, self._next_exchange, self.suspicions.deadline())

    def plan(self, now: float) -> None:
        """Gossip goes out at its interval, but the timer runs only while there is any."""
        if self._next_gossip == math.inf and self._waits():
            first, interval = self._first_gossip, self.options.gossip_interval_seconds
            # A little over: rounded down, the moment that just came would come again.
            passed = math.floor((now - first) / interval + 1e-6)
            self._next_gossip = first + interval * (passed + 1)

    def tick(self, now: float) -> None:
        """Do what is due."""
        for name in self.suspicions.due(now):
            self._remark(f"suspect {name} has not refuted and is taken for failed")
            self.dead(now, Dead(self.peers[name].incarnation, name, self.name))
        if self._next_gossip <= now:
            self._next_gossip = math.inf
            self._gossip(now)
            self.plan(now)
        if self._next_exchange <= now:
            self._next_exchange = now + self._exchange_period()
            # At first it only falls in step: the period is not known before the pool is.
            if self._exchanging:
                self._start_exchange()
            self._exchanging = True

    def _gossip(self, now: float) -> None:
        limit = self.options.gossip_to_the_dead_seconds

        def hears(peer: Peer) -> bool:
            return peer.state in {ALIVE, SUSPECT} or (
                peer.state == DEAD and now - peer.changed <= limit
            )

        for peer in self.pick(self.options.gossip_nodes, hears):
            messages = self._draw(self._budget())
            if not messages:
                return
            self.effects.append(Send(peer.host, peer.port, messages, peer.protocol_max >= 5))

    def _exchange_period(self) -> float:
        interval, members = self.options.push_pull_interval_seconds, self.count()
        if members <= 32:
            return interval
        return interval * (math.ceil(math.log2(members) - 5) + 1)

    def _start_exchange(self) -> None:
        for peer in self.pick(1, lambda peer: peer.state == ALIVE):
            self.effects.append(Exchange(peer.name, peer.host, peer.port))

    def drop_gone(self, now: float) -> None:
        """Forget members that are dead or left for longer than news is sent to them."""
        limit = self.options.gossip_to_the_dead_seconds
        self.forget(
            {peer.name for peer in self.others() if peer.gone and now - peer.changed > limit}
        )

    def forget(self, names: Collection[str]) -> None:
        """These are members no more."""
        for name in names:
            self.peers.pop(name, None)
            self.suspicions.pop(name, None)
        if names:
            self.order.remove(names)

    # News

    def alive(self, now: float, news: Alive) -> None:
        """Somebody says a node is alive. Raises Invalid for one too many, or of other versions."""
        if news.node == self.name:
            self._alive_self(news)
            return
        if news.versions != self.me.versions:
            # Once it is listed, every push/pull of the pool would be refused.
            pair = [(news.node, ALIVE, news.versions), (self.name, ALIVE, self.me.versions)]
            if problem := misfit(pair):
                raise Invalid(f"Vsn: {problem}")
        peer = self.peers.get(news.node)
        if peer is None:
            if news.incarnation == 0:
                return
            if len(self.peers) >= MEMBERS_MAX:
                raise Invalid(f"{news.node}: there are {MEMBERS_MAX} members already")
            peer = self._add(now, news)
        moved = (peer.address, peer.port) != (news.address, news.port)
        if moved and not self._may_move(now, peer):
            self._conflict(peer, news)
            return
        if news.incarnation <= peer.incarnation and not moved:
            return
        self._accept(now, self.peers.own(news.node), news)

    def _accept(self, now: float, peer: Peer, news: Alive) -> None:
        self.suspicions.pop(peer.name, None)
        came, changed = peer.gone, peer.meta != news.meta
        if (peer.address, peer.port) != (news.address, news.port):
            peer.place(news.address, news.port)
        peer.meta, peer.versions = news.meta, news.versions
        peer.incarnation = news.incarnation
        if peer.state != ALIVE:
            peer.state, peer.changed = ALIVE, now
        self._announce(peer)
        if came:
            self.effects.append(Notice("join", peer.name))
        elif changed:
            self.effects.append(Notice("update", peer.name))

    def _alive_self(self, news: Alive) -> None:
        if self.left:
            return
        if (news.address, news.port) != (self.me.address, self.me.port):
            # Two nodes of one name that refuted each other would never stop.
            self._conflict(self.me, news)
            return
        same = (news.meta, news.versions) == (self.me.meta, self.me.versions)
        if news.incarnation < self.me.incarnation or (
            news.incarnation == self.me.incarnation and same
        ):
            return
        self._refute(news.incarnation)

    def _conflict(self, peer: Peer, news: Alive) -> None:
        if peer is self.me:
            self.effects.append(Claim(host(news.address), news.port))
        self._remark(
            f"{peer.name} is at {peer.host}:{peer.port}; another node of that name at "
            f"{host(news.address)}:{news.port} is ignored",
            warning=True,
        )

    def _add(self, now: float, news: Alive) -> Peer:
        peer = Peer(news.node)
        peer.place(news.address, news.port)
        peer.changed = now
        self.peers[news.node] = peer
        self.order.add(news.node)
        return peer

    def _may_move(self, now: float, peer: Peer) -> bool:
        reclaim = self.options.dead_node_reclaim_seconds
        return peer.state == LEFT or (peer.state == DEAD and 0 < reclaim < now - peer.changed)

    def suspect(self, now: float, news: Suspect) -> None:
        """Somebody could not reach a node."""
        if news.node == self.name:
            if self.left:
                return
            if news.incarnation >= self.me.incarnation:
                self._refute(news.incarnation)
            else:
                # Whoever still says so missed the refutation, which gossip brings most but not
                # all; memberlist leaves it to take this node for dead.
                self._announce(self.me)
            return
        peer = self.peers.get(news.node)
        if peer is None or news.incarnation < peer.incarnation:
            return
        if news.node in self.suspicions:
            if self.suspicions.confirm(news.node, news.source):
                self.queue.add(peer.name, news)
            return
        if peer.state != ALIVE:
            return
        self._remark(f"{news.node} is suspected by {news.source}")
        peer = self.peers.own(news.node)
        peer.incarnation = news.incarnation
        peer.state, peer.changed = SUSPECT, now
        self.queue.add(peer.name, news)
        self.suspicions[peer.name] = self._suspicion(news.source, now)

    def _suspicion(self, accuser: str, now: float) -> Suspicion:
        members = self.count()
        expected = self.options.suspicion_mult - 2
        if members - 2 < expected:
            expected = 0
        times = shortest(self.options.suspicion_mult, members, self.options.probe_interval_seconds)
        return Suspicion(accuser, now, expected, times)

    def dead(self, now: float, news: Dead) -> None:
        """A node failed, or says that it leaves."""
        if news.node == self.name:
            if not self.left and news.incarnation >= self.me.incarnation:
                self._refute(news.incarnation)
            return
        peer = self.peers.get(news.node)
        if peer is None or news.incarnation < peer.incarnation:
            return
        self.suspicions.pop(news.node, None)
        if peer.gone:
            return
        peer = self.peers.own(news.node)
        peer.incarnation = news.incarnation
        peer.state = LEFT if news.source == news.node else DEAD
        peer.changed = now
        self.queue.add(peer.name, news)
        self.effects.append(Notice("leave", peer.name))

    def _refute(self, accused: int) -> None:
        self.me.incarnation = min(max(self.me.incarnation, accused) + 1, INCARNATION_MAX)
        self.degrade(1)
        last = self.me.incarnation == INCARNATION_MAX
        self._remark(f"refuting news about this node at incarnation {accused}", warning=last)
        self._announce(self.me)

    def leave(self, done: Callable[[], None]) -> None:
        """Say goodbye; `done` is called when it was passed on often enough."""
        self.leaving = True
        self.me.state = LEFT
        goodbye = Dead(self.me.incarnation, self.name, self.name)
        self.queue.add(self.name, goodbye, done)

    # Push/pull

    def states(self) -> list[NodeState]:
        """All members, for the other side of a push/pull."""
        return [
            NodeState(
                peer.name,
                peer.address,
                peer.port,
                peer.incarnation,
                peer.state,
                peer.meta,
                peer.versions,
            )
            for peer in self.peers.values()
        ]

    def misfit(self, states: Sequence[NodeState]) -> str:
        """Why these are no members of one pool with those known here; empty when they are."""
        theirs = [(state.name, state.state, state.versions) for state in states]
        mine = [(peer.name, peer.state, peer.versions) for peer in self.peers.values()]
        return misfit([*theirs, *mine])

    def merge(self, now: float, states: Sequence[NodeState]) -> int:
        """Take over what another node knows. Returns how many entries made no sense."""
        bad = 0
        for state in states:
            try:
                self._merge(now, state)
            except Invalid:
                bad += 1
        return bad

    def retell(self, said: Sequence[NodeState], heard: Sequence[NodeState]) -> None:
        """Once `heard` is merged, tell what came while it was exchanged for `said`."""
        if not self.leaving:
            for news in missed(said, heard, self.peers, self.name):
                self.queue.add(news.node, news)

    def _merge(self, now: float, state: NodeState) -> None:
        if state.state == ALIVE:
            news = Alive(
                state.incarnation,
                state.name,
                state.address,
                state.port,
                state.meta,
                state.versions,
            )
            check(news)
            self.alive(now, news)
        elif state.state == LEFT:
            self.dead(now, Dead(state.incarnation, state.name, state.name))
        else:
            # Never a direct kill: the accused gets the time to refute.
            self.suspect(now, Suspect(state.incarnation, state.name, self.name))
