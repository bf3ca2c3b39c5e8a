"""Each rule of consensus is taken out once, and the simulator notices.

The table says where: in random worlds (by the name of a configuration), or in a world in which one
certain thing goes wrong, for what random worlds show too seldom.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sim import moments, scenarios, switches
from tests.sim.checks import Violation
from tests.sim.runs import CONFIGURATIONS, run
from tests.sim.switches import Switch

SEEDS = 60  # So many random worlds at most; the first that notices ends the search.
NOTICED: dict[Switch, int] = {switches.torn_tail: 21, switches.the_stop_sign_itself: 26}
"""Where the search begins for what few worlds notice."""


def random(name: str) -> scenarios.Scenario:
    """A random world, as a scenario."""

    def live(seed: int) -> None:
        figures = run(seed, CONFIGURATIONS[name])
        if figures.violation:
            raise Violation(figures.violation, figures.detail)

    return live


def damaged_stream(seed: int) -> None:
    scenarios.broken_stream(seed, cuts=0, damages=1)


ROUGH, THREE, CHANGING = random("three-rough"), random("three"), random("changing")
CHANGING_ROUGH = random("changing-rough")
TABLE: list[tuple[Switch, Callable[[int], None], set[str]]] = [
    # Journal and disk.
    (switches.sync_before_send, ROUGH, {"commit without a majority"}),
    (switches.sync, ROUGH, {"durability", "refused to start"}),
    (switches.durable_acks, ROUGH, {"durability"}),
    (switches.sync_at_start, moments.kill_then_power, {"durability"}),
    (
        switches.sync_of_snapshots_at_start,
        moments.kill_then_power_in_install,
        {"refused to start"},
    ),
    (switches.failed_sync, ROUGH, {"durability", "refused to start"}),
    (switches.stored_votes, moments.second_vote, {"durability"}),
    (switches.stored_votes, ROUGH, {"durability", "election safety"}),
    (switches.term_in_each_segment, ROUGH, {"durability"}),
    (switches.torn_tail, ROUGH, {"durability", "refused to start"}),
    (switches.sealed_damage, moments.sealed_damage, {"durability"}),
    (switches.folder_sync, ROUGH, {"durability", "refused to start"}),
    (switches.initial_commit, ROUGH, {"commit without a majority"}),
    # Receiving entries.
    (switches.log_matching, THREE, {"state machine safety", "log matching"}),
    (switches.first_conflict, moments.first_conflict, {"deletion below commit"}),
    (switches.commit_clamp, THREE, {"state machine safety", "commit without a majority"}),
    (switches.below_snapshot, moments.below_snapshot, {"a gap below a snapshot"}),
    (switches.generations, moments.reset_storm, {"resets without end"}),
    (switches.stamped_acks, moments.stale_acks, {"commit without a majority"}),
    (switches.acks_within_the_log, moments.false_acks, {"commit without a majority"}),
    # Snapshots.
    (switches.snapshot_guard, scenarios.stale_snapshot, {"deletion below commit"}),
    (switches.snapshot_guard, ROUGH, {"not caught up", "deletion below commit"}),
    (switches.no_commit_from_chunks, ROUGH, {"state machine safety"}),
    (switches.numbered_chunks, moments.chunk_hole, {"a hole in a snapshot"}),
    (switches.snapshot_verification, damaged_stream, {"state machine safety"}),
    # Elections.
    (switches.pre_vote, scenarios.isolated_follower, {"disturbed"}),
    (switches.new_enough, moments.old_log_asks, {"disturbed"}),
    (switches.stickiness, scenarios.cut_link, {"disturbed"}),
    (switches.stickiness_after_restart, moments.restarted_voter, {"stale lease"}),
    (switches.votes_of_a_majority, moments.repeated_votes, {"election safety"}),
    (switches.votes_per_voter, moments.repeated_votes, {"election safety"}),
    (switches.stale_answers, scenarios.high_term, {"not caught up"}),
    (switches.quorum_check, scenarios.isolated_leader, {"a leader without a majority goes on"}),
    # Reads.
    (switches.read_round, THREE, {"stale read"}),
    (switches.own_term_entry, ROUGH, {"stale read"}),
    (switches.repeated_rounds, moments.lost_probe, {"answers"}),
    (switches.lease, THREE, {"stale read"}),
    (switches.lease, scenarios.isolated_leader, {"stale lease"}),
    (switches.lease_rates, scenarios.fast_clock, {"stale read"}),
    (switches.lease_after_hand_over, moments.handed_over, {"stale lease"}),
    # Changing voters.
    (switches.votes_with_the_state, CHANGING, {"leader completeness"}),
    (switches.nothing_after_a_stop_sign, CHANGING, {"state machine safety"}),
    (switches.no_reads_after_a_stop_sign, CHANGING, {"stale read"}),
    (switches.the_stop_sign_itself, CHANGING_ROUGH, {"state machine safety"}),
    (switches.a_durable_past, moments.slow_to_leave, {"refused to start", "durability"}),
    # Answers.
    (switches.answers_at_the_end, scenarios.isolated_leader, {"answers"}),
]


def search(live: Callable[[int], None], first: int) -> Violation | None:
    """A violation, if there is any."""
    for seed in (*range(first, SEEDS), *range(first)):
        try:
            live(seed)
        except Violation as violation:
            return violation
    return None


@pytest.mark.parametrize(
    ("switch", "live", "rules"),
    [
        pytest.param(*row, id=f"{row[0].__name__}-{getattr(row[1], '__name__', 'random')}")
        for row in TABLE
    ],
)
def test_the_absence_of_a_rule_is_noticed(
    switch: Switch, live: scenarios.Scenario, rules: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    switch(monkeypatch)
    violation = search(live, NOTICED.get(switch, 0))
    assert violation is not None, f"without {switch.__name__} nothing went wrong in {SEEDS} worlds"
    assert violation.rule in rules, str(violation)


def test_every_switch_is_in_the_table() -> None:
    known = {
        name
        for name, value in vars(switches).items()
        if getattr(value, "__module__", "") == switches.__name__ and not name.startswith("_")
    }
    assert known == {switch.__name__ for switch, _, _ in TABLE}
