"""Events: what people and programs tell all agents, and which of them this agent keeps.

An event travels as a user event of the gossip pool under the name `mesh:event:NAME`. Its filters
are expressions from the network; see `patterns` for why they cannot hang an agent.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

import msgspec

from mesh.agent.state import LocalService
from mesh.codec import pack, unpack
from mesh.errors import Invalid, TooLarge
from mesh.patterns import Pattern

PREFIX = "mesh:event:"
VERSION = 1
KEPT_MAX = 256
NAME_MAX_BYTES = 128
COST_MAX = 500_000
"""Steps of a pattern times characters of a text, in all filters of one event: tens of ms."""
NO_EVENTS = 1
"""The index of a list without events."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something told to all agents, or to those that the filters (RE2, unanchored) let through."""

    id: str
    """A UUID."""
    name: str
    payload: bytes = b""
    node_filter: str = ""
    """On the name of the agent's node."""
    service_filter: str = ""
    """On the id of one of its services."""
    tag_filter: str = ""
    """On a tag of such a service."""
    version: int = VERSION
    time: int = 0
    """The Lamport time at which the pool heard it."""

    @property
    def index(self) -> int:
        """What stands for it as an index: it differs from event to event, and says no order."""
        number = UUID(self.id).int
        return (number >> 64) ^ (number & (2**64 - 1))


class _Wire(msgspec.Struct, frozen=True, array_like=True):
    """The payload in the pool, short because all of it must fit some hundred bytes."""

    version: int
    id: bytes
    payload: bytes
    node_filter: str = ""
    service_filter: str = ""
    tag_filter: str = ""


class _Version(msgspec.Struct, array_like=True):
    version: int


def check(event: Event) -> None:
    """Raise Invalid, naming the field, for an event that nobody should be told."""
    if not event.name:
        raise Invalid("Missing name")
    if len(event.name.encode(errors="replace")) > NAME_MAX_BYTES or not event.name.isprintable():
        raise Invalid(f"name: expected at most {NAME_MAX_BYTES} bytes of printable text")
    if event.tag_filter and not event.service_filter:
        raise Invalid("tag: a tag filter needs a service filter too")
    filters = {
        "node": event.node_filter,
        "service": event.service_filter,
        "tag": event.tag_filter,
    }
    for name, expression in filters.items():
        try:
            Pattern(expression)
        except Invalid as error:
            raise Invalid(f"{name}: {error.message}") from error


def too_large(event: Event, error: TooLarge) -> Invalid:
    """What to tell whoever fired an event that the pool did not take."""
    advice = "send less, such as a key where the rest is"
    return Invalid(f"event {event.name}: {error.message}; {advice}")


def encode(event: Event) -> bytes:
    """The payload of the pool's event."""
    wire = _Wire(
        event.version,
        UUID(event.id).bytes,
        event.payload,
        event.node_filter,
        event.service_filter,
        event.tag_filter,
    )
    return pack(wire)


def decode(name: str, payload: bytes, time: int) -> Event:
    """Read an event of the pool. Raises Invalid, also for one of a version not known here."""
    version = unpack(payload, _Version).version
    if version > VERSION:
        raise Invalid(f"event of version {version}; this program knows {VERSION}: upgrade mesh")
    wire = unpack(payload, _Wire)
    if len(wire.id) != 16:
        raise Invalid("event: its id is no UUID")
    return Event(
        id=str(UUID(bytes=wire.id)),
        name=name.removeprefix(PREFIX),
        payload=wire.payload,
        node_filter=wire.node_filter,
        service_filter=wire.service_filter,
        tag_filter=wire.tag_filter,
        version=version,
        time=time,
    )


def concerns(event: Event, node: str, services: Iterable[tuple[str, list[str]]]) -> bool:
    """Whether the filters let it through to this node with these services (id and tags).

    Raises Invalid for filters that make no sense, or are too costly with so many services.
    """
    purse = _Purse()
    if event.node_filter and not purse.found(Pattern(event.node_filter), node):
        return False
    if not event.service_filter:
        return True
    service, tag = Pattern(event.service_filter), Pattern(event.tag_filter)
    return any(
        purse.found(service, service_id)
        and (not event.tag_filter or any(purse.found(tag, one) for one in tags))
        for service_id, tags in services
    )


class _Purse:
    """What the filters of one event may cost: with many services even a bounded search adds up."""

    def __init__(self) -> None:
        self._left = COST_MAX

    def found(self, pattern: Pattern, text: str) -> bool:
        """Whether the pattern is in the text. Raises Invalid once all is spent."""
        self._left -= pattern.steps * (len(text) + 1)
        if self._left < 0:
            raise Invalid("event: its filters take too long with the services of this agent")
        return pattern.found_in(text)


class Events:
    """The events this agent heard and was meant to: the last of them, and who listens.

    `tell` gives an event to the pool and returns its Lamport time. `counters` counts those kept,
    those meant for others and those that made no sense.
    """

    def __init__(
        self,
        node: str,
        services: Callable[[], Mapping[str, LocalService]],
        tell: Callable[[str, bytes], int],
    ) -> None:
        self._node, self._services, self._tell = node, services, tell
        self._kept: deque[Event] = deque(maxlen=KEPT_MAX)
        self._listeners: list[Callable[[Event], None]] = []
        self._handlers: dict[str, Callable[[Event], None]] = {}
        self.counters: Counter[str] = Counter()

    def fire(self, event: Event) -> Event:
        """Tell everybody, this agent too; as it was told. Raises Invalid, also when too large."""
        check(event)
        try:
            time = self._tell(PREFIX + event.name, encode(event))
        except TooLarge as error:
            raise too_large(event, error) from error
        return msgspec.structs.replace(event, time=time)

    def hear(self, name: str, payload: bytes, time: int) -> None:
        """Take an event of the pool. Others than PREFIX ones are Serf's own users' affair."""
        if not name.startswith(PREFIX):
            return
        try:
            event = decode(name, payload, time)
            services = [(key, local.row.tags) for key, local in self._services().items()]
            meant = concerns(event, self._node, services)
        except Invalid:
            self.counters["unreadable"] += 1
            return
        if not meant:
            self.counters["for_others"] += 1
            return
        self.counters["heard"] += 1
        handler = self._handlers.get(event.name)
        if handler is not None:
            handler(event)
            return
        self._kept.append(event)
        for listener in list(self._listeners):
            listener(event)

    def handle(self, name: str, handler: Callable[[Event], None]) -> None:
        """Give events of this name to the handler and to nobody else."""
        self._handlers[name] = handler

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call the listener with each event that is kept; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def kept(self, name: str = "") -> list[Event]:
        """The last events, of this name if one is given; the oldest first."""
        return [event for event in self._kept if not name or event.name == name]


def index_of(events: list[Event]) -> int:
    """What stands for a list: its newest event."""
    return events[-1].index if events else NO_EVENTS
