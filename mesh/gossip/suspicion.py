"""Suspicion: how long a node has to refute, shorter the more members confirm (Lifeguard)."""

from __future__ import annotations

import math

MAX_MULTIPLIER = 6


def shortest(multiplier: int, members: int, probe_interval: float) -> float:
    """Seconds a fully confirmed suspicion lasts in a pool of this size."""
    scale = math.floor(max(1.0, math.log10(max(1, members))) * 1000) / 1000
    return multiplier * scale * probe_interval


class Suspicion:
    """The suspicion of one node. Its deadline moves closer with each new accuser."""

    def __init__(self, accuser: str, now: float, confirmations: int, times: float) -> None:
        """Start with the first accuser, who does not confirm.

        `confirmations` is how many others make it last only `times` seconds; with none to expect
        it lasts just that. `deadline` is when the node is to be declared dead, on the clock of
        `now`.
        """
        self.started = now
        self._expected = confirmations
        self._shortest = times
        self._accusers = {accuser}
        self.deadline = self._deadline()

    @property
    def confirmed(self) -> int:
        """Accusers beyond the first."""
        return len(self._accusers) - 1

    def confirm(self, accuser: str) -> bool:
        """Count another accuser; False when known, or when there are enough."""
        if self.confirmed >= self._expected or accuser in self._accusers:
            return False
        self._accusers.add(accuser)
        self.deadline = self._deadline()
        return True

    def _deadline(self) -> float:
        if self._expected < 1:
            return self.started + self._shortest
        longest = MAX_MULTIPLIER * self._shortest
        share = math.log(self.confirmed + 1) / math.log(self._expected + 1)
        seconds = longest - share * (longest - self._shortest)
        return self.started + max(self._shortest, math.floor(seconds * 1000) / 1000)
