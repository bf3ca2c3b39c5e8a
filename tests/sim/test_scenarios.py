"""One certain thing goes wrong, under a few dozen seeds: no rule is broken."""

from __future__ import annotations

import pytest

from tests.sim import moments, scenarios

EACH = [
    scenarios.all_crash,
    scenarios.isolated_follower,
    scenarios.cut_link,
    scenarios.deaf_follower,
    scenarios.isolated_leader,
    scenarios.high_term,
    scenarios.paused_leader,
    scenarios.stale_snapshot,
    scenarios.slow_disk,
    scenarios.failing_disk,
    scenarios.fast_clock,
    moments.restarted_voter,
]
ONCE = [
    moments.chunk_hole,
    moments.stale_acks,
    moments.false_acks,
    moments.repeated_votes,
    moments.reset_storm,
    moments.second_vote,
    moments.sealed_damage,
    moments.kill_then_power,
    moments.handed_over,
    moments.first_conflict,
    moments.below_snapshot,
    moments.lost_probe,
    moments.old_log_asks,
]


@pytest.mark.parametrize("scenario", EACH)
def test_no_rule_is_broken(scenario: scenarios.Scenario) -> None:
    for seed in range(6):
        scenario(seed)


@pytest.mark.parametrize("scenario", ONCE)
def test_no_rule_is_broken_once(scenario: scenarios.Scenario) -> None:
    scenario(1)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", EACH + ONCE)
def test_no_rule_is_broken_under_many_seeds(scenario: scenarios.Scenario) -> None:
    for seed in range(100, 160):
        scenario(seed)


@pytest.mark.parametrize("ahead", [50, 200])
@pytest.mark.parametrize("tail", [1, 2, 5])
def test_conflicting_tails_are_replaced_without_load(tail: int, ahead: int) -> None:
    scenarios.conflicting_tails(1, tail, ahead)


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power-lost"])
@pytest.mark.parametrize("label", ["snapshot", "drop", "install", "sync"])
def test_the_end_may_come_at_each_step_of_a_disk_job(label: str, power: bool) -> None:
    steps = 0
    while scenarios.crash_in_job(label, steps, power=power):
        steps += 1
    assert steps >= 2, "the job has steps"


@pytest.mark.parametrize("cuts", [0, 1, 3])
@pytest.mark.parametrize("damages", [0, 1, 2])
def test_a_snapshot_arrives_over_a_broken_stream(cuts: int, damages: int) -> None:
    scenarios.broken_stream(1, cuts=cuts, damages=damages)
