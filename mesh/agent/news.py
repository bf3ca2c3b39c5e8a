"""News: changes of health here that the others have still to hear, batched and bounded. Pure.

- A change of status is due at once. Statuses that checks begin with, at start or registration, are
  due after FIRST_SECONDS only: by then the catalog has them, and there is nothing to say.
- A change stays here until the catalog has it; while it has not (no servers, no leader), it is said
  again after AGAIN_SECONDS, soon at first and then every half minute, and whenever an event has
  room. An event is gossip: each copy may go to a member that has just died, and in a small pool of
  which half died at once one in five misses somebody. Members that joined later or were cut off
  hear it then too, also when Serf's ring of recent events has long gone round.
- At most BURST events in a row, then one every PAUSE_SECONDS; both times are longer in large pools.
  What changes meanwhile is merged: an event says what is so when it is sent. A node whose checks
  flap as fast as they can costs the pool half an event a second up to 128 members, and with 10,000
  members one in 16 seconds (all of them flapping: 625 events a second).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from mesh.registry.transitions import GONE, Transition, write

FIRST_SECONDS = 5.0
AGAIN_SECONDS = (0.2, 0.4, 0.8, 1.6, 3.0, 6.0, 12.0, 30.0)
"""Pauses before a change is said again; the last one from then on."""
BURST = 8
PAUSE_SECONDS = 2.0
SCALE_SECONDS = 10.0
"""How long a pool counts as being of the same size."""
OPEN_MAX = 8192
"""Changes kept at most; beyond that the oldest are left to the catalog alone."""

_WHOLE = 1 - 1e-6  # A credit earned to the full, but for rounding.


class _Open(msgspec.Struct):
    transition: Transition
    due: float
    urgent: bool
    told: int = 0


class News:
    """What is to be said. `known` tells whether the catalog has a change, `number` gives sequences.

    `scale` is how much rarer everything is in a pool of this size; 1 in a small one.
    """

    def __init__(
        self,
        node: str,
        number: Callable[[], int],
        known: Callable[[Transition], bool],
        scale: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._node, self._number, self._known, self._scale = node, number, known, scale
        self._open: dict[tuple[str, str], _Open] = {}
        self._gone: set[str] = set()
        self._credit, self._counted = float(BURST), 0.0
        self._factor, self._factor_until = 1.0, -math.inf
        self.wake: Callable[[], None] = lambda: None
        """Called when something became due earlier."""
        self.counters = {"events": 0, "repeated": 0, "too_long": 0, "left_to_catalog": 0}

    def __len__(self) -> int:
        """How many changes the catalog may not have."""
        return len(self._open)

    def changed(
        self, now: float, check_id: str, service_id: str, status: str, *, urgent: bool = True
    ) -> int:
        """Note that a check has another status, or is gone; the sequence of that."""
        return self._note(now, Transition(service_id, check_id, status, self._number()), urgent)

    def registered(self, now: float, service_id: str) -> None:
        """Note that an instance is there. Only one that was said to be gone is worth a word."""
        if service_id in self._gone:
            self._gone.discard(service_id)
            self._note(now, Transition(service_id, "", "passing", self._number()), urgent=True)

    def deregistered(self, now: float, service_id: str) -> None:
        """Note that an instance is gone."""
        if len(self._gone) < OPEN_MAX:
            self._gone.add(service_id)
        self._note(now, Transition(service_id, "", GONE, self._number()), urgent=True)

    def _note(self, now: float, transition: Transition, urgent: bool) -> int:
        key = (transition.check_id, "" if transition.check_id else transition.service_id)
        # Again at the end: the order is that of sequences.
        before = self._open.pop(key, None)
        # Members who heard that it is gone would take it for well until they hear this.
        urgent = urgent or (before is not None and before.transition.status == GONE)
        due = now if urgent else now + self._scaled(now, FIRST_SECONDS)
        if before is not None and before.urgent:
            due, urgent = min(due, before.due), True
        self._open[key] = _Open(transition, due, urgent)
        while len(self._open) > OPEN_MAX:
            del self._open[next(iter(self._open))]
            self.counters["left_to_catalog"] += 1
        self.wake()
        return transition.sequence

    def take(self, now: float) -> bytes:
        """The next event, if one is due and may be sent; else nothing."""
        self._earn(now)
        if self._credit < _WHOLE:
            return b""
        due = [(key, one) for key, one in self._open.items() if one.due <= now]
        fresh = []
        for key, one in due:
            if not one.urgent and self._known(one.transition):
                del self._open[key]
            else:
                fresh.append((key, one))
        # First what was never said.
        fresh.sort(key=lambda pair: not pair[1].urgent)
        # What was told before fills the rest, newest first; its own time stays.
        before = [one.transition for one in self._open.values() if one.due > now and one.told]
        before.reverse()
        while fresh:
            data, told = write(self._node, [*(one.transition for _, one in fresh), *before])
            if told:
                return self._sent(now, data, [one for _, one in fresh[:told]])
            self.counters["too_long"] += 1
            del self._open[fresh.pop(0)[0]]
        return b""

    def _sent(self, now: float, data: bytes, told: list[_Open]) -> bytes:
        for one in told:
            self.counters["repeated"] += one.told > 0
            pause = AGAIN_SECONDS[min(one.told, len(AGAIN_SECONDS) - 1)]
            one.due, one.urgent = now + self._scaled(now, pause), False
            one.told += 1
        self._credit -= 1
        self.counters["events"] += 1
        return data

    def deadline(self, now: float) -> float:
        """When `take` has something next; infinite when nothing is open."""
        first = min((one.due for one in self._open.values()), default=math.inf)
        self._earn(now)
        if self._credit < _WHOLE:
            first = max(first, now + (1 - self._credit) * self._scaled(now, PAUSE_SECONDS))
        return first

    def _earn(self, now: float) -> None:
        earned = max(0.0, now - self._counted) / self._scaled(now, PAUSE_SECONDS)
        self._credit, self._counted = min(float(BURST), self._credit + earned), now

    def _scaled(self, now: float, seconds: float) -> float:
        # Asked now and then only: counting the members of a large pool takes a while.
        if now >= self._factor_until:
            self._factor, self._factor_until = self._scale(), now + SCALE_SECONDS
        return seconds * self._factor
