"""Suspicion: how long a node has to refute, shorter the more members confirm (Lifeguard)."""

from __future__ import annotations

import heapq
import math

MAX_MULTIPLIER = 6


def shortest(multiplier: int, members: int, probe_interval: float) -> float:
    """Seconds a fully confirmed suspicion lasts in a pool of this size."""
    scale = math.floor(max(1.0, math.log10(max(1, members))) * 1000) / 1000
    return multiplier * scale * probe_interval


class Suspicion:
    """The suspicion of one node. Its deadline moves closer with each new accuser."""

    __slots__ = ("_shortest", "accusers", "deadline", "expected", "started")

    def __init__(self, accuser: str, now: float, confirmations: int, times: float) -> None:
        """Start with the first accuser, who does not confirm.

        `confirmations` is how many others make it last only `times` seconds; with none to expect
        it lasts just that. `deadline` is when the node is to be declared dead, on the clock of
        `now`.
        """
        self.started = now
        self.expected = confirmations
        self._shortest = times
        self.accusers = [accuser]
        self.deadline = self._deadline()

    @property
    def confirmed(self) -> int:
        """Accusers beyond the first."""
        return len(self.accusers) - 1

    def confirm(self, accuser: str) -> bool:
        """Count another accuser; False when known, or when there are enough."""
        if len(self.accusers) > self.expected or accuser in self.accusers:
            return False
        self.accusers.append(accuser)
        self.deadline = self._deadline()
        return True

    def _deadline(self) -> float:
        if self.expected < 1:
            return self.started + self._shortest
        longest = MAX_MULTIPLIER * self._shortest
        share = math.log(self.confirmed + 1) / math.log(self.expected + 1)
        seconds = longest - share * (longest - self._shortest)
        return self.started + max(self._shortest, math.floor(seconds * 1000) / 1000)


class Suspicions(dict[str, Suspicion]):
    """The suspicions that run, by name; entries are put in, changed by `confirm` and taken out."""

    def __init__(self) -> None:
        super().__init__()
        # When somebody may be due. Entries of suspicions that ended or moved are found out late.
        self._timers: list[tuple[float, str]] = []

    def __setitem__(self, name: str, suspicion: Suspicion) -> None:
        super().__setitem__(name, suspicion)
        self._plan(suspicion.deadline, name)

    def confirm(self, name: str, accuser: str) -> bool:
        """Count another accuser of a suspect; False when that makes no difference."""
        suspicion = self[name]
        if accuser in suspicion.accusers or not suspicion.confirm(accuser):
            return False
        self._plan(suspicion.deadline, name)
        return True

    def _plan(self, deadline: float, name: str) -> None:
        if len(self._timers) > 8 * len(self) + 64:
            self._timers = [(one.deadline, name) for name, one in self.items()]
            heapq.heapify(self._timers)
        heapq.heappush(self._timers, (deadline, name))

    def deadline(self) -> float:
        """When to ask who is due, not later than the first one runs out; infinity for never."""
        return self._timers[0][0] if self._timers else math.inf

    def due(self, now: float) -> list[str]:
        """Who has not refuted in time; each stays in until it is taken out."""
        found: dict[str, None] = {}
        while self._timers and self._timers[0][0] <= now:
            when, name = heapq.heappop(self._timers)
            suspicion = self.get(name)
            if suspicion is not None and suspicion.deadline == when:
                found[name] = None
        return list(found)
