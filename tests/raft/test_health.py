"""Health of the log: a table of what is judged how, and that a verdict holds still."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from mesh.clock import SeededDice
from mesh.raft.health import Lag, Steady, Verdict, Vitals, judge

LEADER = Vitals(leads=True, leased=True, contact=0.0, election=1.0, disk_floor=256 << 20)
FOLLOWER = Vitals(leads=False, leased=False, contact=0.1, election=1.0, disk_floor=256 << 20)
FLOOR = "raft_disk_floor (256 MiB)"


@pytest.mark.parametrize(
    ("vitals", "changed", "status", "reason"),
    [
        (LEADER, {}, "passing", "leads"),
        (FOLLOWER, {}, "passing", "follows"),
        (LEADER, {"leased": False}, "critical", "no majority of the servers answers this leader"),
        (FOLLOWER, {"contact": 2.0}, "passing", "follows"),
        (FOLLOWER, {"contact": 2.1}, "warning", "no leader was heard for more than 2 s"),
        (FOLLOWER, {"contact": 5.1}, "critical", "no leader was heard for more than 5 s"),
        (FOLLOWER, {"contact": math.inf}, "critical", "no leader was heard for more than 5 s"),
        (FOLLOWER, {"contact": 5.1, "election": 5.0}, "passing", "follows"),
        (FOLLOWER, {"behind": 9, "behind_seconds": 9.0}, "passing", "follows"),
        (
            FOLLOWER,
            {"behind": 9, "behind_seconds": 11.0},
            "warning",
            "is behind by a few entries for more than 10 s",
        ),
        (
            FOLLOWER,
            {"behind": 4711, "behind_seconds": 61.0},
            "critical",
            "is behind by 1000 entries or more for more than 60 s",
        ),
        (LEADER, {"sync_p99": 0.6, "syncs": 4}, "passing", "leads"),
        (
            LEADER,
            {"sync_p99": 0.6, "syncs": 5},
            "warning",
            "one disk sync in a hundred takes more than 0.5 s",
        ),
        (
            LEADER,
            {"sync_p99": 2.1, "syncs": 5},
            "critical",
            "one disk sync in a hundred takes more than 2 s",
        ),
        (
            LEADER,
            {"disk_tight": True},
            "warning",
            f"the free space of the disk is less than twice {FLOOR}",
        ),
        (
            LEADER,
            {"disk_tight": True, "disk_low": True},
            "critical",
            f"the free space of the disk is below {FLOOR}: no writes are taken",
        ),
        (LEADER, {"snapshot_failures": 1}, "warning", "snapshots find no space on the disk"),
        (LEADER, {"snapshot_failures": 5}, "critical", "snapshots find no space on the disk"),
        (
            FOLLOWER,
            {"contact": 9.0, "disk_low": True, "snapshot_failures": 1},
            "critical",
            "no leader was heard for more than 5 s; "
            f"the free space of the disk is below {FLOOR}: no writes are taken",
        ),
    ],
)
def test_judgement(vitals: Vitals, changed: dict[str, Any], status: str, reason: str) -> None:
    assert judge(msgspec.structs.replace(vitals, **changed)) == Verdict(status, reason)


GOOD, SLOW, DEAD = Verdict("passing", "p"), Verdict("warning", "w"), Verdict("critical", "c")


def told(*verdicts: tuple[Verdict, int]) -> list[str]:
    """What is told, one letter a second, when each verdict comes for so many seconds."""
    steady, found, now = Steady(), [], 1000.0
    for verdict, seconds in verdicts:
        for _ in range(seconds):
            found.append(steady.observe(now, verdict).reason)
            now += 1.0
    return found


def test_worse_is_told_after_three_seconds_and_better_after_ten() -> None:
    assert "".join(told((GOOD, 5), (DEAD, 6), (GOOD, 14))).replace("starts", "s") == (
        "sssp" + "p" + "ppp" + "ccc" + "c" * 10 + "pppp"
    )


def test_one_bad_second_is_not_told() -> None:
    assert set(told((GOOD, 10), *[(DEAD, 1), (GOOD, 1)] * 30)) == {"starts", "p"}


def test_what_goes_up_and_down_stays_at_the_worse() -> None:
    lines = told((GOOD, 10), (DEAD, 8), *[(GOOD, 5), (SLOW, 5)] * 20)
    # From critical it gets better once, to warning, and stays there.
    assert set(lines[20:24]) == {"c"}
    assert set(lines[40:]) == {"w"}


def test_between_two_bad_ones_the_milder_holds() -> None:
    assert told((GOOD, 10), (SLOW, 1), (DEAD, 1), (SLOW, 1), (DEAD, 1))[-1] == "w"


def test_who_was_stopped_himself_judges_after_three_looks() -> None:
    steady = Steady()
    for second in range(20):
        steady.observe(float(second), GOOD)
    seen = [steady.observe(1000.0 + second, DEAD).status for second in range(4)]
    assert seen == ["passing", "passing", "critical", "critical"]


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_told_seldom(seed: int) -> None:
    steady, dice, changes, before = Steady(), SeededDice(seed), 0, ""
    for second in range(3600):
        status = steady.observe(float(second), dice.choice([GOOD, GOOD, SLOW, DEAD])).status
        changes, before = changes + (status != before), status
    assert changes <= 40  # Once in a minute and a half, though it changes every other second.


def test_lag_counts_from_what_is_missing_longest() -> None:
    lag = Lag()
    assert lag.observe(0.0, 10, 10) == 0.0
    assert lag.observe(1.0, 20, 10) == 0.0
    assert lag.observe(2.0, 30, 15) == 1.0
    # A busy server that keeps up with what it heard of a second ago is not behind for longer.
    for second in range(3, 100):
        assert lag.observe(float(second), 10 * (second + 1), 10 * second) <= 1.0
    behind = [lag.observe(float(second), 10 * second + 10, 990) for second in range(100, 2000)]
    assert behind[-1] == 1999.0 - 99.0
    assert lag.observe(3000.0, 30000, 30000) == 0.0
