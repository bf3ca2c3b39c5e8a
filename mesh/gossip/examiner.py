"""The network doctor at work: pings others for a test, counts what arrives, asks and is asked.

Questions and answers travel over streams from the one who asks, so that a test needs no UDP. Who
cannot be reached so is asked through others. What all this means is told in `diagnosis.py`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from statistics import median
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from mesh.clock import Clock, Dice
from mesh.errors import Busy, Invalid, MeshError, NotFound, Unreachable
from mesh.gossip.diagnosis import Examination
from mesh.gossip.doctor import (
    LARGE_BYTES,
    MEMBERS_MAX,
    REASONS,
    SEEN_MAX,
    Heard,
    Probe,
    Question,
    Relay,
    Reply,
    Row,
    Rows,
    Sheet,
    Tell,
    clock_of,
    pick,
    read_question,
    read_reply,
    write,
)
from mesh.gossip.members import Member, Status
from mesh.gossip.messages import PING, Ack, Message, Ping, User, pack_map
from mesh.gossip.pool import Pool
from mesh.gossip.probe import SEQS
from mesh.gossip.streams import StreamMessage

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_SEQ = SEQS
"""Sequence numbers from here on are the doctor's, the failure detector's stay below. Bit 30 says
large, 10 bits are the run's."""
LARGE_BIT, RUN_SHIFT, RUNS = 2**30, 20, 2**10

PINGS, LARGE_EVERY, PACE_SECONDS = 20, 4, 0.1
"""Small pings to each member, 100 ms apart, and a large one with every fourth."""
GRACE_SECONDS = 2.0
"""So long an answer may take at most: a member that others keep from its processor is slow, and not
one on whose way datagrams are lost."""
TCP_SECONDS = 2.0
ASK_SECONDS = PINGS * PACE_SECONDS + GRACE_SECONDS + TCP_SECONDS + 2.0
RELAYS_MAX = 2
"""Others through whom a member is asked that cannot be reached."""
TESTS_MAX = 2
"""Tests this node takes part in at once."""
RUNS_KEPT = 4

Ask: TypeAlias = Callable[[str, int, StreamMessage, float], Awaitable[StreamMessage]]
"""A message over a stream to host and port, within seconds. Raises Unreachable or Invalid."""


class _Sent(NamedTuple):
    target: str
    large: bool
    at: float


class _Tally:
    """What arrived in one run, by source; and what was refused before it."""

    def __init__(self, refused: dict[str, int]) -> None:
        self.small: Counter[str] = Counter()
        self.large: Counter[str] = Counter()
        self.seen: dict[str, list[str]] = {}
        self.refused = refused


class Examiner:
    """This node's part in tests of the network, and the tests it asks for."""

    def __init__(
        self,
        pool: Pool,
        ask: Ask,
        send: Callable[[str, int, bytes], object],
        counters: Counter[str],
        world: tuple[Clock, Dice],
    ) -> None:
        """`send` sends one encoded message in a datagram to host and port."""
        self._pool, self._ask, self._send, self._counters = pool, ask, send, counters
        self._clock, self._dice = world
        self._tallies: dict[int, _Tally] = {}
        self._waiting: dict[int, _Sent] = {}
        self._times: dict[int, list[tuple[_Sent, float]]] = {}
        self._tests = 0
        self._asking = False

    # Datagrams

    def hear(self, message: Message, source: tuple[str, int]) -> bool:
        """Look at a message of a datagram; True when it is for nobody else."""
        if isinstance(message, Ack) and message.seq >= FIRST_SEQ:
            sent = self._waiting.pop(message.seq, None)
            run = _run_of(message.seq)
            if sent is not None and run in self._times:
                self._times[run].append((sent, self._clock.monotonic() - sent.at))
            return True
        if isinstance(message, Ping) and message.seq >= FIRST_SEQ:
            self._count(message, source)
        return False  # Pings are answered like all others.

    def _count(self, ping: Ping, source: tuple[str, int]) -> None:
        tally = self._tally(_run_of(ping.seq))
        name = ping.source_node
        if name not in tally.seen:
            if len(tally.seen) >= 2 * MEMBERS_MAX or self._member(name) is None:
                return
            tally.seen[name] = []
        (tally.large if ping.seq & LARGE_BIT else tally.small)[name] += 1
        address = _endpoint(*source)
        if address not in tally.seen[name] and len(tally.seen[name]) < SEEN_MAX:
            tally.seen[name].append(address)

    def _tally(self, run: int) -> _Tally:
        if run not in self._tallies:
            if len(self._tallies) >= RUNS_KEPT:
                del self._tallies[next(iter(self._tallies))]
            self._tallies[run] = _Tally({name: self._counters[name] for name in REASONS})
        return self._tallies[run]

    # Being asked

    async def answer(self, message: User) -> User:
        """Answer a question that came over a stream. Raises a MeshError when it cannot."""
        return User(write(await self._answer(read_question(message.payload))))

    async def _answer(self, question: Question) -> Reply:
        if isinstance(question, Relay):
            member = self._member(question.node)
            if member is None:
                raise NotFound(f"{question.node}: no such member")
            if (await self._tcp(member))[0] is None:
                raise Unreachable(f"{question.node} cannot be reached from here either")
            return await self._ask_member(member, question.question)
        if isinstance(question, Tell):
            return self._sheet(question.run % RUNS)
        if self._tests >= TESTS_MAX:
            raise Busy(f"{TESTS_MAX} tests of the network are running here already")
        if question.run % RUNS in self._times:
            raise Busy("this test of the network is running here already")  # Asked once more.
        self._tests += 1
        try:
            return Rows(await self._probe(question.run % RUNS, question.targets))
        finally:
            self._tests -= 1

    def _sheet(self, run: int) -> Sheet:
        tally, me = self._tally(run), self._pool.swim.me
        heard = [
            Heard(name, tally.small[name], tally.large[name], tally.seen[name])
            for name in sorted(tally.seen)
        ]
        refused = {
            name: self._counters[name] - before
            for name, before in tally.refused.items()
            if self._counters[name] > before
        }
        address = _endpoint(me.host, me.port)
        return Sheet(address, self._clock.wall(), self._pool.swim.awareness, heard, refused)

    async def _probe(self, run: int, targets: Sequence[str]) -> list[Row]:
        self._tally(run)
        known = {name: self._member(name) for name in targets if name != self._pool.name}
        members = [member for member in known.values() if member is not None]
        self._times[run] = []
        try:
            streams, _ = await asyncio.gather(
                asyncio.gather(*(self._tcp(member) for member in members)),
                self._ping_all(run, members),
            )
            times = self._times[run]
        finally:
            del self._times[run]
            for seq in [seq for seq in self._waiting if _run_of(seq) == run]:
                del self._waiting[seq]
        rows = [
            _row(member, [one for one in times if one[0].target == member.name], *stream)
            for member, stream in zip(members, streams, strict=True)
        ]
        return rows + [Row(name, "") for name, member in known.items() if member is None]

    async def _ping_all(self, run: int, members: Sequence[Member]) -> None:
        # Nothing that packing could make small.
        padding = bytes(self._dice.below(256) for _ in range(LARGE_BYTES))
        number = self._dice.below(2**RUN_SHIFT)
        for turn in range(PINGS):
            for member in members:
                for large in (False, True) if turn % LARGE_EVERY == 0 else (False,):
                    number = (number + 1) % 2**RUN_SHIFT
                    seq = FIRST_SEQ | LARGE_BIT * large | run << RUN_SHIFT | number
                    self._waiting[seq] = _Sent(member.name, large, self._clock.monotonic())
                    body = self._ping(seq, member.name, padding if large else b"")
                    self._send(member.address, member.port, body)
            await self._clock.sleep(PACE_SECONDS)
        # Turns and not a time: after a stall of this node the answers to it are not read yet.
        for _ in range(round(GRACE_SECONDS / PACE_SECONDS)):
            if not any(_run_of(seq) == run for seq in self._waiting):
                return
            await self._clock.sleep(PACE_SECONDS)

    def _ping(self, seq: int, target: str, padding: bytes) -> bytes:
        me = self._pool.swim.me
        fields: dict[str, object] = {
            "SeqNo": seq,
            "Node": target,
            "SourceAddr": me.address,
            "SourcePort": me.port,
            "SourceNode": me.name,
        }
        plain = bytes((PING,)) + pack_map(fields)
        if not padding:
            return plain
        # A field that nobody knows and all ignore; 6 bytes are its name and its length.
        room = max(LARGE_BYTES - self._pool.swim.overhead - len(plain) - 7, 0)
        return bytes((PING,)) + pack_map({**fields, "Pad": padding[:room]})

    async def _tcp(self, member: Member) -> tuple[float | None, str]:
        began = self._clock.monotonic()
        ping = Ping(FIRST_SEQ, member.name)
        try:
            reply = await self._ask(member.address, member.port, ping, TCP_SECONDS)
        except MeshError as error:
            return None, error.message
        if not isinstance(reply, Ack):
            return None, f"it answered {type(reply).__name__}"
        return self._clock.monotonic() - began, ""

    # Asking

    async def examine(self, wanted: Collection[str] = ()) -> Examination:
        """Test the paths between members: those named, or all, or some of very many.

        Raises Invalid for a name that is none, Busy while a test asked for here is running.
        """
        if self._asking:
            raise Busy("a test of the network is running already")
        self._asking = True
        try:
            return await self._examine(wanted)
        finally:
            self._asking = False

    async def _examine(self, wanted: Collection[str]) -> Examination:
        there = {
            member.name: member
            for member in self._pool.intents.members()
            if member.status in {Status.ALIVE, Status.LEAVING, Status.FAILED}
        }
        alive = {name: member.status != Status.FAILED for name, member in there.items()}
        chosen, others = pick(alive, self._pool.name, wanted)
        chosen += self._dice.sample(others, MEMBERS_MAX - len(chosen))
        members = [there[name] for name in sorted(chosen)]
        run = self._dice.below(RUNS)
        self._tallies.pop(run, None)
        question = Probe(run, [member.name for member in members])
        probed = await self._ask_all(members, question, Rows)
        asked = [member for member in members if member.name in probed.replies]
        told = await self._ask_all(asked, Tell(run), Sheet)
        return Examination(
            asker=self._pool.name,
            total=len(there),
            addresses={one.name: _endpoint(one.address, one.port) for one in members},
            rows={name: reply.rows for name, reply in probed.replies.items()},
            sheets=told.replies,
            silent=probed.silent | told.silent,
            clocks={
                name: clock_of(sheet, *told.asked[name]) for name, sheet in told.replies.items()
            },
        )

    async def _ask_all(
        self, members: Sequence[Member], question: Probe | Tell, kind: type[T]
    ) -> _Gathered[T]:
        gathered: _Gathered[T] = _Gathered({}, {}, {})

        async def ask(member: Member) -> None:
            before = self._clock.wall()
            try:
                reply = await self._reach(member, question)
                if not isinstance(reply, kind):
                    raise Invalid("an answer to something else")
            except MeshError as error:
                gathered.silent[member.name] = error.message
                return
            gathered.replies[member.name] = reply
            gathered.asked[member.name] = (before, self._clock.wall())

        await asyncio.gather(*(ask(member) for member in members))
        return gathered

    async def _reach(self, member: Member, question: Probe | Tell) -> Reply:
        """Ask it, or others to ask it."""
        if member.name == self._pool.name:
            return await self._answer(question)
        if (await self._tcp(member))[0] is not None:
            return await self._ask_member(member, question)
        others = [
            one
            for one in self._pool.intents.members()
            if one.status == Status.ALIVE and one.name not in {member.name, self._pool.name}
        ]
        for other in self._dice.sample(others, RELAYS_MAX):
            try:
                return await self._ask_member(other, Relay(member.name, question))
            except MeshError as error:
                log.debug("asking %s through %s: %s", member.name, other.name, error)
        raise Unreachable("it cannot be asked, directly or through others")

    async def _ask_member(self, member: Member, question: Question) -> Reply:
        message = User(write(question))
        seconds = ASK_SECONDS + (TCP_SECONDS if isinstance(question, Relay) else 0.0)
        try:
            reply = await self._ask(member.address, member.port, message, seconds)
        except Invalid as error:
            raise Unreachable("it does not understand the question; is it mesh?") from error
        if not isinstance(reply, User):
            raise Unreachable(f"it answered {reply}")
        return read_reply(reply.payload)

    def _member(self, name: str) -> Member | None:
        return self._pool.intents.member(name)


class _Gathered(NamedTuple, Generic[T]):
    replies: dict[str, T]
    silent: dict[str, str]
    asked: dict[str, tuple[float, float]]


def _run_of(seq: int) -> int:
    return seq >> RUN_SHIFT & RUNS - 1


def _row(
    member: Member,
    times: Sequence[tuple[_Sent, float]],
    tcp: float | None,
    tcp_error: str,
) -> Row:
    small = [seconds for sent, seconds in times if not sent.large]
    return Row(
        target=member.name,
        address=_endpoint(member.address, member.port),
        sent=PINGS,
        answered=len(small),
        rtt=median(small) if small else None,
        large_sent=len(range(0, PINGS, LARGE_EVERY)),
        large_answered=len(times) - len(small),
        tcp=tcp,
        tcp_error=tcp_error,
    )


def _endpoint(address: str, port: int) -> str:
    host = ipaddress.ip_address(address)
    return f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"
