"""Calm: what this node makes of members that fail: the mass-failure guard and flap damping, run."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from mesh.agent.operations import DampedInfo, GuardInfo
from mesh.clock import Clock
from mesh.gossip.driver import Gossip
from mesh.gossip.events import UserEvent
from mesh.gossip.guard import Guard, Rule
from mesh.gossip.members import MemberEvent, Status
from mesh.registry.damping import Damping, Settings

log = logging.getLogger(__name__)

RELEASE = "mesh:release-guard"
"""The event by which an operator ends a freeze at all members."""


class Calm:
    """Feeds guard and damping with what gossip says of members, and says aloud what they decide."""

    def __init__(self, gossip: Gossip, rule: Rule, settings: Settings, clock: Clock) -> None:
        self._gossip, self._clock = gossip, clock
        self.guard, self.damping = Guard(rule), Damping(settings)
        self.text = ""
        """What the guard said last."""
        self._wake = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        gossip.listen(self._heard)
        gossip.on_event(self._event)

    # What others ask

    @property
    def held(self) -> frozenset[str]:
        """Members that failed and stay in discovery as they were."""
        return self.guard.held

    @property
    def frozen(self) -> bool:
        """Whether removals are frozen."""
        return self.guard.freeze is not None

    def kept_out(self) -> frozenset[str]:
        """Members that are alive and fell so often lately that they are better left out."""
        pool = len(self._gossip.members())
        return frozenset(self.damping.kept_out(self._clock.monotonic(), pool))

    def penalty(self, name: str) -> tuple[float, float | None]:
        """A member's penalty and, when it is damped, the wall time at which that ends."""
        now = self._clock.monotonic()
        end = self.damping.until(now, name)
        return self.damping.penalty(now, name), None if end is None else self._wall(end)

    def info(self) -> GuardInfo:
        """How things stand, for people."""
        guard, now = self.guard, self._clock.monotonic()
        damped = [
            DampedInfo(name, self.damping.penalty(now, name), self._wall(end))
            for name in self.damping.damped(now)
            if (end := self.damping.until(now, name)) is not None
        ]
        if guard.freeze is None:
            return GuardInfo(False, guard.rule.words(), guard.end_in_words(), damped)
        return GuardInfo(
            True,
            guard.rule.words(),
            guard.end_in_words(),
            damped,
            since=self._wall(guard.freeze.since),
            latest=self._wall(guard.freeze.latest),
            vanished=guard.freeze.vanished,
            pool=guard.freeze.pool,
            held=sorted(guard.held),
        )

    def listen(self, listener: Callable[[], None]) -> None:
        """Call the listener when a freeze began or ended, or when somebody is let in again."""
        self._listeners.append(listener)

    def _event(self, event: UserEvent) -> None:
        if event.name == RELEASE and self.guard.release(self._clock.monotonic()):
            self._tell()
            self._wake.set()

    # What drives it

    async def run(self) -> None:
        """End freezes and damping when their time has come; never ends."""
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            self.guard.tick(now)
            admitted = self.damping.tick(now)
            for name in admitted:
                log.info("member %s has been quiet and is no longer damped", name)
            self._tell(changed=bool(admitted))
            pause = min(self.guard.deadline(), self.damping.deadline()) - now
            try:
                async with asyncio.timeout(None if pause == math.inf else max(pause, 0.01)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _heard(self, event: MemberEvent) -> None:
        now, name = self._clock.monotonic(), event.member.name
        self.guard.tick(now)
        if event.kind == "reap":
            self.guard.left(now, name)
            self.damping.forget(name)
        elif event.member.status == Status.LEFT:
            self.guard.left(now, name)
        elif event.member.status == Status.FAILED:
            self._failed(now, name)
        else:
            self.guard.came(now, name)
        self._tell()
        self._wake.set()  # Something may be due earlier, or later, than it was.

    def _failed(self, now: float, name: str) -> None:
        frozen = self.frozen
        if not frozen and self.damping.fell(now, name):
            penalty, until = self.damping.penalty(now, name), self.damping.until(now, name)
            log.warning(
                "member %s fell again (penalty %.1f): damped for %.0f s; it stays out of "
                "discovery although it comes back, unless it is the last of a service",
                name,
                penalty,
                (until or now) - now,
            )
        self.guard.failed(now, name, self._gossip.pool.swim.suspicions)
        if self.frozen and not frozen:
            # What befalls many at once is not the fault of each.
            for held in self.guard.held:
                self.damping.forgive(now, held)

    def _tell(self, *, changed: bool = False) -> None:
        turns = self.guard.take()
        for turn in turns:
            self.text = turn.text
            log.warning("%s", turn.text)
        if turns or changed:
            for listener in list(self._listeners):
                listener()

    def _wall(self, when: float) -> float:
        return self._clock.wall() + when - self._clock.monotonic()
