"""The resolver: a question's bytes in, the answer's bytes out, reading through the registry."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import msgspec

from mesh.clock import Clock, Dice
from mesh.dns import answers, limits, message, names
from mesh.dns.answers import Asked
from mesh.dns.following import Following
from mesh.dns.message import RA, SERVFAIL, Name, Question, Reply
from mesh.dns.names import Lookup, NodeLookup, PreparedLookup, ServiceLookup
from mesh.dns.notes import SILENT, Notes
from mesh.dns.options import Options
from mesh.dns.recursion import Recursion
from mesh.dns.variants import VARIANTS, Variants
from mesh.errors import Invalid, MeshError, NotFound
from mesh.registry.execution import Caller, Executor, Found
from mesh.registry.port import Answer, Query, ReadOptions, Registry

# Answers given are kept: at most so many questions and bytes.
KEPT_MAX = 4096
KEPT_BYTES_MAX = 32 * 1024 * 1024
QUESTION_BYTES_MAX = 1024
"""Longer questions are not kept, nor their answers: nobody needs such."""
STALE_SECONDS = 5.0  # A longer last contact is counted.

COUNTERS = (
    "questions",
    "kept_hits",
    "malformed",
    "stale_queries",
    "errors",
    "dropped",
    "limited",
    "tcp_connections",
    "tcp_refused",
    "tcp_idle_closed",
    "tls_connections",
    "tls_failed",
)


class Reading(NamedTuple):
    """What is read from the registry."""

    query: Query[Any]
    options: ReadOptions


class Told(NamedTuple):
    """What the registry said to a lookup."""

    reading: Reading | None = None
    """What was read; None for nothing, or for an answer of its own each time."""
    answer: Answer[Any] | None = None
    error: MeshError | None = None
    """What kept the registry from answering."""


class Work(NamedTuple):
    """How a question was answered."""

    lookup: Lookup
    reading: Reading | None
    answer: Answer[Any] | None
    error: MeshError | None
    """What kept the registry from answering."""
    reply: Reply
    sent: Reply
    """What is left of it."""
    packed: bytes
    followed: bool = False
    """More went into it than what was read: other names, or what recursors say."""


class Kept(Variants):
    """The bytes given for one question, good for as long as the registry's value is the same.

    The same object, that is: a value that was replaced, or that came over a network anew, never
    passes for the old one, so a change of health shows at the next question.
    """

    __slots__ = ("reading", "turn", "value")

    def __init__(self, reading: Reading, value: object) -> None:
        super().__init__()
        self.reading = reading
        self.value = value
        self.turn = 0
        """In which turn the registry was asked last."""


class Resolver:
    """Answers questions, whatever brought them. What others know, `recursion` asks them."""

    def __init__(
        self,
        registry: Registry,
        options: Options,
        clock: Clock,
        dice: Dice,
        recursion: Recursion | None = None,
    ) -> None:
        self.counters = {} if recursion is None else recursion.counters  # All are shown together.
        self.counters |= dict.fromkeys(COUNTERS, 0)
        self._recursion = recursion
        self._registry = registry
        self._clock = clock
        self._dice = dice
        self._executor = Executor(registry, dice)
        self._turn = 1
        self.reload(options)

    def reload(self, options: Options) -> None:
        """Answer by other options from now on. Raises Invalid, changing nothing, for bad ones."""
        zones = names.zones_of(options.domain, options.alt_domain)
        self.options = options
        self._zones = zones
        # The flags that every answer has beside its own.
        asks_others = self._recursion is not None and bool(options.recursors)
        self.offered = RA if asks_others else 0
        self._following = Following(self._recursion if asks_others else None, zones)
        self._read = options.reads
        self._kept: dict[Hashable, Kept] = {}
        self.kept_bytes = 0

    async def resolve(self, data: bytes, *, tcp: bool, peer: str = "") -> bytes | None:
        """The answer to one message from this address; None when it is to be dropped.

        Raises no MeshError.
        """
        self.turn()
        at_once = self.at_once(data, tcp=tcp)
        return at_once if at_once is not None else await self.resolve_anew(data, tcp=tcp, peer=peer)

    def at_once(self, data: bytes, *, tcp: bool) -> bytes | None:
        """The answer to one message if it can be had without waiting, mostly of bytes kept."""
        kept = self._kept.get((tcp, data[2:]))
        if kept is not None and kept.turn == self._turn and (variant := kept.take()):
            self.counters["questions"] += 1
            self.counters["kept_hits"] += 1
            return data[:2] + variant
        try:
            if kept is None:
                return self._made_at_once(data, tcp=tcp)
            answer = self._registry.at_once(*kept.reading)
            if answer is None:
                return None
            if answer.value is not kept.value or not (variant := kept.take()):
                return self._made_at_once(data, tcp=tcp)
        except MeshError:
            return None
        counters = self.counters
        counters["questions"] += 1
        counters["kept_hits"] += 1
        if answer.last_contact > STALE_SECONDS:
            counters["stale_queries"] += 1
        elif kept.reading.options.consistency == "stale":
            kept.turn = self._turn
        return data[:2] + variant

    def turn(self) -> None:
        """Call it before messages that are answered at once, one after the other.

        Until the next call nothing changes that answers which may be stale rest on, so that the
        registry is asked for them once.
        """
        self._turn += 1

    def _made_at_once(self, data: bytes, *, tcp: bool) -> bytes | None:
        """The answer made anew, if the registry need not be waited for. Raises a MeshError."""
        try:
            question = message.parse(data, self.offered)
        except Invalid:
            return None
        lookup = names.find(question.name, question.kind, self._zones)
        if isinstance(lookup, PreparedLookup):
            return None
        reading, answer = self._reading(lookup, question), None
        if reading is not None and (answer := self._registry.at_once(*reading)) is None:
            return None
        asked = self._asked(question, tcp=tcp)
        told = Told(reading, answer)
        reply = self._reply(asked, lookup, told)
        if self._following.is_due(lookup, reply, question):
            return None
        self.counters["questions"] += 1
        work = self._done(asked, lookup, told, reply, tcp=tcp)
        self._account(work, data, self.options, tcp=tcp)
        return work.packed

    async def resolve_anew(self, data: bytes, *, tcp: bool, peer: str = "") -> bytes | None:
        """See `resolve`; whatever is kept, the registry is asked and the answer made anew."""
        self.counters["questions"] += 1
        try:
            question = message.parse(data, self.offered)
        except Invalid:
            self.counters["malformed"] += 1
            return message.refusal(data)
        options = self.options
        work = await self.work(question, tcp=tcp, peer=peer)
        self._account(work, data, options, tcp=tcp)
        return work.packed

    def _account(self, work: Work, data: bytes, options: Options, *, tcp: bool) -> None:
        """Count how a question was answered by these options, and keep the bytes if they may be."""
        reading, answer = work.reading, work.answer
        if work.error is not None:
            unknown = reading is None and isinstance(work.error, NotFound)
            self.counters["errors"] += not unknown
        if answer is not None and answer.last_contact > STALE_SECONDS:
            self.counters["stale_queries"] += 1
        # The options may have changed while the registry was read.
        # From abroad comes a new value each time, which never passes for the old one.
        at_home = reading is not None and not reading.options.datacenter
        fresh = at_home and not work.followed and options is self.options
        fresh = fresh and len(data) <= QUESTION_BYTES_MAX
        if reading is not None and answer is not None and fresh:
            self._note(answer, reading, work.reply, work.packed, (tcp, data[2:]))

    async def work(
        self, question: Question, *, tcp: bool, peer: str, notes: Notes = SILENT
    ) -> Work:
        """Answer one question anew; how that went. Raises no MeshError."""
        asked = self._asked(question, tcp=tcp, notes=notes)
        lookup = names.find(question.name, question.kind, self._zones)
        following, followed = self._following, False
        told = await self._told(lookup, asked, peer)
        reply = self._reply(asked, lookup, told)
        if following.is_outside(lookup, reply, question):
            told, followed = Told(told.reading, told.answer), True
            try:
                reply = await following.outside(question, tcp=tcp)
            except MeshError as error:
                told = told._replace(error=error)
                reply = Reply(rcode=SERVFAIL, authoritative=False)
        elif following.leads_on(reply):

            async def local(name: Name, kind: int) -> Reply:
                return await self._local(asked, name, kind, peer)

            reply, followed = await following.completed(reply, question, local, tcp=tcp), True
        return self._done(asked, lookup, told, reply, tcp=tcp)._replace(followed=followed)

    async def _told(self, lookup: Lookup, asked: Asked, peer: str) -> Told:
        """Ask the registry. Raises no MeshError."""
        reading = None
        try:
            if isinstance(lookup, PreparedLookup):
                return Told(answer=await self._execute(lookup, asked, peer))
            if reading := self._reading(lookup, asked.question):
                return Told(reading, await self._registry.read(*reading))
        except MeshError as error:
            return Told(reading, error=error)
        return Told()

    async def _local(self, asked: Asked, name: Name, kind: int, peer: str) -> Reply:
        """What a name of ours, which an alias leads to, is answered with."""
        question = Question(0, name, kind, b"")
        lookup = names.find(name, kind, self._zones)
        inner = msgspec.structs.replace(asked, question=question, notes=SILENT)
        return self._reply(inner, lookup, await self._told(lookup, inner, peer))

    def _asked(self, question: Question, *, tcp: bool, notes: Notes = SILENT) -> Asked:
        return Asked(
            question=question,
            options=self.options,
            dice=self._dice,
            now=int(self._clock.wall()),
            most=limits.most_answers(question, self.options, tcp=tcp),
            notes=notes,
        )

    def _reply(self, asked: Asked, lookup: Lookup, told: Told) -> Reply:
        """What the registry said, or why it did not."""
        if told.error is not None:
            return answers.reply_to_error(lookup, told.error, asked)
        value = None if told.answer is None else told.answer.value
        return answers.reply_to(lookup, value, asked)

    def _done(self, asked: Asked, lookup: Lookup, told: Told, reply: Reply, *, tcp: bool) -> Work:
        """A reply as a message."""
        sent, packed = limits.fit(asked.question, reply, asked.options, tcp=tcp)
        return Work(lookup, *told, reply, sent, packed)

    def kept(self, data: bytes, *, tcp: bool) -> tuple[int, int]:
        """How many answers to this message are kept, and how often they were given."""
        kept = self._kept.get((tcp, data[2:]))
        return (0, 0) if kept is None else (len(kept.variants), kept.uses)

    def keeping(self, data: bytes, *, tcp: bool) -> Kept | None:
        """What is kept for this message, whether it still holds or not."""
        return self._kept.get((tcp, data[2:]))

    async def _execute(self, lookup: PreparedLookup, asked: Asked, peer: str) -> Answer[Found]:
        """Execute a prepared query. The answer is not kept: each has an order of its own."""
        options, edns = asked.options, asked.question.edns
        subnet = edns.subnet if edns is not None else None
        caller = Caller(
            node=options.node_name,
            datacenter=options.datacenter,
            address=(subnet.address if subnet is not None else "") or peer,
            distances=not options.disable_coordinates,
            abroad_seconds=options.abroad_seconds,
            left_out=asked.notes.left_out,
        )
        reading = self._options_for(lookup.datacenter)
        return await self._executor.execute(lookup.name, caller, reading)

    def _reading(self, lookup: Lookup, question: Question) -> Reading | None:
        query = answers.query_for(lookup, question.kind)
        if query is None:
            return None
        datacenter = lookup.datacenter if isinstance(lookup, ServiceLookup | NodeLookup) else ""
        return Reading(query, self._options_for(datacenter))

    def _options_for(self, datacenter: str) -> ReadOptions:
        """How to read from a datacenter; empty is ours."""
        if datacenter in {"", self.options.datacenter.lower()}:
            return self._read
        return msgspec.structs.replace(
            self._read, datacenter=datacenter, seconds_max=self.options.abroad_seconds
        )

    def _note(
        self, answer: Answer[Any], reading: Reading, reply: Reply, packed: bytes, key: Hashable
    ) -> None:
        # Names that do not exist are many, and serials move.
        if reply.authority or reply.rcode:
            return
        if reply.answers and reply.answers[0].kind == message.SOA:
            return
        kept = self._kept.get(key)
        if kept is None or kept.value is not answer.value:
            self._forget(key)
            kept = self._kept[key] = Kept(reading, answer.value)
        kept.most = VARIANTS if len(reply.answers) > 1 else 1
        self.kept_bytes += kept.add(packed[2:])
        while len(self._kept) > KEPT_MAX or self.kept_bytes > KEPT_BYTES_MAX:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.kept_bytes -= sum(map(len, kept.variants))
