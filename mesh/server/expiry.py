"""Expiry: the leader ends sessions whose TTL is over, and forgets lock-delays that are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Set
from typing import Any

from mesh.clock import Clock, Dice
from mesh.errors import MeshError
from mesh.registry import sessions
from mesh.registry.port import Order, WriteOptions
from mesh.registry.sessions import EXPIRED_MAX, Expire, Renew, Session, Sweep
from mesh.rpc.forwarded import Consensus, Forwarded
from mesh.server.timers import Timers
from mesh.store.database import Database
from mesh.store.table import EVERY, PRIMARY, Bucket
from mesh.telemetry.windows import Window

log = logging.getLogger(__name__)

FACTOR = 1.8
"""A session ends so many TTLs after it was last renewed: late enough that one renewal may be lost
on the way, and early enough that the write which ends it lies before twice the TTL."""
SWEEP_SECONDS = 30.0
RETRY_SECONDS = 1.0
OVERSLEPT_SECONDS = 1.0
_TABLE = sessions.SESSIONS.name
STEP = 2000
"""Sessions whose timers begin at once, before others have their turn."""


class Expiry:
    """The timers of the sessions that have a TTL; they run only on the leader.

    A server that comes to lead starts all of them anew, since it cannot know when a session was
    renewed last. `reign` tells one leadership from the next; empty while this server does not
    lead. Time during which this process stood still does not count: nobody could renew then.
    """

    def __init__(
        self,
        as_leader: Forwarded,
        consensus: Consensus,
        reign: Callable[[], str],
        database: Database,
        world: tuple[Clock, Dice],
    ) -> None:
        # Not the router: what this server decided must not reach a leader that came after it.
        self._as_leader, self._consensus, self._reign = as_leader, consensus, reign
        self._database, (self._clock, self._dice) = database, world
        self._timers = Timers()
        self._loaded = ""
        self._ending: set[str] = set()
        self._settled = asyncio.Event()
        self._woken = asyncio.Event()
        self._stood_still = self._swept = 0.0
        self.renewed = 0
        self.expired = Window(world[0])
        """How long it took to write that sessions expired."""
        self.orders: Mapping[type[Order[Any]], Callable[[Any], Awaitable[Any]]] = {
            Renew: self._renew
        }

    @property
    def active(self) -> int:
        """How many timers run here."""
        return len(self._timers)

    @property
    def _now(self) -> float:
        return self._clock.monotonic() - self._stood_still

    def wake(self) -> None:
        """Leadership changed, or somebody needs a look now."""
        self._woken.set()

    def committed(self, changed: Set[Bucket] | None) -> None:
        """A commit changed these buckets; None when the tables were replaced as a whole."""
        if changed is None:
            self._forget()
            self.wake()
            return
        if not self._loaded:
            return
        if (_TABLE, EVERY, "") not in changed:
            return  # As of nearly every commit.
        for table, index, key in changed:
            if table == _TABLE and index == PRIMARY:
                self._look_at(str(key))

    def _look_at(self, identity: str) -> None:
        session = self._session(identity)
        if session is None:
            self._timers.cancel(identity)
        elif identity not in self._timers and identity not in self._ending:
            before = self._timers.next()
            self._start(session)
            if self._timers.next() < before:
                self.wake()

    def _session(self, identity: str) -> Session | None:
        row: Session | None = self._database.contents[sessions.SESSIONS.name].rows.get(identity)
        return row

    def _start(self, session: Session) -> None:
        if (seconds := session.ttl_seconds) > 0:
            self._timers.start(session.id, self._now + FACTOR * seconds)

    def _forget(self) -> None:
        self._loaded = ""
        self._timers.clear()
        self._settle()

    def _settle(self) -> None:
        self._ending.clear()
        self._settled.set()
        self._settled = asyncio.Event()

    async def run(self) -> None:
        """Do it whenever this server leads; never ends."""
        pause = 0.0
        while True:
            await self._rest(pause)
            try:
                await self.step()
                pause = min(max(self._timers.next() - self._now, 0.0), SWEEP_SECONDS)
            except MeshError as error:
                log.warning("expiry of sessions: %s", error)
                pause = RETRY_SECONDS

    async def _rest(self, seconds: float) -> None:
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()
        overslept = self._clock.monotonic() - began - seconds
        if overslept > OVERSLEPT_SECONDS:
            log.warning("expiry of sessions: stood still for %.1f s, which do not count", overslept)
            self._stood_still += overslept

    async def step(self) -> None:
        """Once: end what is due. Raises a MeshError when that cannot be written now."""
        reign = self._reign()
        if reign != self._loaded:
            self._forget()
        if not reign:
            return
        if not self._loaded:
            await self._begin(reign)
        while self._reign() == self._loaded:
            late = self._timers.take(self._now, EXPIRED_MAX)
            if not late:
                break
            await self._expire(late)
        if self._clock.monotonic() - self._swept >= SWEEP_SECONDS:
            self._swept = self._clock.monotonic()
            await self._sweep()

    async def _begin(self, reign: str) -> None:
        await self._consensus.barrier()
        self._loaded = reign
        found: list[Any] = list(self._database.contents[sessions.SESSIONS.name].rows)
        for first in range(0, len(found), STEP):
            for identity in found[first : first + STEP]:
                session = self._session(identity)
                if session is not None and identity not in self._timers:
                    self._start(session)
            await self._clock.sleep(0)
            if self._loaded != reign:
                return

    async def _expire(self, late: list[str]) -> None:
        """End these. Renewals of them wait until it is sure whether they ended."""
        self._ending.update(late)
        began = self._clock.monotonic()
        try:
            ended = await self._surely(Expire(tuple(late)))
        finally:
            self._settle()
        self.expired.add(self._clock.monotonic() - began)
        log.info("%d sessions expired: %s", ended, ", ".join(late))

    async def _surely(self, command: Expire) -> int:
        """Write it, again and again while this server leads, so that the outcome is known."""
        reign, options = self._loaded, self._options()
        while True:
            try:
                # Only who surely leads at this moment may say that nobody renewed them.
                await self._consensus.barrier()
                return await self._as_leader.write(command, options)
            except MeshError:
                if self._reign() != reign or self._loaded != reign:
                    raise
                await self._clock.sleep(RETRY_SECONDS)

    async def _sweep(self) -> None:
        limit = sessions.second(self._clock.wall())
        while self._any_over(limit):
            if not await self._as_leader.write(Sweep(), self._options()):
                break

    def _any_over(self, limit: str) -> bool:
        # Looked up each time: a restore puts other tables in place, and the former are freed.
        delays = self._database.contents[sessions.DELAYS.name].buckets["second"]
        return any(str(second) < limit for second in delays)

    def _options(self) -> WriteOptions:
        return WriteOptions(request=self._dice.uuid(), origin="leader")

    async def _renew(self, order: Renew) -> Session | None:
        identity = order.id.lower()
        while True:
            while identity in self._ending:
                await self._settled.wait()
            # Who was deposed without knowing it promises nothing. Past this line nobody waits, so
            # what the tables say now is true; and they are read without leaving a live answer
            # behind, which with many sessions would push out those that others ask for.
            if self._consensus.leased():
                break
            await self._consensus.barrier()
            if identity not in self._ending:
                break
        session = self._session(identity)
        if session is None:
            return None
        if self._reign() == self._loaded:
            self._start(session)
        else:
            self.wake()
        self.renewed += 1
        return session
