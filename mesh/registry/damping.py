"""Flap damping: who comes and goes again and again stays out until it has been quiet for a while.

As routers do with routes (RFC 2439): each fall adds 1 to a penalty, which halves in every
half-life. Above the threshold `suppress` the subject is damped, until the penalty is down at
`reuse`. A ceiling on the penalty bounds how long that takes.

The defaults, and why: with a half-life of 5 min it takes more than three falls close together, or
four within some 8 min, to be damped; then it is out for about 8 min. One bad deployment, a restart
or two, or a node that is slow once, is never damped. Nobody is out for more than 15 min after its
last fall.
"""

from __future__ import annotations

import math

import msgspec

SUBJECTS_MAX = 2**17
"""Subjects remembered; a fall of one more is not."""

SHARE_MAX = 0.1
"""No more than this part of a pool is kept out at once, or a storm in which everybody flaps would
become an outage; but one may always be."""

_NOTHING = 0.05  # A penalty so small is forgotten.


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How falls are counted; times are seconds, penalties are in falls."""

    enabled: bool = True
    half_life_seconds: float = 300.0
    suppress: float = 3.0
    """Damped above this."""
    reuse: float = 1.0
    """Until the penalty is down here."""
    hold_max_seconds: float = 900.0
    """Damped for no longer than this after the last fall."""

    @property
    def ceiling(self) -> float:
        """The highest penalty: it is down at `reuse` after `hold_max_seconds`."""
        # Beyond 60 half-lives it makes no difference, and floats would end.
        halvings = min(self.hold_max_seconds / self.half_life_seconds, 60.0)
        return max(self.reuse * math.exp2(halvings), self.suppress)


class _Record:
    __slots__ = ("at", "before", "damped", "penalty")

    def __init__(self) -> None:
        self.penalty, self.at, self.damped = 0.0, 0.0, False
        self.before = False  # Whether it was damped before its last fall.


class Damping:
    """The penalties of some subjects, by name. Times are those of the clock that is passed in."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._records: dict[str, _Record] = {}

    def fell(self, now: float, name: str) -> bool:
        """It went down. Whether that is what damps it."""
        if not self.settings.enabled:
            return False
        record = self._records.get(name)
        if record is None:
            if len(self._records) >= SUBJECTS_MAX:
                self._forget_quiet(now)
            if len(self._records) >= SUBJECTS_MAX:
                return False
            record = self._records[name] = _Record()
        self._decay(now, record)
        record.before = record.damped
        record.penalty = min(record.penalty + 1.0, self.settings.ceiling)
        if record.damped or record.penalty <= self.settings.suppress:
            return False
        record.damped = True
        return True

    def forgive(self, now: float, name: str) -> None:
        """Its last fall was not its own fault."""
        record = self._records.get(name)
        if record is not None:
            self._decay(now, record)
            record.penalty = max(record.penalty - 1.0, 0.0)
            record.damped = record.damped and record.before
            self._decay(now, record)

    def forget(self, name: str) -> None:
        """It is gone for good, or has been let off."""
        self._records.pop(name, None)

    def penalty(self, now: float, name: str) -> float:
        """Its penalty, in falls."""
        record = self._records.get(name)
        if record is None:
            return 0.0
        self._decay(now, record)
        return record.penalty

    def until(self, now: float, name: str) -> float | None:
        """When it will be let in again, if it does not fall before; None when it is not damped."""
        record = self._records.get(name)
        if record is None:
            return None
        self._decay(now, record)
        return self._end(record) if record.damped else None

    def damped(self, now: float) -> list[str]:
        """Those damped, the worst first."""
        for record in self._records.values():
            self._decay(now, record)
        found = [(-one.penalty, name) for name, one in self._records.items() if one.damped]
        return [name for _, name in sorted(found)]

    def kept_out(self, now: float, pool: int) -> list[str]:
        """Those of a pool of that size to keep out: the damped ones, but never many of it."""
        return self.damped(now)[: max(1, int(SHARE_MAX * pool))]

    def deadline(self) -> float:
        """When the next damped one is let in."""
        ends = (self._end(record) for record in self._records.values() if record.damped)
        return min(ends, default=math.inf)

    def tick(self, now: float) -> list[str]:
        """Let in whose time has come; says who that is."""
        waiting = [name for name, record in self._records.items() if record.damped]
        self._forget_quiet(now)
        return [name for name in waiting if self.until(now, name) is None]

    def _end(self, record: _Record) -> float:
        halvings = math.log2(max(record.penalty / self.settings.reuse, 1.0))
        return record.at + halvings * self.settings.half_life_seconds

    def _decay(self, now: float, record: _Record) -> None:
        if record.damped and now >= self._end(record):
            record.damped = False
        passed = max(now - record.at, 0.0)
        record.penalty *= 0.5 ** min(passed / self.settings.half_life_seconds, 1000.0)
        record.at = now

    def _forget_quiet(self, now: float) -> None:
        for name, record in list(self._records.items()):
            self._decay(now, record)
            if not record.damped and record.penalty < _NOTHING:
                del self._records[name]
