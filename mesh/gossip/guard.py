"""The mass-failure guard: when much of the pool seems to vanish at once, the fault is nearer.

A partition, a broken switch or a stalled machine looks from inside like the death of everybody
else. Then removals from discovery are frozen: members that failed stay in it as they were, until
they are back, or the rule has not held for a while, or the freeze is as old as it may get, or an
operator says so. Who says itself that it leaves still goes at once.

The defaults, and why:

- More than 40 % of the pool: the loss of one zone of three (33 %) is an ordinary disaster that
  discovery must follow, while the zone that was cut off misses 67 % and keeps what it knew.
- At least two failed: one of two, or one of three servers, is no mass. Two of three is: whoever
  sees it is probably the one that was cut off.
- Within 60 s: verdicts about one event come as far apart as suspicions last, which is 4 to 24 s in
  a small pool and up to 48 s among a hundred members. Who is suspected already counts as well, or a
  large pool would lose its first 40 % before the guard acts.
- At most 5 min: a switch restarts in less. If it was no fault of the network but a real failure,
  discovery is wrong for so long at most.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import msgspec


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """When removals are frozen, and for how long; times are seconds."""

    enabled: bool = True
    share: float = 0.4
    """More than this part of the pool must seem to vanish ..."""
    least: int = 2
    """... at least so many of it have failed ..."""
    window_seconds: float = 60.0
    """... within this time. The freeze ends when that has not held for as long."""
    hold_max_seconds: float = 300.0
    """No freeze is longer."""

    def words(self) -> str:
        """The rule for a person."""
        return (
            f"more than {self.share:.0%} of the members, and at least {self.least}, "
            f"within {self.window_seconds:g} s"
        )


class Freeze(msgspec.Struct, frozen=True):
    """Removals are frozen; times are those of the clock that the guard is given."""

    since: float
    latest: float
    """When it ends at the latest."""
    vanished: int
    """Members that failed or were suspected when it began ..."""
    pool: int
    """... of so many."""


class Turn(msgspec.Struct, frozen=True):
    """A freeze began or ended."""

    frozen: bool
    text: str


class Guard:
    """What this node makes of members that fail. Time and member events go in, turns come out."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.freeze: Freeze | None = None
        self.freezes = 0
        self._present: set[str] = set()
        self._recent: dict[str, float] = {}  # Failed within the window while nothing was frozen.
        self._held: set[str] = set()
        self._lull = math.inf  # Since when the rule does not hold, while frozen.
        self._turns: list[Turn] = []

    @property
    def held(self) -> frozenset[str]:
        """Members that failed and stay in discovery as they were."""
        return frozenset(self._held)

    def take(self) -> list[Turn]:
        """What began and ended since the last call, in order."""
        turns, self._turns = self._turns, []
        return turns

    # What happens

    def came(self, now: float, name: str) -> None:
        """A member is alive."""
        self._present.add(name)
        self._recent.pop(name, None)
        self._let_go(now, name)

    def left(self, now: float, name: str) -> None:
        """A member said goodbye, was made to leave, or is forgotten."""
        self._present.discard(name)
        self._recent.pop(name, None)
        self._let_go(now, name)

    def failed(self, now: float, name: str, suspected: Collection[str] = ()) -> None:
        """A member failed; `suspected` are those that others or this node suspect now."""
        self._present.discard(name)
        if self.freeze is not None:
            self._held.add(name)
            self._watch(now)
            return
        self._forget(now)
        self._recent.pop(name, None)  # The oldest stands first.
        self._recent[name] = now
        if not self.rule.enabled or len(self._recent) < self.rule.least:
            return
        vanished = len(self._recent) + len(self._present.intersection(suspected))
        if self._holds(vanished, len(self._recent)):
            self._begin(now, vanished)

    def release(self, now: float) -> bool:
        """An operator ends the freeze; False when there is none."""
        if self.freeze is None:
            return False
        self._end(now, "an operator released it")
        return True

    # Time

    def deadline(self) -> float:
        """When `tick` has something to do."""
        if self.freeze is None:
            return math.inf
        return min(self.freeze.latest, self._lull + self.rule.window_seconds)

    def tick(self, now: float) -> None:
        """End the freeze when it is due."""
        if self.freeze is None:
            return
        if now >= self.freeze.latest:
            self._end(now, f"it lasted {self.rule.hold_max_seconds:g} s, the most it may")
        elif now >= self._lull + self.rule.window_seconds:
            self._end(now, f"for {self.rule.window_seconds:g} s no more than that were missing")

    # The rule

    def _holds(self, vanished: int, missing: int) -> bool:
        pool = len(self._present) + missing
        return vanished > self.rule.share * pool

    def _begin(self, now: float, vanished: int) -> None:
        pool = len(self._present) + len(self._recent)
        latest = now + self.rule.hold_max_seconds
        self.freeze = Freeze(now, latest, vanished, pool)
        self.freezes += 1
        self._held, self._recent, self._lull = set(self._recent), {}, math.inf
        self._watch(now)
        self._turns.append(
            Turn(
                True,
                f"{vanished} of {pool} members seem to have vanished at once: removals from "
                f"discovery are frozen (rule: {self.rule.words()}); {self.end_in_words()}",
            )
        )

    def end_in_words(self) -> str:
        """When a freeze ends, for a person."""
        rule = self.rule
        return (
            f"it ends when all are back, when the rule has not held for {rule.window_seconds:g} s, "
            f"after {rule.hold_max_seconds:g} s, or by `meshctl guard release`"
        )

    def _watch(self, now: float) -> None:
        missing = len(self._held)
        holds = missing >= self.rule.least and self._holds(missing, missing)
        self._lull = math.inf if holds else min(self._lull, now)

    def _let_go(self, now: float, name: str) -> None:
        if self.freeze is None:
            return
        self._held.discard(name)
        if self._held:
            self._watch(now)
        else:
            self._end(now, "nobody is missing any more")

    def _end(self, now: float, why: str) -> None:
        assert self.freeze is not None
        seconds = now - self.freeze.since
        dropped = sorted(self._held)
        self.freeze, self._held, self._lull = None, set(), math.inf
        text = f"removals from discovery are no longer frozen, after {seconds:.0f} s: {why}"
        if dropped:
            shown = ", ".join(dropped[:5]) + (" ..." if len(dropped) > 5 else "")
            text += f"; {len(dropped)} that are still missing go now: {shown}"
        self._turns.append(Turn(False, text))

    def _forget(self, now: float) -> None:
        oldest = now - self.rule.window_seconds
        while self._recent:
            name, when = next(iter(self._recent.items()))
            if when > oldest:
                return
            del self._recent[name]
