"""Checkers: what must hold in every run, whatever happens in it.

The bound on detection, for n members that all reach each other:

    2 n probe intervals                    each member's turn comes within two rounds
  + transmissions x gossip interval        while the accusation is passed on
  + 6 x shortest suspicion(n)              the longest one, which nobody confirms

Gossip is a matter of chance: in a pool of nine, each passes news on four times to somebody, and one
member in seventy hears nothing. Who misses an accusation finds out by its own probe; who misses an
event is told in a push/pull, which each member begins once in an interval (a longer one above 32).

After trouble, members may first have to become healthy again: a probe takes 8, 7, ... 1 intervals
while local health recovers. Views that were split are joined by tries to reconnect, each member's
own with chance failed / alive; after 12 intervals none was made with a chance of e^-12 at most.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from mesh.gossip.broadcasts import transmissions
from mesh.gossip.events import UserEvent
from mesh.gossip.members import MemberEvent
from mesh.gossip.peers import Peer
from mesh.gossip.suspicion import MAX_MULTIPLIER, shortest
from mesh.gossip.swim import AWARENESS_MAX
from tests.gossip.sim.world import Host, World

RECONNECTS = 12
NOBODY = "not listed"


class Violation(AssertionError):
    """A rule did not hold."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


class Checks:
    """Looks at a world as it goes on."""

    def __init__(self, world: World) -> None:
        self._world = world
        world.told = self.told
        self.troubled_until = -math.inf  # Infinity while there is a fault.
        self.crashed: set[str] = set()  # Who is not to come back.
        self.left: set[str] = set()
        self.verdicts = self.delivered = self.refutations = 0
        self._own: dict[tuple[str, int], int] = {}
        self._held: dict[tuple[str, str], tuple[Peer, int]] = {}
        self._heard: dict[tuple[str, int, str], int] = {}
        self._fired: dict[str, float] = {}

    # Bounds

    @property
    def detection(self) -> float:
        """Seconds from a crash until everybody knows, without other trouble."""
        options, members = self._world.options, len(self._world.hosts)
        return (
            2 * members * options.probe_interval_seconds
            + transmissions(options.retransmit_mult, members) * options.gossip_interval_seconds
            + MAX_MULTIPLIER
            * shortest(options.suspicion_mult, members, options.probe_interval_seconds)
        )

    @property
    def spread(self) -> float:
        """Seconds until an event has come to everybody, in a pool of 32 at most."""
        options = self._world.options
        return 2 * options.push_pull_interval_seconds + 1.0

    @property
    def recovery(self) -> float:
        """Seconds until trouble shows nowhere any more."""
        return sum(range(1, AWARENESS_MAX + 1)) * self._world.options.probe_interval_seconds

    @property
    def healing(self) -> float:
        """Seconds from the end of all trouble until all see the same."""
        return (
            self.recovery
            + self.detection
            + RECONNECTS * self._world.options.reconnect_interval_seconds
        )

    # As it goes on

    def told(self, host: Host, news: Any) -> None:
        if isinstance(news, MemberEvent) and news.kind == "failed":
            self._failed(host, news.member.name)
        elif isinstance(news, UserEvent):
            self.delivered += 1
            key = (host.name, host.life, news.name)
            self._heard[key] = self._heard.get(key, 0) + 1
            if self._heard[key] > 1:
                raise Violation("an event twice", f"{news.name} at {host.name}")

    def _failed(self, observer: Host, name: str) -> None:
        self.verdicts += 1
        world = self._world
        accused = next(host for host in world.hosts if host.name == name)
        if accused.down or name in self.left:
            return
        if world.now > self.troubled_until + self.recovery + self.detection:
            detail = f"{name}, said {observer.name} at {world.now:.1f} s"
            raise Violation("a false death", detail)

    def fired(self, name: str) -> None:
        """An event was fired in a pool without trouble, so all that run must hear it."""
        self._fired[name] = self._world.now

    def look(self) -> None:
        """At what each node holds; called often."""
        for host in self._world.hosts:
            if host.down:
                continue
            if host.incarnation < self._own.get((host.name, host.life), 0):
                raise Violation("an incarnation went back", f"its own, of {host.name}")
            before = self._own.get((host.name, host.life), 1)
            self.refutations += host.incarnation > before
            self._own[host.name, host.life] = host.incarnation
            for name, peer in host.pool.swim.peers.items():
                held, incarnation = self._held.get((host.name, name), (None, 0))
                if held is peer and peer.incarnation < incarnation:
                    raise Violation("an incarnation went back", f"of {name}, at {host.name}")
                self._held[host.name, name] = peer, peer.incarnation
            status = host.pool.intents.member(host.name)
            if host.name not in self.left and (status is None or status.status.name != "ALIVE"):
                raise Violation("not alive in its own eyes", f"{host.name}: {status}")

    # At the end

    def expected(self) -> dict[str, Collection[str]]:
        """What everybody should see of each; a newcomer is not told of those that are gone."""
        found: dict[str, Collection[str]] = {}
        for host in self._world.hosts:
            if host.name in self.left:
                # Who could tell nobody that it leaves has failed.
                found[host.name] = {"LEFT", "FAILED", NOBODY}
            elif host.name in self.crashed:
                found[host.name] = {"FAILED", NOBODY}
            else:
                found[host.name] = {"ALIVE"}
        return found

    def views(self) -> dict[str, dict[str, str]]:
        return {
            host.name: host.statuses()
            for host in self._world.hosts
            if not host.down and host.name not in self.left
        }

    def is_healed(self) -> bool:
        """All that run see the same of whom they see, and what is so."""
        views = list(self.views().values())
        for name, may in self.expected().items():
            seen = {view.get(name, NOBODY) for view in views}
            if not seen <= set(may) or len(seen - {NOBODY}) > 1:
                return False
        return True

    def differences(self) -> str:
        """What is not as it should be, for a person."""
        wrong = [
            f"{observer} sees {name} {view.get(name)}"
            for observer, view in self.views().items()
            for name, may in self.expected().items()
            if view.get(name, NOBODY) not in may
        ]
        return "; ".join(wrong[:8]) or "views differ about who left or failed"

    def look_at_end(self) -> None:
        """After the last news: nothing is passed on any more, and all events came."""
        for host in self._world.hosts:
            if host.down or host.name in self.left:
                continue
            pool = host.pool
            waits = [len(pool.swim.queue), *(len(queue) for queue in pool.queues)]
            if any(waits):
                raise Violation("news without end", f"at {host.name}: {waits}")
            for name in self._fired:
                if (host.name, host.life, name) not in self._heard:
                    raise Violation("an event is missing", f"{name} at {host.name}")
