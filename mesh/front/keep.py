"""What a worker keeps: responses, under the bytes that asked for them, while their terms hold."""

from __future__ import annotations

from collections import OrderedDict
from email.utils import formatdate

from mesh.clock import Clock
from mesh.dns.variants import Variants
from mesh.front.board import Board
from mesh.front.frames import Terms, Took
from mesh.http.access import AccessLog

KEPT_MAX = 4096
KEPT_BYTES_MAX = 32 * 1024 * 1024
RESPONSE_MAX_BYTES = 1024 * 1024
SAMPLES_MAX = 64
"""Durations told with each report, of each route."""
_DATE = b"\r\nDate: "
_DATE_BYTES = 29  # RFC 9110, section 5.6.7: IMF-fixdate has a fixed length.


class Deadline:
    """Whether terms still hold."""

    def __init__(self, board: Board, clock: Clock) -> None:
        self._board, self.clock = board, clock

    def until(self, terms: Terms) -> float:
        """Until when, by the monotonic clock, they may hold at all."""
        return float("inf") if terms.seconds is None else self.clock.monotonic() + terms.seconds

    def holds(self, terms: Terms, until: float, now: float) -> bool:
        """Whether what is kept on these terms may be given now."""
        board = self._board
        if board.version(terms.slot) != terms.version or now >= until:
            return False
        return now < (board.leased_until if terms.leased else board.alive_until)


class _Response:
    __slots__ = ("bytes", "date_at", "second", "terms", "until")

    def __init__(self, response: bytes, terms: Terms, until: float) -> None:
        self.bytes, self.terms, self.until = response, terms, until
        at = response.find(_DATE, 0, response.find(b"\r\n\r\n"))
        self.date_at = at + len(_DATE) if at >= 0 else 0
        self.second = 0


class Responses:
    """Whole HTTP responses; those used least recently go first."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline, self._clock = deadline, deadline.clock
        self._kept: OrderedDict[bytes, _Response] = OrderedDict()
        self._bytes = 0
        self._date = b""
        self.took: dict[str, Took] = {}
        """What was answered so, by route, since the last report."""
        self.access: AccessLog | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, head: bytes, client: str) -> bytes:
        """The response to these bytes of a client, if it still holds; else empty."""
        kept = self._kept.get(head)
        if kept is None:
            return b""
        began, terms = self._clock.monotonic(), kept.terms
        if not self._deadline.holds(terms, kept.until, began):
            return b""
        if (second := int(self._clock.wall())) != kept.second:
            self._redate(kept, second)
        self._kept.move_to_end(head)
        took = self.took.get(terms.label)
        if took is None:
            took = self.took[terms.label] = Took()
        took.count += 1
        seconds = self._clock.monotonic() - began
        took.seconds += seconds
        if len(took.samples) < SAMPLES_MAX:
            took.samples.append(seconds)
        if self.access is not None:
            self.access.hit(client, head, kept.bytes, seconds)
        return kept.bytes

    def _redate(self, kept: _Response, second: int) -> None:
        """Have the response say that it is of now."""
        if kept.date_at:
            start, end = kept.bytes[: kept.date_at], kept.bytes[kept.date_at + _DATE_BYTES :]
            kept.bytes = start + formatdate(second, usegmt=True).encode() + end
        kept.second = second

    def keep(self, head: bytes, response: bytes, terms: Terms) -> None:
        """Keep it in place of an older one."""
        self._drop(head)
        if len(response) > RESPONSE_MAX_BYTES:
            return
        self._kept[head] = _Response(response, terms, self._deadline.until(terms))
        self._bytes += len(head) + len(response)
        while len(self._kept) > KEPT_MAX or self._bytes > KEPT_BYTES_MAX:
            self._drop(next(iter(self._kept)))

    def _drop(self, head: bytes) -> None:
        kept = self._kept.pop(head, None)
        if kept is not None:
            self._bytes -= len(head) + len(kept.bytes)


class _Shuffled(Variants):
    __slots__ = ("terms", "until")

    def __init__(self, terms: Terms, until: float) -> None:
        super().__init__()
        self.terms, self.until = terms, until


Question = tuple[bool, bytes]
"""Whether it came over a stream, and the message without its id."""


class Messages:
    """DNS answers, some to each question."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline, self._clock = deadline, deadline.clock
        self._kept: OrderedDict[Question, _Shuffled] = OrderedDict()
        self._bytes = 0

    def take(self, question: Question) -> bytes:
        """An answer without its id; empty when it is to be asked for."""
        kept = self._kept.get(question)
        if kept is None:
            return b""
        if not self._deadline.holds(kept.terms, kept.until, self._clock.monotonic()):
            return b""
        return kept.take()

    def keep(self, question: Question, variants: list[bytes], most: int, terms: Terms) -> None:
        """Keep these in place of older ones."""
        before = self._kept.pop(question, None)
        kept = _Shuffled(terms, self._deadline.until(terms))
        kept.variants, kept.most = variants, most
        if before is not None:
            kept.uses = before.uses
            self._bytes -= sum(map(len, before.variants))
        self._kept[question] = kept
        self._bytes += sum(map(len, variants))
        while len(self._kept) > KEPT_MAX or self._bytes > KEPT_BYTES_MAX:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= sum(map(len, oldest.variants))
