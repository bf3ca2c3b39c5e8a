"""Kept bodies: an answer that many ask for is made into JSON, and compressed, once.

The registry gives the same value object to everybody who reads the same thing while it does not
change. So what was made of it is kept under that object, and under whatever else decided on it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

import msgspec

BODIES_MAX = 1024
BODIES_MAX_BYTES = 16 * 1024 * 1024
BODY_MAX_BYTES = 1024 * 1024
"""What is larger is made anew each time. The forms of a body add less than three times as much."""


class Body(msgspec.Struct, eq=False):
    """JSON, and the same in the forms in which it was sent: indented, compressed."""

    json: bytes
    forms: dict[str, bytes] = {}


class Bodies:
    """The bodies made lately; those used least recently go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[object, Body]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, value: object, key: Hashable) -> Body | None:
        """What was made of this very object in this way."""
        kept = self._kept.get(key)
        if kept is None or kept[0] is not value:
            return None
        self._kept.move_to_end(key)
        return kept[1]

    def keep(self, value: object, key: Hashable, json: bytes) -> Body:
        """Keep the body instead of that of an older value."""
        body = Body(json)
        former = self._kept.pop(key, None)
        if former is not None:
            self.bytes -= len(former[1].json)
        if len(json) <= BODY_MAX_BYTES:
            self._kept[key] = value, body
            self.bytes += len(json)
        while len(self._kept) > BODIES_MAX or self.bytes > BODIES_MAX_BYTES:
            _, (_, oldest) = self._kept.popitem(last=False)
            self.bytes -= len(oldest.json)
        return body
