"""The health of a server's log: figures to a status and a reason, told only once it holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

ORDER = ("passing", "warning", "critical")

# In longest election timeouts: within two somebody else should lead, after five nobody can.
CONTACT_WARNING, CONTACT_CRITICAL = 2.0, 5.0
# Seconds. A server behind for so long is not just busy; after a minute it is of little use.
BEHIND_WARNING, BEHIND_CRITICAL = 10.0, 60.0
# Seconds, the slowest of a hundred syncs: every write waits for one, and 0.5 s is the shortest
# time after which others would replace a leader that waits for its disk without the loop.
SYNC_WARNING, SYNC_CRITICAL = 0.5, 2.0
SYNCS_MIN = 5  # Fewer in a minute say nothing.
SNAPSHOTS_CRITICAL = 5  # Failures in a row, a minute apart: the log only grows.
# Seconds for which a change must hold before it is told.
WORSE_AFTER, BETTER_AFTER = 3.0, 10.0
SEEN_MIN = 3  # Within the former: who was stopped himself looks more than once before he judges.


class Verdict(NamedTuple):
    """A status and why; equal as long as the same bounds are exceeded."""

    status: str
    reason: str


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """What the health of a server's log is judged by. Times are in seconds."""

    leads: bool
    leased: bool
    """On the leader: whether a majority answers."""
    contact: float
    """Since a leader was heard; on the leader 0."""
    election: float
    """Longest election timeout."""
    behind: int = 0
    """Entries known to be committed and not applied here."""
    behind_seconds: float = 0.0
    sync_p99: float = 0.0
    syncs: int = 0
    """How many that is of."""
    disk_low: bool = False
    disk_tight: bool = False
    disk_floor: int = 0
    snapshot_failures: int = 0


def judge(vitals: Vitals) -> Verdict:
    """The worst of all that is wrong, with every reason of that rank."""
    found = list(_complaints(vitals))
    worst = max((rank for rank, _ in found), default=0)
    if not worst:
        return Verdict("passing", "leads" if vitals.leads else "follows")
    return Verdict(ORDER[worst], "; ".join(text for rank, text in found if rank == worst))


def _complaints(vitals: Vitals) -> Iterator[tuple[int, str]]:
    if vitals.leads and not vitals.leased:
        yield 2, "no majority of the servers answers this leader"
    if not vitals.leads:
        bounds = (CONTACT_WARNING * vitals.election, CONTACT_CRITICAL * vitals.election)
        yield from _beyond(vitals.contact, bounds, "no leader was heard for more than {:g} s")
    what = f"is behind by {_magnitude(vitals.behind)} for more than {{:g}} s"
    yield from _beyond(vitals.behind_seconds, (BEHIND_WARNING, BEHIND_CRITICAL), what)
    if vitals.syncs >= SYNCS_MIN:
        slow = "one disk sync in a hundred takes more than {:g} s"
        yield from _beyond(vitals.sync_p99, (SYNC_WARNING, SYNC_CRITICAL), slow)
    floor = f"raft_disk_floor ({vitals.disk_floor >> 20} MiB)"
    if vitals.disk_low:
        yield 2, f"the free space of the disk is below {floor}: no writes are taken"
    elif vitals.disk_tight:
        yield 1, f"the free space of the disk is less than twice {floor}"
    if vitals.snapshot_failures:
        rank = 2 if vitals.snapshot_failures >= SNAPSHOTS_CRITICAL else 1
        yield rank, "snapshots find no space on the disk"


def _beyond(value: float, bounds: tuple[float, float], text: str) -> Iterator[tuple[int, str]]:
    for rank in (2, 1):
        if value > bounds[rank - 1]:
            yield rank, text.format(bounds[rank - 1])
            return


def _magnitude(count: int) -> str:
    """A count that does not change with every entry."""
    least = 10 ** (len(str(count)) - 1)
    return "a few entries" if least < 10 else f"{least} entries or more"


class Steady:
    """Tells a verdict that held: worse after 3 seconds of nothing better, better after 10."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Verdict]] = deque()
        self.told = Verdict("passing", "starts")

    def observe(self, now: float, verdict: Verdict) -> Verdict:
        """Take a verdict; the one to tell."""
        seen = self._seen
        seen.append((now, verdict))
        while len(seen) > 1 and seen[1][0] <= now - BETTER_AFTER:
            seen.popleft()
        rank = ORDER.index(self.told.status)
        recent = [one for when, one in seen if when >= now - WORSE_AFTER]
        best = min(ORDER.index(one.status) for one in recent)
        worst = max(ORDER.index(one.status) for _, one in seen)
        span = now - seen[0][0] if len(recent) >= SEEN_MIN else 0.0
        if (best > rank and span >= WORSE_AFTER) or (worst < rank and span >= BETTER_AFTER):
            rank = best if best > rank else worst
            self.told = next(one for _, one in reversed(seen) if one.status == ORDER[rank])
        elif set(recent) == {verdict} and verdict.status == self.told.status:
            self.told = verdict if span >= WORSE_AFTER else self.told
        return self.told


class Lag:
    """How long a server is behind: since when it does not have what was committed then."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def observe(self, now: float, known: int, applied: int) -> float:
        """Seconds since something was known to be committed that is not applied yet."""
        marks = self._marks
        while marks and marks[0][1] <= applied:
            marks.popleft()
        if known > applied and (not marks or marks[-1][1] < known):
            marks.append((now, known))
            if len(marks) > 1000:  # The oldest says since when; the newest what to reach.
                del marks[len(marks) // 2]
        return now - marks[0][0] if marks else 0.0
