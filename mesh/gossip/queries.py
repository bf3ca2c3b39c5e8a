"""Queries: a question to all members, or some, whose answers come straight to who asked.

A query spreads like an event and is known by its Lamport time and id. Who it reaches and passes the
filters may say so at once (an acknowledgement) and may answer once, until the deadline. Answers are
datagrams to the asker; with a relay factor a few others carry copies, which the asker drops.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from mesh.errors import Busy, Conflict, Invalid, TooLarge
from mesh.gossip import relay
from mesh.gossip.bodies import (
    ACK_FLAG,
    NO_REBROADCAST_FLAG,
    Filter,
    NodesFilter,
    QueryBody,
    Response,
    TagFilter,
    decode_query,
    decode_response,
    encode_query,
    encode_relay,
    encode_response,
)
from mesh.gossip.broadcasts import Broadcasts
from mesh.gossip.events import PACKET_MAX_BYTES
from mesh.gossip.lamport import TIME_MAX, Lamport, Ring
from mesh.gossip.members import Member
from mesh.gossip.messages import User, decode_tags, host, number
from mesh.gossip.swim import MEMBERS_MAX, Send, Swim
from mesh.patterns import PROGRAM_MAX, Pattern

QUERY_MAX_BYTES = 9 * 1024
"""Taken from others, encoded; what goes out has a smaller limit."""
ASKING_MAX = 1024
"""Queries of this node that run at once."""
SECONDS_MAX = 3600.0
TIMEOUT_MULT = 16
ITEM_BYTES = 64
"""What remembering one query costs."""
PREFIX = "_serf_"
"""Names of Serf's own queries, which no program sees."""


class Filters(msgspec.Struct, frozen=True):
    """Who is asked: these nodes, if any are given, whose tags match all of these expressions."""

    nodes: Sequence[str] = ()
    tags: Mapping[str, str] = {}
    """Tag to an RE2 expression; a tag that is missing is empty."""


EVERYBODY = Filters()


class Question(msgspec.Struct, frozen=True):
    """What this node wants to know of others, and of whom."""

    name: str
    payload: bytes = b""
    filters: Filters = EVERYBODY
    ack: bool = False
    """Also who has no answer says that the query reached it."""
    relay_factor: int = 0
    """By how many others each answer comes besides, up to 255."""


class Asked(msgspec.Struct, frozen=True):
    """A query that reached this node. `deadline` is on the clock of `now`."""

    time: int
    id: int
    source: str
    name: str
    payload: bytes
    deadline: float
    address: bytes = b""
    port: int = 0
    relay_factor: int = 0


class Answer(msgspec.Struct, frozen=True):
    """What one member says to a query; `ack` means only that the query reached it."""

    source: str
    payload: bytes
    ack: bool = False


class Answered(msgspec.Struct, frozen=True):
    """The query of this time from here got an answer."""

    query: int
    answer: Answer


class Ended(msgspec.Struct, frozen=True):
    """The query of this time from here is past its deadline."""

    query: int


class Asking(msgspec.Struct):
    """A query of this node that still runs."""

    time: int
    id: int
    deadline: float
    acks: set[str] = msgspec.field(default_factory=set)
    answers: set[str] = msgspec.field(default_factory=set)


Word: TypeAlias = Asked | Answered | Ended


class Limits(msgspec.Struct, frozen=True):
    """What a query and an answer from here may take, encoded."""

    query_bytes_max: int = 1024
    answer_bytes_max: int = 1024


class Queries:
    """The queries of one node, its own and those of others."""

    def __init__(
        self,
        swim: Swim,
        queue: Broadcasts[bytes],
        limits: Limits,
        members: Callable[[], list[Member]],
    ) -> None:
        """`members` gives Serf's list of members."""
        self.queue = queue
        self.clock = Lamport()
        self.counters: Counter[str] = Counter()
        self._swim, self._limits, self._members = swim, limits, members
        self._ring: Ring[int] = Ring(lambda _: ITEM_BYTES)
        self.asking: dict[int, Asking] = {}
        self.words: list[Word] = []
        self.large: list[bytes] = []
        self._last = 0

    def take(self) -> list[Word]:
        """What came up since the last call, in order."""
        words, self.words = self.words, []
        return words

    def take_large(self) -> list[bytes]:
        """The new queries since the last call that must be passed on over streams."""
        large, self.large = self.large, []
        return large

    def _spread(self, query: QueryBody, body: bytes) -> None:
        if len(body) > PACKET_MAX_BYTES:
            self.large.append(body)
        else:
            self.queue.add(f"{query.time} {query.id}", body)

    @property
    def last(self) -> int:
        """The time of the newest query that was heard, 0 for none."""
        return max(self._last, self._ring.floor - 1)

    def restore(self, last: int) -> None:
        """Go on after the query of this time, which an earlier life of this node heard."""
        self.clock.witness(last)
        self._ring.floor = max(self._ring.floor, last + 1)

    # Time

    def deadline(self) -> float:
        """When `tick` has something to do."""
        if not self.asking:
            return math.inf
        return min(one.deadline for one in self.asking.values())

    def tick(self, now: float) -> None:
        """End the queries whose time is over."""
        for one in list(self.asking.values()):
            if one.deadline <= now:
                self.end(one.time)

    def end(self, time: int) -> None:
        """Wait no longer for answers to the query of this time."""
        if self.asking.pop(time, None) is not None:
            self.words.append(Ended(time))

    # Asking

    def default_seconds(self) -> float:
        """Serf's formula: time for the query to spread, growing with the pool's logarithm."""
        alive = sum(not peer.gone for peer in self._swim.peers.values())
        interval = self._swim.options.gossip_interval_seconds
        return interval * TIMEOUT_MULT * math.ceil(math.log10(alive + 1))

    def ask(self, now: float, question: Question, seconds: float | None = None) -> Asking:
        """Ask everybody who passes the filters, this node too; the default is Serf's formula.

        Raises TooLarge naming the limit, Busy, or Invalid.
        """
        seconds = self.default_seconds() if seconds is None else seconds
        _check(question, seconds)
        if len(self.asking) >= ASKING_MAX:
            raise Busy(f"{ASKING_MAX} queries from here are running already")
        me = self._swim.me
        query = QueryBody(
            time=self.clock.time,
            id=self._swim.dice.below(2**31),
            address=me.address,
            port=me.port,
            source=me.name,
            name=question.name,
            payload=question.payload,
            filters=_wire(question.filters),
            flags=ACK_FLAG if question.ack else 0,
            relay_factor=question.relay_factor,
            timeout_ns=int(seconds * 1e9),
        )
        body = encode_query(query)
        if len(body) > self._limits.query_bytes_max:
            raise TooLarge(
                f"the encoded query takes {len(body)} bytes; "
                f"the limit is {self._limits.query_bytes_max}"
            )
        self.clock.next()
        asking = Asking(query.time, query.id, now + seconds)
        self.asking[query.time] = asking
        self._hear(now, query)
        self._spread(query, body)
        return asking

    def receive_response(self, body: bytes) -> None:
        """An answer to a query from here, or to none that still runs. Raises Invalid."""
        response = decode_response(body)
        asking = self.asking.get(response.time)
        if asking is None or asking.id != response.id:
            self.counters["answers_late"] += 1
            return
        ack = bool(response.flags & ACK_FLAG)
        heard = asking.acks if ack else asking.answers
        if response.source in heard or len(heard) >= MEMBERS_MAX:
            self.counters["answers_repeated"] += 1
            return
        heard.add(response.source)
        answer = Answer(response.source, b"" if ack else response.payload, ack)
        self.words.append(Answered(asking.time, answer))

    # Being asked

    def receive_query(self, now: float, body: bytes) -> None:
        """A query of somebody; passed on as it is when it is new. Raises Invalid."""
        if len(body) > QUERY_MAX_BYTES:
            raise Invalid(f"query of {len(body)} bytes; the limit is {QUERY_MAX_BYTES}")
        query = decode_query(body)
        if self._hear(now, query) and not query.flags & NO_REBROADCAST_FLAG:
            self._spread(query, body)

    def _hear(self, now: float, query: QueryBody) -> bool:
        self.clock.witness(query.time)
        if not self._ring.admit(self.clock.time, query.time, query.id):
            return False
        self._last = max(self._last, query.time)
        if self._passes(query.filters):
            asked = Asked(
                time=query.time,
                id=query.id,
                source=query.source,
                name=query.name,
                payload=query.payload,
                deadline=now + min(query.timeout_ns / 1e9, SECONDS_MAX),
                address=query.address,
                port=query.port,
                relay_factor=query.relay_factor,
            )
            if query.flags & ACK_FLAG:
                self._respond(asked, b"", ACK_FLAG)
            self.words.append(asked)
        return True

    def _passes(self, filters: Sequence[Filter]) -> bool:
        steps, tags = 0, decode_tags(self._swim.me.meta)
        for one in filters:
            if isinstance(one, NodesFilter):
                passes = self._swim.name in one.nodes
            elif isinstance(one, TagFilter):
                try:
                    pattern = Pattern(one.expression)
                except Invalid:
                    self.counters["filters_refused"] += 1
                    return False
                steps += pattern.steps
                # Together they may cost no more than one: a query may hold many.
                if steps > PROGRAM_MAX:
                    self.counters["filters_refused"] += 1
                    return False
                passes = pattern.found_in(tags.get(one.tag, ""))
            else:
                passes = False
            if not passes:
                return False
        return True

    def answer(self, now: float, asked: Asked, payload: bytes) -> None:
        """Answer a query; at most once. Raises TooLarge, naming the limit, or Conflict."""
        if now > asked.deadline:
            raise Conflict(f"the query {asked.name} from {asked.source} is past its deadline")
        self._respond(asked, payload, 0)

    def _respond(self, asked: Asked, payload: bytes, flags: int) -> None:
        response = Response(asked.time, asked.id, self._swim.name, payload, flags)
        body = encode_response(response)
        if len(body) > self._limits.answer_bytes_max:
            raise TooLarge(
                f"the encoded answer takes {len(body)} bytes; "
                f"the limit is {self._limits.answer_bytes_max}"
            )
        there = host(asked.address)
        if (there, asked.port) == (self._swim.me.host, self._swim.me.port):
            # Not every network lets a node send to its own advertised address.
            self.receive_response(body)
            return
        self._send(there, asked.port, body)
        if asked.relay_factor:
            self._relay(asked, body)

    def _relay(self, asked: Asked, body: bytes) -> None:
        wrapped = encode_relay(asked.address, asked.port, asked.source, body)
        if len(wrapped) > self._limits.answer_bytes_max:
            self.counters["relays_too_large"] += 1
            return
        for carrier in relay.carriers(self._swim, self._members(), asked.relay_factor):
            self._send(carrier.address, carrier.port, wrapped)

    def _send(self, address: str, port: int, body: bytes) -> None:
        # Without news beside it: a query is passed on only a few times, and each of these would be
        # one, wasted on the asker.
        self._swim.effects.append(Send(address, port, [User(body)]))

    # Push/pull

    def fields(self) -> dict[str, Any]:
        """This part of a push/pull."""
        return {"QueryLTime": self.clock.time}

    def merge(self, fields: Mapping[bytes, Any]) -> None:
        """Take over another node's clock. Raises Invalid."""
        self.clock.witness(max(number(fields, "QueryLTime", TIME_MAX) - 1, 0))


def _check(question: Question, seconds: float) -> None:
    if not question.name:
        raise Invalid("the name of a query is missing")
    if not 0 <= question.relay_factor <= 255:
        raise Invalid("relay factor: expected 0 to 255")
    if not 0 < seconds <= SECONDS_MAX:
        raise Invalid(f"timeout: expected up to {SECONDS_MAX:.0f} seconds")


def _wire(filters: Filters) -> list[Filter]:
    found: list[Filter] = []
    if filters.nodes:
        found.append(NodesFilter(list(filters.nodes)))
    for tag, expression in sorted(filters.tags.items()):
        Pattern(expression)  # A mistake shows here, not as silence.
        found.append(TagFilter(tag, expression))
    return found
