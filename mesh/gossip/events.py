"""User events: what a member tells all others, each of whom hears it once.

An event is known by its Lamport time, name and payload. The last ones travel in every push/pull, so
that who joins, or was cut off, hears them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mesh.errors import Invalid, TooLarge
from mesh.gossip.bodies import EVENT
from mesh.gossip.broadcasts import Broadcasts
from mesh.gossip.lamport import RING_MAX_BYTES, SLOTS, TIME_MAX, Lamport, Ring
from mesh.gossip.messages import number, pack_map, raw, text, unpack_map

EVENT_MAX_BYTES = 9 * 1024
"""The largest limit that may be configured, and what is taken from others, encoded."""
PACKET_MAX_BYTES = 1024
"""A larger event or query fits into no packet beside label and encryption: it goes over streams."""
ITEM_BYTES = 64
"""What remembering costs beyond the bytes of name and payload."""


class UserEvent(msgspec.Struct, frozen=True):
    """An event; coalesce says that only the last one of its name matters to who comes late."""

    time: int
    name: str
    payload: bytes
    coalesce: bool = False


class Events:
    """The user events of one node."""

    def __init__(self, queue: Broadcasts[bytes], limit: int) -> None:
        """`limit`: bytes of name and payload, and of the whole message, of an event from here."""
        assert limit <= EVENT_MAX_BYTES, "checked where it is configured"
        self.queue = queue
        self.clock = Lamport()
        self._limit = limit
        self._ring: Ring[tuple[str, bytes]] = Ring(_size)
        self.heard: list[UserEvent] = []
        self._large: list[bytes] = []
        self._last = 0

    @property
    def last(self) -> int:
        """The time of the newest event that was heard, or is not to be heard; 0 for none."""
        return max(self._last, self._ring.floor - 1)

    def take(self) -> list[UserEvent]:
        """The events heard since the last call, in order."""
        heard, self.heard = self.heard, []
        return heard

    def ignore_before(self, time: int) -> None:
        """Hear nothing that is older than this Lamport time."""
        self._ring.floor = max(self._ring.floor, time)

    def restore(self, last: int) -> None:
        """Go on after the event of this time, which an earlier life of this node heard."""
        self.clock.witness(last)
        self.ignore_before(last + 1)

    def fire(self, name: str, payload: bytes, *, coalesce: bool = False) -> int:
        """Tell everybody, this node too; the event's time. Raises TooLarge, or Invalid."""
        if not name:
            raise Invalid("the name of an event is missing")
        event = UserEvent(self.clock.time, name, payload, coalesce)
        body = encode(event)
        plain = len(name.encode("utf-8", "surrogateescape")) + len(payload)
        for size, what in ((plain, "name and payload"), (len(body), "the encoded event")):
            if size > self._limit:
                raise TooLarge(f"{what} take {size} bytes; the limit is {self._limit}")
        self.clock.next()
        self._hear(event)
        self._spread(event, body)
        return event.time

    def take_large(self) -> list[bytes]:
        """The new events since the last call that must be passed on over streams."""
        large, self._large = self._large, []
        return large

    def _spread(self, event: UserEvent, body: bytes) -> None:
        if len(body) > PACKET_MAX_BYTES:
            self._large.append(body)
        else:
            self.queue.add(_key(event), body)

    def receive(self, body: bytes) -> None:
        """An event from somebody else; passed on as it is when it is new. Raises Invalid."""
        if len(body) > EVENT_MAX_BYTES:
            raise Invalid(f"event of {len(body)} bytes; the limit is {EVENT_MAX_BYTES}")
        event = decode(body)
        if self._hear(event):
            self._spread(event, body)

    def _hear(self, event: UserEvent) -> bool:
        self.clock.witness(event.time)
        new = self._ring.admit(self.clock.time, event.time, (event.name, event.payload))
        if new:
            self.heard.append(event)
            self._last = max(self._last, event.time)
        return new

    # Push/pull

    def fields(self) -> dict[str, Any]:
        """This part of a push/pull: all slots, nil where nothing happened."""
        events = [
            slot
            and {
                "Events": [{"Name": name, "Payload": payload} for name, payload in slot[1]],
                "LTime": slot[0],
            }
            for slot in self._ring.slots()
        ]
        return {"EventLTime": self.clock.time, "Events": events}

    def merge(self, fields: Mapping[bytes, Any], *, ignore_old: bool = False) -> None:
        """Take over what another node heard; with ignore_old only its time. Raises Invalid."""
        time = number(fields, "EventLTime", TIME_MAX)
        self.clock.witness(max(time - 1, 0))
        if ignore_old:
            self.ignore_before(time)
        for slot in _list(fields, b"Events", SLOTS):
            if not isinstance(slot, dict):
                raise Invalid("Events: expected maps")
            when = number(slot, "LTime", TIME_MAX)
            for one in _list(slot, b"Events", RING_MAX_BYTES // ITEM_BYTES):
                if not isinstance(one, dict):
                    raise Invalid("Events: expected maps")
                event = UserEvent(when, text(one, "Name"), raw(one, "Payload"))
                if _size((event.name, event.payload)) <= EVENT_MAX_BYTES:
                    self._hear(event)


def _list(fields: Mapping[bytes, Any], key: bytes, most: int) -> list[Any]:
    found = fields.get(key) or []
    if not isinstance(found, list) or len(found) > most:
        raise Invalid(f"{key.decode()}: expected a list of at most {most}")
    return [one for one in found if one is not None]


def _size(item: tuple[str, bytes]) -> int:
    return len(item[0]) + len(item[1]) + ITEM_BYTES


def _key(event: UserEvent) -> str:
    # Each is an item of its own: nothing newer pushes an event out of the queue.
    return f"{event.time} {event.name} {event.payload.hex()}"


def encode(event: UserEvent) -> bytes:
    """The bytes of an event, type byte first."""
    fields = {
        "CC": event.coalesce,
        "LTime": event.time,
        "Name": event.name,
        "Payload": event.payload,
    }
    return bytes((EVENT,)) + pack_map(fields)


def decode(body: bytes) -> UserEvent:
    """Read an event, type byte first. Raises Invalid."""
    fields = unpack_map(memoryview(body)[1:])
    return UserEvent(
        number(fields, "LTime", TIME_MAX),
        text(fields, "Name"),
        raw(fields, "Payload"),
        bool(fields.get(b"CC")),
    )
