"""Hits: whole responses, kept for who sends the same bytes again while nothing has changed.

Many clients ask the same all day, and most of what an answer costs is HTTP and JSON. A response is
kept under the bytes of the request's head, so whatever a client says of what it wants, tokens too,
tells one from another. It leaves again only if the registry, asked each time, gives the very value
it was made of; what the headers say of how fresh that is, is said anew.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import msgspec

from mesh.http.request import Reply
from mesh.http.respond import milliseconds, read_headers
from mesh.registry.port import Answer, Query, ReadOptions

HITS_MAX = 2048
HITS_MAX_BYTES = 32 * 1024 * 1024
RESPONSE_MAX_BYTES = 1024 * 1024
HEAD_MAX_BYTES = 2048
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


class Kept(msgspec.Struct, eq=False):
    """A response, and what has to be so for it to be right."""

    source: Source
    reply: Reply
    """With the body as it is sent."""
    framing: bytes
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
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, head: bytes) -> Kept | None:
        """What was answered to this head."""
        kept = self._kept.get(head)
        if kept is not None and len(self._kept) > HITS_MAX // 2:
            self._kept.move_to_end(head)
        return kept

    def keep(self, head: bytes, kept: Kept) -> None:
        """Keep it instead of an older one, unless it is too large."""
        self.drop(head)
        if len(head) > HEAD_MAX_BYTES or len(kept.reply.body) > RESPONSE_MAX_BYTES:
            return
        self._kept[head] = kept
        self.bytes += _size(head, kept)
        while len(self._kept) > HITS_MAX or self.bytes > HITS_MAX_BYTES:
            self.drop(next(iter(self._kept)))

    def drop(self, head: bytes) -> None:
        """Keep nothing under this head."""
        if (kept := self._kept.pop(head, None)) is not None:
            self.bytes -= _size(head, kept)

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()
        self.bytes = 0


def _size(head: bytes, kept: Kept) -> int:
    """The body, the response that has it too, and the rest, about."""
    return 2 * len(head) + 2 * len(kept.reply.body) + 2048
