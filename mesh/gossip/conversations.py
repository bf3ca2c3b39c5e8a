"""Conversations: who listens to events, waits for answers, or gives them, on the driver's side."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Generic, TypeAlias, TypeVar

from mesh.clock import Clock
from mesh.errors import Conflict, Invalid, MeshError
from mesh.gossip.queries import PREFIX, Answer, Answered, Asked, Asking, Ended
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

T = TypeVar("T")
RESPONDING_MAX = 256
"""Answers that are being worked out at once; further queries get none."""

Responder: TypeAlias = Callable[[Asked], bytes | Awaitable[bytes | None] | None]


class Listeners(Generic[T]):
    """Whoever wants to be told; one that fails is logged and counted, and keeps nobody waiting."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._all: list[Callable[[T], None]] = []

    def add(self, listener: Callable[[T], None]) -> Callable[[], None]:
        """Tell this one too; returns what ends that."""
        self._all.append(listener)
        return lambda: self._all.remove(listener)

    def tell(self, news: T, subject: str) -> None:
        """Tell everybody. `subject` says in the log what it was about."""
        for listener in list(self._all):
            # Others wrote it: when it fails, the timer that brought the news must go on.
            try:
                listener(news)
            except Exception:
                self._counters["listener_failures"] += 1
                log.exception("a listener failed on %s", subject)


class Answers:
    """The answers to one query as they come; ends at its deadline, or with `close`."""

    def __init__(self, asking: Asking, end: Callable[[], None]) -> None:
        self.time = asking.time
        """The query's Lamport time."""
        self.deadline = asking.deadline
        """On the node's monotonic clock."""
        self._end = end
        # Each member answers once and acknowledges once: the core lets no more through.
        self._arrived: asyncio.Queue[Answer | None] = asyncio.Queue()
        self._over = False

    def close(self) -> None:
        """Wait for no more."""
        self._end()

    def push(self, answer: Answer | None) -> None:
        """One came; None: that was all."""
        self._arrived.put_nowait(answer)

    def __aiter__(self) -> Answers:
        return self

    async def __anext__(self) -> Answer:
        answer = None if self._over else await self._arrived.get()
        if answer is None:
            self._over = True
            raise StopAsyncIteration
        return answer


class Conversations:
    """The running queries of one node, and the responders to those of others."""

    def __init__(
        self,
        clock: Clock,
        tasks: Tasks,
        counters: Counter[str],
        answer: Callable[[Asked, bytes], None],
    ) -> None:
        """`answer` sends what a responder gave."""
        self._clock, self._tasks, self._counters, self._answer = clock, tasks, counters, answer
        self._running: dict[int, Answers] = {}
        self._responders: dict[str, Responder] = {}
        self._responding = 0

    def start(self, asking: Asking, end: Callable[[], None]) -> Answers:
        """Wait for the answers to a query that is on its way."""
        answers = self._running[asking.time] = Answers(asking, end)
        return answers

    def hear(self, word: Asked | Answered | Ended) -> None:
        """Something about a query came up."""
        match word:
            case Asked():
                self._asked(word)
            case Answered():
                if word.query in self._running:
                    self._running[word.query].push(word.answer)
            case Ended():
                if word.query in self._running:
                    self._running.pop(word.query).push(None)

    def end(self) -> None:
        """No answers come any more."""
        for answers in self._running.values():
            answers.push(None)
        self._running.clear()

    def respond(self, name: str, responder: Responder) -> Callable[[], None]:
        """Answer queries of this name; returns what ends that. Raises Conflict, or Invalid."""
        if not name or name.startswith(PREFIX):
            raise Invalid(f'"{name}": names of queries that begin with {PREFIX} belong to Serf')
        if name in self._responders:
            raise Conflict(f"queries {name} are answered already")
        self._responders[name] = responder
        return lambda: self._forget(name, responder)

    def _forget(self, name: str, responder: Responder) -> None:
        if self._responders.get(name) is responder:
            del self._responders[name]

    def _asked(self, asked: Asked) -> None:
        responder = self._responders.get(asked.name)
        if responder is None:
            return
        if self._responding >= RESPONDING_MAX:
            self._counters["queries_unanswered"] += 1
            return
        self._responding += 1
        self._tasks.start(self._respond(asked, responder), name=f"gossip query {asked.name}")

    async def _respond(self, asked: Asked, responder: Responder) -> None:
        try:
            async with asyncio.timeout(max(asked.deadline - self._clock.monotonic(), 0)):
                found = responder(asked)
                payload = await found if inspect.isawaitable(found) else found
            if payload is not None:
                self._answer(asked, payload)
        except TimeoutError:
            self._counters["answers_not_ready"] += 1
        except MeshError as error:
            self._counters["responder_failures"] += 1
            log.warning("query %s from %s: %s", asked.name, asked.source, error)
        except Exception:
            # Others wrote it, as with listeners.
            self._counters["responder_failures"] += 1
            log.exception("the responder to %s failed", asked.name)
        finally:
            self._responding -= 1
