"""The gossip driver: a transport and a timer around a pool, and what other parts may ask of it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from mesh.clock import Clock, Dice
from mesh.errors import Conflict, Invalid, MeshError, NotFound, Unreachable
from mesh.gossip import doctor, rejoining
from mesh.gossip.addresses import parse_address
from mesh.gossip.conflict import NameLost
from mesh.gossip.conversations import Answers, Conversations, Listeners, Responder
from mesh.gossip.events import UserEvent
from mesh.gossip.examiner import Examiner
from mesh.gossip.keys import Keys
from mesh.gossip.members import Member, MemberEvent
from mesh.gossip.messages import Ack, Fault, Message, Ping, User, check_name, encode_tags
from mesh.gossip.options import MemberOptions as Options
from mesh.gossip.packets import encoded
from mesh.gossip.pool import Pool, Tell
from mesh.gossip.queries import EVERYBODY, Answered, Asked, Ended, Filters, Question
from mesh.gossip.recorder import Recorder
from mesh.gossip.sealing import Sealing
from mesh.gossip.streams import PushPull, StreamMessage
from mesh.gossip.swim import Exchange, Remark, Send, TcpPing
from mesh.gossip.transport import Transport
from mesh.gossip.vivaldi import Coordinate
from mesh.tasks import Tasks

if TYPE_CHECKING:
    from mesh.gossip.keyring import Keyring

__all__ = ["Gossip", "Options"]

log = logging.getLogger(__name__)

REMOTE_ERRORS = {errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ECONNREFUSED}
"""Refusals to send that say something about the way or the receiver, not about this node."""

TELLING_MAX = 256
"""Events and queries too large for a packet that are on their way over streams at once; further
ones are not passed on from here, and counted."""
MERGE_AT_ONCE = 200
"""Members taken over from an exchange in one go; new ones cost some 20 us each."""


class Gossip:
    """This node's membership in one pool."""

    def __init__(
        self,
        name: str,
        options: Options,
        clock: Clock,
        dice: Dice,
        tags: Mapping[str, str] | None = None,
        *,
        keyring: Keyring | None = None,
    ) -> None:
        """Nothing happens before `start`. With a keyring all is encrypted.

        Raises Invalid for a name, a label or tags that are too long, and for options out of bounds.
        """
        check_name(name)
        options.check()
        self.name, self.options, self.keyring = name, options, keyring
        self._clock = clock
        self._meta = encode_tags(tags or {})
        self.pool = Pool(name, options, dice, clock.monotonic())
        self.transport = self._make_transport()
        # One account of what went wrong, whoever saw it.
        self.pool.counters = self.pool.queries.counters = self.transport.counters
        self.pool.internal.keys = keyring
        self._tasks = Tasks(self._failed)
        self._wake = asyncio.Event()
        self._due = math.inf
        self._listeners: Listeners[MemberEvent] = Listeners(self.counters)
        self._event_listeners: Listeners[UserEvent] = Listeners(self.counters)
        self._end_listeners: Listeners[str] = Listeners(self.counters)
        self._conversations = Conversations(clock, self._tasks, self.counters, self._respond)
        self.examiner = Examiner(
            self.pool,
            self.transport.ask,
            lambda host, port, body: self.transport.send(host, port, [body], crc=False),
            self.counters,
            (clock, dice),
        )
        self.keys = Keys(
            self.pool, lambda name, body, relays: self.query(name, body, relay_factor=relays)
        )
        self._recorder = self._make_recorder()
        self.previous: dict[str, str] = {}
        """Members that an earlier life of this node knew: name to address, for `rejoin`."""
        self._running = False
        self._telling = 0
        self.address: tuple[str, int] = (options.advertise_address, options.advertise_port)

    def _make_transport(self) -> Transport:
        options = self.options
        sealing = Sealing(
            options.label,
            self.keyring,
            verify_incoming=options.verify_incoming,
            verify_outgoing=options.verify_outgoing,
        )
        self.pool.swim.overhead = sealing.overhead
        return Transport(
            self._hear,
            self._answer,
            sealing,
            options.stream_timeout_seconds,
            options.compression,
        )

    def _make_recorder(self) -> Recorder | None:
        path, forever = self.options.snapshot_path, self.options.rejoin_after_leave
        if not path:
            return None
        times, counters = self.pool.times, self.counters
        recorder = Recorder(path, times, counters, rejoin_after_leave=forever)
        self.listen(recorder.note)
        return recorder

    @property
    def counters(self) -> Counter[str]:
        """What went wrong and how often, by name."""
        return self.transport.counters

    # Life

    async def start(self) -> None:
        """Bind and enter the list. Raises Conflict, naming the address, when it cannot bind."""
        if self._recorder is not None:
            before = await self._recorder.load()
            self.previous = before.members
            self.pool.restore(before.times)
        host, port = await self.transport.bind(self.options.bind_address, self.options.bind_port)
        options = self.options
        self.address = (options.advertise_address or host, options.advertise_port or port)
        self.pool.enter(self._clock.monotonic(), *self.address, self._meta)
        self._running = True
        self._tasks.start(self._run(), name="gossip timer", fatal=True)
        if self._recorder is not None:
            self._tasks.start(self._recorder.run(self._clock), name="gossip snapshot")
        self._perform()

    async def stop(self) -> None:
        """Close everything without a word to the others."""
        self._running = False
        await self.transport.close()
        await self._tasks.stop()
        self._conversations.end()
        if self._recorder is not None:
            await self._recorder.flush()

    async def leave(self) -> None:
        """Tell the others goodbye; answers them until `stop`. Returns once the news has spread."""
        if self.pool.swim.leaving:
            return
        others = any(not peer.gone for peer in self.pool.swim.others())
        self.pool.swim.leaving = True
        if self._recorder is not None:
            await self._recorder.leave()
        now = self._clock.monotonic()
        await self._spread(
            others,
            lambda done: self.pool.intents.announce_leave(now, self.name, prune=False, done=done),
        )
        await self._spread(others, self.pool.swim.leave)
        if others:
            await self._clock.sleep(self.options.leave_propagate_seconds)

    async def _spread(self, wait: bool, announce: Callable[[Callable[[], None]], None]) -> None:
        spread = asyncio.Event()
        announce(spread.set)
        self._perform()
        if wait:
            try:
                async with asyncio.timeout(self.options.leave_timeout_seconds):
                    await spread.wait()
            except TimeoutError:
                log.warning("leaving: the news may not have reached everybody")

    # What others may ask

    def members(self) -> list[Member]:
        """Every member known, also those that failed or left; ordered by name."""
        return self.pool.intents.members()

    def member(self, name: str) -> Member | None:
        """The member of this name."""
        return self.pool.intents.member(name)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Change what this node says of itself. Raises Invalid when it takes over 512 bytes."""
        self._meta = encode_tags(tags)
        if self._running:
            self.pool.swim.set_meta(self._meta)
            self._perform()

    async def force_leave(self, name: str, prune: bool = False) -> None:
        """Take a failed member for left; prune also forgets it. Raises NotFound."""
        member = self.member(name)
        if member is None:
            raise NotFound(f"No node found with name '{name}'")
        now = self._clock.monotonic()
        self.pool.intents.announce_leave(now, name, prune=prune, done=lambda: None)
        self._perform()

    def listen(self, listener: Callable[[MemberEvent], None]) -> Callable[[], None]:
        """Call the listener with every member event; returns what ends that."""
        return self._listeners.add(listener)

    def on_conflict_lost(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call the listener, with the reason, when this node should end: its name is another's.

        Or its timer failed, and nobody would be probed any more. Returns what ends that.
        """
        return self._end_listeners.add(listener)

    def _failed(self, error: BaseException) -> None:
        self._end_listeners.tell(f"gossip failed: {error!r}", "the end of gossip")

    def coordinate(self) -> Coordinate:
        """Where this node is in the network, by the round trips it measured."""
        return self.pool.vivaldi.here

    def coordinates(self) -> dict[str, Coordinate]:
        """Where other members are, by their own word in the last ack this node got of each."""
        return dict(self.pool.vivaldi.others)

    # Events and queries

    def fire(self, name: str, payload: bytes, *, coalesce: bool = False) -> int:
        """Tell all members, this one too; returns the event's Lamport time.

        Raises TooLarge naming the limit, Invalid without a name, Conflict before `start`.
        """
        self._check_running()
        time = self.pool.events.fire(name, payload, coalesce=coalesce)
        self._perform()
        return time

    def on_event(self, listener: Callable[[UserEvent], None]) -> Callable[[], None]:
        """Call the listener with every user event, once; returns what ends that."""
        return self._event_listeners.add(listener)

    def query(
        self,
        name: str,
        payload: bytes = b"",
        *,
        filters: Filters = EVERYBODY,
        ack: bool = False,
        relay_factor: int = 0,
        seconds: float | None = None,
    ) -> Answers:
        """Ask all members, or those who pass the filters; this one too.

        The query goes out at once, the answers come until its deadline: after `seconds`, or Serf's
        formula. Raises TooLarge naming the limit, Busy, Invalid, or Conflict before `start`.
        """
        self._check_running()
        question = Question(name, payload, filters, ack, relay_factor)
        asking = self.pool.queries.ask(self._clock.monotonic(), question, seconds)

        def end() -> None:
            self.pool.queries.end(asking.time)
            self._perform()

        answers = self._conversations.start(asking, end)
        self._perform()
        return answers

    def respond(self, name: str, responder: Responder) -> Callable[[], None]:
        """Answer queries of this name; returns what ends that.

        None gives no answer; who takes longer than the query's deadline is cancelled. Raises
        Conflict when the name has a responder, Invalid for one of Serf's own names.
        """
        return self._conversations.respond(name, responder)

    def _respond(self, asked: Asked, payload: bytes) -> None:
        self.pool.queries.answer(self._clock.monotonic(), asked, payload)
        self._perform()

    def _check_running(self) -> None:
        if not self._running:
            raise Conflict("this node is not in the pool: it was not started, or was stopped")

    @property
    def health_score(self) -> int:
        """Lifeguard's local health: 0 is healthy, up to 7."""
        return self.pool.swim.awareness

    async def join(self, addresses: Sequence[str], *, ignore_old: bool = False) -> int:
        """Exchange state with each address (`host`, `host:port`, `[v6]:port`).

        With ignore_old, user events that were fired before are not heard. Returns how many
        answered. Raises Unreachable, naming every failure, when none did, and Conflict after
        `leave`.
        """
        if self.pool.swim.leaving:
            raise Conflict("this node has left the pool; it can join again after a restart")
        joined, failures = 0, []
        for address in addresses:
            try:
                host, port = parse_address(address, self.address[1])
                await self._exchange(host, port, join=True, ignore_old=ignore_old)
                joined += 1
            except MeshError as error:
                failures.append(f"{address}: {error}")
        if addresses and not joined:
            raise Unreachable("; ".join(failures))
        if not self.pool.swim.leaving:
            self.pool.intents.announce_join()
            self._perform()
        return joined

    async def rejoin(self, enough: int = 1, *, ignore_old: bool = False) -> int:
        """Join through members that an earlier life of this node knew, in random order.

        Ends once `enough` of them, or all there are, have answered; returns how many did. Nobody
        may be there any more: that is no error.
        """
        addresses = [address for name, address in self.previous.items() if name != self.name]
        some = self.pool.swim.dice.sample(addresses, rejoining.TRIES_MAX)
        join = partial(self._join_one, ignore_old=ignore_old)
        return await rejoining.rejoin(join, some, enough, self.options.stream_timeout_seconds)

    async def _join_one(self, address: str, *, ignore_old: bool) -> int:
        return await self.join([address], ignore_old=ignore_old)

    # The timer

    async def _run(self) -> None:
        while True:
            self.pool.tick(self._clock.monotonic())
            self._perform()
            self._due = self.pool.deadline()
            pause = self._due - self._clock.monotonic()
            if pause > 0:
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()

    def _perform(self) -> None:
        while outcomes := self.pool.take(self._clock.monotonic()):
            for outcome in outcomes:
                match outcome:
                    case Send():
                        parts = [encoded(message) for message in outcome.messages]
                        refused = self.transport.send(
                            outcome.address, outcome.port, parts, crc=outcome.crc
                        )
                        if refused is not None:
                            remote = getattr(refused, "errno", None) in REMOTE_ERRORS
                            now = self._clock.monotonic()
                            self.pool.unsent(now, outcome, remote=remote)
                    case Remark():
                        level = logging.WARNING if outcome.warning else logging.INFO
                        log.log(level, outcome.text)
                    case TcpPing():
                        self._background(partial(self._tcp_ping, outcome), "gossip tcp ping")
                    case Tell():
                        self._background(partial(self._send_stream, outcome), "gossip event")
                    case Exchange(_, host, port, join):
                        exchange = partial(self._exchange, host, port, join=join)
                        self._background(exchange, "gossip push/pull")
                    case _:
                        self._tell(outcome)
        if self.pool.deadline() < self._due:
            self._wake.set()

    def _tell(self, news: MemberEvent | UserEvent | Asked | Answered | Ended | NameLost) -> None:
        match news:
            case MemberEvent():
                self._listeners.tell(news, f"the {news.kind} of {news.member.name}")
            case UserEvent():
                self._event_listeners.tell(news, f"event {news.name}")
            case NameLost():
                log.error("%s", news.text)
                self._end_listeners.tell(news.text, "the loss of the name")
            case _:
                self._conversations.hear(news)

    def _background(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        async def guarded() -> None:
            try:
                await work()
            except MeshError as error:
                log.debug("%s: %s", name, error)

        self._tasks.start(guarded(), name=name)

    # What arrives

    def _hear(self, messages: Sequence[Message], source: tuple[str, int]) -> None:
        now = self._clock.monotonic()
        for message in messages:
            try:
                if self.examiner.hear(message, source):
                    continue
                if not self.pool.receive(now, message, source):
                    self.counters["unexpected_messages"] += 1
            except Invalid as problem:
                self.counters["malformed_messages"] += 1
                log.debug("from %s:%d: %s", *source, problem)
        self._perform()

    async def _answer(self, message: StreamMessage) -> StreamMessage | None:
        reply: StreamMessage | None = None
        if isinstance(message, PushPull):
            # What this node knew before: the reply does not depend on the request.
            reply = self.pool.state(join=False)
            # Whoever asked finds the same.
            with contextlib.suppress(Conflict):
                await self._merge(reply, message)
        elif isinstance(message, Ping):
            if message.node in {"", self.name}:
                reply = Ack(message.seq)
        elif isinstance(message, User) and message.payload[:1] == doctor.KIND:
            return await self._consult(message)
        elif isinstance(message, User):
            self.pool.receive_user(self._clock.monotonic(), message)
        self._perform()
        return reply

    async def _consult(self, message: User) -> StreamMessage:
        try:
            return await self.examiner.answer(message)
        except MeshError as error:
            return Fault(error.message)

    async def _merge(self, said: PushPull, heard: PushPull, *, ignore_old: bool = False) -> None:
        if misfit := self.pool.swim.misfit(heard.nodes):
            self.counters["merges_refused"] += 1
            log.warning("the state of another pool, or of a broken member, is refused: %s", misfit)
            raise Conflict(f"incompatible versions: {misfit}")
        # To meet thousands takes long; in between, pings are answered.
        for start in range(0, len(heard.nodes), MERGE_AT_ONCE):
            some = PushPull(heard.nodes[start : start + MERGE_AT_ONCE], join=heard.join)
            self._merge_some(some)
            await self._clock.sleep(0)
        self.pool.swim.retell(said.nodes, heard.nodes)
        self._merge_some(PushPull((), heard.user_state, heard.join), ignore_old=ignore_old)

    def _merge_some(self, state: PushPull, *, ignore_old: bool = False) -> None:
        now = self._clock.monotonic()
        self.counters["malformed_states"] += self.pool.merge(now, state, ignore_old=ignore_old)
        self._perform()

    # Streams

    async def _exchange(
        self, host: str, port: int, *, join: bool, ignore_old: bool = False
    ) -> None:
        state = self.pool.state(join=join)
        reply = await self.transport.ask(host, port, state, self.options.stream_timeout_seconds)
        if isinstance(reply, Fault):
            raise Unreachable(f"{host}:{port} answered: {reply.text}")
        if not isinstance(reply, PushPull):
            raise Unreachable(f"{host}:{port} answered with {reply}")
        await self._merge(state, reply, ignore_old=ignore_old)

    async def _send_stream(self, effect: Tell) -> None:
        if self._telling >= TELLING_MAX:
            self.counters["large_messages_dropped"] += 1
            return
        self._telling += 1
        seconds = self.options.stream_timeout_seconds
        try:
            await self.transport.tell(effect.address, effect.port, effect.message, seconds)
        finally:
            self._telling -= 1

    async def _tcp_ping(self, effect: TcpPing) -> None:
        seconds = effect.deadline - self._clock.monotonic()
        ping = Ping(effect.seq, effect.node)
        reply = await self.transport.ask(effect.address, effect.port, ping, seconds)
        if isinstance(reply, Ack) and reply.seq == effect.seq:
            log.warning("%s answers over TCP but not over UDP", effect.node)
            self.pool.probing.tcp_answered(effect.seq)
