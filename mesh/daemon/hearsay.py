"""Hearsay: what gossip tells of health, taken over and passed to whoever answers questions."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection

from mesh.clock import Clock
from mesh.daemon.membership import Membership
from mesh.errors import Invalid
from mesh.gossip.driver import Gossip
from mesh.gossip.events import UserEvent
from mesh.gossip.members import MemberEvent, Status
from mesh.registry.overlay import Overlay, Standing
from mesh.registry.transitions import EVENT, Transition, read

log = logging.getLogger(__name__)

TIDY_SECONDS = 60.0
"""How often those who left the pool are forgotten."""
STANDING_SECONDS = 10.0
"""Who is in the pool is looked up anew after so long, though no member event came: what is made of
their state may depend on time."""


class Hearsay:
    """Feeds the overlay from events, and says who is in the pool."""

    def __init__(self, gossip: Gossip, membership: Membership, clock: Clock) -> None:
        self._gossip, self._membership, self._clock = gossip, membership, clock
        self.overlay = Overlay()
        self.counters: Counter[str] = Counter(dict.fromkeys(("events", "news", "malformed"), 0))
        self.of_own: Callable[[float, list[Transition]], None] = lambda _, __: None
        """Called with what was heard of this node itself, and when."""
        self.on_news: Callable[[Collection[str] | None], None] = lambda _: None
        """Called with the nodes (in lower case) of which something new is known; None for any."""
        self.overlay.told = lambda name: self.on_news((name,))
        self._standing = self._out = Standing()
        self._standing_until = float("-inf")
        gossip.on_event(self._heard)
        gossip.listen(self._member_event)

    def fire(self, payload: bytes) -> None:
        """Tell everybody of changes here. Raises a MeshError."""
        self._gossip.fire(EVENT, payload)

    def standing(self, *, current: bool = False) -> Standing:
        """Who is in the pool and who is out; the same object until that changes.

        For answers that are `current` only who is out: that a member is there is no news to the
        catalog, which may have its reasons to say that it is not well.
        """
        now = self._clock.monotonic()
        if now >= self._standing_until:
            found = Standing(
                frozenset(name.lower() for name in self._membership.absent()),
                frozenset(name.lower() for name in self._membership.present()),
                frozenset(name.lower() for name in self._membership.damped()),
            )
            if found != self._standing:
                self._standing, self._out = found, Standing(found.absent)
            self._standing_until = now + STANDING_SECONDS
        return self._out if current else self._standing

    def look_again(self) -> None:
        """What is made of members' state has changed."""
        self._standing_until = float("-inf")
        self.on_news(None)

    async def run(self) -> None:
        """Forget, now and then, who is no member any more."""
        while True:
            await self._clock.sleep(TIDY_SECONDS)
            members = self._gossip.members()
            self.overlay.retain({one.name.lower() for one in members if one.status != Status.LEFT})

    def _member_event(self, event: MemberEvent) -> None:
        self._standing_until = float("-inf")
        self.on_news((event.member.name.lower(),))

    def _heard(self, event: UserEvent) -> None:
        if event.name != EVENT:
            return
        self.counters["events"] += 1
        try:
            node, transitions = read(event.payload)
        except Invalid as error:
            self.counters["malformed"] += 1
            log.debug("%s", error)
            return
        now = self._clock.monotonic()
        self.counters["news"] += self.overlay.hear(now, node, transitions)
        if node.lower() == self._gossip.name.lower():
            self.of_own(now, transitions)
