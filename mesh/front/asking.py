"""A worker's DNS: answers what is kept, and asks the main process for everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from mesh.front.frames import Answer, Ask, Kind, told
from mesh.front.keep import Messages

COUNTERS = (
    "questions",
    "kept_hits",
    "dropped",
    "limited",
    "tcp_connections",
    "tcp_refused",
    "tcp_idle_closed",
)


class Asking:
    """What the DNS edge of a worker asks. `send` takes a frame for the main process."""

    def __init__(self, messages: Messages, send: Callable[[bytes], None]) -> None:
        self.counters = dict.fromkeys(COUNTERS, 0)
        self._messages, self._send = messages, send
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._number = 0

    def turn(self) -> None:
        """See Questions.turn: here each answer is looked at anyway."""

    def at_once(self, data: bytes, *, tcp: bool) -> bytes | None:
        """See Questions.at_once."""
        kept = self._messages.take((tcp, data[2:]))
        if not kept:
            return None
        self.counters["questions"] += 1
        self.counters["kept_hits"] += 1
        return data[:2] + kept

    async def resolve_anew(self, data: bytes, *, tcp: bool, peer: str = "") -> bytes | None:
        """See Questions.resolve_anew."""
        self._number += 1
        number = self._number
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._send(told(Kind.ASK, Ask(number, tcp, peer, data)))
        try:
            answer = await future
        finally:
            del self._waiting[number]
        if answer.terms is not None and answer.variants:
            self._messages.keep((tcp, data[2:]), answer.variants, answer.most, answer.terms)
        return answer.response

    def answered(self, body: bytes) -> None:
        """The main process has answered."""
        answer = msgspec.msgpack.decode(body, type=Answer)
        future = self._waiting.get(answer.number)
        if future is not None and not future.done():
            future.set_result(answer)

    def taken(self) -> dict[str, int]:
        """What was counted since the last call."""
        counted = {name: count for name, count in self.counters.items() if count}
        for name in counted:
            self.counters[name] = 0
        return counted
