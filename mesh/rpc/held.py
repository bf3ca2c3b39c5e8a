"""Held answers: what an agent was asked for, kept current while servers are there, and kept.

Each is followed with one blocking read however many clients ask, as long as somebody asked in the
last FOLLOW_SECONDS. When no server can be reached the last answer stays, and its age grows; so it
does while the only ones that can know less than was heard before. At most
HELD_MAX answers and HELD_MAX_BYTES are held; beyond that those asked for least recently go. Empty
answers are not held: names that do not exist are without number.

What this costs the servers: a waiting read for each answer followed, at most HELD_MAX an agent,
renewed every WAIT_SECONDS, and each change of it, up to BYTES_PER_SECOND: what is large and changes
all the time is read less often. A change of leader ends all waits; who hears nothing new from one
then spreads its next over SPREAD_SECONDS.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

from mesh.clock import Clock, Dice
from mesh.codec import pack
from mesh.errors import MeshError
from mesh.registry.port import Answer, Query, ReadOptions
from mesh.tasks import Tasks

log = logging.getLogger(__name__)
T = TypeVar("T")

HELD_MAX = 512
HELD_MAX_BYTES = 64 * 1024 * 1024
FOLLOW_SECONDS = 600.0
KEEP_SECONDS = 3 * 86_400.0
"""Unasked for so long, an answer is dropped."""
WAIT_SECONDS = (240.0, 300.0)
BYTES_PER_SECOND = 1024 * 1024
SPREAD_SECONDS = 2.0
PAUSE_SECONDS = (0.1, 3.0)
"""Between tries while no server answers: the first, and the longest."""
BEHIND_SECONDS = 5.0
"""How long servers give an older answer before it is believed: until then they may be catching up,
later their log is another one."""
CATCH_UP_SECONDS = 1.0
"""How long a question waits for an answer that is followed again after a while."""

Key: TypeAlias = tuple[Query[Any], str]


class Limits(msgspec.Struct, frozen=True):
    """How much is held, and for how long."""

    answers: int = HELD_MAX
    bytes: int = HELD_MAX_BYTES
    follow_seconds: float = FOLLOW_SECONDS
    keep_seconds: float = KEEP_SECONDS


class Ask(Protocol):
    """A read from a server, tried once."""

    async def __call__(self, query: Query[T], options: ReadOptions) -> Answer[T]:
        """Raises a MeshError."""
        ...


class _Held:
    """One answer, and what is known about how current it is."""

    def __init__(self, key: Key, answer: Answer[Any], now: float) -> None:
        self.query, self.token = key
        self.answer = answer
        self.size = len(pack(answer.value))
        self.asked = self.confirmed = now
        self.live = True  # A read waits at a server for its next change.
        self.failing = False  # The last try to follow it reached no server that knows as much.
        self.behind: float | None = None  # Since when servers know less.
        self.settled = asyncio.Event()
        self.settled.set()
        self.task: asyncio.Task[None] | None = None
        self.waiting: set[asyncio.Future[None]] = set()
        self.minding: dict[object, Callable[[], None]] = {}

    def is_older(self, answer: Answer[Any], now: float) -> bool:
        """Whether a server's word is of before what another said, and must not undo it.

        After the death of a leader the next server asked may not have the last writes yet, nor get
        them before there is a leader again. One that was restarted has nothing before.
        """
        if answer.index >= self.answer.index or answer.value == self.answer.value:
            self.behind = None
            return False
        if self.behind is None:
            self.behind = now
        return not answer.known_leader or now < self.behind + BEHIND_SECONDS

    def take(self, answer: Answer[Any], now: float) -> bool:
        """A server's word; whether it is another than before."""
        changed = bool(answer.value != self.answer.value)
        if changed:
            self.size = len(pack(answer.value))
        else:
            # The same object as before, by which others know that nothing changed.
            answer = msgspec.structs.replace(answer, value=self.answer.value)
        self.answer, self.confirmed, self.behind = answer, now, None
        self.live, self.failing = True, False
        self.settled.set()
        if changed:
            for future in self.waiting:
                _end(future)
        self.tell()
        return changed

    def tell(self) -> None:
        """Call who minds: what `at_once` gives may be another answer."""
        for changed in list(self.minding.values()):
            changed()

    def lose(self, now: float, *, failing: bool) -> None:
        """Nobody stands by it from now on."""
        if self.live:
            self.confirmed = now
        self.live, self.failing = False, failing
        self.settled.set()
        self.tell()

    def shown(self, now: float) -> Answer[Any]:
        """The answer with its true age."""
        answer, since = self.answer, max(0.0, now - self.confirmed)
        age = 0.0 if self.live else since
        unheard = age if answer.known_leader else since
        return msgspec.structs.replace(
            answer,
            age=age,
            last_contact=answer.last_contact + unheard,
            known_leader=answer.known_leader and self.live,
        )


class HeldAnswers:
    """The answers that an agent holds."""

    def __init__(self, ask: Ask, world: tuple[Clock, Dice], limits: Limits | None = None) -> None:
        self._ask = ask
        self._clock, self._dice = world
        self._limits = limits or Limits()
        self._held: OrderedDict[Key, _Held] = OrderedDict()
        self._tasks = Tasks()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def followed(self) -> int:
        """How many are current."""
        return sum(one.live for one in self._held.values())

    async def stop(self) -> None:
        """Follow nothing any more."""
        await self._tasks.stop()

    async def find(self, query: Query[T], token: str) -> Answer[T] | None:
        """The answer held, as fresh as it can be had in CATCH_UP_SECONDS; None when none is.

        At once, unless nobody had asked for so long that it is no longer followed.
        """
        one = self._held.get((query, token))
        if one is None:
            return None
        self._held.move_to_end((query, token))
        one.asked = self._clock.monotonic()
        if one.task is None:
            one.settled.clear()
            self._follow(one)
        if not one.live and not one.failing:
            try:
                async with asyncio.timeout(CATCH_UP_SECONDS):
                    await one.settled.wait()
            except TimeoutError:
                log.debug("no server answered %s in time; the last answer has to do", query)
        return one.shown(self._clock.monotonic())

    async def wait(
        self, query: Query[T], token: str, index: int, seconds: float
    ) -> Answer[T] | None:
        """As `find`, but not before the answer has another index above this one, or time is out.

        However many wait, one read waits at a server. With none there they wait all the same.
        """
        until = self._clock.monotonic() + seconds
        answer = await self.find(query, token)
        while answer is not None and answer.index <= index:
            left, one = until - self._clock.monotonic(), self._held.get((query, token))
            if left <= 0 or one is None:
                break
            known = one.answer.index
            if known > index:  # It was held anew meanwhile.
                return one.shown(self._clock.monotonic())
            await _woken(one.waiting, left)
            answer = await self.find(query, token)
            if answer is not None and answer.index < known:
                break  # The servers began anew, and so does whoever counts on their indexes.
        return answer

    def at_once(self, query: Query[T], token: str) -> Answer[T] | None:
        """What `find` gives, unless that would have to wait."""
        one = self._held.get((query, token))
        if one is None or one.task is None or not (one.live or one.failing):
            return None
        self._held.move_to_end((query, token))
        now = one.asked = self._clock.monotonic()
        return one.shown(now)

    def mind(
        self, query: Query[Any], token: str, changed: Callable[[], None]
    ) -> Callable[[], None]:
        """Call back whenever `at_once` may say something else; returns what ends that.

        Of what is not held there is nothing to mind: who asks is told so.
        """
        one, mark = self._held.get((query, token)), object()
        if one is None:
            return lambda: None
        one.minding[mark] = changed
        return lambda: _forget(one.minding, mark)

    def hold(self, query: Query[T], token: str, answer: Answer[T]) -> None:
        """Keep an answer that a server gave just now, and follow it."""
        key = (query, token)
        if not answer.value or key in self._held:
            return
        one = _Held(key, answer, self._clock.monotonic())
        if one.size > self._limits.bytes:
            return
        self._held[key] = one
        self.bytes += one.size
        self._follow(one)
        self._evict()

    def _evict(self) -> None:
        old = self._clock.monotonic() - self._limits.keep_seconds
        while self._held:
            key, one = next(iter(self._held.items()))
            within = len(self._held) <= self._limits.answers and self.bytes <= self._limits.bytes
            if within and one.asked > old:
                return
            self._drop(key, one)

    def _drop(self, key: Key, one: _Held) -> None:
        if self._held.get(key) is one:
            del self._held[key]
            self.bytes -= one.size
        for future in one.waiting:
            _end(future)
        one.tell()
        if one.task is not None:
            one.task.cancel()

    def _follow(self, one: _Held) -> None:
        one.task = self._tasks.start(self._following(one), name=f"following {one.query}")

    async def _following(self, one: _Held) -> None:
        try:
            await self._keep_current(one)
        finally:
            one.lose(self._clock.monotonic(), failing=False)
            one.task = None

    async def _keep_current(self, one: _Held) -> None:
        clock, pause = self._clock, PAUSE_SECONDS[0]
        while one.waiting or clock.monotonic() < one.asked + self._limits.follow_seconds:
            # After a gap whatever the server has: its log may be another one.
            index = one.answer.index if one.live else 0
            left = one.asked + self._limits.follow_seconds - clock.monotonic()
            wait = self._dice.uniform(*WAIT_SECONDS)
            if not one.waiting:
                wait = min(wait, max(left, SPREAD_SECONDS))
            options = ReadOptions("stale", index=index, wait=wait, token=one.token)
            try:
                answer: Answer[Any] | None = await self._ask(one.query, options)
            except MeshError as error:
                if not error.retry:
                    self._drop((one.query, one.token), one)
                    return
                answer = None
            if answer is None or one.is_older(answer, clock.monotonic()):
                one.lose(clock.monotonic(), failing=True)
                await clock.sleep(self._dice.uniform(pause / 2, pause))
                pause = min(2 * pause, PAUSE_SECONDS[1])
                continue
            pause = PAUSE_SECONDS[0]
            before, since = one.size, clock.monotonic() - one.confirmed
            changed = one.take(answer, clock.monotonic())
            self.bytes += one.size - before
            self._evict()
            if index and not changed:
                await clock.sleep(self._dice.uniform(0, SPREAD_SECONDS))
            elif (rest := one.size / BYTES_PER_SECOND - since) > 0:
                await clock.sleep(rest)


async def _woken(waiting: set[asyncio.Future[None]], seconds: float) -> None:
    """Return when woken, at the latest after so many seconds."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    timer = loop.call_later(seconds, _end, future)
    waiting.add(future)
    try:
        await future
    finally:
        waiting.discard(future)
        timer.cancel()


def _forget(minding: dict[object, Callable[[], None]], mark: object) -> None:
    minding.pop(mark, None)


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
