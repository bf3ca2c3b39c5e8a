"""Recursion: questions that others answer, sent to them in turn and kept for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import msgspec

from mesh.clock import Clock, Dice, secret_bytes
from mesh.dns import foreign, upstream
from mesh.dns.foreign import Heard, Outside
from mesh.dns.message import NOERROR, NXDOMAIN, Record
from mesh.dns.options import Options
from mesh.errors import Busy, Invalid, Unreachable
from mesh.tasks import Tasks

# Questions that wait for recursors at a time; more fail at once. Fewer than the server has workers
# for datagrams, so that dead recursors never hold up questions about ourselves.
WAITING_MAX = 128
KEPT_MAX = 2048
KEPT_BYTES_MAX = 4 * 1024 * 1024
KEPT_SECONDS_MAX = 3600

COUNTERS = ("recursor_questions", "recursor_kept_hits", "recursor_failures", "recursor_refused")

Address = tuple[str, int]
Key = tuple[bytes, bool, bool]


class Exchange(Protocol):
    """How one question gets to one server: `upstream.exchange`."""

    async def __call__(
        self, address: Address, data: bytes, accepts: Callable[[bytes], bool], *, tcp: bool
    ) -> bytes:
        """See there."""
        ...


class _Kept(NamedTuple):
    question: bytes
    answer: bytes
    since: float
    until: float


class Recursion:
    """Asks the recursors of the options. `counters` are those of `COUNTERS`.

    Who asks what is being asked already waits for the same answer: one question in flight gives
    somebody who forges answers one chance, however often it is asked.
    """

    def __init__(
        self, options: Options, clock: Clock, dice: Dice, exchange: Exchange = upstream.exchange
    ) -> None:
        self.counters = dict.fromkeys(COUNTERS, 0)
        self._options = options
        self._clock = clock
        self._dice = dice
        self._exchange = exchange
        self._tasks = Tasks()
        self._flights: dict[tuple[Outside, bool], asyncio.Future[Heard | None]] = {}
        self._waiting = 0
        self._kept: dict[Key, _Kept] = {}
        self._kept_bytes = 0

    def reload(self, options: Options) -> None:
        """Ask by these options from now on; other recursors may answer otherwise."""
        if options.recursors != self._options.recursors:
            self._kept.clear()
            self._kept_bytes = 0
        self._options = options

    async def stop(self) -> None:
        """Give up what is being asked."""
        await self._tasks.stop()

    async def ask(self, outside: Outside, *, tcp: bool) -> Heard:
        """What a recursor answers, or answered lately.

        Raises Unreachable when none does, Busy when too many questions wait.
        """
        self.counters["recursor_questions"] += 1
        if (kept := self._kept_answer(outside.key)) is not None:
            self.counters["recursor_kept_hits"] += 1
            return kept
        if max(self._waiting, len(self._flights)) >= WAITING_MAX:
            self.counters["recursor_refused"] += 1
            raise Busy(f"{WAITING_MAX} questions wait for recursors")
        flight = self._flights.get((outside, tcp))
        if flight is None:
            flight = asyncio.get_running_loop().create_future()
            self._flights[outside, tcp] = flight
            _ = self._tasks.start(self._fly(outside, tcp, flight), name="dns recursion")
        self._waiting += 1
        try:
            heard = await asyncio.shield(flight)
        finally:
            self._waiting -= 1
        if heard is None:
            raise Unreachable("no recursor answers")
        return heard

    async def _fly(self, outside: Outside, tcp: bool, flight: asyncio.Future[Heard | None]) -> None:
        heard = None
        try:
            heard = await self._ask_in_turn(outside, tcp=tcp)
        finally:
            del self._flights[outside, tcp]
            if not flight.done():
                flight.set_result(heard)

    async def _ask_in_turn(self, outside: Outside, *, tcp: bool) -> Heard | None:
        options = self._options
        for address in self._in_order(options):
            data = foreign.request(outside, int.from_bytes(secret_bytes(2)))
            try:
                async with asyncio.timeout(options.recursor_timeout_seconds):
                    accepts = partial(foreign.is_reply, question=data)
                    answer = await self._exchange(address, data, accepts, tcp=tcp)
                heard = foreign.read(answer, data)
            except (OSError, Invalid):
                self.counters["recursor_failures"] += 1
                continue
            if heard.rcode in {NOERROR, NXDOMAIN}:
                if options.recursors == self._options.recursors:
                    self._keep(outside.key, heard, data, answer)
                return heard
            self.counters["recursor_failures"] += 1
        return None

    def _in_order(self, options: Options) -> Sequence[Address]:
        if options.recursor_strategy == "random":
            return self._dice.sample(options.recursors, len(options.recursors))
        return options.recursors

    def _keep(self, key: Key, heard: Heard, question: bytes, answer: bytes) -> None:
        seconds = min(heard.lasting, KEPT_SECONDS_MAX)
        if heard.truncated or seconds <= 0:
            return
        self._forget(key)
        now = self._clock.monotonic()
        self._kept[key] = _Kept(question, answer, now, now + seconds)
        self._kept_bytes += len(question) + len(answer)
        while len(self._kept) > KEPT_MAX or self._kept_bytes > KEPT_BYTES_MAX:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._kept_bytes -= len(kept.question) + len(kept.answer)

    def _kept_answer(self, key: Key) -> Heard | None:
        """What was heard, its TTLs smaller by the time it was kept for."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        now = self._clock.monotonic()
        if now >= kept.until:
            self._forget(key)
            return None
        heard, age = foreign.read(kept.answer, kept.question), int(now - kept.since)
        return Heard(
            heard.rcode,
            heard.truncated,
            _aged(heard.answers, age),
            _aged(heard.authority, age),
            _aged(heard.additional, age),
        )


def _aged(records: list[Record], seconds: int) -> list[Record]:
    """Of answers kept for at most their least TTL, so none falls below 0; but for an SOA's."""
    if not seconds:
        return records
    return [msgspec.structs.replace(one, ttl=max(0, one.ttl - seconds)) for one in records]
