"""The rules of gossip, each with a switch that takes it out of the code of production.

Production has no switches: these replace functions of it, for a test that shows that somebody
notices, and to measure what a rule is worth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh.gossip import broadcasts, swim
from mesh.gossip.events import Events
from mesh.gossip.intents import Intents
from mesh.gossip.messages import Alive
from mesh.gossip.peers import Order
from mesh.gossip.probe import Probing
from mesh.gossip.streams import NodeState
from mesh.gossip.suspicion import Suspicion, Suspicions, shortest
from mesh.gossip.swim import Swim

Patch = pytest.MonkeyPatch
Switch = Callable[[Patch], None]


def _nothing(*_: Any, **__: Any) -> None:
    return None


def refutation(patch: Patch) -> None:
    """Who is accused keeps silent."""
    patch.setattr(Swim, "_refute", _nothing)


def newer_incarnations(patch: Patch) -> None:
    """Old news that a member is alive counts as well."""

    def alive(self: Swim, now: float, news: Alive) -> None:
        peer = self.peers.get(news.node)
        if peer is not None and peer is not self.me and news.incarnation < peer.incarnation:
            peer.incarnation = news.incarnation - 1
        original(self, now, news)

    original = Swim.alive
    patch.setattr(Swim, "alive", alive)


def time_to_refute(patch: Patch) -> None:
    """Who is suspected is dead."""
    patch.setattr(swim, "shortest", lambda *_: 0.0)


def verdicts(patch: Patch) -> None:
    """Suspicions never run out."""

    def due(self: Suspicions, now: float) -> list[str]:
        original(self, now)  # Or the same moment would be due for ever.
        return []

    original = Suspicions.due
    patch.setattr(Suspicions, "due", due)


def rounds_of_probes(patch: Patch) -> None:
    """The same members are probed all the time."""

    def draw(self: Order, _dice: Any) -> str | None:
        return self._names[0] if self._names else None

    patch.setattr(Order, "draw", draw)


def probes_over_streams(patch: Patch) -> None:
    """An answer over a stream does not count."""
    patch.setattr(Probing, "tcp_answered", _nothing)


def limit_of_transmissions(patch: Patch) -> None:
    """News is passed on for ever."""
    patch.setattr(broadcasts, "transmissions", lambda *_: 2**31)


def events_once(patch: Patch) -> None:
    """Whatever event comes is new."""

    def receive(self: Events, body: bytes) -> None:
        self._ring = type(self._ring)(lambda _: 0)
        original(self, body)

    original = Events.receive
    patch.setattr(Events, "receive", receive)


def events_in_exchanges(patch: Patch) -> None:
    """Who missed an event is not told of it."""
    patch.setattr(Events, "merge", _nothing)


def reconnecting(patch: Patch) -> None:
    """A failed member is never tried again."""
    patch.setattr(Intents, "_reconnect", _nothing)


def refutation_of_what_a_joiner_is_told(patch: Patch) -> None:
    """Who comes back does not read what others think of it."""

    def merge(self: Swim, now: float, state: NodeState) -> None:
        if state.name != self.name:
            original(self, now, state)

    original = Swim._merge
    patch.setattr(Swim, "_merge", merge)


def intents_have_a_time(patch: Patch) -> None:
    """The time of an intent is not kept, so that it comes anew each time."""

    def leave(self: Intents, now: float, time: int, name: str, *, prune: bool) -> bool:
        known = self._known.get(name)
        if known is None or name == self._swim.name:
            return original(self, now, time, name, prune=prune)
        before = known.time
        original(self, now, time, name, prune=prune)
        self._known.own(name).time = before
        return True

    original = Intents._leave
    patch.setattr(Intents, "_leave", leave)


# Lifeguard's parts, to be measured without.


def health_aware_probes(patch: Patch) -> None:
    """A node that misses answers does not blame itself (no LHA-probe)."""
    patch.setattr(Swim, "degrade", _nothing)


def health_aware_suspicion(patch: Patch) -> None:
    """Suspicion is short from the start, confirmed or not (no LHA-suspicion)."""

    def suspicion(self: Swim, accuser: str, now: float) -> Suspicion:
        options = self.options
        times = shortest(options.suspicion_mult, self.count(), options.probe_interval_seconds)
        return Suspicion(accuser, now, 0, times)

    patch.setattr(Swim, "_suspicion", suspicion)


LIFEGUARD = (health_aware_probes, health_aware_suspicion)
