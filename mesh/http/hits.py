"""Hits: whole responses, kept for who sends the same bytes again while nothing has changed.

Many clients ask the same all day, and most of what an answer costs is HTTP and JSON. A response is
kept under the bytes of the request's head, so whatever a client says of what it wants, tokens too,
tells one from another. It leaves again only if the registry, asked each time, gives the very value
it was made of; what the headers say of how fresh that is, is said anew.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from mesh.http.options import Options
from mesh.http.request import Reply
from mesh.http.respond import milliseconds, read_headers
from mesh.registry.port import Answer, Query, ReadOptions
from mesh.telemetry.windows import Window

HITS_MAX = 2048
HITS_MAX_BYTES = 32 * 1024 * 1024
RESPONSE_MAX_BYTES = 1024 * 1024
HEAD_MAX_BYTES = 2048
ROW_BYTES = 256
CONSISTENCY = "X-Consul-Effective-Consistency"
FRESHNESS = frozenset(
    (*read_headers(Answer(None, 1, age=0.0), ReadOptions(cached=True)), "X-Cache", CONSISTENCY)
)
"""Headers that say how fresh an answer is."""


class Source(msgspec.Struct, frozen=True):
    """The one read of the registry that a reply was made of."""

    query: Query[Any]
    options: ReadOptions
    answer: Answer[Any]
    label: str
    """Of the route, for figures."""
    by: Options
    """By which the reply was made."""


class Kept(msgspec.Struct, eq=False):
    """A response, and what has to be so for it to be right."""

    source: Source
    reply: Reply
    """With the body as it is sent."""
    framing: bytes
    ask: Callable[[], Answer[Any] | None]
    """What the registry would say to the read at once."""
    window: Window
    """Of the durations of such requests."""
    until: float = -math.inf
    """When the second ends that the response names, by the monotonic clock."""
    told: Answer[Any] | None = None
    """The answer whose freshness it tells."""
    response: bytes = b""

    def is_of(self, answer: Answer[Any]) -> bool:
        """Whether it was made of this very value."""
        made_of = self.source.answer
        return answer.value is made_of.value and answer.index == made_of.index

    def tells(self, answer: Answer[Any]) -> bool:
        """Whether the headers of the response are those of this answer."""
        told = self.told
        return told is answer or (told is not None and freshness(told) == freshness(answer))

    def headers(self, answer: Answer[Any]) -> dict[str, str]:
        """Those of the response, as fresh as this answer is."""
        given = self.reply.headers
        told = read_headers(answer, self.source.options if CONSISTENCY in given else None)
        return told | {name: text for name, text in given.items() if name not in FRESHNESS}


def freshness(answer: Answer[Any]) -> tuple[bool, int, int]:
    """What headers say of it: whether there is a leader, last contact in ms, age in seconds."""
    age = -1 if answer.age is None else int(answer.age)
    return answer.known_leader, milliseconds(answer.last_contact), age


class Hits:
    """The responses kept; those used least recently go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._same: dict[tuple[Query[Any], ReadOptions], dict[bytes, None]] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, head: bytes) -> Kept | None:
        """What was answered to this head."""
        kept = self._kept.get(head)
        if kept is not None:
            self._kept.move_to_end(head)
        return kept

    def keep(self, head: bytes, kept: Kept) -> None:
        """Keep it instead of an older one, unless it is too large.

        What was made of an older value of the same read goes: it would only hold that value.
        """
        self.drop(head)
        source = kept.source
        same = self._same.get((source.query, source.options), ())
        if same and self._kept[next(iter(same))].source.answer.value is not source.answer.value:
            for other in list(same):
                self.drop(other)
        if len(head) > HEAD_MAX_BYTES or len(kept.reply.body) > RESPONSE_MAX_BYTES:
            return
        self._kept[head] = kept
        self._same.setdefault((source.query, source.options), {})[head] = None
        self.bytes += _size(head, kept)
        while len(self._kept) > HITS_MAX or self.bytes > HITS_MAX_BYTES:
            self.drop(next(iter(self._kept)))

    def drop(self, head: bytes) -> None:
        """Keep nothing under this head."""
        if (kept := self._kept.pop(head, None)) is None:
            return
        self.bytes -= _size(head, kept)
        read = (kept.source.query, kept.source.options)
        del self._same[read][head]
        if not self._same[read]:
            del self._same[read]

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()
        self._same.clear()
        self.bytes = 0


def _size(head: bytes, kept: Kept) -> int:
    """The body, the response that has it too, the rows they were made of, and the rest, about."""
    value = kept.source.answer.value
    rows = ROW_BYTES * len(value) if isinstance(value, list) else 0
    return 2 * len(head) + 2 * len(kept.reply.body) + rows + 2048
